"""A session: variables and files that live from call to call."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import PurePosixPath

import anyio

from arriero.tools.sandbox.errors import SandboxError
from arriero.tools.sandbox.execution import Execution, FileEntry
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.reply import read_entries, read_path
from arriero.tools.sandbox.running import Running

READ_MOST = 32 << 20
"""Bytes of a file that `SandboxSession.read` takes into memory, unless it is told otherwise."""
_CHUNK = 1 << 20


class SandboxSession:
    """A worker of its own, and another one after it was killed. `Sandbox.open` makes it.

    Calls of one session wait for each other. It is an async context manager that closes it.

    Args:
        worker: Its first worker.
        another: Starts another.
        limits: What it may use.
    """

    def __init__(self, worker: Running, another: Callable[[], Awaitable[Running]], limits: Limits) -> None:
        self._worker: Running | None = worker
        self._another = another
        self._limits = limits
        self._lock = anyio.Lock()
        self._used = False  # a worker that dies unused loses nothing
        self._lost = False
        self._closed = False

    @property
    def pid(self) -> int:
        """Host id of the worker's outermost process; 0 when there is none."""
        return self._worker.launched.pid if self._worker is not None else 0

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    async def run(self, code: str, *, timeout: float | None = None) -> Execution:  # noqa: ASYNC109 - it does not cancel
        r"""Run Python code in the session's module.

        Cancelling the call kills the worker; the next call has a new one.

        Args:
            code: The code.
            timeout: Seconds of wall time; the limits' own if None, and never more.

        Returns:
            What it gave, whatever the code did.

        Raises:
            SandboxError: The session is closed.
            SandboxUnavailable: There was need of a new worker, and none could be started.
        """
        wall = self._limits.wall if timeout is None else min(timeout, self._limits.wall)
        async with self._lock:
            worker = await self._live()
            lost, self._lost, self._used = self._lost, False, True
            try:
                execution = await worker.execute(code, wall)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._drop()
                raise
            if not worker.alive:
                with anyio.CancelScope(shield=True):
                    await self._drop()
            return replace(execution, state_lost=lost or self._lost)

    async def upload(self, path: str, data: bytes) -> None:
        """Put a file into the workspace, in place of any other.

        Args:
            path: Where, below the workspace.
            data: What it is to hold.

        Raises:
            SandboxError: It cannot be written, or the session is closed.
        """
        name = _inside(path)
        async with self._lock:
            for start in range(0, max(len(data), 1), _CHUNK):
                await self._exchange({"op": "write", "path": name, "offset": start}, data[start : start + _CHUNK])

    async def listing(self) -> tuple[FileEntry, ...]:
        """Files in the workspace.

        Returns:
            Regular files by path, as many as the limits allow; links are none.

        Raises:
            SandboxError: The session is closed.
        """
        async with self._lock:
            answer, _ = await self._exchange({"op": "list", "skip": 0})
            return read_entries(answer.get("files"), self._limits)

    async def read(self, path: str, *, most: int = READ_MOST) -> bytes:
        """Fetch a file of the workspace.

        Args:
            path: As a listing shows it.
            most: Most bytes to take into memory, whatever a listing said of its size. `pieces` has no such limit.

        Returns:
            The bytes.

        Raises:
            SandboxError: There is none, it is no regular file, it is larger than `most`, or the session is closed.
        """
        data = bytearray()
        async with aclosing(self.pieces(path)) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > most:
                    raise SandboxError(f"{path!r} is larger than {most} bytes; fetch it in pieces")
        return bytes(data)

    async def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """Fetch a file of the workspace piece by piece. Other calls of the session wait until it is closed.

        Args:
            path: As a listing shows it.

        Yields:
            Its bytes, at most a MiB at a time.

        Raises:
            SandboxError: There is none, it is no regular file, it is larger than the workspace may be, or the session
                is closed.
        """
        name = _inside(path)
        async with self._lock:
            worker = await self._live()
            self._used = True
            try:
                async with aclosing(self._pieces(worker, name)) as pieces:
                    async for piece in pieces:
                        yield piece
            finally:
                if not worker.alive:
                    with anyio.CancelScope(shield=True):
                        await self._drop()

    async def restart(self) -> None:
        """Go on with a new worker: no variables, the same files. Links and empty folders are left behind.

        Raises:
            SandboxError: The files cannot be taken along, or the session is closed.
        """
        async with self._lock:
            old = await self._live()
            new = await self._another()
            try:
                await self._copy_files(old, new)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await new.end()
                raise
            with anyio.CancelScope(shield=True):
                await self._drop()
            self._worker, self._lost, self._used = new, False, True

    async def _copy_files(self, old: Running, new: Running) -> None:
        """Copy the files piece by piece: a workspace need not fit into the server's memory."""
        seen = 0
        while seen <= self._limits.inodes:
            answer, _ = await old.exchange({"op": "list", "skip": seen})
            entries = read_entries(answer.get("files"), self._limits)
            if not entries:
                return
            seen += len(entries)
            for path in (read_path(entry.path) for entry in entries):
                start = 0
                async with aclosing(self._pieces(old, path)) as pieces:
                    async for piece in pieces:
                        await new.exchange({"op": "write", "path": path, "offset": start}, piece)
                        start += len(piece)

    async def aclose(self) -> None:
        """End the session. All its processes are gone afterwards."""
        self._closed = True
        if self._worker is not None:
            self._worker.kill("cancelled")  # a call that runs ends with it
        with anyio.CancelScope(shield=True):
            async with self._lock:
                await self._drop()

    async def __aenter__(self) -> "SandboxSession":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def forget(self) -> None:
        """Say with the next call that earlier state is lost: this session follows one of its name that was closed."""
        self._lost = True

    async def _live(self) -> Running:
        if self._closed:
            raise SandboxError("the sandbox session is closed")
        if self._worker is not None:
            self._worker.check_quiet()
        if self._worker is not None and not self._worker.alive:
            with anyio.CancelScope(shield=True):
                await self._drop()
        if self._worker is None:
            self._worker = await self._another()
        return self._worker

    async def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._lost, self._used = self._lost or self._used, False
            await worker.end()

    async def _exchange(self, head: dict[str, object], body: bytes = b"") -> tuple[dict[str, object], bytes]:
        worker = await self._live()
        self._used = True
        try:
            return await worker.exchange(head, body)
        finally:
            if not worker.alive:
                with anyio.CancelScope(shield=True):
                    await self._drop()

    async def _pieces(self, worker: Running, path: str) -> AsyncGenerator[bytes, None]:
        done = 0
        while True:
            answer, piece = await worker.exchange({"op": "read", "path": path, "offset": done})
            done += len(piece)
            size = answer.get("size")
            if not isinstance(size, int) or max(size, done) > self._limits.workspace:
                raise SandboxError(f"{path!r} is larger than a workspace may be")
            yield piece
            if not piece or done >= size:
                return


def _inside(path: str) -> str:
    """The path itself, for messages that help; what keeps a path inside is the sandbox."""
    name = read_path(path)
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or "\0" in name or len(name) > 1_000:
        raise SandboxError(f"{path!r} is no path below the workspace; use one like 'data/table.csv'")
    return name
