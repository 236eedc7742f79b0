"""Rendering and parsing of JSON lines, one conversation or message a line. A bad line gives its error and no more."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any, cast

from arriero.prompts.calls.forms import SYNTAXES, Syntax
from arriero.prompts.calls.offers import Tool
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError, UnreadableVerdict
from arriero.prompts.formats import FORMATS, Format, Rendered, prompts_of
from arriero.prompts.guard import parse_guard
from arriero.prompts.tokens import Tokenizer

_GUARD = "llama-guard"
_ANY_DIALECT = frozenset({"auto", "token-ids"})
"""What parse vectors say in place of a dialect where all Llamas with tools write alike."""


class UnreadableLine(ArrieroError):
    """A line is not what the command reads. The text names the field and what it should be."""


def render_lines(
    lines: Iterable[str | bytes], dialect: Dialect | None = None, tokenizer: Tokenizer | None = None
) -> Iterator[dict[str, Any]]:
    """Render conversations.

    Args:
        lines: JSON objects `{"id", "messages", "tools"?, "options"?}`, one a line; blank lines are skipped. Options
            are those of `RenderOptions`. An empty list of tools is announced, as the published templates do. A line
            may name its own `format`, or `dialect` and `source`; a render vector has the conversation in `input`.
        dialect: The dialect to write where the line names none.
        tokenizer: Gives `token_ids` too.

    Yields:
        `{"id", "text", "token_ids"?, "vision_mask"?}`, or `{"id", "error"}` for a line that cannot be rendered.
        Formats that are not prompts give `messages`, or `runs` and `token_count`, in place of the text.

    Example:
        >>> line = '{"id": 1, "dialect": "llama3.1", "messages": [{"role": "robot", "content": "hi"}]}'
        >>> list(render_lines([line]))
        [{'id': 1, 'error': "message 0: unknown role 'robot'; use one of system, user, assistant, tool"}]
    """
    for raw in read_objects(lines):
        if "error" not in raw:
            try:
                raw = {"id": raw.get("id"), **_shown(render_line(raw, dialect), tokenizer)}
            except ArrieroError as error:
                raw = {"id": raw.get("id"), "error": str(error)}
        yield raw


def parse_lines(
    lines: Iterable[str | bytes],
    dialect: Dialect | None = None,
    tokenizer: Tokenizer | None = None,
    *,
    repair: bool = True,
) -> Iterator[dict[str, Any]]:
    """Parse what models wrote.

    Args:
        lines: JSON objects `{"id", "text" or "token_ids", "tools"?}`, one a line; blank lines are skipped. Tools are
            names or declarations; `schema` may give the schemas of names. A line may name its own `dialect`, or the
            `Syntax` of its calls in its place.
        dialect: The dialect to read where the line names none.
        tokenizer: Needed to read `token_ids`.
        repair: Whether to read what is not written as documented, as `Dialect.parse` does.

    Yields:
        `{"id", "content", "tool_calls", "end", "kind"}`, with `unknown` tools, `repairs` and `coercions` where there
        are some; for a guard `{"id", "verdict", "categories"}`. An `error` for a line or a verdict that cannot be read.

    Example:
        >>> line = '{"id": 1, "dialect": "llama3.1", "text": "Hello<|eot_id|>"}'
        >>> list(parse_lines([line]))
        [{'id': 1, 'content': 'Hello', 'tool_calls': [], 'end': 'end_of_turn', 'kind': 'stop'}]
    """
    for raw in read_objects(lines):
        if "error" not in raw:
            try:
                raw = {"id": raw.get("id"), **parse_line(raw, dialect, tokenizer, repair=repair)}
            except ArrieroError as error:
                raw = {"id": raw.get("id"), "error": str(error)}
        yield raw


def read_objects(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """The JSON object of each line; `{"id": None, "error"}` for a line that is none.

    Args:
        lines: The lines; blank ones are skipped.

    Yields:
        The objects, without a key `error` of their own.

    Example:
        >>> list(read_objects(["[]", '{"id": 2}']))
        [{'id': None, 'error': 'line 1 must be a JSON object, not list'}, {'id': 2}]
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield {"id": None, "error": f"line {number} is not JSON: {error}"}
            continue
        if not isinstance(value, dict):
            yield {"id": None, "error": f"line {number} must be a JSON object, not {type(value).__name__}"}
        elif not _names(value.get("id")):
            yield {"id": None, "error": f"line {number}: 'id' must be text or a number"}
        else:
            yield {key: item for key, item in value.items() if key != "error"}


def render_line(raw: Mapping[str, Any], dialect: Dialect | None = None) -> Rendered:
    r"""Render the conversation of one line. See `render_lines`.

    Args:
        raw: The line's object.
        dialect: The dialect to write where the line names none.

    Returns:
        The rendering.

    Raises:
        UnreadableLine: A field is missing or is of another kind, or names a format that does not exist.
        ArrieroError: The conversation cannot be rendered.

    Example:
        >>> render_line({"format": "meta-tool-response", "input": {"status": "success", "stdout": "42"}}).text
        'completed\n[stdout]42[/stdout]'
    """
    given = _field(raw, "input", dict) if "input" in raw else raw
    if "generation" in raw:
        given = {"generation": raw["generation"], **given}
    return _format(raw, dialect).render(given)


def parse_line(
    raw: Mapping[str, Any],
    dialect: Dialect | None = None,
    tokenizer: Tokenizer | None = None,
    *,
    repair: bool = True,
) -> dict[str, Any]:
    """Read the message of one line. See `parse_lines`.

    Args:
        raw: The line's object.
        dialect: The dialect to read where the line names none.
        tokenizer: Needed to read `token_ids`.
        repair: Whether to read what is not written as documented.

    Returns:
        What the message says.

    Raises:
        UnreadableLine: A field is missing or is of another kind.
        ArrieroError: The message cannot be read.

    Example:
        >>> parse_line({"dialect": "llama-guard", "text": "unsafe S2"})
        {'verdict': 'unsafe', 'categories': ['S2']}
    """
    name = _field(raw, "dialect", str) if "dialect" in raw else None
    if (name or (dialect.name if dialect is not None else "")).startswith(_GUARD):
        return _verdict(_field(raw, "text", str))
    written, tools = _written(raw), _tools(raw)
    syntax: Syntax = "auto"
    if name is not None:
        dialect, syntax = _spoken(name, raw)
    if dialect is None:
        raise UnreadableLine("no dialect: give the line one, or name one for all")
    parsed = dialect.parse(written, tools, tokenizer, syntax=syntax, repair=repair)
    calls = [{"name": call.name, "arguments": dict(call.arguments)} for call in parsed.tool_calls]
    noted = {
        "unknown": [call.name for call in parsed.unknown],
        "repairs": [asdict(one) for one in parsed.repairs],
        "coercions": [asdict(one) for one in parsed.coercions],
    }
    return {"content": parsed.content, "tool_calls": calls, "end": parsed.end, "kind": parsed.kind} | {
        name: notes for name, notes in noted.items() if notes
    }


def _format(raw: Mapping[str, Any], dialect: Dialect | None) -> Format:
    if "format" in raw:
        name = _field(raw, "format", str)
        if name not in FORMATS:
            raise UnreadableLine(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
        return FORMATS[name]
    if "dialect" in raw:
        source = _field(raw, "source", str) if "source" in raw else "published"
        dialect = Dialect.get(_field(raw, "dialect", str), source)
    if dialect is None:
        raise UnreadableLine("no dialect: give the line a 'format' or a 'dialect', or name one for all")
    return prompts_of(dialect)


def _spoken(name: str, raw: Mapping[str, Any]) -> tuple[Dialect, Syntax]:
    if name in _ANY_DIALECT:
        ends = any(token in str(raw.get("text")) for token in ("<|eot|>", "<|eom|>"))
        return Dialect.get("llama4" if ends or raw.get("tokenizer") == "llama4" else "llama3.2"), "auto"
    if name in SYNTAXES and (name != "llama4" or "expect" in raw):  # which is a dialect too: vectors mean the syntax
        return Dialect.get("llama3.2"), cast("Syntax", name)
    return Dialect.get(name), "auto"


def _names(id_: Any) -> bool:
    """Whether it can stand in an answer as it is: a nested id or NaN could not be written there."""
    return id_ is None or isinstance(id_, str | int) or (isinstance(id_, float) and isfinite(id_))


def _shown(rendered: Rendered, tokenizer: Tokenizer | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "text": rendered.text,
        "messages": rendered.messages,
        "runs": rendered.runs,
        "token_count": rendered.token_count,
    }
    if rendered.prompt is not None and tokenizer is not None:
        shown["token_ids"] = rendered.prompt.encode(tokenizer)
        shown["vision_mask"] = rendered.vision_mask(tokenizer) or None
    return {name: value for name, value in shown.items() if value is not None}


def _verdict(text: str) -> dict[str, Any]:
    try:
        verdict = parse_guard(text)
    except UnreadableVerdict as error:
        return {"verdict": "error", "categories": [], "error": str(error)}
    return {"verdict": "safe" if verdict.safe else "unsafe", "categories": list(verdict.categories)}


def _written(raw: Mapping[str, Any]) -> str | list[int]:
    if ("text" in raw) == ("token_ids" in raw):
        raise UnreadableLine("give either 'text' or 'token_ids'")
    if "text" in raw:
        text: str = _field(raw, "text", str)
        return text
    ids: list[int] = _field(raw, "token_ids", list)
    if not all(isinstance(id_, int) and id_ >= 0 for id_ in ids):
        raise UnreadableLine("'token_ids' must be a list of ids")
    return ids


def _tools(raw: Mapping[str, Any]) -> list[Tool] | None:
    tools, schemas = raw.get("tools"), raw.get("schema")
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise UnreadableLine(f"'tools' must be a list, not {type(tools).__name__}")
    bodies = [tool.get("function", tool) if isinstance(tool, dict) else tool for tool in tools]
    names = [body.get("name") if isinstance(body, dict) else body for body in bodies]
    if not all(isinstance(name, str) for name in names):
        raise UnreadableLine("'tools' must be a list of names or declarations")
    if not isinstance(schemas, dict):
        return tools
    declared = zip(names, tools, strict=True)
    return [{"name": name, "parameters": schemas[name]} if name in schemas else tool for name, tool in declared]


def _field(raw: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in raw:
        raise UnreadableLine(f"the field {name!r} is missing")
    if not isinstance(raw[name], kind):
        raise UnreadableLine(f"the field {name!r} must be a {kind.__name__}, not {type(raw[name]).__name__}")
    return raw[name]
