"""The ways in which Llama 3 writes calls, each read piece by piece.

A syntax is fed the body of a message as it arrives. It says as early as it can that the body is no sequence of calls,
and at the end it gives the calls. Nothing is evaluated, nothing is repaired: the whole body must be calls and what
separates them (FORMATS.md section 10, rule 4).
"""

import json
import re
from collections.abc import Callable, Collection
from typing import Any, Protocol

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ToolCall
from arriero.prompts.template import content, json_text

BUILTIN_TOOLS = frozenset({"brave_search", "wolfram_alpha", "photogen"})
"""Tools that Llama 3.1 calls as `name.call(query="...")` without a declaration."""

MAX_DEPTH = 256
"""Deepest nesting of a call; more is not read as one."""

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')
_SEPARATORS = re.compile(r"[\s;,]*")
_BLANK = re.compile(r"\s*")
_HEAD = re.compile(r"\s*([A-Za-z_][\w-]*)\.call\(\s*")
_ARGUMENT = re.compile(r'(\w+)\s*=\s*"([^"]*)"\s*([,)])\s*')
_BETWEEN = re.compile(r"\s*(?:;\s*)?")


class CallSyntax(Protocol):
    """One way to write calls."""

    def feed(self, text: str) -> bool:
        """Read more of the body; False once it cannot be calls any more."""
        ...

    def finish(self) -> tuple[ToolCall, ...]:
        """The calls, when the whole body was calls; else none."""
        ...


SyntaxFactory = Callable[[Collection[str]], CallSyntax]
"""Makes a syntax, given the names of the offered tools."""


class JSONCalls:
    """`{"name": ..., "parameters": {...}}`, once or several times.

    Args:
        offered: Names of the offered tools; this syntax takes any name.

    Example:
        >>> syntax = JSONCalls(())
        >>> syntax.feed('{"name": "now", ')
        True
        >>> syntax.feed('"parameters": {}}')
        True
        >>> syntax.finish()
        (ToolCall(name='now', arguments={}, id=''),)
    """

    def __init__(self, offered: Collection[str]) -> None:
        self._calls: list[ToolCall] = []
        self._object: list[str] = []
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._possible = True

    def feed(self, text: str) -> bool:
        """Read more of the body; False once it cannot be calls any more."""
        at = 0
        while self._possible and at < len(text):
            at = self._within(text, at) if self._depth else self._between(text, at)
        return self._possible

    def finish(self) -> tuple[ToolCall, ...]:
        """The calls, when the whole body was calls; else none."""
        return tuple(self._calls) if self._possible and not self._depth else ()

    def _between(self, text: str, at: int) -> int:
        skipped = (_SEPARATORS if self._calls else _BLANK).match(text, at)
        at = skipped.end() if skipped else at
        if at < len(text):
            self._possible = text[at] == "{"
            self._object, self._depth = ["{"], 1
            at += 1
        return at

    def _within(self, text: str, at: int) -> int:
        start = at
        while at < len(text) and self._depth:
            at = self._step(text, at)
            if self._depth > MAX_DEPTH:
                self._possible = False
                return at
        self._object.append(text[start:at])
        if not self._depth:
            call = _json_call("".join(self._object))
            self._possible = call is not None
            if call is not None:
                self._calls.append(call)
        return at

    def _step(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        found = (_INSIDE if self._in_string else _OUTSIDE).search(text, at)
        if found is None:
            return len(text)
        mark = found.group()
        if mark == '"':
            self._in_string = not self._in_string
        elif mark == "\\":
            self._escaped = True
        else:
            self._depth += 1 if mark in "{[" else -1
        return found.end()


class BuiltinCalls:
    """`brave_search.call(query="...")`, for the built-in tools and the offered ones.

    Args:
        offered: Names of the offered tools.
    """

    def __init__(self, offered: Collection[str]) -> None:
        self._names = BUILTIN_TOOLS.union(offered)
        self._body: list[str] = []

    def feed(self, text: str) -> bool:
        """Read more of the body; it stands after a tag and is shown to nobody, so it is judged at the end."""
        self._body.append(text)
        return True

    def finish(self) -> tuple[ToolCall, ...]:
        """The calls, when the whole body was calls; else none."""
        text, at, calls = "".join(self._body), 0, []
        while head := _HEAD.match(text, at):
            if head.group(1) not in self._names:
                return ()
            arguments: dict[str, str] = {}
            at, more = head.end(), ","
            while more == ",":
                argument = _ARGUMENT.match(text, at)
                if argument is None:
                    return ()
                arguments[argument.group(1)] = argument.group(2)
                at, more = argument.end(), argument.group(3)
            calls.append(ToolCall(head.group(1), arguments))
            between = _BETWEEN.match(text, at)
            at = between.end() if between else at
        return tuple(calls) if at == len(text) else ()


def _json_call(text: str) -> ToolCall | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name, arguments = value.get("name"), _arguments(value)
    if not isinstance(name, str) or not name or arguments is None:
        return None
    try:
        # Refuses NaN, infinity and lone surrogates, which could be written into no later prompt.
        content(name + json_text(arguments))
    except InvalidMessage:
        return None
    return ToolCall(name, arguments)


def _arguments(value: dict[str, Any]) -> dict[str, Any] | None:
    given = [value[key] for key in ("parameters", "arguments") if key in value]
    if not given or not isinstance(given[0], dict) or given[0] != given[-1]:
        return None
    return given[0]
