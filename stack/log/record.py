"""What an event log keeps, and what every log can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from arriero.prompts.errors import ArrieroError
from arriero.stack.engine import Usage
from arriero.stack.events import Event, Reason

TurnState = Literal["running", "waiting", "interrupted", "finished"]
"""A turn that has not finished runs in some process, waits for a decision, or was left by a process that died."""


class LogError(ArrieroError):
    """The event log cannot be opened, read or written. What was to follow has not happened."""


class LogBusy(LogError):
    """Another process was writing all the time."""


class LogConflict(LogError):
    """Another process continued the session in the meantime."""


class SessionBusy(ArrieroError):
    """A turn of that session is running, in this process or in another one."""


class NewerLog(LogError):
    """A later release wrote the log, or the export."""


class InvalidExport(LogError, ValueError):
    """A line of an export is not what `export_session` writes."""


class UnknownSession(ArrieroError):
    """The log has no session, turn or event like that."""


class SessionRedacted(ArrieroError):
    """The session's texts were removed, so it can be looked at, but not be continued, resumed or forked."""


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


@dataclass(frozen=True, slots=True)
class TurnSummary:
    """A turn, or the run of a workflow, in a list of them.

    Args:
        session: Its session.
        turn: Its id.
        state: Where it stands.
        reason: Why it is over; None while it is not.
        agent: Name of the agent, or of the workflow.
        started: Seconds since the epoch when it began.
        updated: Seconds since the epoch of its last event.
        steps: Messages of the model.
        calls: Tool calls.
        usage: Tokens.
        first: Position of its first event in the session.
        last: Position of its last event in the session.
        redacted: Whether its texts were removed.
    """

    session: str
    turn: str
    state: TurnState
    reason: Reason | None
    agent: str
    started: float
    updated: float
    steps: int
    calls: int
    usage: Usage
    first: int
    last: int
    redacted: bool = False


class EventLog(Protocol):
    """Keeps the events of sessions, in order. One process at a time may write a session: the one that leases it."""

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

    async def take(self, session: str) -> None:
        """Lease a session to this process, until `release` or until the process dies.

        A process on another machine that is not heard of for a while counts as dead.

        Raises:
            SessionBusy: A process that lives has it, or this one has taken it before.
            SessionRedacted: Its texts were removed.
            LogError: The log could not be written.
        """
        ...

    async def release(self, session: str) -> None:
        """Give a session back. Giving back what was not taken is fine."""
        ...

    async def turns(self, session: str | None = None) -> list[TurnSummary]:
        """Turns of a session, or of all, the latest first.

        Raises:
            LogError: The log could not be read.
        """
        ...

    async def fork(self, session: str, seq: int, into: str) -> None:
        """Begin a session as a copy of another one, up to and with one event, and log `SessionForked` as its next.

        All of it is one commit. The copied events keep their turns and times; `SessionForked` is logged in the last
        one's turn.

        Args:
            session: The session.
            seq: Position of the last event to copy.
            into: Name of the new session.

        Raises:
            UnknownSession: There is no such session or event.
            SessionRedacted: Its texts were removed.
            LogConflict: The new session has events already.
            LogError: The log could not be written.
        """
        ...

    async def aclose(self) -> None:
        """Release the log, and what this process has leased."""
        ...
