"""What can be written at all: each refusal names the message and the remedy."""

from collections.abc import Mapping, Sequence

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart, Message, TextPart
from arriero.prompts.template import HEADERS, arguments, content, result
from arriero.prompts.writers.writer import Tools


def check_tools(tools: Tools) -> None:
    """Refuse what is no tool declaration.

    Args:
        tools: The declarations.

    Raises:
        InvalidMessage: One is no declaration; its position is named.
    """
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise InvalidMessage(f"tool {index} must be an object in the OpenAI shape, not {type(tool).__name__}")
        body = tool.get("function", tool)
        if not isinstance(body, Mapping):
            raise InvalidMessage(f"tool {index}: 'function' must be an object, not {type(body).__name__}")
        if not isinstance(body.get("name"), str):
            raise InvalidMessage(f"tool {index}: 'name' must be text, not {body.get('name')!r}")


def check_order(messages: Sequence[Message], *, results_open: bool = False) -> None:
    """Refuse an empty conversation, unknown roles, calls by others than the assistant, results without a call.

    Args:
        messages: The conversation.
        results_open: Whether it follows a message that may have made calls.

    Raises:
        InvalidMessage: The message is named by its position.
    """
    if not messages:
        raise InvalidMessage("the conversation is empty: give at least one message")
    called = results_open
    for index, message in enumerate(messages):
        if message.role == "tool":
            if not called:
                raise InvalidMessage("a tool result without a call: put it after the message that calls", index=index)
            continue
        if message.role not in HEADERS:
            raise InvalidMessage(f"unknown role {message.role!r}; use one of {', '.join(HEADERS)}", index=index)
        if message.tool_calls and message.role != "assistant":
            raise InvalidMessage(
                f"role {message.role!r} cannot make tool calls: only an assistant message can", index=index
            )
        called = bool(message.tool_calls)


def check_content(message: Message) -> None:
    """Refuse content that is neither text nor parts, values that are no strict JSON, text that is no Unicode.

    Args:
        message: The message.

    Raises:
        InvalidMessage: What is wrong with it, without its position.
    """
    for call in message.tool_calls:
        content(call.name)
        arguments(call.arguments)
    if message.role == "tool":
        result(message.content)
    elif isinstance(message.content, tuple):
        for part in message.content:
            if isinstance(part, TextPart):
                content(part.text)
            elif not isinstance(part, ImagePart):
                raise InvalidMessage(f"a part must be a TextPart or an ImagePart, not {type(part).__name__}")
    else:
        content(message.content)
