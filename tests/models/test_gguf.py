"""The GGUF file: what llama.cpp reads is what the Hugging Face folder holds."""

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import safetensors.torch as torch_files
import typer.testing as typer_testing

from arriero.models import DEMO
from arriero.models.training.gguf import NotWritable, main, write_gguf
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message

CONFIG = json.loads((DEMO / "config.json").read_text("utf-8"))
TOKENIZER = json.loads((DEMO / "tokenizer.json").read_text("utf-8"))
SPECIAL = {token["content"]: token["id"] for token in TOKENIZER["added_tokens"] if token["special"]}
LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
NAMES = {"token_embd": "embed_tokens", "output_norm": "norm"} | {
    f"blk.{n}.{theirs}": f"layers.{n}.{ours}"
    for n in range(CONFIG["num_hidden_layers"])
    for theirs, ours in LAYER.items()
}


def _half_split(rows: Any, heads: int) -> Any:
    """Element by element, the inverse of what the exporter does."""
    size = len(rows) // heads
    order = [h * size + 2 * (i % (size // 2)) + i // (size // 2) for h in range(heads) for i in range(size)]
    return rows[order]


@pytest.fixture(scope="module", params=["f32", "f16", "bf16"])
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("gguf") / "new" / "demo.gguf"
    write_gguf(DEMO, out, request.param)
    assert [path.name for path in out.parent.iterdir()] == ["demo.gguf"]
    return gguf.GGUFReader(out)


def test_every_weight_is_there_under_the_name_and_in_the_order_of_llama_cpp(read: Any) -> None:
    weights = torch_files.load_file(DEMO / "model.safetensors")
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in read.tensors}
    assert {name.removesuffix(".weight") for name in tensors} == set(NAMES)
    assert len(weights) == len(tensors)
    stored_as_half = any(t.tensor_type == gguf.GGMLQuantizationType.F16 for t in read.tensors)
    for theirs, ours in NAMES.items():
        value, expected = tensors[f"{theirs}.weight"], weights[f"model.{ours}.weight"].float().numpy()
        if ours.endswith(("q_proj", "k_proj")):
            value = _half_split(value, CONFIG["num_attention_heads"])
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-3 if stored_as_half else 0, err_msg=ours)


def test_norms_are_single_precision_as_llama_cpp_demands(read: Any) -> None:
    assert {t.tensor_type for t in read.tensors if "norm" in t.name} == {gguf.GGMLQuantizationType.F32}


def test_every_id_has_its_token_and_merges_keep_their_order(read: Any) -> None:
    tokens = read.fields["tokenizer.ggml.tokens"].contents()
    words = {number: word for word, number in TOKENIZER["model"]["vocab"].items()}
    words |= {token["id"]: token["content"] for token in TOKENIZER["added_tokens"]}
    assert dict(enumerate(tokens)) == words
    assert len(tokens) == CONFIG["vocab_size"]
    merges = read.fields["tokenizer.ggml.merges"].contents()
    assert [merge.split(" ") for merge in merges] == TOKENIZER["model"]["merges"]


def test_phrases_are_ordinary_text_and_special_tokens_are_not(read: Any) -> None:
    types = read.fields["tokenizer.ggml.token_type"].contents()
    added = {t["id"]: gguf.TokenType.CONTROL if t["special"] else gguf.TokenType.USER_DEFINED
             for t in TOKENIZER["added_tokens"]}  # fmt: skip
    assert types == [added.get(number, gguf.TokenType.NORMAL) for number in range(len(types))]


def test_metadata_is_that_of_the_folder(read: Any) -> None:
    expected = {
        "general.architecture": "llama",
        "llama.block_count": CONFIG["num_hidden_layers"],
        "llama.context_length": CONFIG["max_position_embeddings"],
        "llama.embedding_length": CONFIG["hidden_size"],
        "llama.feed_forward_length": CONFIG["intermediate_size"],
        "llama.attention.head_count": CONFIG["num_attention_heads"],
        "llama.attention.head_count_kv": CONFIG["num_key_value_heads"],
        "llama.rope.dimension_count": CONFIG["head_dim"],
        "llama.rope.freq_base": CONFIG["rope_theta"],
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(CONFIG["rms_norm_eps"]),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.bos_token_id": SPECIAL["<|begin_of_text|>"],
        "tokenizer.ggml.eos_token_id": SPECIAL["<|eot_id|>"],
        "tokenizer.ggml.eot_token_id": SPECIAL["<|eot_id|>"],
        "tokenizer.ggml.eom_token_id": SPECIAL["<|eom_id|>"],
        "tokenizer.ggml.padding_token_id": SPECIAL["<|finetune_right_pad_id|>"],
        "tokenizer.chat_template": (DEMO / "chat_template.jinja").read_text("utf-8"),
    }
    assert {name: read.fields[name].contents() for name in expected} == expected


def _as_llama_cpp_cuts(text: str, hugging_face: Any) -> list[int]:
    """Its rule: every occurrence of the longest added token, then of the next; between them plain BPE."""
    pieces: list[str | int] = [text]
    for token in sorted(TOKENIZER["added_tokens"], key=lambda token: -len(token["content"].encode())):
        for index in range(len(pieces) - 1, -1, -1):
            if isinstance(piece := pieces[index], str):
                cut = [part for text in piece.split(token["content"]) for part in (token["id"], text)][1:]
                pieces[index : index + 1] = [part for part in cut if part != ""]
    ids = [[p] if isinstance(p, int) else hugging_face.encode(p, add_special_tokens=False).ids for p in pieces]
    return [number for part in ids for number in part]


@pytest.mark.parametrize(
    "parameters",
    [
        {"fare": {"type": "number", "description": "The fare."}, "pass": {"type": "string", "description": "Which."}},
        {"fares": {"type": "array", "description": "Fares.", "items": {"type": "number"}}},
        {"fare": {"type": "string", "enum": ["low", "high"], "description": "Which."}},
        {"fare": {"type": "number"}, "pass": {"type": "string", "description": "Which."}},
        {"pass": {"type": "string"}},
    ],
    ids=["described", "array", "enum", "first not described", "last not described"],
)
def test_llama_cpp_cuts_a_tool_prompt_into_the_same_ids(parameters: dict[str, Any]) -> None:
    from tokenizers import Tokenizer

    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    tool = {"type": "function", "function": {"name": "book", "description": "Book it.", "parameters": schema}}
    text = Dialect.get("llama3.1").render([Message("user", 'Añadir 3 🦙, it\'s {"name": "x"}')], [tool]).text
    hugging_face = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    assert _as_llama_cpp_cuts(text, hugging_face) == hugging_face.encode(text, add_special_tokens=False).ids


def _folder(where: Path, name: str, change: dict[str, Any]) -> Path:
    shutil.copytree(DEMO, where / "model")
    content = json.loads((where / "model" / name).read_text("utf-8"))
    (where / "model" / name).write_text(json.dumps(content | change), encoding="utf-8")
    return where / "model"


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("config.json", {"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling"),
        ("config.json", {"tie_word_embeddings": False}, "tie_word_embeddings"),
        ("tokenizer.json", {"pre_tokenizer": {"pretokenizers": [{"type": "ByteLevel"}]}}, "pattern"),
        ("tokenizer.json", {"model": TOKENIZER["model"] | {"merges": TOKENIZER["model"]["merges"][1:]}}, "merges"),
    ],
)
def test_what_llama_cpp_would_read_differently_is_refused(
    name: str, change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(NotWritable, match=told):
        write_gguf(_folder(tmp_path, name, change), tmp_path / "out.gguf")
    assert not list(tmp_path.glob("out*"))


def test_the_command_says_what_it_wrote_and_what_is_missing(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    run = typer_testing.CliRunner()
    done = run.invoke(app, ["--out", str(tmp_path / "demo.gguf"), "--precision", "bf16"])
    assert (done.exit_code, "demo.gguf: 8.9 MB" in done.stdout.replace("\n", "")) == (0, True)
    failed = run.invoke(app, ["--folder", str(tmp_path / "none"), "--out", str(tmp_path / "no.gguf")])
    assert (failed.exit_code, "config.json cannot be read" in failed.output) == (1, True)
