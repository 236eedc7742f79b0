"""Rendering and parsing of JSON lines, one conversation or message a line. A bad line gives its error and no more."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.tokens import Tokenizer

_OPTIONS: Mapping[str, type] = {
    "builtin_tools": list,
    "date_string": str,
    "tools_in_user_message": bool,
    "add_generation_prompt": bool,
    "continue_final_message": bool,
}
_IGNORED = frozenset({"categories", "custom_tools", "excluded_category_keys"})
"""Names that published templates take and that are no option of ours: the guard's has no use for its own, and
`custom_tools` is another name for the tools."""


class UnreadableLine(ArrieroError):
    """A line is not what the command reads. The text names the field and what it should be."""


def render_lines(
    lines: Iterable[str | bytes], dialect: Dialect, tokenizer: Tokenizer | None = None
) -> Iterator[dict[str, Any]]:
    """Render conversations.

    Args:
        lines: JSON objects `{"id", "messages", "tools"?, "options"?}`, one a line; blank lines are skipped. Options
            are those of `RenderOptions`. An empty list of tools is announced, as the published templates do.
        dialect: The dialect to write.
        tokenizer: Gives `token_ids` too.

    Yields:
        `{"id", "text", "token_ids"?}`, or `{"id", "error"}` for a line that cannot be rendered.

    Example:
        >>> line = '{"id": 1, "messages": [{"role": "robot", "content": "hi"}]}'
        >>> list(render_lines([line], Dialect.get("llama3.1")))
        [{'id': 1, 'error': "message 0: unknown role 'robot'; use one of system, user, assistant, tool"}]
    """
    for raw in _objects(lines):
        if "error" in raw:
            yield raw
            continue
        try:
            yield {"id": raw.get("id"), **_render(raw, dialect, tokenizer)}
        except ArrieroError as error:
            yield {"id": raw.get("id"), "error": str(error)}


def parse_lines(
    lines: Iterable[str | bytes], dialect: Dialect, tokenizer: Tokenizer | None = None
) -> Iterator[dict[str, Any]]:
    """Parse what models wrote.

    Args:
        lines: JSON objects `{"id", "text" or "token_ids", "tools"?}`, one a line; blank lines are skipped. Tools are
            names or declarations.
        dialect: The dialect to read.
        tokenizer: Needed to read `token_ids`.

    Yields:
        `{"id", "content", "tool_calls", "end", "kind"}`, or `{"id", "error"}` for a line that cannot be read.

    Example:
        >>> line = '{"id": 1, "text": "Hello<|eot_id|>"}'
        >>> list(parse_lines([line], Dialect.get("llama3.1")))
        [{'id': 1, 'content': 'Hello', 'tool_calls': [], 'end': 'end_of_turn', 'kind': 'stop'}]
    """
    for raw in _objects(lines):
        if "error" in raw:
            yield raw
            continue
        try:
            yield {"id": raw.get("id"), **_parse(raw, dialect, tokenizer)}
        except ArrieroError as error:
            yield {"id": raw.get("id"), "error": str(error)}


def _objects(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield {"id": None, "error": f"line {number} is not JSON: {error}"}
            continue
        if isinstance(value, dict):
            yield {key: item for key, item in value.items() if key != "error"}
        else:
            yield {"id": None, "error": f"line {number} must be a JSON object, not {type(value).__name__}"}


def _render(raw: Mapping[str, Any], dialect: Dialect, tokenizer: Tokenizer | None) -> dict[str, Any]:
    messages = _field(raw, "messages", list)
    read = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise UnreadableLine(f"message {index} must be an object with 'role' and 'content'")
        read.append(Message.from_dict(message, index=index))
    options = _field(raw, "options", dict) if raw.get("options") is not None else {}
    tools = options.get("custom_tools", raw.get("tools"))
    if tools is not None and not isinstance(tools, list):
        raise UnreadableLine(f"'tools' must be a list of declarations, not {type(tools).__name__}")
    prompt = dialect.render(read, tools or (), _options(options, announce=tools == []))
    return {"text": prompt.text} | ({} if tokenizer is None else {"token_ids": prompt.encode(tokenizer)})


def _options(raw: Mapping[str, Any], *, announce: bool) -> RenderOptions:
    chosen: dict[str, Any] = {}
    for name, value in raw.items():
        if name in _IGNORED:
            continue
        if name not in _OPTIONS:
            raise UnreadableLine(f"unknown option {name!r}; known: {', '.join(_OPTIONS)}")
        if value is None and name in ("builtin_tools", "date_string"):
            continue
        if not isinstance(value, _OPTIONS[name]):
            raise UnreadableLine(f"option {name!r} must be a {_OPTIONS[name].__name__}, not {type(value).__name__}")
        chosen[name] = tuple(value) if isinstance(value, list) else value
    return RenderOptions(announce_empty_tools=announce, **chosen)


def _parse(raw: Mapping[str, Any], dialect: Dialect, tokenizer: Tokenizer | None) -> dict[str, Any]:
    if ("text" in raw) == ("token_ids" in raw):
        raise UnreadableLine("give either 'text' or 'token_ids'")
    written: str | list[int]
    if "text" in raw:
        written = _field(raw, "text", str)
    else:
        written = _field(raw, "token_ids", list)
        if not all(isinstance(id_, int) and id_ >= 0 for id_ in written):
            raise UnreadableLine("'token_ids' must be a list of ids")
    parsed = dialect.parse(written, _tool_names(raw.get("tools")), tokenizer)
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in parsed.tool_calls]
    return {"content": parsed.content, "tool_calls": calls, "end": parsed.end, "kind": parsed.kind}


def _tool_names(tools: Any) -> list[str] | None:
    if tools is None:
        return None
    bodies = [tool.get("function", tool) if isinstance(tool, dict) else tool for tool in _as_list(tools)]
    names = [body.get("name") if isinstance(body, dict) else body for body in bodies]
    if not all(isinstance(name, str) for name in names):
        raise UnreadableLine("'tools' must be a list of names or declarations")
    return [str(name) for name in names]


def _as_list(tools: Any) -> list[Any]:
    if not isinstance(tools, list):
        raise UnreadableLine(f"'tools' must be a list, not {type(tools).__name__}")
    return tools


def _field(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in raw:
        raise UnreadableLine(f"the field {name!r} is missing")
    if not isinstance(raw[name], kind):
        raise UnreadableLine(f"the field {name!r} must be a {kind.__name__}, not {type(raw[name]).__name__}")
    return raw[name]
