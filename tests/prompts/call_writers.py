"""Calls written in each syntax, and events added up, for the tests that read them back."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import ToolCall
from arriero.prompts.parser import (
    ArgumentsGrown,
    CallOpened,
    CallParsed,
    CallWithdrawn,
    MessageEnded,
    Parsed,
    ParseEvent,
    Parser,
    TextParsed,
)


def in_json(calls: Sequence[ToolCall]) -> str:
    written = [{"name": call.name, "parameters": call.arguments} for call in calls]
    return "; ".join(json.dumps(call, ensure_ascii=False) for call in written) + "<|eot_id|>"


def in_json_after_the_tag(calls: Sequence[ToolCall]) -> str:
    written = [{"type": "function", "name": call.name, "parameters": call.arguments} for call in calls]
    return "<|python_tag|>" + "\n".join(json.dumps(call, indent=4) for call in written) + "<|eom_id|>"


def in_tags(calls: Sequence[ToolCall]) -> str:
    written = [f"<function={call.name}>{json.dumps(call.arguments, ensure_ascii=False)}</function>" for call in calls]
    return "\n".join(written) + "<|eot_id|>"


def in_python(calls: Sequence[ToolCall], end: str = "<|eot_id|>") -> str:
    # repr writes what JSON can carry as Python literals
    written = [
        f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})" for call in calls
    ]
    return f"[{', '.join(written)}]{end}"


def wrapped(calls: Sequence[ToolCall]) -> str:
    return f"<|python_start|>{in_python(calls, '<|python_end|><|eot|>')}"


WRITERS: Mapping[str, tuple[str, Callable[[Sequence[ToolCall]], str]]] = {
    "JSON": ("llama3.1", in_json),
    "JSON after the tag": ("llama3.1", in_json_after_the_tag),
    "function tags": ("llama3.1", in_tags),
    "Python": ("llama3.2", in_python),
    "wrapped": ("llama4", wrapped),
}
"""For each syntax a dialect that writes it, and how."""


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def read(parser: Parser, texts: Sequence[str]) -> tuple[Parsed, list[ParseEvent]]:
    """The message, and all events, those of the end included."""
    events = [event for text in texts for event in parser.feed(text)]
    parsed = parser.finish()
    return parsed, [*events, *parsed.last]


def plain(calls: Sequence[ToolCall]) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, dict(call.arguments)) for call in calls]


def add_up(events: Sequence[ParseEvent]) -> tuple[str, list[ToolCall], list[str]]:
    """Content and calls that the events tell, and the ends. Fails on events out of order."""
    shown: list[str] = []
    calls: list[ToolCall] = []
    ends: list[str] = []
    open_calls: list[tuple[str, list[str]]] = []
    for event in events:
        assert not ends
        match event:
            case TextParsed():
                assert not open_calls
                assert event.text
                shown.append(event.text)
            case CallOpened():
                assert event.index == len(calls) + len(open_calls)
                open_calls.append((event.name, []))
            case ArgumentsGrown():
                assert event.index == len(calls) + len(open_calls) - 1
                open_calls[-1][1].append(event.text)
            case CallWithdrawn():
                open_calls.pop()
                assert event.index == len(calls) + len(open_calls)
            case CallParsed():
                assert event.index == len(calls)
                name, grown = open_calls.pop(0)
                assert (name, json.loads("".join(grown))) == (event.call.name, event.call.arguments)
                calls.append(event.call)
            case MessageEnded():
                ends.append(event.end)
    assert not open_calls
    return "".join(shown), calls, ends


def agree(parsed: Parsed, events: Sequence[ParseEvent]) -> None:
    """The events add up to the message."""
    assert add_up(events) == (parsed.content, list(parsed.tool_calls), [parsed.end])


def parse(text: str, tools: Sequence[Any] | None = None, dialect: str = "llama3.2", **options: Any) -> Parsed:
    return Dialect.get(dialect).parse(text, tools, **options)
