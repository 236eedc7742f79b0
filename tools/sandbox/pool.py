"""The sandbox: sessions, and workers that wait for them."""

import contextlib
from collections import deque
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.sandbox.errors import SandboxError
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.running import Running
from arriero.tools.sandbox.session import SandboxSession
from arriero.tools.sandbox.tier import Tier


class Sandbox:
    """Opens sessions of one tier. An async context manager: with it end its sessions.

    A worker serves one session and no other. Some are started ahead, so that a session opens at once.

    Args:
        tier: How workers are confined.
        limits: What each session may use.
        warm: Workers that wait, ready, for a session.
        python: The interpreter; None for the server's own. Its environment's packages can be imported.

    Example:
        >>> from arriero.tools.sandbox import Bubblewrap
        >>> async def add() -> str | None:
        ...     async with Sandbox(Bubblewrap()) as sandbox, await sandbox.open() as session:
        ...         await session.run("x = 40")
        ...         return (await session.run("x + 2")).value
        >>> anyio.run(add)
        '42'
    """

    def __init__(self, tier: Tier, *, limits: Limits | None = None, warm: int = 1, python: str | None = None) -> None:
        if warm < 0:
            raise ToolDefinitionError(f"warm is {warm}; use the number of workers to keep waiting, 0 for none")
        self.tier = tier
        self.limits = limits or Limits()
        self._warm = warm
        self._python = python
        self._ready: deque[Running] = deque()
        self._sessions: set[SandboxSession] = set()
        self._needed = anyio.Event()
        self._filled = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Sandbox":
        self._tasks = await self._exits.enter_async_context(anyio.create_task_group())
        if self._warm:
            self._tasks.start_soon(self._replenish)
        else:
            self._filled.set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = self._tasks
        self._tasks = None
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for session in self._sessions:
                    group.start_soon(session.aclose)
                while self._ready:
                    group.start_soon(self._ready.popleft().end)
        if tasks is not None:
            tasks.cancel_scope.cancel()
        # What was raised inside is no task's: the group would wrap it in one of its own.
        await self._exits.__aexit__(None, None, None)

    async def open(self) -> SandboxSession:
        """Open a session, with a worker that waits or a new one.

        Returns:
            The session; close it when done.

        Raises:
            SandboxError: The sandbox is not entered, or is left already.
            SandboxUnavailable: No worker can be started; the message says why.
        """
        self._sessions = {session for session in self._sessions if not session.closed}
        session = SandboxSession(await self._take(), self._take, self.limits)
        self._sessions.add(session)
        return session

    async def ready(self) -> None:
        """Wait until as many workers wait as should, or none more can be started."""
        await self._filled.wait()

    async def _take(self) -> Running:
        while self._ready:
            worker = self._ready.popleft()
            self._filled = anyio.Event()
            self._needed.set()
            if worker.alive:
                return worker
            await worker.end()
        return await self._start()

    async def _start(self) -> Running:
        if self._tasks is None:
            raise SandboxError("the sandbox is not open: use it in `async with Sandbox(...)`")
        return await Running.start(self.tier, self.limits, self._python, self._tasks)

    async def _replenish(self) -> None:
        while self._tasks is not None:
            self._needed = anyio.Event()
            with contextlib.suppress(SandboxError, OSError):  # who opens a session is told; those that are open go on
                while self._tasks is not None and len(self._ready) < self._warm:
                    self._ready.append(await self._start())
            if self._tasks is None:  # left in the meantime
                with anyio.CancelScope(shield=True):
                    while self._ready:
                        await self._ready.popleft().end()
                return
            self._filled.set()
            await self._needed.wait()
