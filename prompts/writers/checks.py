"""What can be written at all: each refusal names the message and the remedy."""

from collections.abc import Mapping, Sequence

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.prompts.template import HEADERS, arguments, content, result, stripped
from arriero.prompts.writers.writer import Tools


def check_tools(tools: Tools) -> None:
    """Refuse what is no tool declaration."""
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise InvalidMessage(f"tool {index} must be an object in the OpenAI shape, not {type(tool).__name__}")
        body = tool.get("function", tool)
        if not isinstance(body, Mapping):
            raise InvalidMessage(f"tool {index}: 'function' must be an object, not {type(body).__name__}")
        if not isinstance(body.get("name"), str):
            raise InvalidMessage(f"tool {index}: 'name' must be text, not {body.get('name')!r}")


def check(messages: Sequence[Message], builtin_tools: Sequence[str]) -> None:
    """Refuse what the format cannot hold."""
    if not messages:
        raise InvalidMessage("the conversation is empty: give at least one message")
    for index, message in enumerate(messages):
        try:
            _check_message(message, builtin_tools)
        except InvalidMessage as error:
            raise InvalidMessage(str(error), index=index) from None


def _check_message(message: Message, builtin_tools: Sequence[str]) -> None:
    if message.role not in HEADERS:
        raise InvalidMessage(f"unknown role {message.role!r}; use one of {', '.join(HEADERS)}")
    if message.tool_calls:
        _check_calls(message, builtin_tools)
    elif message.role == "tool":
        result(message.content)
    else:
        stripped(message.content)


def _check_calls(message: Message, builtin_tools: Sequence[str]) -> None:
    if message.role != "assistant":
        raise InvalidMessage(f"role {message.role!r} cannot make tool calls: only an assistant message can")
    if len(message.tool_calls) > 1:
        raise InvalidMessage(
            f"this format writes one tool call in a message, not {len(message.tool_calls)}: "
            "give each call its own message, followed by its result"
        )
    call = message.tool_calls[0]
    content(call.name)
    # the published templates write arguments that are text as they are: as a JSON string
    if not isinstance(call.arguments, Mapping | str):
        raise InvalidMessage(f"arguments of {call.name!r} must be an object, not {type(call.arguments).__name__}")
    arguments(call.arguments)
    if call.name in builtin_tools:
        if not isinstance(call.arguments, Mapping):
            raise InvalidMessage(f"arguments of the built-in tool {call.name!r} must be an object of texts")
        for value in call.arguments.values():
            content(value)
