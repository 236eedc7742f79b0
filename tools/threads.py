"""Threads for sync tools: daemons of their own, so that one that hangs holds up neither the program nor its end."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from arriero.tools.context import Progress, ThreadLeft, ToolContext
from arriero.tools.errors import ToolError, ToolUnavailable

_MOST_LEFT = 8


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
        self._left: set[threading.Thread] = set()

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
        self._left = {thread for thread in self._left if thread.is_alive()}
        if len(self._left) >= _MOST_LEFT:
            raise ToolUnavailable(f"{len(self._left)} earlier calls of {self._tool} still run and cannot be stopped")
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        inner = replace(context, report=_reporter(loop, ended, context))

        def end(value: Any, error: BaseException | None) -> None:
            if not ended.cancelled():
                ended.set_result((value, error))

        def work() -> None:
            value: Any = None
            error: BaseException | None = None
            try:
                value = call(inner)
            except BaseException as raised:  # whatever it is, it is the caller's
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(end, value, error)

        thread = threading.Thread(target=copy_context().run, args=(work,), name=f"tool {self._tool}", daemon=True)
        thread.start()
        try:
            value, error = await ended
        except asyncio.CancelledError:
            if ended.cancelled():
                self._left.add(thread)
                context.report(ThreadLeft())
            raise
        if isinstance(error, KeyboardInterrupt):  # not the user's, which only the main thread gets
            raise ToolError("KeyboardInterrupt") from error
        if error is not None:
            raise error
        return value


def _reporter(
    loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[Any]", context: ToolContext
) -> Callable[[Progress | ThreadLeft], None]:
    def report(said: Progress | ThreadLeft) -> None:
        if ended.cancelled():
            raise ToolError("the call was given up")
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(context.report, said)

    return report
