"""An event log in one SQLite file."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from os import W_OK, access
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from arriero.stack.event_json import UnreadableEvent, from_json, kind_of, to_json
from arriero.stack.events import Event
from arriero.stack.log.record import LogBusy, LogConflict, LogError, Record

A = TypeVar("A")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_QUICK = 0.001
"""A commit below this many seconds is done on the event loop."""
_SMOOTHING = 0.2
_PLACES = "(?, ?, ?, ?, ?, ?)"

_LAYOUT = 1
_TABLE = (
    """CREATE TABLE events (
    session TEXT NOT NULL,
    turn TEXT NOT NULL,
    seq INTEGER NOT NULL,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (session, seq)
)""",
    "CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the event log only grows'); END",
    "CREATE TRIGGER events_hold BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the event log only grows'); END",
)
_REMEDIES = (
    ("SQLITE_BUSY", "another process holds it; try again, or give a longer busy_timeout"),
    ("SQLITE_FULL", "the disk is full; free some space and run the turn again"),
    ("SQLITE_READONLY", "it is read-only; give a file that can be written"),
    ("SQLITE_CANTOPEN", "the folder must exist and be writable"),
    ("SQLITE_NOTADB", "that file is something else; give another path"),
)
_ANY_REMEDY = "check the disk, and that nothing else changes the file"


class SQLiteLog:
    """An event log in one SQLite file.

    Write-ahead logging with `synchronous=FULL`: a commit returns when its bytes are synced, so what was
    committed survives `kill -9` and a power cut. Handing a commit to a worker thread and back costs more
    CPU than the commit itself. So it is done on the event loop while commits are measured to be quick, and
    on a worker thread where syncs are slow or another process is writing.

    Args:
        path: The file, created by the first event if absent, or `":memory:"` for a log that ends with the process.
        busy_timeout: Seconds to wait for another process that is writing.

    Raises:
        LogError: The file cannot be opened or is not an event log, or its folder is missing or not writable.

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

    def __init__(self, path: str | Path, *, busy_timeout: float = 5.0) -> None:
        self.path = str(path)
        self.in_memory = self.path == ":memory:"
        self._busy_timeout = busy_timeout
        self._worker = _Worker()
        self._pace = 0.0 if self.in_memory else _QUICK  # seconds of a commit, smoothed; a worker thread measures first
        self._opened: tuple[_Connection, _Connection] | None = None
        self._closed = False
        if self._exists():
            self._open()
        elif not access(folder := Path(self.path).absolute().parent, W_OK) or not folder.is_dir():
            raise LogError(f"the event log {self.path} cannot be made: the folder must exist and be writable")

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        """Write events, all or none; see `EventLog.append`."""
        now = time.time()
        rows = [
            (session, turn, seq + offset, now, kind_of(event), to_json(event)) for offset, event in enumerate(events)
        ]
        await self._begin()
        await self._run(self._insert, rows)

    async def read(self, session: str, turn: str | None = None) -> list[Record]:
        """Events of a session or turn; see `EventLog.read`."""
        query = "SELECT session, turn, seq, time, json FROM events WHERE session = ?"
        wanted = [session]
        if turn is not None:
            query, wanted = query + " AND turn = ?", [session, turn]
        rows = await self._select(query + " ORDER BY seq", wanted)
        try:
            return [Record(row[0], row[1], row[2], row[3], from_json(row[4])) for row in rows]
        except UnreadableEvent as error:
            raise LogError(f"the event log {self.path} cannot be read: {error}") from error

    async def length(self, session: str) -> int:
        """Number of events of a session."""
        query = "SELECT coalesce(max(seq) + 1, 0) FROM events WHERE session = ?"
        if not await self._found():
            return 0
        rows = await self._run(lambda connection, wanted: connection.select(query, wanted), [session])
        return int(rows[0][0])

    async def sessions(self) -> list[str]:
        """Names of all sessions."""
        query = "SELECT DISTINCT session FROM events ORDER BY session"
        return [row[0] for row in await self._select(query, ())]

    async def aclose(self) -> None:
        """Close the file. Closing twice is fine."""
        self._closed = True
        await self._worker.aclose()
        for connection in self._opened or ():
            connection.close()

    def _exists(self) -> bool:
        return self._opened is not None or self.in_memory or Path(self.path).exists()

    def _open(self) -> tuple["_Connection", "_Connection"]:
        """A connection that waits for other processes, and one that does not. Makes the file."""
        if self._opened is None:
            if self._closed:
                raise LogError(f"the event log {self.path} is closed: open it again")
            patient = _Connection(self.path, self._busy_timeout)
            patient.prepare()
            self._opened = (patient, patient if self.in_memory else _Connection(self.path, 0.0))
        return self._opened

    async def _begin(self) -> None:
        if self._opened is None:
            await self._worker.run(self._open)

    async def _found(self) -> bool:
        """Whether there is a file to read, which another process may have made in the meantime."""
        if found := self._exists():
            await self._begin()
        return found

    async def _select(self, query: str, wanted: Sequence[str]) -> list[tuple[Any, ...]]:
        if not await self._found():
            return []
        patient, _ = self._open()
        return await self._worker.run(partial(patient.select, query, wanted))

    async def _run(self, work: Callable[["_Connection", A], T], argument: A) -> T:
        patient, eager = self._open()
        if self._pace < _QUICK:
            try:
                return work(eager, argument)
            except LogBusy:
                _log.debug("%s is held by another process: waiting on a worker thread", self.path)
        return await self._worker.run(partial(work, patient, argument))

    def _insert(self, connection: "_Connection", rows: Sequence[tuple[object, ...]]) -> None:
        started = time.perf_counter()
        connection.insert(rows)
        self._pace += _SMOOTHING * (time.perf_counter() - started - self._pace)


class _Worker:
    """One thread that does jobs in order. Half the CPU of `anyio.to_thread`, which is made for many threads."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, job: Callable[[], T]) -> T:
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

        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="event log", daemon=True)
            self._thread.start()
        self._jobs.put(work)
        return await outcome

    async def aclose(self) -> None:
        """Finish what is queued and end the thread."""
        if self._thread is not None:
            await self.run(lambda: self._jobs.put(None))
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class _Connection:
    """One connection, used by one thread at a time. SQLite's errors leave it as `LogError`s."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._typed("opened"):
            self._sqlite = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
            self._sqlite.execute("PRAGMA synchronous = FULL")

    def prepare(self) -> None:
        """Make the table in a new file; refuse a file of somebody else's."""
        run = self._sqlite.execute
        try:
            with self._typed("opened"):
                run("PRAGMA journal_mode = WAL")
                run("BEGIN IMMEDIATE")  # two processes may open a new file at once: one of them makes the table
                layout = run("PRAGMA user_version").fetchone()[0]
                if layout == 0 and not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in _TABLE:
                        run(statement)
                    run(f"PRAGMA user_version = {_LAYOUT}")
                    layout = _LAYOUT
                run("COMMIT")
            if layout != _LAYOUT:
                raise LogError(
                    f"{self._path} is not an event log of layout {_LAYOUT} (it says {layout}): give another file,"
                    " or use the release that wrote this one"
                )
        except LogError:
            self.close()
            raise

    def insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        # One statement is one transaction, all or none: a third of the calls of BEGIN, INSERT, COMMIT.
        statement = f"INSERT INTO events VALUES {', '.join([_PLACES] * len(rows))}"  # noqa: S608  no value is in it
        with self._lock, self._typed("written"):
            self._sqlite.execute(statement, [value for row in rows for value in row])

    def select(self, query: str, wanted: Sequence[str]) -> list[tuple[Any, ...]]:
        with self._lock, self._typed("read"):
            return self._sqlite.execute(query, wanted).fetchall()

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
