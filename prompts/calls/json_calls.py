"""`{"name": ..., "parameters": {...}}`: calls as JSON objects (FORMATS.md section 5)."""

import json
import re
from typing import Any

from arriero.prompts.calls.literals import MAX_CALLS, Literals
from arriero.prompts.calls.repair import NotACall, Repairs
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ToolCall
from arriero.prompts.template import content, json_text

BUILTIN_TOOLS = frozenset({"brave_search", "wolfram_alpha", "photogen"})
"""Tools that Llama 3.1 calls as `name.call(query="...")` without a declaration."""

_NAME_KEYS = ("name", "function", "tool", "tool_name", "function_name")
_MAY_NAME = re.compile(r"name|function|tool|\\u")
_ARGUMENT_KEYS = ("parameters", "arguments", "args", "input")
_OTHER_KEYS = ("type", "id", "call_id", "index")


def json_calls(text: str, repairs: Repairs) -> tuple[ToolCall, ...]:
    """The calls of one JSON object, or of an array of such objects.

    Args:
        text: The object, from bracket to bracket.
        repairs: Where what is not documented is noted.

    Returns:
        The calls, at least one.

    Raises:
        NotACall: It is another object, or none.

    Example:
        >>> json_calls('{"name": "now", "parameters": {}}', Repairs(False, None))
        (ToolCall(name='now', arguments={}, id=''),)
    """
    if not _MAY_NAME.search(text):  # most objects in answers
        raise NotACall("no name")
    value = json_value(text, repairs)
    if isinstance(value, list) and 0 < len(value) <= MAX_CALLS:
        repairs.fix("read a JSON array of calls")
        return tuple(_call(item, repairs) for item in value)
    return (_call(value, repairs),)


def json_value(text: str, repairs: Repairs) -> Any:
    """The value of JSON text, or of what is nearly JSON.

    Raises:
        NotACall: It is neither.
    """

    def entries(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            repairs.fix("kept the last of a repeated key")
        return made

    try:
        return json.loads(text, object_pairs_hook=entries, parse_constant=_refused)
    except (ValueError, RecursionError):
        if not repairs.allowed:
            raise NotACall("no JSON") from None
    literals = Literals(text, repairs, python=False)
    try:
        value, at = literals.value(literals.skip(0))
    except RecursionError:
        raise NotACall("nested too deep") from None
    if literals.skip(at) < len(text):
        raise NotACall("no JSON")
    return value


def writable(call: ToolCall) -> ToolCall:
    """The call, if its arguments can be written into a later prompt (FORMATS.md section 10, rule 6).

    Raises:
        NotACall: They hold NaN, infinity or half a surrogate pair.
    """
    try:
        content(call.name + json_text(call.arguments))
    except InvalidMessage:
        raise NotACall("arguments that are no strict JSON") from None
    return call


def _refused(constant: str) -> Any:
    raise NotACall(f"{constant} is no strict JSON")


def _call(value: Any, repairs: Repairs) -> ToolCall:
    if not isinstance(value, dict):
        raise NotACall("no object")
    name, arguments = value.get("name"), _documented_arguments(value)
    if not isinstance(name, str) or not name or arguments is None:
        name, arguments = _repaired(value, repairs)
    if name in BUILTIN_TOOLS:
        arguments = as_query(name, arguments, repairs)
    return writable(ToolCall(name, arguments))


def _documented_arguments(value: dict[str, Any]) -> dict[str, Any] | None:
    given = value.get("parameters", value.get("arguments"))
    return given if isinstance(given, dict) and not ("parameters" in value and "arguments" in value) else None


def _repaired(value: dict[str, Any], repairs: Repairs) -> tuple[str, dict[str, Any]]:
    inner = value.get("function")
    if isinstance(inner, dict):
        repairs.fix("read a call in the OpenAI shape")
        value = inner
    named = [key for key in _NAME_KEYS if key in value]
    name = value[named[0]] if named else None
    if not isinstance(name, str) or not name or not repairs.allowed:
        raise NotACall("no name")
    given = [key for key in _ARGUMENT_KEYS if key in value]
    if named[0] != "name" or (given and given[0] not in ("parameters", "arguments")):
        _offered_only(name, repairs)
        repairs.fix(f"read {named[0]!r} and {given[0] if given else 'nothing'!r} as name and parameters")
    if not given or value[given[0]] is None:
        _offered_only(name, repairs)
        if value.keys() - {named[0], *given, *_OTHER_KEYS}:
            raise NotACall("keys that may be the arguments")
        repairs.fix("read missing parameters as none")
        return name, {}
    if any(value[key] != value[given[0]] for key in given[1:]):
        raise NotACall("two different sets of arguments")
    if len(given) > 1:
        repairs.fix(f"read {given[0]!r}, which {given[1]!r} repeats")
    arguments = value[given[0]]
    if isinstance(arguments, str):
        repairs.fix("read parameters out of a string of JSON")
        arguments = json_value(arguments or "{}", repairs)
    if not isinstance(arguments, dict):
        raise NotACall("arguments that are no object")
    return name, arguments


def _offered_only(name: str, repairs: Repairs) -> None:
    # An answer may well be {"name": "Alice"}: only the name of a tool tells a call from it.
    if not repairs.offers(name):
        raise NotACall("not the name of an offered tool")


def as_query(name: str, arguments: dict[str, Any], repairs: Repairs) -> dict[str, Any]:
    """The arguments of a built-in tool: it has one, its query, whatever the model calls it."""
    if not repairs.allowed or len(arguments) != 1 or "query" in arguments or repairs.declares(name):
        return arguments
    (value,) = arguments.values()
    if not isinstance(value, str):
        return arguments
    repairs.fix("took the one argument of a built-in tool for its query")
    return {"query": value}
