"""The tables of a log in SQLite, and how older ones become today's."""

import sqlite3
import time
from contextlib import suppress

from arriero.stack.event_json import UnreadableEvent, from_json
from arriero.stack.log.record import LogError, NewerLog
from arriero.stack.log.rows import NOTED, noted

LAYOUT = 2
"""Layout 1 had neither leases nor what lists of turns want, and nothing could be removed from it."""

_EVENTS = """CREATE TABLE events (
    session TEXT NOT NULL,
    turn TEXT NOT NULL,
    seq INTEGER NOT NULL,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    note TEXT,
    prompt INTEGER,
    completion INTEGER,
    cached INTEGER,
    json TEXT NOT NULL,
    PRIMARY KEY (session, seq)
)"""
_LEASES = """CREATE TABLE leases (
    session TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    renewed REAL NOT NULL
)"""
_GUARDS = (
    "CREATE TABLE pruning (allowed INTEGER)",  # has a row only inside of a transaction that prunes
    """CREATE TRIGGER events_stay BEFORE DELETE ON events WHEN NOT EXISTS (SELECT 1 FROM pruning)
    BEGIN SELECT RAISE(ABORT, 'the event log only grows'); END""",
    """CREATE TRIGGER events_hold BEFORE UPDATE ON events WHEN NOT EXISTS (SELECT 1 FROM pruning)
    BEGIN SELECT RAISE(ABORT, 'the event log only grows'); END""",
)


def prepare(connection: sqlite3.Connection, name: str) -> None:
    """Make the tables in a new file, or bring older ones up to date; refuse a file of somebody else's.

    Args:
        connection: The file, in autocommit mode.
        name: What errors call it.

    Raises:
        NewerLog: A later release wrote it.
        LogError: It is not an event log.
        sqlite3.Error: It could not be read or written.
    """
    run = connection.execute
    if _layout(connection, name) == LAYOUT:
        return
    use_wal(connection)
    run("BEGIN IMMEDIATE")  # two processes may open a file at once: one of them makes the tables
    try:
        layout = _layout(connection, name)
        if layout == 0:
            _make(connection)
        elif layout == 1:
            _from_first(connection)
        run(f"PRAGMA user_version = {LAYOUT}")
        run("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            run("ROLLBACK")
        raise


def use_wal(connection: sqlite3.Connection) -> None:
    """Change a file's journal. SQLite refuses at once while another process makes the file, and never waits itself.

    Args:
        connection: The file, in autocommit mode.

    Raises:
        sqlite3.Error: It could not be changed, or stayed locked for longer than the connection's `busy_timeout`.
    """
    end = time.monotonic() + connection.execute("PRAGMA busy_timeout").fetchone()[0] / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
        time.sleep(0.005)


def _layout(connection: sqlite3.Connection, name: str) -> int:
    """Layout of a log; 0 for an empty file."""
    # One statement, or another process may make the tables in between.
    tables, logs, layout = connection.execute(
        "SELECT (SELECT count(*) FROM sqlite_master), (SELECT count(*) FROM sqlite_master WHERE name = 'events'),"
        " user_version FROM pragma_user_version"
    ).fetchone()
    if layout > LAYOUT:
        raise NewerLog(
            f"{name} has layout {layout}, and this release knows up to {LAYOUT}: use the release that wrote it"
        )
    if layout < 0 or (layout > 0) != (logs > 0) or (layout == 0 and tables):
        raise LogError(f"{name} is not an event log: give another file")
    return int(layout)


def _make(connection: sqlite3.Connection) -> None:
    for statement in (_EVENTS, _LEASES, *_GUARDS):
        connection.execute(statement)


def _from_first(connection: sqlite3.Connection) -> None:
    run = connection.execute
    for statement in ("DROP TRIGGER events_stay", "DROP TRIGGER events_hold", "ALTER TABLE events RENAME TO first"):
        run(statement)
    run(_EVENTS)
    kept = "session, turn, seq, time, kind, json"
    run(f"INSERT INTO events ({kept}) SELECT {kept} FROM first")  # noqa: S608  constants
    kinds = ", ".join("?" * len(NOTED))
    for rowid, json in run(f"SELECT rowid, json FROM events WHERE kind IN ({kinds})", NOTED).fetchall():  # noqa: S608
        with suppress(UnreadableEvent):  # reading it says so
            run("UPDATE events SET note = ?, prompt = ?, completion = ?, cached = ? WHERE rowid = ?",
                (*noted(from_json(json)), rowid))  # fmt: skip
    run("DROP TABLE first")
    for statement in (_LEASES, *_GUARDS):
        run(statement)
