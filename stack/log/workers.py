"""Threads that do a log's work in order. Half the CPU of `anyio.to_thread`, which is made for many threads."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from anyio import to_thread

T = TypeVar("T")


class Workers:
    """Threads that take jobs from one queue. With one thread, jobs are done in the order they came.

    Args:
        most: Most threads. Each is started when a job finds the others busy.
        leave: What a thread does last.
    """

    def __init__(self, most: int = 1, leave: Callable[[], None] = lambda: None) -> None:
        self._most = most
        self._leave = leave
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._pending = 0

    async def run(self, job: Callable[[], T]) -> T:
        """Do a job and give what it returns or raises."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def report(settle: Callable[[Any], None], value: object) -> None:
            if not outcome.done():  # the waiting task may have been cancelled
                settle(value)

        def work() -> None:
            settle: Callable[[Any], None] = outcome.set_result
            try:
                value: object = job()
            except Exception as error:  # carried to the caller
                settle, value = outcome.set_exception, error
            with suppress(RuntimeError):  # the event loop was closed meanwhile
                loop.call_soon_threadsafe(report, settle, value)

        self.submit(work)
        return await outcome

    def submit(self, job: Callable[[], None]) -> None:
        """Have a job done that does not raise. From any thread."""
        with self._lock:
            self._pending += 1
            if len(self._threads) < min(self._pending, self._most):
                thread = threading.Thread(target=self._work, name="event log", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put(job)

    async def aclose(self) -> None:
        """Finish what is queued and end the threads."""
        ended, self._threads = self._threads, []
        for _ in ended:
            self._jobs.put(None)
        for thread in ended:
            await to_thread.run_sync(thread.join)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            with self._lock:
                self._pending -= 1
        self._leave()
