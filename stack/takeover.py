"""Another agent takes a conversation over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arriero.prompts.messages import Message
from arriero.stack.events import TranscriptRewritten
from arriero.stack.rendering import Rendering
from arriero.stack.terms import Handoff
from arriero.tools import ToolResult


@dataclass(frozen=True, slots=True)
class Takeover:
    """How another agent goes on with a conversation.

    Args:
        rendering: How it renders, with its terms.
        policy: Who chose what it takes over.
        messages: What it takes over.
        heard: How many of the session's unread messages these hold.
        shift: By how many messages the conversation is longer than it was.
    """

    rendering: Rendering
    policy: str
    messages: Sequence[Message]
    heard: int
    shift: int

    async def rewritten(self, unread: Sequence[Message]) -> TranscriptRewritten:
        """The transcript anew, with what was said since.

        Args:
            unread: All messages of the session that the model has not read.

        Returns:
            The event.

        Raises:
            ContextTooLong: It does not fit the model's context.
        """
        messages = [*self.messages, *unread[self.heard :]]
        return await self.rendering.rewritten("handoff", self.policy, messages, self.rendering.turns(self.shift))


def wanted(handoffs: Mapping[str, Handoff], results: Sequence[ToolResult]) -> Handoff | None:
    """The handoff that the model has called for, if it has.

    Args:
        handoffs: The handoffs, by the names of the tools that stand for them.
        results: What the calls of its last message gave.

    Returns:
        The first one.
    """
    if not handoffs:
        return None
    return next((handoffs[one.call.name] for one in results if one.call.name in handoffs and not one.error), None)


async def take_over(handoff: Handoff, before: Rendering, unread: Sequence[Message]) -> Takeover:
    """Ask for the other agent's terms, and for what is carried over.

    Args:
        handoff: The handoff.
        before: How the agent renders that has the conversation.
        unread: What the model has not read yet: results, and what was said.

    Returns:
        How the other agent goes on.
    """
    tape = before.tape
    heard = len(tape.unread)
    messages: Sequence[Message] = [*tape.messages, *unread]
    other = Rendering(before.engine, before.dialect, tape, await handoff.terms())
    if handoff.carry is not None:
        messages = await handoff.carry([one for at, one in enumerate(messages) if at or one.role != "system"])
    policy = "all" if handoff.carry is None else getattr(handoff.carry, "__name__", "carried")
    taken = other.handed_over(messages)
    return Takeover(other, policy, taken, heard, len(taken) - len(tape.messages) - len(unread))
