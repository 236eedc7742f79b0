"""The event log: append-only, on disk before an event's effect is visible."""

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio
from anyio import to_thread

from arriero.prompts.errors import ArrieroError
from arriero.stack.events import Event, UnreadableEvent, from_json, kind_of, to_json

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


class LogError(ArrieroError):
    """The event log cannot be opened, read or written. What was to follow has not happened."""


class LogConflict(LogError):
    """Another process continued the session in the meantime."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event as logged.

    Args:
        session: Session that the turn belongs to.
        turn: The turn.
        seq: Position in the session, from 0, without gaps.
        time: Seconds since the epoch when it was written.
        event: The event.
    """

    session: str
    turn: str
    seq: int
    time: float
    event: Event


class EventLog(Protocol):
    """Keeps the events of sessions, in order."""

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        """Write events, all or none. They are durable when this returns.

        Args:
            session: The session.
            turn: The turn.
            seq: Position of the first event; it must be the session's next one.
            events: The events.

        Raises:
            LogConflict: The session already has an event at that position.
            LogError: They could not be written.
        """
        ...

    async def read(self, session: str, turn: str | None = None) -> list[Record]:
        """Events of a session, or of one turn of it, in order.

        Raises:
            LogError: The log could not be read.
        """
        ...

    async def length(self, session: str) -> int:
        """Number of events of a session, which is its next position.

        Raises:
            LogError: The log could not be read.
        """
        ...

    async def aclose(self) -> None:
        """Release the log."""
        ...


class SQLiteLog:
    """An event log in one SQLite file.

    Write-ahead logging with `synchronous=FULL`: a commit returns when its bytes are synced, so what was
    committed survives `kill -9` and a power cut. A sync takes 0.2 ms on a good disk and tens of
    milliseconds on a bad one, so it runs on a worker thread and the event loop goes on.

    Args:
        path: The file, created if absent, or `":memory:"` for a log that ends with the process.
        busy_timeout: Seconds to wait for another process that is writing.

    Raises:
        LogError: The file cannot be opened or is not an event log.

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
        self._lock = threading.Lock()
        # One writer at a time anyway: waiting here keeps the worker threads free for tools.
        self._turnstile = anyio.CapacityLimiter(1)
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._failure("opened", error) from error
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._failure("opened", error) from error
        except LogError:
            self._connection.close()
            raise

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        """Write events, all or none; see `EventLog.append`."""
        now = time.time()
        rows = [
            (session, turn, seq + offset, now, kind_of(event), to_json(event)) for offset, event in enumerate(events)
        ]
        await to_thread.run_sync(self._insert, rows, limiter=self._turnstile)

    async def read(self, session: str, turn: str | None = None) -> list[Record]:
        """Events of a session or turn; see `EventLog.read`."""
        query = "SELECT session, turn, seq, time, json FROM events WHERE session = ?"
        wanted: tuple[str, ...] = (session,)
        if turn is not None:
            query, wanted = query + " AND turn = ?", (session, turn)
        rows = await to_thread.run_sync(self._select, query + " ORDER BY seq", wanted, limiter=self._turnstile)
        try:
            return [Record(row[0], row[1], row[2], row[3], from_json(row[4])) for row in rows]
        except UnreadableEvent as error:
            raise LogError(f"the event log {self.path} cannot be read: {error}") from error

    async def length(self, session: str) -> int:
        """Number of events of a session."""
        query = "SELECT coalesce(max(seq) + 1, 0) FROM events WHERE session = ?"
        rows = await to_thread.run_sync(self._select, query, (session,), limiter=self._turnstile)
        return int(rows[0][0])

    async def sessions(self) -> list[str]:
        """Names of all sessions."""
        query = "SELECT DISTINCT session FROM events ORDER BY session"
        rows = await to_thread.run_sync(self._select, query, (), limiter=self._turnstile)
        return [row[0] for row in rows]

    async def aclose(self) -> None:
        """Close the file. Closing twice is fine."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
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
                f"{self.path} is not an event log of layout {_LAYOUT} (it says {layout}): give another file,"
                " or use the release that wrote this one"
            )

    def _insert(self, rows: Iterable[tuple[object, ...]]) -> None:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise self._failure("written", error) from error

    def _roll_back(self) -> None:
        # SQLite has already rolled back by itself after some errors, a full disk among them.
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.ProgrammingError:
            return  # closed: nothing is open that could be rolled back

    def _select(self, query: str, wanted: Sequence[str]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(query, wanted).fetchall()
            except sqlite3.Error as error:
                raise self._failure("read", error) from error

    def _failure(self, what: str, error: sqlite3.Error) -> LogError:
        if isinstance(error, sqlite3.IntegrityError):
            return LogConflict(
                f"the event log {self.path} already has an event at that position: another process continued the"
                " session; run the turn again to continue from there"
            )
        remedy = {
            "SQLITE_BUSY": "another process holds it; try again, or give a longer busy_timeout",
            "SQLITE_FULL": "the disk is full; free some space and run the turn again",
            "SQLITE_READONLY": "it is read-only; give a file that can be written",
            "SQLITE_CANTOPEN": "the folder must exist and be writable",
            "SQLITE_NOTADB": "that file is something else; give another path",
        }.get(getattr(error, "sqlite_errorname", "") or "", "check the disk, and that nothing else changes the file")
        return LogError(f"the event log {self.path} could not be {what}: {error}; {remedy}")
