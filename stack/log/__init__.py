"""The event log: append-only, on disk before an event's effect is visible."""

from arriero.stack.log.record import (
    EventLog,
    LogBusy,
    LogConflict,
    LogError,
    NewerLog,
    Record,
    SessionBusy,
    SessionRedacted,
    TurnState,
    TurnSummary,
    UnknownSession,
)
from arriero.stack.log.sqlite import SQLiteLog

__all__ = [
    "EventLog",
    "LogBusy",
    "LogConflict",
    "LogError",
    "NewerLog",
    "Record",
    "SQLiteLog",
    "SessionBusy",
    "SessionRedacted",
    "TurnState",
    "TurnSummary",
    "UnknownSession",
]
