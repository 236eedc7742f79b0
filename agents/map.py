"""The same agent over many inputs, side by side."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable, Sequence, Sized
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, Literal
from uuid import uuid4

import anyio

from arriero.agents.map_progress import Progress, Tally, shown
from arriero.agents.output import Output
from arriero.agents.turn import Turn
from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.stack.events import TurnFailed, TurnFinished
from arriero.stack.log import Record
from arriero.stack.stack import Stack
from arriero.stack.terms import InvalidLimit
from arriero.tools.owned_task import started

if TYPE_CHECKING:
    from arriero.agents.agent import Agent

Inputs = Iterable[str] | AsyncIterable[str]

_AHEAD = 4
"""How many items, for each that may run, are begun before the first of them is handed out."""
_TRIED_AGAIN = ("failed", "cancelled")


class ItemFailed(ArrieroError):
    """An item of a map has no turn. What happened is the error's cause."""


@dataclass(frozen=True, slots=True)
class Item(Generic[Output]):
    """What came of one input.

    Args:
        position: Its place among the inputs, from 0.
        text: The input.
        session: The session of its turn.
        turn: The turn; None where there is none.
        error: Why there is none; None where there is one.
        known: Whether the turn was finished before, and was read from the log.
    """

    position: int
    text: str
    session: str
    turn: Turn[Output] | None = None
    error: Exception | None = None
    known: bool = False

    @property
    def state(self) -> Literal["finished", "waiting", "failed"]:
        """Whether its turn is over, waits for decisions, or failed."""
        if self.turn is None:
            return "failed"
        return "waiting" if self.turn.reason == "paused" else "finished"

    @property
    def output(self) -> Output:
        """The answer as a value of the agent's output type.

        Raises:
            ItemFailed: There is no turn.
            OutputInvalid: The turn has no such value; see `Turn.output`.
        """
        if self.turn is None:
            raise ItemFailed(
                f"input {self.position} failed with {type(self.error).__name__}: {self.error}; a map of the same name"
                " tries it again"
            ) from self.error
        return self.turn.output


Work = Callable[[Item[Output]], Awaitable[Item[Output]]]
"""Runs one item: it is given the item without a turn, and gives it with one."""


class Mapped(Generic[Output]):
    """A map that runs when it is iterated, or awaited for the list of its items.

    Args:
        within: Opens what runs items, each time the map runs.
        inputs: The inputs. They are read as they are needed.
        concurrency: How many items run at once.
        name: Names the sessions of the items; None for sessions that are not found again.
        progress: Whether to show progress, or who hears of it.

    Raises:
        InvalidLimit: The concurrency is not above 0.
        InvalidMessage: The inputs are one text.
    """

    def __init__(
        self,
        within: Callable[[], AbstractAsyncContextManager[Work[Output]]],
        inputs: Inputs,
        *,
        concurrency: int,
        name: str | None,
        progress: Progress,
    ) -> None:
        if isinstance(inputs, str):
            raise InvalidMessage(f"the inputs are one text of {len(inputs)} characters: give a list, [text]")
        if concurrency < 1:
            raise InvalidLimit(f"concurrency is {concurrency!r}: give a number above 0")
        self._within, self._inputs, self._concurrency = within, inputs, concurrency
        self._name, self._progress = name, progress

    def __aiter__(self) -> AsyncGenerator[Item[Output], None]:
        """Items in the order of the inputs, each as soon as it and those before it are over."""
        return self._run()

    def __await__(self) -> Generator[Any, None, list[Item[Output]]]:
        """All items, in the order of the inputs."""
        return self._collect().__await__()

    async def _collect(self) -> list[Item[Output]]:
        async with aclosing(self._run()) as items:
            return [item async for item in items]

    async def _run(self) -> AsyncGenerator[Item[Output], None]:
        slots: asyncio.Queue[asyncio.Future[Item[Output]] | None] = asyncio.Queue()
        ahead = asyncio.Semaphore(_AHEAD * self._concurrency)
        total = len(self._inputs) if isinstance(self._inputs, Sized) else None
        with shown(self._progress, total) as tally:
            async with self._within() as work, started(self._feed(slots, ahead, work, tally)) as feeding:
                while (slot := await slots.get()) is not None:
                    yield await slot
                    ahead.release()
                await feeding

    async def _feed(
        self,
        slots: "asyncio.Queue[asyncio.Future[Item[Output]] | None]",
        ahead: asyncio.Semaphore,
        work: Work[Output],
        tally: Tally,
    ) -> None:
        """Begin items, in order. What reading the inputs raises is raised when those that were begun are over."""
        running, failure = asyncio.Semaphore(self._concurrency), None

        async def one(item: Item[Output], slot: "asyncio.Future[Item[Output]]") -> None:
            try:
                tally.begun()
                done = await _tried(work, item)
                tally.over(failed=done.state == "failed", waiting=done.state == "waiting", known=done.known)
                slot.set_result(done)
            finally:
                running.release()
                slot.cancel()

        try:
            async with anyio.create_task_group() as group, aclosing(self._items()) as items:
                while True:
                    await ahead.acquire()
                    await running.acquire()
                    try:
                        item = await anext(items, None)
                    except Exception as error:  # the inputs': those that were begun go on
                        item, failure = None, error
                    if item is None:
                        break
                    slots.put_nowait(slot := asyncio.get_running_loop().create_future())
                    group.start_soon(one, item, slot)
        finally:
            slots.put_nowait(None)
        if failure is not None:
            raise failure

    async def _items(self) -> AsyncGenerator[Item[Output], None]:
        seen: Counter[bytes] = Counter()
        async with aclosing(_read(self._inputs)) as texts:
            position = 0
            async for text in texts:
                yield Item(position, text, self._session(text, seen))
                position += 1

    def _session(self, text: str, seen: Counter[bytes]) -> str:
        """By content, not by position: an input that moves keeps its session."""
        if self._name is None:
            return uuid4().hex
        digest = blake2b(str(text).encode("utf-8", "surrogatepass"), digest_size=12).digest()
        seen[digest] += 1
        again = f".{seen[digest]}" if seen[digest] > 1 else ""
        return f"{self._name}/{digest.hex()}{again}"


async def _tried(work: Work[Output], item: Item[Output]) -> Item[Output]:
    try:
        return await work(item)
    except Exception as error:  # the boundary: an item that fails does not stop the others
        return replace(item, error=error)


def map_inputs(
    agent: "Agent[Any, Output]",
    stack: Stack,
    inputs: Inputs,
    *,
    concurrency: int = 8,
    name: str | None = None,
    progress: Progress = True,
    deps: Any = None,
) -> Mapped[Output]:
    """Run one turn for each input, several at once. `Agent.map` calls this.

    Args:
        agent: The agent.
        stack: The agent's stack, which is open.
        inputs: What the user says, in each: a list, or anything that is iterated or async iterated. They are read as
            they are needed, and results are handed out in their order.
        concurrency: How many turns run at once.
        name: Name of the work, which makes it resumable. Called again with the same name, over the same log, items
            that are finished are read from the log, interrupted and failed ones go on where they were, and only
            others are begun. An input is known by its text: the list may change in between.
        progress: Whether to show progress on stderr, as a bar on a terminal and as lines elsewhere; or a function
            that is given a `MapProgress` whenever an item begins or ends.
        deps: What the agent's tools find in their context.

    Returns:
        The items. Iterate over it, or await it for a list.

    Raises:
        InvalidLimit: The concurrency is not above 0.
        InvalidMessage: The inputs are one text.

    Example:
        >>> import anyio
        >>> from arriero import Agent, Stack
        >>> async def main() -> None:
        ...     async with Stack.local() as stack:
        ...         async for item in Agent(stack).map(["Hello!", ""], progress=False):
        ...             print(item.position, item.state)
        >>> anyio.run(main)
        0 finished
        1 failed
    """

    async def work(item: Item[Output]) -> Item[Output]:
        return await settle(agent, stack, item, deps=deps, named=name is not None)

    return Mapped(lambda: nullcontext(work), inputs, concurrency=concurrency, name=name, progress=progress)


async def settle(
    agent: "Agent[Any, Output]", stack: Stack, item: Item[Output], *, deps: Any, named: bool
) -> Item[Output]:
    """Give an item its turn: the one that the log has, the rest of one, or a new one.

    A turn that failed or was cancelled is tried again in a copy of its session that ends before the end. So what it
    had done stays done.

    Args:
        agent: The agent.
        stack: Its stack.
        item: The item.
        deps: What the agent's tools find in their context.
        named: Whether the log may know its session.

    Returns:
        The item with its turn.

    Raises:
        SessionBusy: Another process is at it.
        ArrieroError: As from `Agent.run` and `Agent.resume`.
    """
    if not named:
        return replace(item, turn=await agent.run(item.text, session=item.session, deps=deps))
    place = await _place(stack, item)
    if place.is_over:  # it is nobody's any more: another process may look at it just now
        return place.known(agent, item)
    claim = f"{item.session}#"  # the turn takes the session itself; this is for looking at it and then taking it
    await stack.log.take(claim)
    try:
        return await _went_on(agent, stack, item, deps)
    finally:
        with anyio.CancelScope(shield=True):
            await stack.log.release(claim)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the turn of an item is, or is to be.

    Args:
        session: The session.
        records: What the log has of it.
        before: Session and last event to copy it from, where the log has nothing of it; None to begin it.
    """

    session: str
    records: Sequence[Record]
    before: tuple[str, int] | None

    @property
    def is_over(self) -> bool:
        return bool(self.records) and isinstance(self.records[-1].event, TurnFinished)

    def known(self, agent: "Agent[Any, Output]", item: Item[Output]) -> Item[Output]:
        last = [record.event for record in self.records if record.turn == self.records[-1].turn]
        return replace(item, session=self.session, turn=agent.turn_of(last, self.session), known=True)


async def _place(stack: Stack, item: Item[Any]) -> _Place:
    before: tuple[str, int] | None = None
    for attempt in count(1):
        session = item.session if attempt == 1 else f"{item.session}~{attempt}"
        records = await stack.log.read(session)
        end = records[-1].event if records else None
        if not isinstance(end, TurnFinished) or end.reason not in _TRIED_AGAIN:
            return _Place(session, records, before)
        going = [record.seq for record in records if not isinstance(record.event, TurnFailed | TurnFinished)]
        before = (session, going[-1])
    raise AssertionError("attempts are counted without end")


async def _went_on(agent: "Agent[Any, Output]", stack: Stack, item: Item[Output], deps: Any) -> Item[Output]:
    place = await _place(stack, item)
    if place.is_over:
        return place.known(agent, item)
    if not place.records:
        if place.before is None:
            return replace(item, turn=await agent.run(item.text, session=place.session, deps=deps))
        session, last = place.before
        await stack.fork(session, at=last, into=place.session)
    return replace(item, session=place.session, turn=await agent.resume(place.session, deps=deps))


async def _read(inputs: Inputs) -> AsyncGenerator[str, None]:
    if isinstance(inputs, AsyncIterable):
        async for text in inputs:
            yield text
    else:
        for text in inputs:
            yield text
