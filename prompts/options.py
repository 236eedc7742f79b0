"""What a caller may choose about a prompt."""

from dataclasses import dataclass
from typing import Literal

ToolFormat = Literal["json", "function_tag", "python_list"]
"""Forms in which Meta declares tools and writes calls (FORMATS.md sections 4 and 5)."""


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What a caller may choose about a prompt. The defaults are those of the published templates.

    `repair` does the right thing where a published template raises, or loses data without a word (FORMATS.md
    sections 2 to 7). Case by case, what is refused or lost without it and what is written with it:

    | case | templates | without | with |
    |---|---|---|---|
    | several calls in one message | 3.1, 3.2, 3.3, vLLM JSON for 3 | refused | one after another, `; ` between |
    | several calls in one message | 4, vLLM JSON for 4 | nothing between them | `; ` between |
    | a list of calls that is empty | 3.x, vLLM for 3 | refused | the text, as without calls |
    | a list of calls that is empty | 4, vLLM JSON for 4 | the message is dropped | the text, as without calls |
    | text beside a call | 3.x, vLLM for 3 | the text is dropped | the text before the call |
    | code for the built-in interpreter | 3.1, 3.3 | as a call, `.call(code="...")` | the code, as the models write it |
    | arguments that are JSON text | all with JSON calls | encoded twice | decoded first |
    | tools, no user message to open | all with tools in it | refused | tools in the system block |
    | tools in the system block, which is not written | 3.2 Vision, 4 | tools are dropped | the block is written |
    | parts | vLLM JSON for 4 | their JSON, no picture | the parts |
    | parts in the user message with tools | 3.2 Vision, 4 | Python's print of them, no picture | the parts |
    | text in parts | 2, 3, 3.1, 3.2, 3.3, vLLM pythonic for 3.2 | refused | the parts' text, joined |
    | a system message of several parts; for 3.2 Vision, of one | all others | refused | the parts' text, joined |
    | a picture beside a system message | 3.2 Vision's first release, vLLM JSON for 3.2 | refused | both |
    | a picture beside tools | vLLM JSON for 3.2 | refused | both |
    | a later system message | 2 | dropped or refused | `<<SYS>>` before what the user says next |
    | neighbours of one role | 2 | refused | joined by a blank line |
    | texts in pythonic calls | vLLM pythonic for 3.2 | without quotes | Python literals |
    | values in pythonic calls | vLLM pythonic for 4 | all in quotes | Python literals |
    | a result that is no text | vLLM but pythonic for 3.2, JSON for 4 | refused | as JSON |

    What no form can hold is refused in both: a picture for a model that reads text only, a result without a call.

    Args:
        builtin_tools: Built-in tools to switch on (`brave_search`, `wolfram_alpha`, `code_interpreter`). None switches
            the mode off; an empty tuple still switches it on, as it does in the published template. Only the
            template of Llama 3.1 and 3.3 has such a mode; the others ignore this.
        date_string: The date in the system block; None for the dialect's default, which is a fixed day for
            Llama 3.1 and 3.3 and today for the others that write one.
        tools_in_user_message: Put the tools before the first user message (True) or in the system block (False); None
            for the template's own choice, which is the user message but for vLLM's templates for Llama 3.2.
        add_generation_prompt: End with the assistant's header. Llama 2 has none.
        continue_final_message: Leave the last message open, so that the model continues it.
        announce_empty_tools: Write the tool preamble even when there is no tool, as the published template does
            when it is given an empty list.
        tool_format: How tools are declared and calls written, where the source knows several forms: Meta's does.
            None for the dialect's own.
        repair: Do the right thing where the template raises or loses data: see above.

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
