"""Meta's `tokenizer.model`: ranks of byte pieces, read into the tokenizer that `tokenizer.json` would give.

The file has neither the rule that splits text into words nor the special tokens; both follow from its size. A pair of
pieces is a merge when its sum has a rank, and merges apply in the order of that rank, so byte-pair encoding gives the
ids that tiktoken gives.
"""

import base64
import binascii
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from arriero.prompts.errors import VocabularyMismatch

Generation = Literal["llama3", "llama4"]
"""Whose vocabulary: that of Llama 3, 3.1, 3.2 and 3.3, or that of Llama 4."""


@dataclass(frozen=True, slots=True)
class _Release:
    """What the file does not say."""

    split: str
    special_tokens: tuple[str, ...]


def _reserved(count: int, first: int = 0, prefix: str = "") -> tuple[str, ...]:
    return tuple(f"<|{prefix}reserved_special_token_{first + index}|>" for index in range(count))


# FORMATS.md section 1. Names of reserved ids are those of the published tokenizer.json.
_LLAMA3 = _Release(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+",
    (
        "<|begin_of_text|>", "<|end_of_text|>", *_reserved(2), "<|finetune_right_pad_id|>", *_reserved(1, 2),
        "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", *_reserved(245, 3),
        "<|image|>",  # 128256, the first id past the text models' vocabulary: what vision models read
    ),
)  # fmt: skip
_LLAMA4 = _Release(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    (
        "<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
        "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>", *_reserved(6, 0, "text_post_train_"),
        "<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>", *_reserved(61, 8, "text_post_train_"),
        "<|image_start|>", "<|image_end|>", *_reserved(2, 0, "vision_"), "<|tile_x_separator|>",
        "<|tile_y_separator|>", *_reserved(4, 2, "vision_"), "<|image|>", *_reserved(1, 6, "vision_"), "<|patch|>",
        *_reserved(1041, 7, "vision_"), *_reserved(8, 0, "reasoning_"), "<|reasoning_thinking_start|>",
        "<|reasoning_thinking_end|>", *_reserved(904),
    ),
)  # fmt: skip
_RELEASES = {128_000: _LLAMA3, 200_000: _LLAMA4}


def byte_alphabet() -> Mapping[int, str]:
    """How byte-level vocabularies spell each byte: printable ones as themselves, others as U+0100 and up.

    Example:
        >>> byte_alphabet()[ord("a")], byte_alphabet()[0]
        ('a', 'Ā')
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in set(printable)]
    spelled = {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + index) for index, byte in enumerate(others)}
    return MappingProxyType(spelled)


def read_ranks(file: str | Path) -> tokenizers.Tokenizer:
    """Read Meta's `tokenizer.model` of a Llama 3 or 4.

    Args:
        file: The file.

    Returns:
        The tokenizer, with the special tokens of FORMATS.md section 1.

    Raises:
        VocabularyMismatch: It is no such file. Llama 2's, which has the same name, is one of SentencePiece.
    """
    path = Path(file)
    try:
        ranks = dict(_entry(line) for line in path.read_bytes().splitlines() if line)
    except OSError as error:
        raise VocabularyMismatch(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise VocabularyMismatch(
            f"{path} is no list of byte pieces and their ranks ({error}): only the tokenizer.model of Llama 3 and 4 is;"
            " for Llama 2 give its tokenizer.json"
        ) from None
    release = _RELEASES.get(len(ranks))
    if release is None or set(ranks.values()) != set(range(len(ranks))):
        raise VocabularyMismatch(
            f"{path} holds {len(ranks)} pieces: Llama 3 has 128000, Llama 4 200000; give another model's tokenizer.json"
        )
    return _backend(ranks, release)


def packaged_ranks(generation: Generation) -> Path | None:
    """Meta's file inside its Python package `llama-models`, where that is installed.

    Args:
        generation: Whose vocabulary.

    Returns:
        The file; None without the package.

    Example:
        >>> file = packaged_ranks("llama3")
        >>> file is None or file.name == "tokenizer.model"
        True
    """
    spec = importlib.util.find_spec("llama_models")
    folders = spec.submodule_search_locations if spec is not None else None
    file = Path(folders[0]) / generation / "tokenizer.model" if folders else None
    return file if file is not None and file.is_file() else None


def _entry(line: bytes) -> tuple[bytes, int]:
    piece, _, rank = line.partition(b" ")
    try:
        return base64.b64decode(piece, validate=True), int(rank)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _backend(ranks: Mapping[bytes, int], release: _Release) -> tokenizers.Tokenizer:
    # Latin-1 gives each byte a character, which the alphabet then respells
    alphabet = byte_alphabet()
    spelled = {piece: piece.decode("latin-1").translate(alphabet) for piece in ranks}
    vocabulary = {spelled[piece]: rank for piece, rank in ranks.items()}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, _merges(vocabulary), ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(release.split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in release.special_tokens])
    return backend


def _merges(vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    found = []
    for piece, rank in vocabulary.items():
        for at in range(1, len(piece)):
            left, right = vocabulary.get(piece[:at]), vocabulary.get(piece[at:])
            if left is not None and right is not None:
                found.append((rank, left, right, piece[:at], piece[at:]))
    found.sort()
    return [(left, right) for *_, left, right in found]
