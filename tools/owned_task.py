"""Work in a task of its own, which can be given up also when it does not listen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")

_GRACE = 1.0


class Attempt(Generic[T]):
    """One try of work that is not trusted to end when it is cancelled.

    A task group would wait for it for ever. Here it is cancelled when its time is up, or when whoever waits is
    cancelled, and after a second of grace it is left behind.

    Args:
        work: What to do.
        seconds: Its time.
        leave: Takes the task that is left behind.
    """

    def __init__(
        self, work: Callable[[], Awaitable[T]], seconds: float, leave: Callable[["asyncio.Task[None]"], None]
    ) -> None:
        self._work, self._leave = work, leave
        self._loop = loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[tuple[T | None, BaseException | None] | None] = loop.create_future()
        self._timer = loop.call_later(seconds, self._give_up)
        self._pauses = 0
        self._left = 0.0

    async def outcome(self) -> tuple[T | None, BaseException | None] | None:
        """Run it.

        Returns:
            Its value, or what it raised, also `SystemExit` or a cancellation that nobody asked for; None when its
            time was up. A `KeyboardInterrupt`, which in a task is the user's own, passes through.
        """
        task = self._loop.create_task(self._run())
        found = None
        try:
            found = await self._ended
        finally:
            self._timer.cancel()
            if found is None:
                await self._end(task)
        return found

    def pause(self) -> None:
        """Stop the clock, until `go_on` was called as often as this."""
        self._pauses += 1
        if self._pauses == 1:
            self._left = self._timer.when() - self._loop.time()
            self._timer.cancel()

    def go_on(self) -> None:
        """Start the clock again."""
        self._pauses -= 1
        if not self._pauses and not self._ended.done():
            self._timer = self._loop.call_later(self._left, self._give_up)

    async def _run(self) -> None:
        outcome: tuple[T | None, BaseException | None]
        try:
            outcome = await self._work(), None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the boundary between a tool and the program
            outcome = None, error
        if not self._ended.done():
            self._ended.set_result(outcome)

    def _give_up(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    async def _end(self, task: "asyncio.Task[None]") -> None:
        task.cancel()
        with anyio.move_on_after(_GRACE, shield=True):
            await asyncio.wait({task})
        if not task.done():
            self._leave(task)


@asynccontextmanager
async def started(work: Coroutine[Any, Any, T]) -> AsyncIterator["asyncio.Task[T]"]:
    """Work that goes on while the block does other things, such as to yield from a generator.

    Args:
        work: Work that ends soon after it is cancelled.

    Yields:
        Its task, which is cancelled and waited for when the block is left before it has ended.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task})


async def side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run works at the same time, at half the cost of a task group of anyio's.

    Args:
        works: Works that end soon after they are cancelled, as they are when whoever waits is.

    Returns:
        Their values, in order. What the first of them raised is raised when all have ended.
    """
    tasks = [asyncio.get_running_loop().create_task(work) for work in works]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks)
    finally:
        while unfinished := [task for task in tasks if not task.done()]:
            for task in unfinished:
                task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait(unfinished, timeout=2 * _GRACE)  # then once more: a work may have missed it
    return [task.result() for task in tasks]
