"""The bounds of what a model may pass to a tool, whatever the tool."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from arriero.prompts.visible import visible
from arriero.tools.errors import ToolArgumentError

MOST_CHARS = 1_000_000
"""Most characters of a call's arguments, keys and quotes included; any value but a text counts as eight."""

MOST_LEVELS = 64
"""How deep lists and objects may be nested."""

_MOST_BITS = 1_024
_SHOWN_NAME = 64


def check_bounds(arguments: object) -> Mapping[str, Any]:
    """Refuse what no tool should have to look at. Takes no recursion, whatever the nesting.

    Args:
        arguments: The arguments of a call, as a model wrote them.

    Returns:
        The same arguments.

    Raises:
        ToolArgumentError: They are no object of strict JSON values, too many, or too deeply nested; the text names
            the argument.

    Example:
        >>> check_bounds({"load": float("nan")})
        Traceback (most recent call last):
        arriero.tools.errors.ToolArgumentError: argument 'load': nan is no number of JSON; give a finite one
    """
    if not isinstance(arguments, Mapping):
        raise ToolArgumentError(
            f"the arguments must be a JSON object with a value for each parameter, not {_kind(arguments)}"
        )
    left = MOST_CHARS
    for name, value in arguments.items():
        if not isinstance(name, str):
            raise ToolArgumentError(f"the arguments must have names that are texts, not {_kind(name)}")
        left = _check(value, name, left - len(name))
    return arguments


def shown(name: str) -> str:
    """A name that a model invented, fit to be shown: short, on one line, with nothing that acts on a terminal."""
    plain = visible(" ".join(name[: _SHOWN_NAME + 1].encode("utf-8", "replace").decode().split()))
    return plain if len(name) <= _SHOWN_NAME else plain[:_SHOWN_NAME] + "…"


def closest(name: str, known: Sequence[str]) -> str:
    """A question that names what may have been meant; empty when nothing is like it.

    Example:
        >>> closest("Web_Serch", ["web_search", "file_read"])
        "did you mean 'web_search'?"
    """
    import difflib

    folded = {other.casefold(): other for other in known}
    found = difflib.get_close_matches(name[:_SHOWN_NAME].casefold(), folded, n=1, cutoff=0.75)
    return f"did you mean '{folded[found[0]]}'?" if found else ""


def _check(value: object, name: str, left: int) -> int:
    """How many characters are left after this argument."""
    open_: list[tuple[object, int]] = [(value, 1)]
    while open_:
        value, level = open_.pop()
        left -= len(value) + 2 if isinstance(value, str) else 8
        if isinstance(value, dict | list):
            if level > MOST_LEVELS:
                raise _wrong(name, f"nested more than {MOST_LEVELS} levels deep; give a flatter value")
            inner = _inner(value, name) if len(value) * 8 <= left else ()
            left -= 0 if inner else len(value) * 8
            open_ += ((entry, level + 1) for entry in inner)
        elif problem := _problem(value):
            raise _wrong(name, problem)
        if left < 0:
            raise _wrong(name, f"too long; all arguments together may have {MOST_CHARS:,} characters")
    return left


def _inner(value: dict[Any, Any] | list[Any], name: str) -> Sequence[object]:
    if isinstance(value, list):
        return value
    for key in value:
        if not isinstance(key, str):
            raise _wrong(name, f"the names in an object must be texts, not {_kind(key)}")
    return [*value.keys(), *value.values()]


def _problem(value: object) -> str:
    """What is wrong with a value that holds no others."""
    match value:
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                return "holds half of a surrogate pair; write the character itself"
        case None | bool():
            pass
        case int():
            if value.bit_length() > _MOST_BITS:
                return f"a number of more than {_MOST_BITS} bits; give a smaller one"
        case float():
            if not math.isfinite(value):
                return f"{value} is no number of JSON; give a finite one"
        case _:
            return f"{_kind(value)} is no JSON value"
    return ""


def _wrong(name: str, problem: str) -> ToolArgumentError:
    return ToolArgumentError(f"argument '{shown(name)}': {problem}")


def _kind(value: object) -> str:
    match value:
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case None:
            return "null"
        case _:
            return f"a {type(value).__name__}"
