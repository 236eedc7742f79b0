"""A Llama small enough to be made anew for each run, for the tests of engines that need no trained one."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel

ROOT = Path(__file__).resolve().parents[3]
SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip
LLAMA4_SPECIAL = ("<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|python_start|>", "<|python_end|>")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama with random weights and a context of 512."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    make_tiny_llama(folder)
    return folder


@pytest.fixture(scope="session")
def random_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Llama with random weights that vLLM runs too, with the special tokens of Llama 3 and of Llama 4.

    Its tokens are pieces of calls, as those of a real vocabulary are, and it ends answers as both do.
    """
    folder = tmp_path_factory.mktemp("models") / "random-llama"
    corpus = (ROOT / "tests" / "data" / "grammar_tools.jsonl").read_text(encoding="utf-8").splitlines()
    make_tiny_llama(
        folder, corpus, vocabulary=700, specials=(*SPECIAL, *LLAMA4_SPECIAL), end="<|end_of_text|>",
        num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=2048,
    )  # fmt: skip
    return folder


def make_tiny_llama(
    folder: Path,
    corpus: Sequence[str] = ("the mule carries the load over the pass",) * 8,
    *,
    vocabulary: int = 300,
    specials: Sequence[str] = SPECIAL,
    end: str = "<|eot_id|>",
    **shape: int,
) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(list(specials))
    size = tokenizer.get_vocab_size()
    torch.manual_seed(11)
    config = LlamaConfig(
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512} | shape,
        vocab_size=size, hidden_size=64, intermediate_size=128,
        num_key_value_heads=1, tie_word_embeddings=True, initializer_range=0.3,
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"), eos_token_id=tokenizer.token_to_id(end),
        pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    wrapper = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(wrapper))
