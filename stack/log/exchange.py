"""Sessions as JSON lines, to carry them from one log to another."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from arriero.stack.event_json import SCHEMA_VERSION, UnreadableEvent, UnstorableEvent, from_json, to_json
from arriero.stack.log.database import DatabaseLog
from arriero.stack.log.record import EventLog, InvalidExport, LogConflict, NewerLog, Record, UnknownSession

VERSION = 1
"""Version of the export's form. The events have a version of their own."""

_FORMAT = "arriero session"
_NEVER = 1e12
"""Seconds since the epoch, beyond any year that dates are written for."""


async def export_session(log: EventLog, session: str) -> AsyncIterator[str]:
    r"""A session as JSON lines: one that names it, then one for each event.

    Args:
        log: The log.
        session: The session.

    Yields:
        Lines, each with its `"\n"`.

    Raises:
        UnknownSession: There is no such session.
        LogError: The log could not be read.

    Example:
        >>> import anyio
        >>> from arriero.stack.events import LimitReached
        >>> from arriero.stack.log import SQLiteLog
        >>> async def lines() -> list[str]:
        ...     log = SQLiteLog(":memory:")
        ...     await log.append("alice", "t1", 0, [LimitReached("steps", "8 of 8")])
        ...     return [line async for line in export_session(log, "alice")]
        >>> print(anyio.run(lines)[0].strip())
        {"format": "arriero session", "version": 1, "session": "alice", "events": 1, "redacted": false}
    """
    records = await log.read(session)
    if not records:
        raise UnknownSession(f"there is no session {session!r}: `turns` tells what there is")
    removed = any(turn.redacted for turn in await log.turns(session))
    yield _line(
        {"format": _FORMAT, "version": VERSION, "session": session, "events": len(records), "redacted": removed}
    )
    for record in records:
        event = json.loads(to_json(record.event))
        yield _line({"seq": record.seq, "turn": record.turn, "time": record.time, "event": event})


async def import_sessions(
    log: DatabaseLog, lines: AsyncIterable[str] | Iterable[str], rename: Callable[[str], str] | None = None
) -> list[str]:
    """Read sessions that were exported, one after the other. Each is written whole or not at all.

    Args:
        log: Where they go.
        lines: Lines of one export or of several; a file that is open for reading, for instance.
        rename: Gives the name that a session is to have here, from the one that it has in the export.

    Returns:
        Names of the sessions that were written.

    Raises:
        InvalidExport: A line is not what `export_session` writes, or some are missing; it says which.
        NewerLog: A later release exported it.
        LogConflict: The log has a session of that name.
        LogError: The log could not be written.

    Example:
        >>> import anyio
        >>> from arriero.stack.events import LimitReached
        >>> from arriero.stack.log import SQLiteLog
        >>> async def copied() -> list[str]:
        ...     log, other = SQLiteLog(":memory:"), SQLiteLog(":memory:")
        ...     await log.append("alice", "t1", 0, [LimitReached("steps", "8 of 8")])
        ...     return await import_sessions(other, export_session(log, "alice"), rename=str.upper)
        >>> anyio.run(copied)
        ['ALICE']
    """
    written: list[str] = []
    reading = _Reading(rename or str)
    number = 0
    try:
        async for line in _each(lines):
            number += 1
            if line.strip():
                reading.take(line)
            if reading.complete:
                await log.restore(reading.records, redacted=reading.redacted)
                written.append(reading.session)
                reading = _Reading(rename or str)
        if reading.begun:
            raise InvalidExport(f"{len(reading.records)} of {reading.expected} events of {reading.session!r} are there")
    except LogConflict as error:
        raise LogConflict(
            f"session {reading.session!r} exists already, and was not imported: rename it, or remove that one"
            f"{_so_far(written)}"
        ) from error
    except (InvalidExport, NewerLog) as error:
        raise type(error)(f"line {number} of the export: {error}{_so_far(written)}") from error
    return written


class _Reading:
    """A session of which some lines have been read."""

    def __init__(self, rename: Callable[[str], str]) -> None:
        self.rename = rename
        self.begun = False
        self.session = ""
        self.expected = 0
        self.redacted = False
        self.records: list[Record] = []

    @property
    def complete(self) -> bool:
        return self.begun and len(self.records) == self.expected

    def take(self, line: str) -> None:
        raw = _object(line)
        if self.begun:
            self.records.append(self._record(raw))
        else:
            self._begin(raw)

    def _begin(self, raw: dict[str, Any]) -> None:
        if raw.get("format") != _FORMAT:
            raise InvalidExport('it should begin a session: {"format": "arriero session", ...}')
        _known(raw.get("version"), VERSION)
        session = _field(raw, "session", str)
        self.expected = _field(raw, "events", int)
        self.redacted = _field(raw, "redacted", bool)
        if self.expected < 1:
            raise InvalidExport("a session has at least one event")
        self.session = self.rename(session)
        self.begun = True

    def _record(self, raw: dict[str, Any]) -> Record:
        seq, time = _field(raw, "seq", int), _field(raw, "time", (int, float))
        if seq != len(self.records):
            raise InvalidExport(f"event {seq} where event {len(self.records)} should be")
        if not abs(time) < _NEVER:
            raise InvalidExport(f"{time!r} is no time")
        event = _field(raw, "event", dict)
        _known(event.get("v"), SCHEMA_VERSION)
        try:
            record = Record(self.session, _field(raw, "turn", str), seq, float(time), from_json(json.dumps(event)))
            to_json(record.event)  # a log that cannot hold it would not say in which line it is
        except (UnreadableEvent, UnstorableEvent, RecursionError) as error:
            raise InvalidExport(str(error)) from error
        return record


def _object(line: str) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidExport(f"it is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidExport("it is no JSON object")
    return raw


def _field(raw: Mapping[str, Any], name: str, kind: type[Any] | tuple[type[Any], ...]) -> Any:
    value = raw.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidExport(f"its {name!r} is {type(value).__name__}" if name in raw else f"it has no {name!r}")
    if isinstance(value, str) and not value.isascii() and value != value.encode(errors="replace").decode():
        raise InvalidExport(f"its {name!r} has a lone surrogate, which is no Unicode text")
    return value


def _known(version: object, latest: int) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidExport(f"{version!r} is no version")
    if version > latest:
        raise NewerLog(f"version {version}, and this release reads up to {latest}: use the release that wrote it")


def _so_far(written: list[str]) -> str:
    return f"; imported before: {', '.join(map(repr, written))}" if written else ""


def _line(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


async def _each(lines: AsyncIterable[str] | Iterable[str]) -> AsyncIterator[str]:
    if isinstance(lines, AsyncIterable):
        async for line in lines:
            yield line
    else:
        for line in lines:
            yield line
