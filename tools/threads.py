"""Threads for sync tools: daemons of their own, so that one that hangs holds up neither the program nor its end."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from arriero.tools.context import Progress, ThreadLeft, ToolContext
from arriero.tools.errors import ToolError, ToolUnavailable

_MOST_LEFT = 8
_IDLE_SECONDS = 5.0

Job = Callable[[], Callable[[], None]]
"""Does the work, and gives what tells of its end."""


class Threads:
    """The threads of one tool.

    Python cannot stop a thread. One whose call is given up runs on; it is counted, and when too many run on, further
    calls are refused until one of them ends. Threads of anyio's are shared with the rest of the program, limited in
    number and waited for at its end, so a tool that hangs would starve the one and hold up the other.

    Args:
        tool: The tool's name.
    """

    def __init__(self, tool: str) -> None:
        self._tool = tool
        self._idle: deque[_Worker] = deque()
        self._left: set[_Worker] = set()

    async def run(self, call: Callable[[ToolContext], Any], context: ToolContext) -> Any:
        """Run a function in a thread.

        Args:
            call: The function; its context's progress may be reported from the thread.
            context: The call's context. It is told when the thread is left running.

        Returns:
            What the function gives.

        Raises:
            ToolUnavailable: Too many threads of earlier calls run on.
        """
        self._left = {worker for worker in self._left if worker.busy and worker.thread.is_alive()}
        if len(self._left) >= _MOST_LEFT:
            raise ToolUnavailable(f"{len(self._left)} earlier calls of {self._tool} still run and cannot be stopped")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        inner = replace(context, report=_reporter(loop, ended, context))

        def end(value: Any, error: BaseException | None) -> None:
            if not ended.cancelled():
                ended.set_result((value, error))

        def work() -> Callable[[], None]:
            value: Any = None
            error: BaseException | None = None
            try:
                value = call(inner)
            except BaseException as raised:  # whatever it is, it is the caller's
                error = raised

            def tell() -> None:
                with suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(end, value, error)

            return tell

        surroundings = copy_context()
        worker = self._take(lambda: surroundings.run(work))
        try:
            value, error = await ended
        except asyncio.CancelledError:
            if ended.cancelled():
                self._left.add(worker)
                context.report(ThreadLeft())
            raise
        if isinstance(error, KeyboardInterrupt):  # not the user's, which only the main thread gets
            raise ToolError("KeyboardInterrupt") from error
        if error is not None:
            raise error
        return value

    def _take(self, job: Job) -> "_Worker":
        while self._idle:
            with suppress(IndexError):  # it ended just now
                worker = self._idle.pop()
                if worker.thread.is_alive():  # after a fork there are no threads but one
                    worker.start(job)
                    return worker
        worker = _Worker(f"tool {self._tool}", self._idle)
        worker.start(job)
        return worker


class _Worker:
    """A thread that does one job after another, and ends when none has come for a while.

    To start a thread costs as much as the rest of a call.

    Args:
        name: The thread's name.
        idle: Where it waits.
    """

    def __init__(self, name: str, idle: "deque[_Worker]") -> None:
        self.busy = False
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._idle = idle
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)
        self.thread.start()

    def start(self, job: Job) -> None:
        """Give it a job. It must not wait in `idle` any more."""
        self.busy = True
        self._jobs.put(job)

    def _live(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                try:
                    self._idle.remove(self)
                except ValueError:  # somebody has just taken it from there, so a job is on its way
                    continue
                return
            tell = job()
            del job  # what it holds is not to wait for the next
            self.busy = False
            self._idle.append(self)
            tell()
            del tell


def _reporter(
    loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[Any]", context: ToolContext
) -> Callable[[Progress | ThreadLeft], None]:
    def report(said: Progress | ThreadLeft) -> None:
        if ended.cancelled():
            raise ToolError("the call was given up")
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(context.report, said)

    return report
