"""Opens a log by its name."""

from pathlib import Path

from arriero.stack.log.database import DatabaseLog
from arriero.stack.log.postgres import PostgresLog
from arriero.stack.log.sqlite import SQLiteLog

_POSTGRES = ("postgresql://", "postgres://")


def open_log(where: str | Path) -> DatabaseLog:
    """Open an event log.

    Args:
        where: A file, `":memory:"`, or the address of a PostgreSQL database, such as
            `postgresql://user:password@host/database`.

    Returns:
        The log.

    Raises:
        LogError: It cannot be opened.

    Example:
        >>> open_log(":memory:").in_memory
        True
    """
    if isinstance(where, str) and where.startswith(_POSTGRES):
        return PostgresLog(where)
    return SQLiteLog(where)
