"""Which calls each dialect writes, and which special tokens stand around them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from arriero.prompts.calls.regions import Kind

End = Literal["end_of_turn", "end_of_message", "end_of_text", "none"]
"""How a message ended; `none` when generation was cut."""

Syntax = Literal["auto", "llama3-json", "llama3-builtin", "function-tag", "pythonic", "llama4"]
"""A way to write calls; `auto` is the dialect's own."""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a dialect writes calls and ends messages.

    Args:
        ends: Special tokens that end a message, and what each means.
        tag: Special token that opens code and tool calls; None where there is none.
        tagged: What may stand after the tag; anything else is code.
        untagged: What may stand without a tag; anything else is text.
        wraps: Special tokens that may stand around calls and mean nothing more.
        header: Special tokens around the role of a message, should the model repeat its own header.
        trimmed: Whether text comes as a server hands it over, the end token taken off: then only what stands open
            was cut.

    Example:
        >>> LLAMA3_CALLS.ends
        mappingproxy({'<|end_of_text|>': 'end_of_text', '<|eot_id|>': 'end_of_turn'})
    """

    ends: Mapping[str, End]
    tag: str | None = None
    tagged: tuple[Kind, ...] = ()
    untagged: tuple[Kind, ...] = ()
    wraps: tuple[str, ...] = ()
    header: tuple[str, str] | None = None
    trimmed: bool = False


_ALL: tuple[Kind, ...] = ("object", "array", "tag", "list", "bare", "builtin")
_WITHOUT_LISTS: tuple[Kind, ...] = ("object", "array", "tag", "bare", "builtin")
_NO_BUILTINS: tuple[Kind, ...] = ("object", "array", "tag", "list", "bare")
_TEXT_ENDS: dict[str, End] = {"<|end_of_text|>": "end_of_text"}
_LLAMA3_ENDS: dict[str, End] = {**_TEXT_ENDS, "<|eom_id|>": "end_of_message", "<|eot_id|>": "end_of_turn"}
_LLAMA4_ENDS: dict[str, End] = {**_TEXT_ENDS, "<|eom|>": "end_of_message", "<|eot|>": "end_of_turn"}
_LLAMA3_HEADER = ("<|start_header_id|>", "<|end_header_id|>")

LLAMA2_CALLS = CallFormat(MappingProxyType({"</s>": "end_of_turn"}))
"""Llama 2 calls no tools."""

LLAMA3_CALLS = CallFormat(MappingProxyType({**_TEXT_ENDS, "<|eot_id|>": "end_of_turn"}), header=_LLAMA3_HEADER)
"""Llama 3 calls no tools, and has neither end-of-message nor python tag (FORMATS.md section 1)."""

LLAMA31_CALLS = CallFormat(
    MappingProxyType(_LLAMA3_ENDS), "<|python_tag|>", _WITHOUT_LISTS, _ALL, header=_LLAMA3_HEADER
)
"""Llama 3.1: a list after the tag is code (FORMATS.md section 10, rule 3)."""

LLAMA32_CALLS = replace(LLAMA31_CALLS, tagged=_ALL)
"""Llama 3.2 and 3.3: as 3.1, and calls as Python writes them."""

LLAMA4_CALLS = CallFormat(
    MappingProxyType(_LLAMA4_ENDS),
    untagged=_NO_BUILTINS,
    wraps=("<|python_start|>", "<|python_end|>"),
    header=("<|header_start|>", "<|header_end|>"),
)
"""Llama 4: calls may stand between two tags, of which the second is often missing (FORMATS.md section 5)."""

GUARD_CALLS = replace(LLAMA31_CALLS, tag=None, tagged=(), untagged=())
"""Guards on Llama 3 answer with a verdict, and call nothing."""

GUARD4_CALLS = replace(LLAMA4_CALLS, untagged=(), wraps=())
"""As `GUARD_CALLS`, on Llama 4."""

_ANY = replace(
    LLAMA32_CALLS, ends=MappingProxyType({**_LLAMA3_ENDS, **_LLAMA4_ENDS}), wraps=LLAMA4_CALLS.wraps, trimmed=True
)

SYNTAXES: Mapping[str, CallFormat] = MappingProxyType(
    {
        "llama3-json": replace(_ANY, tagged=_WITHOUT_LISTS),
        "llama3-builtin": replace(_ANY, tagged=_WITHOUT_LISTS),
        "function-tag": _ANY,
        "pythonic": _ANY,
        "llama4": replace(_ANY, header=LLAMA4_CALLS.header),
    }
)
"""How a message is read when its syntax is named instead of its dialect: with the special tokens of all."""
