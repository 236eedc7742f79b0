"""Work in a task of its own, which can be given up also when it does not listen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio

T = TypeVar("T")

_GRACE = 1.0


async def outcome_of(
    work: Callable[[], Awaitable[T]], leave: Callable[["asyncio.Task[Any]"], None]
) -> tuple[T, None] | tuple[None, BaseException]:
    """Await work that is not trusted to end when it is cancelled.

    A task group would wait for it for ever. Here it is cancelled when this is, and after a second it is left behind.

    Args:
        work: What to await.
        leave: Takes the task that is left behind.

    Returns:
        Its value, or what it raised: also `SystemExit`, or a cancellation that nobody asked for. Only a
        `KeyboardInterrupt`, which in a task is the user's own, passes through.
    """
    task = asyncio.get_running_loop().create_task(_caught(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with anyio.move_on_after(_GRACE, shield=True):
            await asyncio.wait({task})
        if not task.done():
            leave(task)
        raise


async def _caught(work: Callable[[], Awaitable[T]]) -> tuple[T, None] | tuple[None, BaseException]:
    try:
        return await work(), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the boundary between a tool and the program
        return None, error


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
