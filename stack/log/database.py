"""What logs in databases share: the statements, the leases. How a statement is run is each one's own."""

import logging
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio

from arriero.stack.event_json import NewerEvent, UnreadableEvent, UnstorableEvent, from_json
from arriero.stack.events import Event, SessionForked
from arriero.stack.log.owner import lives, this_process
from arriero.stack.log.record import (
    LogConflict,
    LogError,
    NewerLog,
    Record,
    SessionBusy,
    SessionRedacted,
    TurnSummary,
    UnknownSession,
)
from arriero.stack.log.rows import TURNS, Row, inserting, row_of, summaries

Statement = tuple[str, Sequence[object]]
"""SQL with `?` for its values, and the values."""

_log = logging.getLogger(__name__)

LAPSE = 30.0
"""Seconds after which a process on another machine counts as dead, when it has not renewed its leases."""

REDACTED = "redacted"
"""The owner of sessions whose texts were removed: nobody else can ever lease them."""

_TRIES = 3

_FORK = """INSERT INTO events (session, turn, seq, time, kind, note, prompt, completion, cached, json)
WITH source AS (
    SELECT session, turn, seq FROM events
    WHERE session = ? AND seq = ? AND NOT EXISTS (SELECT 1 FROM leases WHERE session = ? AND owner = ?)
) SELECT ?, events.turn, events.seq, time, kind, note, prompt, completion, cached, json
FROM events JOIN source ON events.session = source.session AND events.seq <= source.seq
UNION ALL SELECT ?, turn, seq + 1, ?, ?, NULL, NULL, NULL, NULL, ? FROM source"""
"""One statement sees one state of the session, whoever prunes it meanwhile."""
_LEASE = "INSERT INTO leases (session, owner, renewed) VALUES (?, ?, {now})"
_TAKE = _LEASE + " ON CONFLICT DO NOTHING"
_SEIZE = "UPDATE leases SET owner = ?, renewed = {now} WHERE session = ? AND owner = ? AND renewed <= ?"
_RENEW = "UPDATE leases SET renewed = {now} WHERE session = ? AND owner = ?"
_RENEW_ALL = "UPDATE leases SET renewed = {now} WHERE owner = ?"
_GIVE_BACK = "DELETE FROM leases WHERE session = ? AND owner = ?"
_LEASES = "SELECT session, owner, renewed, {now} FROM leases {where}"
_OF_SESSION = "WHERE session = ?"
_PART = 256
"""Events in one statement: databases take some thousand values in one."""


class DatabaseLog(ABC):
    """An event log in a database; see `EventLog`.

    Args:
        name: What errors call it.
        lapse: Seconds after which a process on another machine counts as dead, when it has not renewed its leases.
    """

    in_memory: bool
    """Whether the log ends with the process."""

    _now: str
    """The time in the database's SQL, in seconds since the epoch."""
    _bytes: str
    """Bytes of an event, in the database's SQL."""

    def __init__(self, name: str, lapse: float) -> None:
        self.name = name
        self.owner = f"{this_process()}:{secrets.token_hex(4)}"  # two logs of one process are two owners
        self._process = os.getpid()
        self._closed = False
        self._lapse = lapse
        self._held: dict[str, float] = {}  # until when nobody else can think that the owner is dead
        self._owed: set[str] = set()  # given back, but the database was not told
        self._renewing: threading.Thread | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        """Write events, all or none; see `EventLog.append`."""
        if not events:
            return
        now = time.time()
        if now > self._held.get(session, now):
            await self._reassure(session)
        rows = self._rows([(session, turn, seq + at, now, event) for at, event in enumerate(events)])
        if len(rows) > _PART:
            await self._change(_inserting(rows))
        else:
            await self._insert(rows)

    async def read(self, session: str, turn: str | None = None) -> list[Record]:
        """Events of a session or turn; see `EventLog.read`."""
        query, wanted = "SELECT session, turn, seq, time, json FROM events WHERE session = ?", [session]
        if turn is not None:
            query, wanted = query + " AND turn = ?", [session, turn]
        rows = await self._select(query + " ORDER BY seq", wanted)
        try:
            return [Record(row[0], row[1], row[2], row[3], from_json(row[4])) for row in rows]
        except UnreadableEvent as error:
            kind = NewerLog if isinstance(error, NewerEvent) else LogError
            raise kind(f"{self.name} cannot be read: {error}") from error

    async def length(self, session: str) -> int:
        """Number of events of a session."""
        rows = await self._select("SELECT coalesce(max(seq) + 1, 0) FROM events WHERE session = ?", [session])
        return int(rows[0][0]) if rows else 0

    async def sessions(self) -> list[str]:
        """Names of all sessions, sorted.

        Raises:
            LogError: The log could not be read.
        """
        return sorted(row[0] for row in await self._select("SELECT DISTINCT session FROM events"))

    async def turns(self, session: str | None = None) -> list[TurnSummary]:
        """Turns of a session, or of all, the latest first; see `EventLog.turns`."""
        where, wanted = ("", []) if session is None else (_OF_SESSION, [session])
        rows = await self._select(TURNS.format(where=where), wanted)
        leases = await self._select(_LEASES.format(now=self._now, where=where), wanted)
        held = {name: not self._lapsed(owner, now - renewed) for name, owner, renewed, now in leases}
        return summaries(rows, held, {lease[0] for lease in leases if lease[1] == REDACTED})

    async def fork(self, session: str, seq: int, into: str) -> None:
        """Begin a session as a copy of another one up to an event; see `EventLog.fork`."""
        forked = into, "", seq + 1, time.time(), SessionForked(session, seq)
        [(_, _, _, now, kind, *_, text)] = self._rows([forked])
        if (await self._change([(_FORK, [session, seq, session, REDACTED, into, into, now, kind, text])]))[0]:
            return
        if await self._select("SELECT 1 FROM events WHERE session = ? AND seq = ?", [session, seq]):
            raise _redacted(session)
        raise UnknownSession(f"session {session!r} has no event {seq}: `turns` tells what there is")

    async def take(self, session: str) -> None:
        """Lease a session to this process; see `EventLog.take`."""
        if session in self._held:
            raise SessionBusy(
                f"a turn of session {session!r} is running here: wait until it is over, or use another session"
            )
        self._held[session] = 0.0
        try:
            with anyio.CancelScope(shield=True):  # what is written must be known here
                self._held[session] = await self._lease(session)
        except BaseException:
            del self._held[session]
            raise
        self._owed.discard(session)
        if not self.in_memory:
            self._keep_renewing()

    async def release(self, session: str) -> None:
        """Give a session back; see `EventLog.release`."""
        if session not in self._held:
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._change([(_GIVE_BACK, [session, self.owner])], durable=False)
            except LogError as error:  # the turn is over, and its end must not become another one
                self._owed.add(session)
                _log.warning("session %s could not be given back, it is tried again: %s", session, error)
            finally:
                with self._lock:
                    self._held.pop(session, None)

    async def restore(self, records: Sequence[Record], *, redacted: bool = False) -> None:
        """Write a whole session as it was elsewhere, or nothing.

        Args:
            records: Its events, from the first on.
            redacted: Whether its texts were removed.

        Raises:
            LogConflict: The log has a session of that name, or somebody leases it for one.
            LogError: The log could not be written.
        """
        rows = self._rows([(record.session, record.turn, record.seq, record.time, record.event) for record in records])
        statements = _inserting(rows)
        if redacted:
            statements.append((_LEASE.format(now=self._now), [records[0].session, REDACTED]))
        await self._change(statements)

    async def delete(self, session: str, length: int, *, dry_run: bool = False) -> int:
        """Remove a session for good.

        Args:
            session: The session.
            length: Number of its events, so that none is removed that nobody has looked at.
            dry_run: Only say what it would free.

        Returns:
            Bytes of its events.

        Raises:
            SessionBusy: Somebody has it, or it was continued meanwhile.
            LogError: The log could not be written.
        """
        size = await self._size(session)
        deleting = "DELETE FROM events WHERE session = ?", [session]
        if not dry_run:
            await self._prune(session, length, [deleting], "DELETE FROM leases WHERE session = ?", [session])
        return size

    async def rewrite(self, session: str, length: int, texts: Sequence[tuple[int, str]], *, dry_run: bool) -> int:
        """Put other JSON into events of a session, which can then not go on any more.

        Args:
            session: The session.
            length: Number of its events, so that none is left out that nobody has looked at.
            texts: Positions and JSON.
            dry_run: Only say what it would free.

        Returns:
            Bytes by which its events are shorter.

        Raises:
            SessionBusy: Somebody has it, or it was continued meanwhile.
            LogError: The log could not be written.
        """
        size = await self._size(session)
        writing = "UPDATE events SET json = ? WHERE session = ? AND seq = ?"
        changes: list[Statement] = [(writing, [text, session, seq]) for seq, text in texts]
        marking = "UPDATE leases SET owner = ? WHERE session = ?"
        if not dry_run:
            await self._prune(session, length, changes, marking, [REDACTED, session])
        return size - sum(len(text.encode()) for _, text in texts)

    async def settle(self) -> None:
        """Have what was pruned overwritten on disk, as far as the database can."""
        return

    @abstractmethod
    async def aclose(self) -> None:
        """Release the log, and what this process has leased. Closing twice is fine."""

    @abstractmethod
    async def _insert(self, rows: Sequence[Row]) -> None:
        """Insert events durably, all or none."""

    @abstractmethod
    async def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; none where there is no database yet."""

    @abstractmethod
    async def _change(self, statements: Sequence[Statement], *, durable: bool = True) -> list[int]:
        """Run statements in one transaction, and say how many rows each has changed.

        What is not durable may be lost in a power cut or when the database's server dies, in nothing else.
        """

    @abstractmethod
    def _change_here(self, statements: Sequence[Statement]) -> list[int]:
        """As `_change` without durability, on the thread that calls, which may wait."""

    def _check(self) -> None:
        """Make sure that the log can be used."""
        if self._closed:
            raise LogError(f"{self.name} is closed: open it again")
        if self._is_forked():
            raise LogError(f"{self.name} was opened by the process that this one is a fork of: open it here")

    def _is_forked(self) -> bool:
        """Whether another process opened the log. Its connections and leases are still that one's."""
        return self._process != os.getpid()

    def _rows(self, events: Sequence[tuple[str, str, int, float, Event]]) -> list[Row]:
        try:
            return [row_of(*event) for event in events]
        except UnstorableEvent as error:
            raise LogError(f"{self.name} cannot hold {error}") from error

    async def _size(self, session: str) -> int:
        rows = await self._select(f"SELECT coalesce(sum({self._bytes}), 0) FROM events WHERE session = ?", [session])  # noqa: S608
        return int(rows[0][0])

    async def _prune(
        self, session: str, length: int, changes: Sequence[Statement], last: str, values: Sequence[object]
    ) -> None:
        """Change events of a session that nobody else has, and its lease last."""
        with suppress(SessionRedacted):  # nobody can take that one
            await self.take(session)
        try:
            if await self.length(session) != length:
                raise SessionBusy(f"session {session!r} was continued meanwhile")
            allowed, over = ("INSERT INTO pruning VALUES (1)", ()), ("DELETE FROM pruning", ())
            await self._change([allowed, *changes, over, (last, values)])
        except BaseException:
            await self.release(session)
            raise
        self._held.pop(session, None)

    async def _lease(self, session: str) -> float:
        """Lease a session, and say until when nobody else can think that this process is dead."""
        taking, seizing = _TAKE.format(now=self._now), _SEIZE.format(now=self._now)
        seeing = _LEASES.format(now=self._now, where=_OF_SESSION)
        for _ in range(_TRIES):
            until = time.time() + self._lapse
            if (await self._change([(taking, [session, self.owner])], durable=False))[0]:
                return until
            for _, owner, renewed, now in await self._select(seeing, [session]):
                if owner == self.owner:  # it was written, but the answer was lost
                    return until
                if owner == REDACTED:
                    raise _redacted(session)
                if not self._lapsed(owner, now - renewed):
                    raise SessionBusy(_busy(session, owner, now - renewed))
                if (await self._change([(seizing, [self.owner, session, owner, renewed])], durable=False))[0]:
                    _log.info("session %s is taken over from %s, which is dead", session, owner)
                    return until
        raise SessionBusy(f"session {session!r} is taken by one process after the other: try again")

    def _lapsed(self, owner: str, silent: float) -> bool:
        if owner == REDACTED:
            return True
        known = lives(owner)
        return silent > self._lapse if known is None else not known

    async def _reassure(self, session: str) -> None:
        """Make sure of a lease that was not renewed in time: the computer slept, or the database was away."""
        until = time.time() + self._lapse
        for statement in (_RENEW, _TAKE):
            values = [session, self.owner]
            if (await self._change([(statement.format(now=self._now), values)], durable=False))[0]:
                self._held[session] = until
                return
        raise LogConflict(
            f"session {session!r} was taken over by another process, as this one was not heard of for"
            f" {self._lapse:g} s: run the turn again to continue from there"
        )

    def _keep_renewing(self) -> None:
        with self._lock:
            if self._renewing is None:
                self._renewing = threading.Thread(target=self._renew, name="event log leases", daemon=True)
                self._renewing.start()

    def _renew(self) -> None:
        renewing = _RENEW_ALL.format(now=self._now), [self.owner]
        while not self._ended.wait(self._lapse / 3):
            with self._lock:
                if not self._held and not self._owed:
                    self._renewing = None  # the next `take` starts another one
                    return
                held, owed, until = list(self._held), list(self._owed), time.time() + self._lapse
            try:
                given_back = [(_GIVE_BACK, [session, self.owner]) for session in owed if session not in self._held]
                *_, renewed = self._change_here([*given_back, renewing])
            except LogError as error:
                _log.warning("leases of %d sessions could not be renewed: %s", len(held), error)
                continue
            self._owed.difference_update(owed)
            if renewed >= len(held):  # else some were lost, which their next append finds out
                with self._lock:
                    self._held.update({session: until for session in held if session in self._held})


def _inserting(rows: Sequence[Row]) -> list[Statement]:
    return [inserting(rows[first : first + _PART]) for first in range(0, len(rows), _PART)]


def _busy(session: str, owner: str, silent: float) -> str:
    host, pid, *_ = owner.split(":")
    return (
        f"a turn of session {session!r} is running in process {pid} on {host}, last heard of {max(silent, 0.0):.0f} s"
        " ago: wait until it is over, or use another session"
    )


def _redacted(session: str) -> SessionRedacted:
    return SessionRedacted(
        f"the texts of session {session!r} were removed: it can be looked at, but not go on; begin another session"
    )
