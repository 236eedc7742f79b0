"""Vocabularies: Meta's file and Hugging Face's give the same ids, and what is neither is refused."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.messages import Message
from arriero.prompts.tiktoken_vocabulary import packaged_ranks
from arriero.prompts.tokens import Tokenizer

GENERATIONS = ("llama3", "llama4")
SPECIAL_IDS = {  # FORMATS.md section 1
    "llama3": {
        "<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|finetune_right_pad_id|>": 128004,
        "<|start_header_id|>": 128006, "<|end_header_id|>": 128007, "<|eom_id|>": 128008, "<|eot_id|>": 128009,
        "<|python_tag|>": 128010, "<|image|>": 128256,
    },
    "llama4": {
        "<|begin_of_text|>": 200000, "<|end_of_text|>": 200001, "<|header_start|>": 200005, "<|header_end|>": 200006,
        "<|eom|>": 200007, "<|eot|>": 200008, "<|step|>": 200009, "<|python_start|>": 200016,
        "<|python_end|>": 200017, "<|finetune_right_pad|>": 200018, "<|image_start|>": 200080,
        "<|image_end|>": 200081, "<|tile_x_separator|>": 200084, "<|tile_y_separator|>": 200085,
        "<|image|>": 200090, "<|patch|>": 200092, "<|reasoning_thinking_start|>": 201142,
        "<|reasoning_thinking_end|>": 201143,
    },
}  # fmt: skip
HARD = (
    "The mule's load: 12345 kg.\r\n\r\n\t  \n  x",
    "DON'T don't I'LL  i'll we'Ve",
    "سلام! هوای تهران امروز چطور است؟ نیم\u200cفاصله",
    "Привет, как дела? 你好，请问上海明天的天气怎么样？",
    "👩‍👩‍👧‍👦 e\u0301 Ⅷ ﷽ ½ ǅungla",
    "a" * 500 + " " * 77 + "\n" * 31 + "=" * 200,
    '{"name": "f", "parameters": {"x": [1.5, -2e10, null]}}',
    "<|eot_id|><|eot|><|begin_of_text|>",
)
texts = st.text(max_size=60) | st.text(alphabet=" \t\n\r\u00a0aaa'sT19=/é你", max_size=40)

Meta = Callable[[str], Tokenizer]


@pytest.fixture(scope="session")
def reference() -> Callable[[str, str], list[int]]:
    """Meta's own code: tiktoken over the same file."""
    loaded: dict[str, Any] = {}

    def encode(generation: str, text: str) -> list[int]:
        if generation not in loaded:
            loaded[generation] = importlib.import_module(
                f"llama_models.{generation}.tokenizer"
            ).Tokenizer.get_instance()
        ids: list[int] = loaded[generation].encode(text, bos=False, eos=False)
        return ids

    return encode


@pytest.mark.parametrize("generation", GENERATIONS)
def test_metas_file_gives_the_ids_that_metas_code_gives(generation: str, meta: Meta, reference) -> None:
    tokenizer = meta(generation)

    @given(text=texts)
    @settings(max_examples=150)
    def same(text: str) -> None:
        assert tokenizer.encode(text) == reference(generation, text)

    same()
    for text in HARD:
        assert tokenizer.encode(text) == reference(generation, text)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_tokenizer_json_of_the_same_vocabulary_gives_the_same_ids(
    generation: str, meta: Meta, tmp_path: Path
) -> None:
    ours = meta(generation)
    ours.save(tmp_path / "tokenizer.json")
    theirs = Tokenizer.from_folder(tmp_path)
    assert theirs.fingerprint == ours.fingerprint
    assert theirs.special_ids == ours.special_ids
    for text in HARD:
        assert theirs.encode(text) == ours.encode(text)
        assert theirs.decode(theirs.encode(text)) == text


@pytest.mark.parametrize("generation", GENERATIONS)
def test_special_tokens_have_their_ids(generation: str, meta: Meta) -> None:
    special_ids = meta(generation).special_ids
    assert {token: special_ids[token] for token in SPECIAL_IDS[generation]} == SPECIAL_IDS[generation]


def test_a_vocabulary_has_as_many_ids_as_its_models(meta: Meta) -> None:
    assert meta("llama3").size == 128_256 + 1  # and the image of the vision models
    assert meta("llama4").size == 202_048


@pytest.mark.parametrize("generation", GENERATIONS)
def test_no_text_becomes_a_special_token(generation: str, meta: Meta) -> None:
    tokenizer = meta(generation)
    for token in tokenizer.special_ids:
        assert not set(tokenizer.encode(f"a{token}")) & set(tokenizer.special_ids.values())


@pytest.mark.parametrize("generation", GENERATIONS)
def test_role_names_are_ordinary_tokens(generation: str, meta: Meta) -> None:
    roles = [meta(generation).encode(role) for role in ("system", "user", "assistant", "ipython", "\n\n")]
    assert (
        roles
        == {
            "llama3": [[9125], [882], [78191], [23799, 4690], [271]],
            "llama4": [[15651], [1556], [140680], [607, 6934], [368]],
        }[generation]
    )


def test_a_folder_may_hold_metas_file_only(tmp_path: Path) -> None:
    file = packaged_ranks("llama3")
    assert file is not None
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "tokenizer.model").symlink_to(file)
    assert Tokenizer.from_folder(tmp_path).special_id("<|eot_id|>") == 128009


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("tokenizer.model", b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02", "for Llama 2 give its tokenizer.json"),
        ("tokenizer.model", b"YQ== 0\nYg== 1\n", "holds 2 pieces: Llama 3 has 128000, Llama 4 200000"),
        ("tokenizer.model", b"YQ== zero\n", "no list of byte pieces"),
        ("tokenizer.model", "الف 1\n".encode(), "no list of byte pieces"),
        ("tokenizer.model", b"", "holds 0 pieces"),
        ("tokenizer.json", b"{}", "not a readable tokenizer.json"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(VocabularyMismatch, match=problem):
        Tokenizer.from_folder(tmp_path)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(VocabularyMismatch, match=r"holds tokenizer\.json or tokenizer\.model"):
        Tokenizer.from_folder(tmp_path)
    with pytest.raises(VocabularyMismatch, match="no tokenizer at"):
        Tokenizer.from_file(tmp_path / "tokenizer.model")


def test_a_vocabulary_says_which_special_tokens_it_lacks(tokenizer: Tokenizer) -> None:
    tokenizer.require(["<|eot_id|>", "<|eom_id|>"])
    with pytest.raises(
        VocabularyMismatch, match=r"no special token <\|eot\|>, <\|eom\|>: use the tokenizer of a model"
    ):
        tokenizer.require(["<|begin_of_text|>", "<|eot|>", "<|eom|>"])
    with pytest.raises(VocabularyMismatch, match=r"no special token <\|eot\|>"):
        tokenizer.special_id("<|eot|>")


def test_a_vocabulary_of_another_dialect_is_refused_both_ways(tokenizer: Tokenizer) -> None:
    llama4 = Dialect.get("llama4")
    with pytest.raises(VocabularyMismatch, match=r"<\|header_start\|>: use the tokenizer of a model that speaks this"):
        llama4.render([Message("user", "hi")]).encode(tokenizer)
    with pytest.raises(VocabularyMismatch, match=r"no special token <\|eom\|>, <\|eot\|>"):
        llama4.parse([1, 2, 3], tokenizer=tokenizer)
