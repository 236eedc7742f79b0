"""Prompts that ask Llama Guard for a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.guard import GuardSource, GuardVersion, render_guard
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.writers.writer import Tools


@dataclass(frozen=True, slots=True)
class GuardWriter:
    """One version of Llama Guard: one question about one conversation.

    Args:
        version: The version.
        source: Whose words.
    """

    version: GuardVersion
    source: GuardSource = "published"

    @property
    def builtin_tools(self) -> bool:
        """Whether it knows the mode for built-in tools."""
        return False

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt that asks for a verdict; its published template heeds no option."""
        if tools:
            raise InvalidMessage("a guard prompt has no place for tools: leave them out")
        return render_guard(messages, version=self.version, source=self.source)

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """There is none: every verdict is asked for anew."""
        raise InvalidMessage("a guard prompt is not continued: render the whole conversation again")
