"""What every writer of prompts can do."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt

Tools = Sequence[Mapping[str, Any]]
"""Tool declarations in the OpenAI shape."""


class Writer(Protocol):
    """Writes the prompts of one family."""

    @property
    def builtin_tools(self) -> bool:
        """Whether it knows the mode for built-in tools."""
        ...

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt for a whole conversation."""
        ...

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        ...
