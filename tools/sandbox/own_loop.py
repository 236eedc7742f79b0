"""An event loop in a thread of its own, for what must outlive the loops that call it."""

import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import anyio
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import current_token

from arriero.tools.sandbox.errors import SandboxError

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_STOP = 5.0


class OwnLoop(Generic[T]):
    """Keeps something on a loop of its own, from the first use until `stop`.

    What runs there goes on while the caller's loop is busy, and lives on when that loop has ended. The thread is the
    parent of the processes that are started there (prctl(2), PDEATHSIG: they die with their parent's thread), so it
    is one that stays.

    Args:
        context: Makes what is kept; entered and left there.

    Example:
        >>> from contextlib import asynccontextmanager
        >>> @asynccontextmanager
        ... async def forty():
        ...     yield 40
        >>> async def add(kept: int, number: int) -> int:
        ...     return kept + number
        >>> loop = OwnLoop(forty)
        >>> anyio.run(loop.run, add, 2)
        42
        >>> loop.stop()
    """

    def __init__(self, context: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None

    async def run(self, function: Callable[Concatenate[T, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function there. Cancelling this cancels it, and waits until it has ended.

        Args:
            function: An async function; its first argument is what is kept.
            *args: Its other arguments.
            **kwargs: Its arguments by name.

        Returns:
            What it returns.

        Raises:
            SandboxError: The loop was stopped meanwhile.
        """
        done = anyio.Event()
        native: Any = current_token().native_token
        wake = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon  # asyncio's name, or trio's

        def tell(_: "Future[R]") -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits
                wake(done.set)

        portal, kept = self._started()

        async def call() -> R:
            return await function(kept, *args, **kwargs)

        future: Future[R] = portal.start_task_soon(call)
        future.add_done_callback(tell)
        try:
            await done.wait()
        except BaseException:
            future.cancel()
            with anyio.CancelScope(shield=True):
                await done.wait()
            raise
        if future.cancelled():
            raise SandboxError("the code interpreter was closed during the call")
        return future.result()

    def stop(self) -> None:
        """Cancel what runs there, leave what is kept, and end the loop. It starts again when it is needed."""
        with self._lock:
            thread, portal, self._thread, self._portal = self._thread, self._portal, None, None
        if thread is not None and portal is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                portal.start_task_soon(portal.stop, True)
            thread.join(_STOP)

    def _started(self) -> tuple[BlockingPortal, T]:
        with self._lock:
            # After a fork, or an error that ended the loop, the thread is not there any more.
            if self._portal is None or self._thread is None or not self._thread.is_alive():
                started: Future[tuple[BlockingPortal, T]] = Future()
                # a daemon: a program that forgot to close its tools still ends, and the sandboxes with it
                self._thread = threading.Thread(
                    target=_live, args=(self._context, started), name="arriero-sandbox", daemon=True
                )
                self._thread.start()
                self._portal, self._kept = started.result()
            return self._portal, self._kept


def _live(context: Callable[[], AbstractAsyncContextManager[T]], started: "Future[tuple[BlockingPortal, T]]") -> None:
    async def main() -> None:
        try:
            async with context() as kept, BlockingPortal() as portal:
                started.set_result((portal, kept))
                await portal.sleep_until_stopped()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)

    anyio.run(main)
