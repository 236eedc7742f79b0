"""The calls of one step while they run."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from arriero.prompts.messages import ToolCall
from arriero.stack.events import CallProgressed
from arriero.tools import Progress, Registry, ToolContext, ToolResult
from arriero.tools.owned_task import started

_WAITING_PROGRESS = 100


@dataclass(frozen=True, slots=True)
class Running:
    """Calls that run side by side."""

    _heard: MemoryObjectReceiveStream[CallProgressed]
    _task: "asyncio.Task[list[ToolResult]]"

    async def progress(self) -> CallProgressed | None:
        """Wait for the next progress of one of them; None when all have ended."""
        try:
            return await self._heard.receive()
        except anyio.EndOfStream:
            return None

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
    tell, heard = anyio.create_memory_object_stream[CallProgressed](_WAITING_PROGRESS)

    def on_progress(position: int, said: Progress) -> None:
        with suppress(anyio.WouldBlock):  # a reader who is slow misses some
            tell.send_nowait(CallProgressed(step, calls[position], said.message, said.done, said.total))

    async def run() -> list[ToolResult]:
        with tell:
            return await registry.call_all(calls, context, on_progress=on_progress)

    with heard:
        async with started(run()) as task:
            yield Running(heard, task)
