"""Messages made to fit a format: as its template takes them, or repaired where it would refuse them or lose data."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart, Message, TextPart, ToolCall
from arriero.prompts.template import json_text


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a template can write. Defaults are those of the text models' published templates.

    Args:
        tools: Whether it knows tools, calls and their results.
        parts: Content in parts: `none`; only `text`; `pictures` too; `json`, as JSON, which loses the pictures.
        system_part: Whether a system message may be one part of text.
        several_calls: Whether one message can hold several calls.
        text_beside_calls: Whether text beside a call is written; else it is dropped.
        empty_calls: What becomes of a message whose list of calls is empty: `refused`, `dropped` or `written`.
        text_results: Whether only results that are text are written.
        text_arguments: Whether arguments that are a text, instead of an object, are written.
    """

    tools: bool = True
    parts: Literal["none", "text", "pictures", "json"] = "none"
    system_part: bool = False
    several_calls: bool = False
    text_beside_calls: bool = False
    empty_calls: Literal["refused", "dropped", "written"] = "refused"
    text_results: bool = False
    text_arguments: bool = True


def adapt(
    messages: Sequence[Message], abilities: Abilities, builtin_tools: Collection[str], *, repair: bool
) -> list[Message]:
    """Messages as the template takes them.

    Args:
        messages: The conversation.
        abilities: What the template can write.
        builtin_tools: Tools that are called as built-in ones.
        repair: Whether to keep what the template would refuse or lose.

    Returns:
        The messages, without those that the template drops.

    Raises:
        InvalidMessage: A message that cannot be written; its position is named.
    """
    adapted = []
    for index, message in enumerate(messages):
        try:
            kept = _adapted(message, abilities, builtin_tools, repair)
        except InvalidMessage as error:
            raise InvalidMessage(str(error), index=index) from None
        if kept is not None:
            adapted.append(kept)
    return adapted


def _adapted(message: Message, abilities: Abilities, builtin_tools: Collection[str], repair: bool) -> Message | None:
    if message.role == "tool":
        return _result(message, abilities, repair)
    if isinstance(message.content, tuple):
        message = _parts(message, abilities, repair)
    if message.tool_calls:
        return _calls(message, abilities, builtin_tools, repair)
    if message.empty_calls and not repair and abilities.empty_calls != "written":
        if abilities.empty_calls == "dropped":
            return None
        raise InvalidMessage("'tool_calls' must hold a call; leave it out when there is none, or set repair=True")
    return message


def _result(message: Message, abilities: Abilities, repair: bool) -> Message:
    if not abilities.tools:
        raise InvalidMessage("this format knows no tools: leave out their results")
    if abilities.text_results and not repair and not isinstance(message.content, str):
        raise InvalidMessage(
            f"this template writes results that are text, not {type(message.content).__name__}: "
            "give its JSON text, or set repair=True"
        )
    return message


def _parts(message: Message, abilities: Abilities, repair: bool) -> Message:
    parts = message.content if isinstance(message.content, tuple) else ()
    texts = [part for part in parts if isinstance(part, TextPart)]
    pictured = any(isinstance(part, ImagePart) for part in parts)
    if pictured and abilities.parts not in ("pictures", "json"):
        raise InvalidMessage("a picture for a dialect that reads text only: leave it out, or use a vision dialect")
    if message.role == "system" and pictured:
        raise InvalidMessage("a picture in a system message: put it into a user message")
    if abilities.parts == "json" and not repair:
        return replace(message, content=json_text(parts_as_json(parts)))
    if message.role != "system" and abilities.parts != "none":
        return message
    if not repair and not (message.role == "system" and abilities.system_part and len(texts) == 1):
        raise InvalidMessage("content must be text here, not parts: pass a string, or set repair=True")
    return replace(message, content="".join(part.text for part in texts))


def parts_as_json(parts: Sequence[TextPart | ImagePart]) -> list[dict[str, str]]:
    """Parts in the shape that published templates take them in.

    Args:
        parts: The parts.

    Returns:
        `{"type": "text", "text": ...}` or `{"type": "image"}` for each.
    """
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image"} | ({"url": part.url} if part.url else {})
        for part in parts
    ]


def _calls(message: Message, abilities: Abilities, builtin_tools: Collection[str], repair: bool) -> Message:
    if not abilities.tools:
        raise InvalidMessage("this format knows no tools: leave out the calls")
    calls = message.tool_calls
    if len(calls) > 1 and not abilities.several_calls:
        if not repair:
            raise InvalidMessage(
                f"this format writes one tool call in a message, not {len(calls)}: "
                "give each call its own message, followed by its result, or set repair=True"
            )
        builtin = [call.name in builtin_tools for call in calls]
        if any(builtin) and (not all(builtin) or any(call.name == "code_interpreter" for call in calls)):
            raise InvalidMessage("code, and built-in tools beside others, need a message for each call")
    text = message.content if repair or abilities.text_beside_calls else ""
    checked = tuple(_call(call, abilities, builtin_tools, repair) for call in calls)
    return (
        message if text is message.content and checked == calls else replace(message, content=text, tool_calls=checked)
    )


def _call(call: ToolCall, abilities: Abilities, builtin_tools: Collection[str], repair: bool) -> ToolCall:
    builtin = call.name in builtin_tools
    if isinstance(call.arguments, Mapping):
        if builtin and not all(isinstance(value, str) for value in call.arguments.values()):
            raise InvalidMessage(f"arguments of the built-in tool {call.name!r} must be texts")
        return call
    if repair and isinstance(call.arguments, str):
        try:
            values = json.loads(call.arguments)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            return replace(call, arguments=values)
    # The published templates write arguments that are a text as they are: as a JSON string.
    if isinstance(call.arguments, str) and abilities.text_arguments and not builtin and not repair:
        return call
    raise InvalidMessage(f"arguments of {call.name!r} must be an object, not {type(call.arguments).__name__}")
