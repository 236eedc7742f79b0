"""The event log: append-only, on disk before an event's effect is visible."""

from arriero.stack.log.database import DatabaseLog
from arriero.stack.log.opening import open_log
from arriero.stack.log.record import (
    EventLog,
    InvalidExport,
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
    "DatabaseLog",
    "EventLog",
    "InvalidExport",
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
    "open_log",
]
