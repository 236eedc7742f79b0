"""An event log in one SQLite file."""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from os import W_OK, access
from pathlib import Path
from typing import Any, TypeVar

from arriero.stack.log.database import LAPSE, DatabaseLog, Statement
from arriero.stack.log.layout import prepare
from arriero.stack.log.record import LogBusy, LogConflict, LogError
from arriero.stack.log.rows import Row, inserting
from arriero.stack.log.workers import Workers

A = TypeVar("A")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_QUICK = 0.001
"""Where commits take fewer seconds than this, they are done on the event loop."""
_MEASURED = 9
"""Commits of which the median tells: a process that had to wait for a core is no slow disk."""

_REMEDIES = (
    ("SQLITE_BUSY", "another process holds it; try again, or give a longer busy_timeout"),
    ("SQLITE_FULL", "the disk is full; free some space and run the turn again"),
    ("SQLITE_READONLY", "it is read-only; give a file that can be written"),
    ("SQLITE_CANTOPEN", "the folder must exist and be writable"),
    ("SQLITE_NOTADB", "that file is something else; give another path"),
    ("SQLITE_CORRUPT", "the file is damaged; restore a copy of it, or save what is left with `sqlite3 FILE .recover`"),
)
_ANY_REMEDY = "check the disk, and that nothing else changes the file"


class SQLiteLog(DatabaseLog):
    """An event log in one SQLite file.

    Write-ahead logging with `synchronous=FULL`: a commit returns when its bytes are synced, so what was
    committed survives `kill -9` and a power cut. Handing a commit to a worker thread and back costs more
    CPU than the commit itself. So it is done on the event loop while commits are measured to be quick, and
    on a worker thread where syncs are slow or another process is writing. Leases are not synced: a power cut
    ends their owners too.

    Args:
        path: The file, created by the first event if absent, or `":memory:"` for a log that ends with the process.
        busy_timeout: Seconds to wait for another process that is writing.
        lapse: Seconds after which a process in another container counts as dead, when it has not renewed its leases.

    Raises:
        LogError: The file cannot be opened or is not an event log, or its folder is missing or not writable.
        NewerLog: A later release wrote the file.

    Example:
        >>> import anyio
        >>> from arriero.stack.events import LimitReached
        >>> async def write_and_read() -> int:
        ...     log = SQLiteLog(":memory:")
        ...     await log.append("alice", "t1", 0, [LimitReached("steps", "8 of 8")])
        ...     return len(await log.read("alice"))
        >>> anyio.run(write_and_read)
        1
    """

    _now = "(julianday('now') - 2440587.5) * 86400.0"
    _bytes = "length(CAST(json AS BLOB))"

    def __init__(self, path: str | Path, *, busy_timeout: float = 5.0, lapse: float = LAPSE) -> None:
        super().__init__(f"the event log {path}", lapse)
        self.path = str(path)
        self.in_memory = self.path == ":memory:"
        self._busy_timeout = busy_timeout
        self._worker = Workers()
        self._quick = self.in_memory  # a worker thread measures first
        self._measured: deque[float] = deque(maxlen=_MEASURED)
        self._opened: tuple[_Connection, _Connection] | None = None
        if self._exists():
            self._open()
        elif not access(folder := Path(self.path).absolute().parent, W_OK) or not folder.is_dir():
            raise LogError(f"{self.name} cannot be made: the folder must exist and be writable")

    async def length(self, session: str) -> int:
        """Number of events of a session."""
        if not await self._found():
            return 0
        query = "SELECT coalesce(max(seq) + 1, 0) FROM events WHERE session = ?"
        rows = await self._run(lambda connection, wanted: connection.select(query, wanted), [session])
        return int(rows[0][0])

    async def release(self, session: str) -> None:
        """Give a session back; see `EventLog.release`."""
        if self._exists():
            return await super().release(session)
        self._held.pop(session, None)
        return None

    async def settle(self) -> None:
        """Overwrite on disk what was pruned: SQLite does so in the file (`secure_delete`), but keeps a journal too."""
        await self._select("PRAGMA wal_checkpoint(TRUNCATE)")

    async def aclose(self) -> None:
        """Release what this process has leased, and close the file. Closing twice is fine."""
        self._ended.set()
        if self._is_forked():
            return
        await self._worker.aclose()
        if self._opened is not None and not self._closed:
            patient, eager = self._opened
            with suppress(LogError):  # the owner is gone soon
                if self._held or self._owed:
                    patient.change([("DELETE FROM leases WHERE owner = ?", [self.owner])], durable=False)
            self._held.clear()
            patient.close()
            eager.close()
        self._closed = True

    async def _lease(self, session: str) -> float:
        if not self._exists():
            return 0.0  # the first event makes the file, and is told to make sure of the lease
        await self._begin()
        return await super()._lease(session)

    def _exists(self) -> bool:
        return self._opened is not None or self.in_memory or Path(self.path).exists()

    def _open(self) -> tuple["_Connection", "_Connection"]:
        """A connection that waits for other processes, and one that does not. Makes the file."""
        if self._opened is None:
            self._check()
            patient = _Connection(self.path, self._busy_timeout)
            patient.prepare()
            self._opened = (patient, patient if self.in_memory else _Connection(self.path, 0.0))
        return self._opened

    async def _begin(self) -> None:
        self._check()
        if self._opened is None:
            await self._worker.run(self._open)

    async def _found(self) -> bool:
        """Whether there is a file to read, which another process may have made in the meantime."""
        if found := self._exists():
            await self._begin()
        return found

    async def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if not await self._found():
            return []
        patient, _ = self._open()
        return await self._worker.run(partial(patient.select, query, values))

    async def _change(self, statements: Sequence[Statement], *, durable: bool = True) -> list[int]:
        await self._begin()
        if not durable:
            return await self._run(partial(_Connection.change, durable=False), statements)
        patient, _ = self._open()
        return await self._worker.run(partial(patient.change, statements))

    def _change_here(self, statements: Sequence[Statement]) -> list[int]:
        patient, _ = self._open()
        return patient.change(statements, durable=False)

    async def _insert(self, rows: Sequence[Row]) -> None:
        await self._begin()
        await self._run(self._timed_insert, rows)

    async def _run(self, work: Callable[["_Connection", A], T], argument: A) -> T:
        patient, eager = self._open()
        if self._quick:
            try:
                return work(eager, argument)
            except LogBusy:
                _log.debug("%s is held by another process: waiting on a worker thread", self.path)
        return await self._worker.run(partial(work, patient, argument))

    def _timed_insert(self, connection: "_Connection", rows: Sequence[Row]) -> None:
        started = time.perf_counter()
        connection.insert(rows)
        self._measured.append(time.perf_counter() - started)
        self._quick = self.in_memory or sorted(self._measured)[len(self._measured) // 2] < _QUICK


class _Connection:
    """One connection, used by one thread at a time. SQLite's errors leave it as `LogError`s."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._typed("opened"):
            self._sqlite = sqlite3.connect(
                _address(path), timeout=timeout, isolation_level=None, check_same_thread=False, uri=True
            )
            self._sqlite.execute("PRAGMA synchronous = FULL")
            self._sqlite.execute("PRAGMA secure_delete = ON")  # what is pruned is overwritten; nothing else is deleted

    def prepare(self) -> None:
        """Make the tables; see `layout.prepare`."""
        try:
            with self._typed("opened"):
                prepare(self._sqlite, f"the event log {self._path}")
        except LogError:
            self.close()
            raise

    def insert(self, rows: Sequence[Row]) -> None:
        # One statement is one transaction, all or none: a third of the calls of BEGIN, INSERT, COMMIT.
        with self._lock, self._typed("written"):
            self._sqlite.execute(*inserting(rows))

    def change(self, statements: Sequence[Statement], *, durable: bool = True) -> list[int]:
        run = self._sqlite.execute
        with self._lock, self._typed("written"):
            if not durable:
                run("PRAGMA synchronous = NORMAL")
            try:
                if len(statements) == 1:
                    return [run(*statements[0]).rowcount]
                run("BEGIN IMMEDIATE")
                changed = [run(statement, values).rowcount for statement, values in statements]
                run("COMMIT")
                return changed
            finally:
                if self._sqlite.in_transaction:
                    run("ROLLBACK")
                if not durable:
                    run("PRAGMA synchronous = FULL")

    def select(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock, self._typed("read"):
            return self._sqlite.execute(query, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._sqlite.close()

    @contextmanager
    def _typed(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise LogConflict(
                f"the event log {self._path} already has an event at that position: another process continued the"
                " session; run the turn again to continue from there"
            ) from error
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", None) or ""
            kind = LogBusy if name.startswith("SQLITE_BUSY") else LogError
            remedy = next((text for code, text in _REMEDIES if name.startswith(code)), _ANY_REMEDY)
            raise kind(f"the event log {self._path} could not be {what}: {error}; {remedy}") from error
        except (OverflowError, UnicodeEncodeError) as error:
            raise LogError(f"the event log {self._path} cannot hold that name or number: {error}") from error


def _address(path: str) -> str:
    """Address of a file. One that cannot be written is read as it is, without the files that SQLite adds beside it."""
    if path == ":memory:":
        return path
    file = Path(path).absolute()
    if not file.exists() or (access(file, W_OK) and access(file.parent, W_OK)):
        return file.as_uri()
    return f"{file.as_uri()}?{'mode=ro' if Path(f'{file}-wal').exists() else 'immutable=1'}"
