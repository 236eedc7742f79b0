"""Write a model folder as one GGUF file, which llama.cpp and what is built on it load.

llama.cpp's own converter recognises a BPE vocabulary by a checksum of its ids and so refuses one that was trained
here. llama.cpp looks for the longest added token first, Hugging Face for the leftmost; the phrases are chosen so that
both cut a tool prompt the same way.

Run: python -m arriero.models.training.gguf --out arriero-demo.gguf
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import gguf
import numpy as np
import typer
from safetensors import SafetensorError

from arriero.models import DEMO
from arriero.models.training.tokenizer import LLAMA3_PATTERN
from arriero.prompts.errors import ArrieroError


class NotWritable(ArrieroError):
    """The model cannot be written as GGUF, or llama.cpp would read something else."""


Matrix = np.ndarray[Any, np.dtype[np.float32]]
Precision = Literal["f32", "f16", "bf16"]
"""How matrices are stored; llama.cpp rounds what it multiplies with them to the same type."""
SHAPE = {
    "vocab_size": "vocab_size", "context_length": "max_position_embeddings", "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size", "head_count": "num_attention_heads",
    "head_count_kv": "num_key_value_heads", "rope_dimension_count": "head_dim", "rope_freq_base": "rope_theta",
    "layer_norm_rms_eps": "rms_norm_eps", "key_length": "head_dim", "value_length": "head_dim",
}  # fmt: skip
"""Names of the sizes in GGUF and in `config.json`."""


def write_gguf(folder: Path, out: Path, precision: Precision = "f32") -> None:
    """Write a Llama with a byte-level BPE vocabulary as GGUF.

    Args:
        folder: The model folder, in Hugging Face format.
        out: The file to write; it replaces an older one only when it is complete.
        precision: Type of the matrices. `f32` keeps bfloat16 weights and the arithmetic exact.

    Raises:
        NotWritable: A file is missing, or llama.cpp would compute or merge differently; nothing is written.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "arriero-demo.gguf"
        >>> write_gguf(DEMO, out)
        >>> out.read_bytes()[:4]
        b'GGUF'
    """
    config, tokenizer, settings = (_read(folder / f"{n}.json") for n in ("config", "tokenizer", "tokenizer_config"))
    _check(folder, config, tokenizer)
    tensors = _tensors(folder / "model.safetensors", config)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_name(folder.resolve().name)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if precision == "f32" else f"MOSTLY_{precision.upper()}"])
    for setting, name in SHAPE.items():
        getattr(writer, f"add_{setting}")(config[name])
    _add_vocabulary(writer, tokenizer, settings)
    if (template := folder / "chat_template.jinja").exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, value in tensors.items():
        kind = gguf.GGMLQuantizationType[precision.upper() if value.ndim > 1 else "F32"]  # norms: always F32 there
        known = names.get_name(name, try_suffixes=(".weight",)) or name
        writer.add_tensor(known, gguf.quants.quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, out)


def interleaved(weight: Matrix, heads: int) -> Matrix:
    """Reorder the rows of a query or key projection.

    Hugging Face rotates element `i` of a head with element `i + size / 2`; llama.cpp's Llama rotates neighbours.

    Example:
        >>> interleaved(np.arange(8, dtype=np.float32).reshape(8, 1), heads=2).ravel().astype(int).tolist()
        [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return weight.reshape(heads, 2, -1, weight.shape[1]).transpose(0, 2, 1, 3).reshape(weight.shape)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise NotWritable(f"{path} cannot be read ({error}); give the folder of a model") from error


def _check(folder: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    from tokenizers import models

    needed = {"model_type": "llama", "tie_word_embeddings": True, "rope_scaling": None, "attention_bias": False}
    if differs := {name: config.get(name) for name, value in needed.items() if config.get(name) != value}:
        raise NotWritable(f"{folder / 'config.json'} has {differs}; only a Llama with {needed} can be written")
    if LLAMA3_PATTERN not in [s.get("pattern", {}).get("Regex") for s in tokenizer["pre_tokenizer"]["pretokenizers"]]:
        raise NotWritable(f"{folder / 'tokenizer.json'} does not cut text with Llama 3's pattern")
    vocab, merges = tokenizer["model"]["vocab"], [tuple(merge) for merge in tokenizer["model"]["merges"]]
    bpe = models.BPE(vocab=vocab, merges=merges)
    for text, number in vocab.items():  # llama.cpp takes a whole word that is a token before it merges anything
        if [token.id for token in bpe.tokenize(text)] != [number]:
            raise NotWritable(f"{folder / 'tokenizer.json'}: no merges make {text!r}, but llama.cpp would read it")


def _tensors(path: Path, config: dict[str, Any]) -> dict[str, Matrix]:
    from safetensors.torch import load_file

    try:
        tensors = {name: value.float().numpy() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise NotWritable(f"{path} cannot be read ({error}); give the folder of a model") from error
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    projections = {name: projection for name in tensors if (projection := name.split(".")[-2]) in heads}
    return tensors | {name: interleaved(tensors[name], heads[kind]) for name, kind in projections.items()}


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], settings: dict[str, Any]) -> None:
    tokens = {number: (text, gguf.TokenType.NORMAL) for text, number in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        special = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]] = (added["content"], special)
    ids = {text: number for number, (text, _) in tokens.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([tokens[number][0] for number in range(len(tokens))])
    writer.add_token_types([tokens[number][1] for number in range(len(tokens))])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    named = {kind: settings[f"{kind}_token"] for kind in ("bos", "eos", "pad")}
    for kind, text in (named | {"eot": "<|eot_id|>", "eom": "<|eom_id|>"}).items():
        getattr(writer, f"add_{kind}_token_id")(ids[text])
    writer.add_add_bos_token(False)  # the prompt formats begin with it themselves


def main(
    folder: Annotated[Path, typer.Option(help="Model folder in Hugging Face format.")] = DEMO,
    out: Annotated[Path, typer.Option(help="File to write.")] = DEMO.parent / "runs" / "arriero-demo.gguf",
    precision: Annotated[Precision, typer.Option(help="Type of the matrices.")] = "f32",
) -> None:
    """Write a GGUF file; for instance: python -m arriero.models.training.gguf --out arriero-demo.gguf."""
    try:
        write_gguf(folder, out, precision)
    except ArrieroError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
