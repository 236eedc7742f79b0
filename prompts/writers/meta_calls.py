"""Calls in a conversation's history as Meta's code writes them (FORMATS.md section 5)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ToolCall
from arriero.prompts.options import ToolFormat
from arriero.prompts.template import json_text

_SEARCHES = frozenset({"brave_search", "wolfram_alpha", "photogen"})
CODE = "code_interpreter"
"""The built-in tool whose call is its code."""


def call_texts(calls: Sequence[ToolCall], style: ToolFormat, *, repair: bool = False) -> list[str]:
    r"""What Meta's code writes for calls, each of which it encodes by itself.

    Args:
        calls: The calls of one message.
        style: The form of calls to custom tools; built-in tools have their own.
        repair: Write what can be read back: quotes inside texts are escaped, dicts are Python's, and pythonic calls
            of one message stand in one list. Meta's code does none of this.

    Returns:
        The texts.

    Raises:
        InvalidMessage: A call's arguments are not what its form can write.

    Example:
        >>> call_texts([ToolCall("f", {"x": 'say "hi"'})], "python_list")
        ['[f(x="say "hi"")]']
        >>> call_texts([ToolCall("f", {"x": 'say "hi"'}), ToolCall("g", {})], "python_list", repair=True)
        ['[f(x="say \\"hi\\""), g()]']
    """
    if repair and style == "python_list" and all(call.name not in _SEARCHES | {CODE} for call in calls):
        return [f"[{', '.join(_pythonic(call, repair=True) for call in calls)}]"] if calls else []
    return [_call_text(call, style, repair) for call in calls]


def _call_text(call: ToolCall, style: ToolFormat, repair: bool) -> str:
    if call.name == CODE:
        return _text_argument(call, "code")
    if call.name in _SEARCHES:
        query = _text_argument(call, "query")
        return f'{call.name}.call(query="{_escaped(query) if repair else query}")'
    if style == "json":
        return _json({"type": "function", "name": call.name, "parameters": _arguments(call)})
    if style == "function_tag":
        return f"<function={call.name}>{_json(_arguments(call))}</function>"
    return f"[{_pythonic(call, repair=repair)}]"


def _text_argument(call: ToolCall, name: str) -> str:
    value = call.arguments.get(name) if isinstance(call.arguments, Mapping) else None
    if not isinstance(value, str):
        raise InvalidMessage(f"a call of the built-in tool {call.name!r} needs a text {name!r} in its arguments")
    return value


def _arguments(call: ToolCall) -> Any:
    return dict(call.arguments) if isinstance(call.arguments, Mapping) else call.arguments


def _json(value: Any) -> str:
    json_text(value)  # refuses what is no strict JSON
    return json.dumps(value)


def _pythonic(call: ToolCall, *, repair: bool) -> str:
    if not isinstance(call.arguments, Mapping):
        raise InvalidMessage(
            f"arguments of {call.name!r} must be an object to be written in a pythonic call, "
            f"not {type(call.arguments).__name__}"
        )
    values = _arguments(call)
    json_text(values)
    return f"{call.name}({', '.join(f'{name}={_literal(value, repair)}' for name, value in values.items())})"


def _literal(value: Any, repair: bool) -> str:
    if isinstance(value, str):
        return f'"{_escaped(value) if repair else value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(inner, repair) for inner in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(_entry(name, inner, repair) for name, inner in value.items())}}}"
    return str(value)


def _entry(name: str, value: Any, repair: bool) -> str:
    return f'"{_escaped(name)}": {_literal(value, repair)}' if repair else f"{name}={_literal(value, repair)}"


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
