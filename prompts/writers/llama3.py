"""Llama 3.1 and its successors with the same grammar, as their published templates write them."""

from collections.abc import Sequence
from dataclasses import dataclass

from arriero.prompts.dates import today
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.template import render
from arriero.prompts.writers.checks import check, check_tools
from arriero.prompts.writers.writer import Tools


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
        check(messages, builtin_tools or ())
        check_tools(tools)
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
                "date": today() if date_string is None else date_string,
                "open": options.continue_final_message,
                "generate": options.add_generation_prompt and not options.continue_final_message,
            },
        )

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        builtin_tools = self._builtin_tools(options)
        check(messages, builtin_tools or ())
        return render("llama3.1-delta.jinja", {"messages": messages, "builtin_tools": builtin_tools})

    def _builtin_tools(self, options: RenderOptions) -> tuple[str, ...] | None:
        return options.builtin_tools if self.has_builtin_tools else None
