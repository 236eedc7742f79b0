"""`brave_search.call(query="...")`: calls of built-in tools (FORMATS.md section 5).

Neither Meta's code nor the published template escapes anything inside the quotes: what stands there is taken as it is.
"""

import re
from typing import Any

from arriero.prompts.calls.json_calls import BUILTIN_TOOLS, as_query, writable
from arriero.prompts.calls.literals import MAX_CALLS
from arriero.prompts.calls.pythonic import bare_call
from arriero.prompts.calls.repair import NotACall, Repairs
from arriero.prompts.messages import ToolCall

HEAD = re.compile(r"\s*([A-Za-z_][\w\-]{0,199})\.call\(\s*")
"""How such a call begins; its name is the first group."""

_LIKE_BUILTIN = "read a call in the form of the built-in tools"
_ARGUMENT = re.compile(r"""(\w+)\s*=\s*(["'])""")
_END = r"(?:\s*\)\s*(?:[;,]\s*)?(?=\Z|[A-Za-z_][\w\-]{0,199}\.call\()|\s*,\s*(?=\w+\s*=\s*[\"'])|\s*\Z)"
_ENDS = {quote: re.compile(rf"{quote}({_END})") for quote in "\"'"}


def builtin_calls(text: str, repairs: Repairs) -> tuple[ToolCall, ...]:
    r"""The calls of a whole body.

    Args:
        text: The body.
        repairs: Where what is not documented is noted.

    Returns:
        The calls, at least one.

    Raises:
        NotACall: It is something else.

    Example:
        >>> builtin_calls('brave_search.call(query="price of gold")', Repairs(False, None))
        (ToolCall(name='brave_search', arguments={'query': 'price of gold'}, id=''),)
    """
    try:
        return _quoted_calls(text, repairs)
    except NotACall:
        head = HEAD.match(text)
        if head is None or head.group(1) in BUILTIN_TOOLS:
            raise
    # Built-in tools take text only; the model writes other tools' numbers and lists in the same form.
    repairs.take_back(0)
    repairs.fix(_LIKE_BUILTIN)
    return bare_call(f"{head.group(1)}({text[head.end() :]}", repairs)


def _quoted_calls(text: str, repairs: Repairs) -> tuple[ToolCall, ...]:
    at = 0
    calls: list[ToolCall] = []
    while at < len(text) and (head := HEAD.match(text, at)):
        name = head.group(1)
        if name not in BUILTIN_TOOLS:
            if not repairs.offers(name):
                raise NotACall("not the name of a built-in or offered tool")
            repairs.fix(_LIKE_BUILTIN)
        arguments, at = _arguments(text, head.end(), repairs)
        if name in BUILTIN_TOOLS:
            arguments = as_query(name, arguments, repairs)
        calls.append(writable(ToolCall(name, arguments)))
    if at < len(text) or not 0 < len(calls) <= MAX_CALLS:
        raise NotACall("no built-in calls")
    if len(calls) > 1:
        repairs.fix("read several built-in calls")
    return tuple(calls)


def _arguments(text: str, at: int, repairs: Repairs) -> tuple[dict[str, Any], int]:
    arguments: dict[str, Any] = {}
    more = True
    while more:
        found = _ARGUMENT.match(text, at)
        quote = found.group(2) if found else ""
        end = _ENDS[quote].search(text, found.end()) if found else None
        if found is None or end is None or found.group(1) in arguments:
            raise NotACall("no arguments")
        arguments[found.group(1)] = _value(text[found.end() : end.start()], quote, repairs)
        closed = ")" in end.group(1)
        if not closed and end.end() == len(text):
            repairs.fix("added the missing )")
        at, more = end.end(), not closed and end.end() < len(text)
    return arguments, at


def _value(value: str, quote: str, repairs: Repairs) -> str:
    if quote == "'":
        repairs.fix("read a string in single quotes")
    if "\n" in value:
        repairs.fix("kept a raw line break or tab in a string")
    if f"\\{quote}" in value:
        repairs.fix("read escaped quotes")
        return value.replace(f"\\{quote}", quote)
    if quote in value:
        repairs.fix("kept quotes that are not escaped inside a string")
    return value
