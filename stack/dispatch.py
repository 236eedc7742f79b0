"""The calls of one step while they run."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from arriero.prompts.messages import ToolCall
from arriero.stack.events import CallProgressed
from arriero.tools import Progress, Registry, ToolContext, ToolResult
from arriero.tools.owned_task import started

_WAITING_PROGRESS = 100


@dataclass(frozen=True, slots=True)
class Running:
    """Calls that run side by side."""

    _heard: deque[CallProgressed]
    _news: asyncio.Event
    _task: "asyncio.Task[list[ToolResult]]"

    async def progress(self) -> CallProgressed | None:
        """Wait for the next progress of one of them; None when all have ended."""
        while not self._heard:
            if self._task.done():
                return None
            self._news.clear()
            await self._news.wait()
        return self._heard.popleft()

    async def results(self) -> list[ToolResult]:
        """Their results, in the order of the calls."""
        return await self._task


@asynccontextmanager
async def running(
    registry: Registry, calls: Sequence[ToolCall], context: ToolContext, step: int
) -> AsyncIterator[Running]:
    """Run calls while the block watches them; they are cancelled when it is left before they have ended.

    Args:
        registry: The tools.
        calls: The calls of one message.
        context: What their tools may know.
        step: Number of the step, for the events.

    Yields:
        The running calls.
    """
    heard: deque[CallProgressed] = deque()
    news = asyncio.Event()

    def on_progress(position: int, said: Progress) -> None:
        if len(heard) < _WAITING_PROGRESS:  # a reader who is slow misses some
            heard.append(CallProgressed(step, calls[position], said.message, said.done, said.total))
            news.set()

    async with started(registry.call_all(calls, context, on_progress=on_progress)) as task:
        task.add_done_callback(lambda _: news.set())
        yield Running(heard, news, task)
