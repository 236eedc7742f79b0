"""What a conversation gives up when it becomes too long."""

from collections.abc import Callable, Sequence
from typing import Protocol

from arriero.prompts.messages import Message


class Compaction(Protocol):
    """A policy that shortens a conversation."""

    @property
    def name(self) -> str:
        """Name that the event carries."""
        ...

    async def shorten(
        self, messages: Sequence[Message], count: Callable[[Sequence[Message]], int], most: int
    ) -> Sequence[Message]:
        """Shorten a conversation.

        Args:
            messages: The conversation, the system's message first where there is one.
            count: Tokens that messages take when they are rendered, tools included.
            most: Most tokens that may stay.

        Returns:
            What stays: the system's message, and the last turns, as they are.
        """
        ...
