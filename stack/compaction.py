"""What a conversation gives up when it becomes too long."""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message
from arriero.tools.values import as_text

__all__ = [
    "Compact",
    "Compaction",
    "Count",
    "DropOldestResults",
    "InvalidCompaction",
    "NotCompacted",
    "compact_with",
    "compacted",
]

Count = Callable[[Sequence[Message]], int]
"""Tokens that messages take when they are rendered, tools included."""

Compact = Callable[[Sequence[Message], Count, int], Awaitable[Sequence[Message]]]
"""Shortens a conversation: given its messages, what counts them, and the most tokens that may stay."""

LEFT_OUT = "[an old result, left out to save room]"
"""What stands in the place of a result that was given up."""


class NotCompacted(ArrieroError):
    """A policy could not make a conversation short enough. Nothing of it was given up."""


class InvalidCompaction(ArrieroError, ValueError):
    """A policy gave back something that is not the conversation, or has a setting out of range."""


class Compaction(Protocol):
    """A policy that shortens a conversation."""

    @property
    def name(self) -> str:
        """Name that the event carries."""
        ...

    async def shorten(
        self, messages: Sequence[Message], count: Count, most: int, turns: Sequence[int] = ()
    ) -> Sequence[Message]:
        """Shorten a conversation.

        Args:
            messages: The conversation, the system's message first where there is one.
            count: Tokens that messages take when they are rendered, tools included.
            most: Most tokens that may stay.
            turns: Places of the messages at which turns begin, for not all that the user says begins one; where nothing
                is known of them, each question that follows something else does.

        Returns:
            What stays: the system's message, and the last turns, as they are. What is still longer than `most` is the
            least that the policy can do; the turn then ends at the limit `context`.
        """
        ...


@dataclass(frozen=True, slots=True)
class DropOldestResults:
    """Gives up the oldest tool results, and where that is not enough the oldest exchanges.

    A result is replaced by a short note, so that every call keeps its answer. An exchange is what the user said and all
    that came of it; it goes as a whole, so that nothing answers what is no longer there. System messages stay.

    Args:
        keep_turns: How many of the last exchanges stay as they are, the one that runs included. With 0 the older
            results of the one that runs may be replaced as well, all but those of its newest step.
        fill: Share of the room that the conversation may take afterwards, so that it is not rewritten, and its ids
            are not computed anew, at every step.

    Raises:
        InvalidCompaction: A number is not in its range.

    Example:
        >>> import anyio
        >>> said = [Message("user", "Read it."), Message("tool", "x" * 900), Message("user", "And?")]
        >>> def letters(messages):
        ...     return sum(len(message.content) for message in messages)
        >>> kept = anyio.run(DropOldestResults(keep_turns=1).shorten, said, letters, 100)
        >>> [message.content for message in kept]
        ['Read it.', '[an old result, left out to save room]', 'And?']
    """

    keep_turns: int = 2
    fill: float = 0.75

    def __post_init__(self) -> None:
        check_range(self.keep_turns, self.fill)

    @property
    def name(self) -> str:
        """Name that the event carries."""
        return "drop-oldest-results"

    async def shorten(
        self, messages: Sequence[Message], count: Count, most: int, turns: Sequence[int] = ()
    ) -> Sequence[Message]:
        """Shorten a conversation; see `Compaction.shorten`."""
        held = exchanges(messages, turns)
        results = _replaceable(messages, held, self.keep_turns)
        older = held[: max(0, len(held) - max(1, self.keep_turns))]

        def without(given_up: int) -> list[Message]:
            replaced = set(results[:given_up])
            dropped = {at for turn in older[: max(0, given_up - len(results))] for at in turn}
            return [
                replace(message, content=LEFT_OUT) if at in replaced else message
                for at, message in enumerate(messages)
                if at not in dropped
            ]

        ways = range(len(results) + len(older) + 1)
        found = bisect_left(ways, True, key=lambda given_up: count(without(given_up)) <= self.fill * most)
        return without(min(found, ways[-1]))


def compact_with(name: str, function: Compact) -> Compaction:
    """A policy that is a function.

    Args:
        name: Name that the event carries.
        function: Given the messages, a function that counts their tokens, and the most tokens that may stay; gives
            what stays. See `Compaction.shorten`.

    Returns:
        The policy.

    Example:
        >>> async def last_four(messages, count, most):
        ...     return [messages[0], *messages[-4:]]
        >>> compact_with("last-four", last_four).name
        'last-four'
    """
    return _Function(name, function)


async def compacted(
    policy: Compaction, messages: Sequence[Message], count: Count, most: int, turns: Sequence[int] = ()
) -> tuple[Message, ...]:
    """Shorten a conversation by a policy, and look whether it kept what it must keep.

    Args:
        policy: The policy.
        messages: The conversation.
        count: Tokens that messages take when they are rendered, tools included.
        most: Most tokens that may stay.
        turns: Places of the messages at which turns begin, where that is known.

    Returns:
        What stays.

    Raises:
        NotCompacted: Even what the policy left is too long.
        InvalidCompaction: It gave up a leading system message or the last message, left a result without its call, or
            gave something other than messages.

    Example:
        >>> import anyio
        >>> said = [Message("user", "Hello"), Message("assistant", "Hi."), Message("user", "How are you?")]
        >>> anyio.run(compacted, DropOldestResults(keep_turns=1), said, len, 2)
        (Message(role='user', content='How are you?', tool_calls=(), end=None),)
    """
    given: object = await policy.shorten(messages, count, most, turns)
    if not isinstance(given, Sequence) or not all(isinstance(one, Message) for one in given):
        raise InvalidCompaction(f"the policy {policy.name!r} gave no list of messages, or not of messages alone")
    kept = tuple(given)
    problem = _problem(messages, kept)
    if problem:
        raise InvalidCompaction(f"the policy {policy.name!r} {problem}")
    if (length := count(kept)) > most:
        raise NotCompacted(
            f"{length} tokens are what the policy {policy.name!r} leaves, {most} have room: let it keep fewer turns, or"
            " use a model with a longer context"
        )
    return kept


def exchanges(messages: Sequence[Message], turns: Sequence[int] = ()) -> list[list[int]]:
    """Places of the messages of each exchange, oldest first; system messages belong to none.

    An exchange is a turn. Where nothing is known of turns, it begins with what the user says; several messages of the
    user's in a row are one beginning.

    Example:
        >>> said = [Message("system", "Be brief."), Message("user"), Message("assistant"), Message("user")]
        >>> exchanges(said)
        [[1, 2], [3]]
        >>> exchanges(said, turns=[0])
        [[1, 2, 3]]
    """
    runs: list[list[int]] = []
    places, before, begins = {*turns}, "", False
    for at, message in enumerate(messages):
        begins = begins or at in places
        if message.role == "system":
            continue
        if not runs or begins or (not places and message.role == "user" and before != "user"):
            runs.append([])
        runs[-1].append(at)
        before, begins = message.role, False
    return runs


def check_range(keep_turns: int, fill: float) -> None:
    """Refuse settings that no policy can follow.

    Raises:
        InvalidCompaction: A number is not in its range.
    """
    if keep_turns < 0 or not 0 < fill <= 1:
        raise InvalidCompaction(
            f"keep_turns is {keep_turns!r} and fill is {fill!r}: use 0 turns or more, and a share above 0 and up to 1"
        )


@dataclass(frozen=True, slots=True)
class _Function:
    """A policy that is a function."""

    name: str
    function: Compact

    async def shorten(
        self, messages: Sequence[Message], count: Count, most: int, turns: Sequence[int] = ()
    ) -> Sequence[Message]:
        given: object = self.function(messages, count, most)
        if not isinstance(given, Awaitable):
            raise InvalidCompaction(f"the function of the policy {self.name!r} is not async: write `async def`")
        kept: Sequence[Message] = await given
        return kept


def _replaceable(messages: Sequence[Message], turns: Sequence[Sequence[int]], keep_turns: int) -> list[int]:
    """Places of results that may be replaced, oldest first. Those that are shorter than the note gain nothing."""
    places = [at for turn in turns[: max(0, len(turns) - keep_turns)] for at in turn]
    newest = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)
    if not keep_turns:  # the model has not read the results of the newest step yet
        places = [at for at in places if at < newest]
    return [at for at in places if messages[at].role == "tool" and len(_text(messages[at])) > len(LEFT_OUT)]


def _text(message: Message) -> str:
    return str(message.content) if isinstance(message.content, tuple) else as_text(message.content)


def _problem(messages: Sequence[Message], kept: Sequence[Message]) -> str:
    """What a policy did that it may not do; empty when it did nothing of the kind."""
    leading = 0
    while leading < len(messages) and messages[leading].role == "system":
        leading += 1
    if tuple(kept[:leading]) != tuple(messages[:leading]):
        return "did not keep the system's message first: it must stay as it is"
    if not kept or kept[-1] != messages[-1]:
        return "gave up the last message, which the model is to answer: the last turn must stay as it is"
    if _unanswered(kept) > _unanswered(messages):
        return "left a call without its result or a result without its call: give up both, or replace the result's text"
    return ""


def _unanswered(messages: Sequence[Message]) -> int:
    """Results without a call, and calls without a result."""
    unpaired = open_calls = 0
    for message in messages:
        if message.role == "tool":
            unpaired += not open_calls
            open_calls = max(0, open_calls - 1)
        else:
            unpaired += open_calls
            open_calls = len(message.tool_calls)
    return unpaired + open_calls
