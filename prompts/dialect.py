"""Dialects: how each generation of Llama writes a conversation, and how it is told from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from arriero.prompts.errors import InvalidMessage, UnknownDialect
from arriero.prompts.messages import Message
from arriero.prompts.prompt import Prompt
from arriero.prompts.template import json_text, render

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What a caller may choose about a prompt. The defaults are those of the published templates.

    Args:
        builtin_tools: Built-in tools to switch on (`brave_search`, `wolfram_alpha`, `code_interpreter`). None switches
            the mode off; an empty tuple still switches it on, as it does in the published template. Llama 3.2 has
            no such mode and ignores this.
        date_string: The date in the system block; None for the dialect's default, which is a fixed day for
            Llama 3.1 and 3.3 and today for 3.2.
        tools_in_user_message: Put the tools before the first user message; False puts them in the system block.
        add_generation_prompt: End with the assistant's header.
        continue_final_message: Leave the last message open, so that the model continues it.
        announce_empty_tools: Write the tool preamble even when there is no tool, as the published template does
            when it is given an empty list.

    Example:
        >>> RenderOptions(date_string="01 Jan 2026").date_string
        '01 Jan 2026'
    """

    builtin_tools: tuple[str, ...] | None = None
    date_string: str | None = None
    tools_in_user_message: bool = True
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    announce_empty_tools: bool = False


_DEFAULTS = RenderOptions()


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to write conversations. Get one with `Dialect.get` or `Dialect.detect`.

    Args:
        name: Its name.
        has_builtin_calls: Whether the format knows built-in tools.
        fixed_date: The date written when none is given; None for today.
        stop_tokens: Special tokens that end generation.
        end_of_turn: The one that ends a turn.

    Example:
        >>> prompt = Dialect.get("llama3.1").render([Message("user", "hello")])
        >>> prompt.text[-60:]
        'hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n\\n'
    """

    name: str
    has_builtin_calls: bool
    fixed_date: str | None
    stop_tokens: tuple[str, ...] = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
    end_of_turn: str = "<|eot_id|>"

    @classmethod
    def get(cls, name: str) -> "Dialect":
        """The dialect of that name.

        Raises:
            UnknownDialect: There is none.

        Example:
            >>> Dialect.get("llama3.3").end_of_turn
            '<|eot_id|>'
        """
        try:
            return _DIALECTS[name]
        except KeyError:
            raise UnknownDialect(f"unknown dialect {name!r}; known: {', '.join(_DIALECTS)}") from None

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        options: RenderOptions = _DEFAULTS,
    ) -> Prompt:
        """The prompt for a conversation, exactly as the model's published template writes it.

        One thing is Meta's and not the published template's: a `code_interpreter` call is written as its code after
        `<|python_tag|>`, which is what the models generate.

        Args:
            messages: The conversation, oldest first.
            tools: Tool declarations in the OpenAI shape; keys are written in the given order.
            options: See `RenderOptions`.

        Returns:
            The prompt.

        Raises:
            InvalidMessage: Empty conversation, more than one call in a message, content that is not text or not
                JSON, tools without a first user message to carry them.
        """
        _check(messages, tools)
        rest = list(messages)
        system = rest.pop(0) if rest[0].role == "system" else Message("system")
        declared = tools if tools or options.announce_empty_tools else None
        first_user = None
        if declared is not None and options.tools_in_user_message:
            if not rest or rest[0].role != "user":
                raise InvalidMessage("tools are written into the first user message, and none opens this conversation: "
                                     "add one, or set tools_in_user_message=False")  # fmt: skip
            first_user = rest.pop(0)
        if options.continue_final_message and (messages[-1].role == "tool" or messages[-1].tool_calls):
            raise InvalidMessage("only a text message can be continued", index=len(messages) - 1)
        return render(
            "llama3.1.jinja",
            {
                "system": system,
                "first_user": first_user,
                "messages": rest,
                "tools": declared,
                "tools_in_user_message": options.tools_in_user_message,
                "builtin_tools": self._builtin_tools(options),
                "date": options.date_string or self.fixed_date or _today(),
                "open": options.continue_final_message,
                "generate": options.add_generation_prompt and not options.continue_final_message,
            },
        )

    def render_delta(self, messages: Sequence[Message], options: RenderOptions = _DEFAULTS) -> Prompt:
        """What follows a finished assistant message, down to the next generation prompt.

        Appended to the ids that were sent and received, it gives the ids of the whole conversation, so that nothing
        the model wrote is ever rendered again.

        Args:
            messages: Tool results, user messages.
            options: The options that the conversation began with.

        Returns:
            The prompt's continuation.

        Raises:
            InvalidMessage: As for `render`.

        Example:
            >>> Dialect.get("llama3.1").render_delta([Message("tool", "21")]).text[:52]
            '<|start_header_id|>ipython<|end_header_id|>\\n\\n"21"<|e'
        """
        _check(messages, ())
        return render("llama3.1-delta.jinja", {"messages": messages, "builtin_tools": self._builtin_tools(options)})

    def _builtin_tools(self, options: RenderOptions) -> tuple[str, ...] | None:
        return options.builtin_tools if self.has_builtin_calls else None


def _today() -> str:
    # %b follows the process's locale; the wire format is English.
    day = date.today()
    return f"{day.day:02} {_MONTHS[day.month - 1]} {day.year}"


def _check(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise InvalidMessage("the conversation is empty: give at least one message")
    for index, message in enumerate(messages):
        try:
            _check_message(message)
        except InvalidMessage as error:
            raise InvalidMessage(str(error), index=index) from None
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise InvalidMessage(f"tool {index} must be an object in the OpenAI shape, not {type(tool).__name__}")


def _check_message(message: Message) -> None:
    if message.tool_calls:
        if message.role != "assistant":
            raise InvalidMessage(f"role {message.role!r} cannot make tool calls: only an assistant message can")
        if len(message.tool_calls) > 1:
            raise InvalidMessage(f"this format writes one tool call in a message, not {len(message.tool_calls)}: "
                                 "give each call its own message, followed by its result")  # fmt: skip
        json_text(message.tool_calls[0].arguments)
    elif message.role == "tool":
        json_text(message.content)
    elif not isinstance(message.content, str):
        raise InvalidMessage(f"content must be text, not {type(message.content).__name__}: join text parts first")


_DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("llama3.1", has_builtin_calls=True, fixed_date="26 Jul 2024"),
        Dialect("llama3.2", has_builtin_calls=False, fixed_date=None),
        Dialect("llama3.3", has_builtin_calls=True, fixed_date="26 Jul 2024"),
    )
}
