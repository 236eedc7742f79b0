"""How long sessions are kept, and with what in them."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Literal

from arriero.prompts.errors import ArrieroError
from arriero.stack.event_json import to_json
from arriero.stack.log.database import DatabaseLog
from arriero.stack.log.record import SessionBusy, TurnSummary
from arriero.stack.log.redaction import redacted


class InvalidRetention(ArrieroError, ValueError):
    """An age is negative, or the names to keep are one text."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long sessions are kept. The age of a session is that of its last event.

    Args:
        delete_after: Seconds after which a session is deleted; None for never.
        redact_after: Seconds after which its texts are removed; None for never.
        keep: Names of sessions that are left alone, or patterns of names, such as `"audit-*"`.

    Raises:
        InvalidRetention: An age is negative, or `keep` is one text.

    Example:
        >>> Retention(delete_after=90 * 86400, redact_after=7 * 86400).keep
        ()
    """

    delete_after: float | None = None
    redact_after: float | None = None
    keep: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in ("delete_after", "redact_after"):
            age = getattr(self, name)
            if age is not None and not age >= 0:
                raise InvalidRetention(f"{name} of the retention is {age!r}: give seconds, or None for never")
        if isinstance(self.keep, str):  # each of its characters would be a pattern, and "*" keeps everything
            raise InvalidRetention(f"keep of the retention is one text: give several, [{self.keep!r}]")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` did, or would do.

    Args:
        deleted: Sessions that were deleted.
        redacted: Sessions whose texts were removed.
        busy: Sessions that were old enough, but were continued meanwhile.
        events: How many events were deleted.
        bytes: How many bytes the events are shorter by, all together. A database's file keeps its size, and the room is
            used for new events.
    """

    deleted: tuple[str, ...]
    redacted: tuple[str, ...]
    busy: tuple[str, ...]
    events: int
    bytes: int


async def prune(log: DatabaseLog, retention: Retention, *, now: float | None = None, dry_run: bool = False) -> Pruned:
    """Delete old sessions, and remove texts from others. One that runs, or waits for a decision, is left alone.

    Args:
        log: The log.
        retention: How long sessions are kept.
        now: Seconds since the epoch to reckon ages from; None for the time.
        dry_run: Only say what would be done.

    Returns:
        What was done.

    Raises:
        LogError: The log could not be read or written. What was pruned before stays pruned.

    Example:
        >>> import anyio
        >>> from arriero.stack.events import LimitReached
        >>> from arriero.stack.log import SQLiteLog
        >>> async def deleted() -> tuple[str, ...]:
        ...     log = SQLiteLog(":memory:")
        ...     await log.append("alice", "t1", 0, [LimitReached("steps", "8 of 8")])
        ...     return (await prune(log, Retention(delete_after=3600.0), now=time.time() + 7200.0)).deleted
        >>> anyio.run(deleted)
        ('alice',)
    """
    now = time.time() if now is None else now
    done: dict[str, list[str]] = {"delete": [], "redact": [], "busy": []}
    events = size = 0
    for session, turns in _by_session(await log.turns()):
        due = _due(session, turns, retention, now)
        if due is None:
            continue
        length = max(turn.last for turn in turns) + 1
        try:
            if due == "delete":
                size += await log.delete(session, length, dry_run=dry_run)
                events += length
            else:
                size += await _redact(log, session, length, dry_run)
        except SessionBusy:
            due = "busy"
        done[due].append(session)
    if size and not dry_run:
        await log.settle()
    return Pruned(tuple(done["delete"]), tuple(done["redact"]), tuple(done["busy"]), events, size)


def _by_session(turns: Iterable[TurnSummary]) -> Iterable[tuple[str, list[TurnSummary]]]:
    for session, group in groupby(sorted(turns, key=lambda turn: turn.session), key=lambda turn: turn.session):
        yield session, list(group)


def _due(
    session: str, turns: list[TurnSummary], retention: Retention, now: float
) -> Literal["delete", "redact", "busy"] | None:
    if any(turn.state in ("running", "waiting") for turn in turns):
        return None
    if session in retention.keep or any(fnmatchcase(session, pattern) for pattern in retention.keep):
        return None
    age = now - max(turn.updated for turn in turns)
    if retention.delete_after is not None and age > retention.delete_after:
        return "delete"
    if retention.redact_after is not None and age > retention.redact_after and not turns[0].redacted:
        return "redact"
    return None


async def _redact(log: DatabaseLog, session: str, length: int, dry_run: bool) -> int:
    changed = [(record.seq, to_json(redacted(record.event))) for record in await log.read(session)]
    return await log.rewrite(session, length, changed, dry_run=dry_run)
