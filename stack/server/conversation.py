"""From OpenAI's messages to a conversation that a Llama dialect can write."""

import json
from collections.abc import Sequence
from typing import Any

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.server.bodies import Call, ChatMessage, ToolDeclaration
from arriero.stack.shields import Place


def read_messages(sent: Sequence[ChatMessage]) -> list[Message]:
    """The conversation that a client sent.

    Llama writes one call in a message. A message with several becomes one message per call, each followed by
    its own result, which is found by its id.

    Args:
        sent: The client's messages.

    Returns:
        The conversation.

    Raises:
        InvalidMessage: A part is no text, arguments are no JSON object, or a call and its result do not match.
    """
    read: list[Message] = []
    position = 0
    while position < len(sent):
        message = sent[position]
        if message.tool_calls:
            after = position + 1 + len(message.tool_calls)
            read += _exchange(message, sent[position + 1 : after], position)
            position = min(after, len(sent))
            continue
        if message.role == "tool":
            raise InvalidMessage("a tool result must follow the assistant message that made the call", index=position)
        role = "system" if message.role == "developer" else message.role
        read.append(Message(role, _text(message, position)))
        position += 1
    return read


def place_of(messages: Sequence[Message]) -> Place:
    """Where a shield stands that judges the last message of a conversation.

    Args:
        messages: The conversation.

    Returns:
        `"input"` after the user, `"output"` after the assistant.

    Raises:
        InvalidMessage: Somebody else spoke last, or no user spoke.
    """
    last = messages[-1].role
    if last not in ("user", "assistant"):
        raise InvalidMessage(
            f"a shield judges what the user or the assistant said, and role {last!r} spoke last: leave that out",
            index=len(messages) - 1,
        )
    if all(message.role != "user" for message in messages):
        raise InvalidMessage("a shield judges a conversation that the user began: send the user's message too")
    return "output" if last == "assistant" else "input"


def read_tools(sent: Sequence[ToolDeclaration]) -> list[dict[str, Any]]:
    """Declarations as the dialects render them."""
    return [{"type": tool.type, "function": tool.function.model_dump()} for tool in sent]


def _exchange(message: ChatMessage, answers: Sequence[ChatMessage], position: int) -> list[Message]:
    if message.role != "assistant":
        raise InvalidMessage(f"role {message.role!r} cannot make tool calls: only the assistant can", index=position)
    results = {
        answer.tool_call_id: (answer, position + offset)
        for offset, answer in enumerate(answers, 1)
        if answer.role == "tool"
    }
    exchange: list[Message] = []
    for call in message.tool_calls or ():
        if call.id not in results:
            raise InvalidMessage(
                f"call {call.id!r} has no result: a tool message with that tool_call_id must follow", index=position
            )
        exchange.append(Message("assistant", "", (_call(call, position),)))
        exchange.append(Message("tool", _text(*results[call.id])))
    return exchange


def _call(call: Call, position: int) -> ToolCall:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):  # the latter when it is nested too deeply to be read
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidMessage(f"the arguments of call {call.id!r} must be a JSON object, as text", index=position)
    return ToolCall(call.function.name, arguments, call.id)


def _text(message: ChatMessage, position: int) -> str:
    parts = message.content or ""
    if isinstance(parts, str):
        return parts
    for part in parts:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidMessage(f"a part of type {part.get('type')!r} cannot be read: send text", index=position)
    return "\n".join(part["text"] for part in parts)
