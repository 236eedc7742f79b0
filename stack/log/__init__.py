"""The event log: append-only, on disk before an event's effect is visible."""

from arriero.stack.log.database import DatabaseLog
from arriero.stack.log.exchange import export_session, import_sessions
from arriero.stack.log.opening import open_log
from arriero.stack.log.postgres import PostgresLog
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
from arriero.stack.log.redaction import redacted
from arriero.stack.log.retention import InvalidRetention, Pruned, Retention, prune
from arriero.stack.log.sqlite import SQLiteLog

__all__ = [
    "DatabaseLog",
    "EventLog",
    "InvalidExport",
    "InvalidRetention",
    "LogBusy",
    "LogConflict",
    "LogError",
    "NewerLog",
    "PostgresLog",
    "Pruned",
    "Record",
    "Retention",
    "SQLiteLog",
    "SessionBusy",
    "SessionRedacted",
    "TurnState",
    "TurnSummary",
    "UnknownSession",
    "export_session",
    "import_sessions",
    "open_log",
    "prune",
    "redacted",
]
