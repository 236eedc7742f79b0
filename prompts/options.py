"""What a caller may choose about a prompt."""

from dataclasses import dataclass


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


DEFAULT_OPTIONS = RenderOptions()
"""The published templates' own choices."""
