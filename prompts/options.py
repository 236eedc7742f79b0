"""What a caller may choose about a prompt."""

from dataclasses import dataclass
from typing import Literal

ToolFormat = Literal["json", "function_tag", "python_list"]
"""Forms in which Meta declares tools and writes calls (FORMATS.md sections 4 and 5)."""


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What a caller may choose about a prompt. The defaults are those of the published templates.

    Args:
        builtin_tools: Built-in tools to switch on (`brave_search`, `wolfram_alpha`, `code_interpreter`). None switches
            the mode off; an empty tuple still switches it on, as it does in the published template. Llama 3.2 has
            no such mode and ignores this.
        date_string: The date in the system block; None for the dialect's default, which is a fixed day for
            Llama 3.1 and 3.3 and today for 3.2.
        tools_in_user_message: Put the tools before the first user message (True) or in the system block (False); None
            for the template's own choice, which is the user message but for vLLM's templates for Llama 3.2.
        add_generation_prompt: End with the assistant's header.
        continue_final_message: Leave the last message open, so that the model continues it.
        announce_empty_tools: Write the tool preamble even when there is no tool, as the published template does
            when it is given an empty list.
        tool_format: How tools are declared and calls written, where the source knows several forms: Meta's does.
            None for the dialect's own.
        repair: Do the right thing where the published template raises or loses data.

    Example:
        >>> RenderOptions(date_string="01 Jan 2026").date_string
        '01 Jan 2026'
    """

    builtin_tools: tuple[str, ...] | None = None
    date_string: str | None = None
    tools_in_user_message: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    announce_empty_tools: bool = False
    tool_format: ToolFormat | None = None
    repair: bool = False


DEFAULT_OPTIONS = RenderOptions()
"""The published templates' own choices."""
