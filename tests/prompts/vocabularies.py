"""Tokenizers to test with: a tiny one trained here, and Meta's own where its package is installed."""

import base64
import importlib.util
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from arriero.prompts.tokens import Tokenizer

# Meta's split, and the names of the first special ids, of the Llama 3.1 vocabulary.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip

_CORPUS = [
    "Environment: ipython Cutting Knowledge Date: December 2023 Today Date: 26 Jul 2024",
    '{"type": "function", "function": {"name": "get_weather", "parameters": {"city": "Paris"}}}',
    "What is the weather in Paris? It is sunny. <|eot_id|> <|start_header_id|> user assistant system ipython",
    "سلام! هوای تهران امروز چطور است؟ Привет! 你好，请问上海明天的天气怎么样？ 👩‍👩‍👧‍👦",
] * 8


def tiny() -> Tokenizer:
    """A byte-level tokenizer of some 600 entries with the special tokens of Llama 3.1."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    return Tokenizer(backend)


def meta_llama3() -> Tokenizer | None:
    """The vocabulary of Llama 3.1, out of Meta's package; None without it."""
    spec = importlib.util.find_spec("llama_models")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / "llama3" / "tokenizer.model"
    lines = (line.split() for line in file.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in lines}
    alphabet = _alphabet()
    spelled = {piece: "".join(alphabet[byte] for byte in piece) for piece in ranks}
    backend = tokenizers.Tokenizer(
        models.BPE({spelled[piece]: rank for piece, rank in ranks.items()}, _merges(ranks, spelled), ignore_merges=True)
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    backend.decoder = decoders.ByteLevel()
    reserved = [f"<|reserved_special_token_{index}|>" for index in range(3, 256 - len(SPECIAL_TOKENS) + 3)]
    backend.add_special_tokens([*SPECIAL_TOKENS, *reserved])
    return Tokenizer(backend)


def _alphabet() -> dict[int, str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + at) for at, byte in enumerate(others)}


def _merges(ranks: dict[bytes, int], spelled: dict[bytes, str]) -> list[tuple[str, str]]:
    merges = []
    for piece, rank in ranks.items():
        for at in range(1, len(piece)):
            left, right = piece[:at], piece[at:]
            if left in ranks and right in ranks:
                merges.append((rank, ranks[left], ranks[right], spelled[left], spelled[right]))
    merges.sort()
    return [(left, right) for *_, left, right in merges]
