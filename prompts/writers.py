"""How conversations become prompts: one writer for each family of published templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.guard import render_guard
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.template import HEADERS, arguments, content, render, result, stripped

Tools = Sequence[Mapping[str, Any]]
"""Tool declarations in the OpenAI shape."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Writer(Protocol):
    """Writes the prompts of one family."""

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt for a whole conversation."""
        ...

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        ...


@dataclass(frozen=True, slots=True)
class Llama31Writer:
    """Llama 3.1 and its successors with the same grammar: 3.2 and 3.3.

    Args:
        has_builtin_tools: Whether the published template knows the mode for built-in tools.
        fixed_date: The date written when none is given; None for today.
    """

    has_builtin_tools: bool
    fixed_date: str | None

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt for a whole conversation."""
        builtin_tools = self._builtin_tools(options)
        _check(messages, builtin_tools or ())
        _check_tools(tools)
        last = messages[-1]
        if options.continue_final_message and (last.role == "tool" or last.tool_calls):
            raise InvalidMessage("only a text message can be continued", index=len(messages) - 1)
        rest = list(messages)
        system = rest.pop(0) if rest[0].role == "system" else Message("system")
        declared = tools if tools or options.announce_empty_tools else None
        first_user = None
        if declared is not None and options.tools_in_user_message:
            if not rest or rest[0].role != "user":
                raise InvalidMessage(
                    "tools are written into the first user message, and this conversation does not open with one: "
                    "add it, or set tools_in_user_message=False"
                )
            first_user = rest.pop(0)
        date_string = self.fixed_date if options.date_string is None else options.date_string
        return render(
            "llama3.1.jinja",
            {
                "system": system,
                "first_user": first_user,
                "messages": rest,
                "tools": declared,
                "tools_in_user_message": options.tools_in_user_message,
                "builtin_tools": builtin_tools,
                "date": _today() if date_string is None else date_string,
                "open": options.continue_final_message,
                "generate": options.add_generation_prompt and not options.continue_final_message,
            },
        )

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        builtin_tools = self._builtin_tools(options)
        _check(messages, builtin_tools or ())
        return render("llama3.1-delta.jinja", {"messages": messages, "builtin_tools": builtin_tools})

    def _builtin_tools(self, options: RenderOptions) -> tuple[str, ...] | None:
        return options.builtin_tools if self.has_builtin_tools else None


@dataclass(frozen=True, slots=True)
class GuardWriter:
    """Llama Guard 3 (8B): one question about one conversation."""

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt that asks for a verdict; its published template heeds no option."""
        if tools:
            raise InvalidMessage("a guard prompt has no place for tools: leave them out")
        return render_guard(messages)

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """There is none: every verdict is asked for anew."""
        raise InvalidMessage("a guard prompt is not continued: render the whole conversation again")


def _today() -> str:
    # strftime's %b follows the locale of the process; the wire format is English.
    day = date.today()
    return f"{day.day:02} {_MONTHS[day.month - 1]} {day.year}"


def _check_tools(tools: Tools) -> None:
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise InvalidMessage(f"tool {index} must be an object in the OpenAI shape, not {type(tool).__name__}")
        body = tool.get("function", tool)
        if not isinstance(body, Mapping):
            raise InvalidMessage(f"tool {index}: 'function' must be an object, not {type(body).__name__}")
        if not isinstance(body.get("name"), str):
            raise InvalidMessage(f"tool {index}: 'name' must be text, not {body.get('name')!r}")


def _check(messages: Sequence[Message], builtin_tools: Sequence[str]) -> None:
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
