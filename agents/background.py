"""An event loop in a thread of its own, for callers that are not async."""

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

_STOPPING_SECONDS = 10.0


class Background:
    """Runs async functions one after the other, while this thread waits and can be interrupted.

    Example:
        >>> import anyio
        >>> async def double(number: int) -> int:
        ...     await anyio.sleep(0)
        ...     return 2 * number
        >>> with Background() as loop:
        ...     loop.run(lambda: double(21))
        42
    """

    def __init__(self) -> None:
        # asyncio is loaded here and not with `arriero`: most of what imports it has no use for this.
        from anyio.from_thread import start_blocking_portal

        self._closing = ExitStack()
        self._portal = self._closing.enter_context(start_blocking_portal())

    @classmethod
    def opened(cls, resource: AbstractAsyncContextManager[T]) -> tuple[Self, T]:
        """A loop with something open in it, or neither.

        Args:
            resource: What to open. `close` closes it again.

        Returns:
            The loop, and what opening it gave.
        """
        background = cls()
        try:
            return background, background.enter(resource)
        except BaseException:
            background.close()
            raise

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run an async function and wait for it. Ctrl-C cancels it, and is raised when it has ended.

        Args:
            work: The function.

        Returns:
            Its value.

        Raises:
            KeyboardInterrupt: The user wants it to stop.
        """
        over = threading.Event()

        async def watched() -> T:
            try:
                return await work()
            finally:
                over.set()

        future = self._portal.start_task_soon(watched)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            over.wait(_STOPPING_SECONDS)
            raise

    def enter(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Open something in the loop that `close` closes again."""
        return self._closing.enter_context(self._portal.wrap_async_context_manager(resource))

    def close(self) -> None:
        """Close what was opened, and end the thread. Closing twice is fine."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
