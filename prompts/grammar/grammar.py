"""A constraint on what a model writes, as the text that vLLM and xgrammar take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from arriero.prompts.errors import ArrieroError, VocabularyMismatch

_TOKEN = re.compile(r"Token\((<\|\w+\|>)\)")


class GrammarNotExpressible(ArrieroError):
    """A schema, a name or a choice of tools that no grammar can hold a model to."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what the model writes may become, beside what the schemas say.

    A schema's own minimum wins over a limit.

    Args:
        string: Most characters of a text; None for no limit.
        items: Most items of a list, and most entries of an open map; None for no limit.
        depth: Deepest nesting of objects and lists in an argument, which is what ends a type that holds itself.

    Raises:
        GrammarNotExpressible: A limit is negative.

    Example:
        >>> Limits(string=40, items=3).depth
        12
    """

    string: int | None = None
    items: int | None = None
    depth: int = 12

    def __post_init__(self) -> None:
        for name in ("string", "items", "depth"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise GrammarNotExpressible(f"the limit {name}={value} leaves nothing to write: give 0 or more")


UNBOUNDED = Limits()
"""Limits that bound nothing but the nesting."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a model may write. Make one with `call_grammar` or `answer_grammar`.

    Args:
        ebnf: The rules in xgrammar's EBNF, in which `Token(<|name|>)` stands for a special token.
        notes: Where the grammar allows more than the schemas do, or can write less: one sentence each.

    Example:
        >>> Grammar('root ::= Token(<|python_tag|>) "1"').text({"<|python_tag|>": 128010})
        'root ::= Token(128010) "1"'
    """

    ebnf: str
    notes: tuple[str, ...] = ()

    def text(self, special_ids: Mapping[str, int]) -> str:
        """The rules for one vocabulary: vLLM's `structured_outputs.grammar`, xgrammar's `Grammar.from_ebnf`.

        Args:
            special_ids: Special tokens of the model and their ids.

        Returns:
            The rules, with special tokens by id, since text that spells one is no special token.

        Raises:
            VocabularyMismatch: The vocabulary lacks a special token that the rules need.
        """

        def by_id(found: re.Match[str]) -> str:
            token = found.group(1)
            if token not in special_ids:
                raise VocabularyMismatch(
                    f"the grammar writes {token}, which the model's vocabulary lacks: make it for the model's dialect"
                )
            return f"Token({special_ids[token]})"

        return _TOKEN.sub(by_id, self.ebnf)
