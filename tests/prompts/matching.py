"""Whether a grammar takes a text: xgrammar's matcher over single bytes and the special tokens, without any model."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import xgrammar

from arriero.prompts.grammar import Grammar

SPECIALS = ("<|python_tag|>", "<|python_start|>", "<|python_end|>", "<|eot_id|>")
IDS = {token: 256 + position for position, token in enumerate(SPECIALS)}
END = IDS["<|eot_id|>"]
_SPECIAL = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")


@cache
def _compiler() -> Any:
    pieces = [bytes([byte]) for byte in range(256)] + [token.encode() for token in SPECIALS]
    info = xgrammar.TokenizerInfo(pieces, xgrammar.VocabType.RAW, vocab_size=len(pieces), stop_token_ids=[END])
    return xgrammar.GrammarCompiler(info)


@cache
def _compiled(rules: str) -> Any:
    return _compiler().compile_grammar(xgrammar.Grammar.from_ebnf(rules))


def takes(grammar: Grammar, text: str) -> bool:
    """Whether the grammar allows this message, special tokens spelled out."""
    return takes_ids(grammar, ids_of(text))


def takes_ids(grammar: Grammar, ids: Sequence[int]) -> bool:
    matcher = xgrammar.GrammarMatcher(_compiled(grammar.text(IDS)))
    return all(matcher.accept_token(id_) for id_ in ids) and matcher.is_completed()


def ids_of(text: str) -> list[int]:
    pieces = _SPECIAL.split(text)
    return [id_ for piece in pieces for id_ in ([IDS[piece]] if piece in IDS else piece.encode())]


def rule(expression: str) -> Grammar:
    return Grammar(f"root ::= {expression}")
