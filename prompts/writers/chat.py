"""Conversations of messages under headers, as the templates of Llama 3 and 4 write them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from arriero.prompts.dates import today
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart, Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.writers.adaptation import Abilities, adapt, parts_as_json
from arriero.prompts.writers.checks import check_order, check_tools
from arriero.prompts.writers.located import render_located
from arriero.prompts.writers.writer import Tools


@dataclass(frozen=True, slots=True)
class ChatWriter:
    """Writes with one template.

    Args:
        template: Its name in `templates/`, without the suffix.
        abilities: What it can write.
        builtin_tools: Whether it knows the mode for built-in tools.
        fixed_date: The date written when none is given; None for today.
        tools_in_user_message: Where it puts tools when nothing is chosen; None when it knows the system block only.
        system_block: When it writes one: `always`; `given`, only for a system message; `unless pictured`, without a
            system message only where there is no picture; `never pictured`, which has no place for both.
        parts_with_tools: Whether parts in the user message that carries tools are written as parts; else as Python
            prints the list of them, which loses the pictures (FORMATS.md section 4).
        own_system_text: Whether it writes a system text of its own where tools come without one.
    """

    template: str
    abilities: Abilities = field(default=Abilities())
    builtin_tools: bool = False
    fixed_date: str | None = None
    tools_in_user_message: bool | None = True
    system_block: Literal["always", "given", "unless pictured", "never pictured"] = "always"
    parts_with_tools: Literal["written", "printed"] = "printed"
    own_system_text: bool = False

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt for a whole conversation."""
        check_order(messages)
        check_tools(tools)
        if tools and not self.abilities.tools:
            raise InvalidMessage("this format knows no tools: leave them out, or use a later dialect")
        builtin_tools = self._builtin_tools(options)
        said = adapt(opened(messages, options), self.abilities, builtin_tools or (), repair=options.repair)
        declared = tools if self.abilities.tools and (tools or options.announce_empty_tools) else None
        variables = {
            "opening": True,
            **self._head(said, declared, options),
            "tools": declared,
            "messages": said,
            "builtin_tools": builtin_tools,
            "date": self._date(options),
            "repair": options.repair,
            "generate": options.add_generation_prompt and not options.continue_final_message,
        }
        return render_located(self.template, variables, messages)

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        check_order(messages, results_open=True)
        builtin_tools = self._builtin_tools(options)
        said = adapt(messages, self.abilities, builtin_tools or (), repair=options.repair)
        variables = {
            "opening": False,
            "messages": said,
            "builtin_tools": builtin_tools,
            "repair": options.repair,
            "generate": True,
        }
        return render_located(self.template, variables, messages)

    def _builtin_tools(self, options: RenderOptions) -> tuple[str, ...] | None:
        return options.builtin_tools if self.builtin_tools else None

    def _date(self, options: RenderOptions) -> str:
        date = self.fixed_date if options.date_string is None else options.date_string
        return today() if date is None else date

    def _head(self, said: list[Message], declared: Tools | None, options: RenderOptions) -> dict[str, Any]:
        """Takes out the messages that the template writes in its own way, and says how."""
        pictured = any(_pictured(message) for message in said)
        system = said.pop(0) if said and said[0].role == "system" else None
        first_user = self._carrier(said, options) if declared is not None else None
        if pictured and not options.repair:
            self._check_pictured(system, declared)
        saved = options.repair and declared is not None and first_user is None
        return {
            "system": system or Message("system"),
            "system_given": system is not None,
            "system_block": saved or self._has_system_block(system, pictured, options.repair),
            "first_user": first_user,
        }

    def _carrier(self, said: list[Message], options: RenderOptions) -> Message | None:
        """Takes out the user message that the tools are written into, where they are written into one."""
        chosen = self.tools_in_user_message
        if chosen is not None and options.tools_in_user_message is not None:
            chosen = options.tools_in_user_message
        if not chosen:
            return None
        if not said or said[0].role != "user":
            if options.repair:
                return None
            raise InvalidMessage(
                "tools are written into the first user message, and this conversation does not open with one: "
                "add it, or set tools_in_user_message=False or repair=True"
            )
        first = said.pop(0)
        if isinstance(first.content, tuple) and self.parts_with_tools == "printed" and not options.repair:
            return replace(first, content=str(parts_as_json(first.content)))
        return first

    def _has_system_block(self, system: Message | None, pictured: bool, repair: bool) -> bool:
        if self.system_block == "always" or system is None:
            return self.system_block == "always" or (self.system_block != "given" and not pictured)
        return self.system_block != "never pictured" or repair or not pictured

    def _check_pictured(self, system: Message | None, declared: Tools | None) -> None:
        if self.system_block != "never pictured":
            return
        if system is not None and str(system.content).strip():
            problem = "no system message beside a picture: leave one of them out"
        elif declared is not None and self.own_system_text:
            problem = "no tools beside a picture: leave one of them out"
        else:
            return
        raise InvalidMessage(f"this template takes {problem}, or set repair=True", index=0)


def opened(messages: Sequence[Message], options: RenderOptions) -> Sequence[Message]:
    """The messages, the last one marked where it is to be continued: its end is then `open`.

    Args:
        messages: The conversation.
        options: Whether to continue it.

    Returns:
        The messages.

    Raises:
        InvalidMessage: The last one is a call or a result.
    """
    if not options.continue_final_message:
        return messages
    last = messages[-1]
    if last.role == "tool" or last.tool_calls:
        raise InvalidMessage("only a text message can be continued", index=len(messages) - 1)
    return [*messages[:-1], replace(last, end=cast("Any", "open"))]


def _pictured(message: Message) -> bool:
    return isinstance(message.content, tuple) and any(isinstance(part, ImagePart) for part in message.content)
