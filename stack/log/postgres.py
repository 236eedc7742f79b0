"""An event log in a PostgreSQL database, which many machines may share."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import anyio

from arriero.stack.log.database import LAPSE, DatabaseLog, Statement
from arriero.stack.log.postgres_errors import LostConnection, typed, unreachable
from arriero.stack.log.postgres_layout import prepare
from arriero.stack.log.record import LogConflict, LogError
from arriero.stack.log.rows import Row, inserting
from arriero.stack.log.workers import Workers

if TYPE_CHECKING:
    from psycopg import Connection

T = TypeVar("T")

_log = logging.getLogger(__name__)

_PAUSE = 0.2
_SOON = "SET synchronous_commit = off"
_SETTINGS = """SELECT set_config('search_path', %s, false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
        ELSE current_setting('synchronous_commit') END, false),
    current_setting('server_encoding'), current_setting('fsync')"""
_KEPT = "SELECT turn, seq, json FROM events WHERE session = ? AND seq >= ? AND seq < ? ORDER BY seq"


class PostgresLog(DatabaseLog):
    """An event log in a PostgreSQL database, which many processes on many machines may share.

    A commit returns when the server has it on disk (`synchronous_commit` is switched on where it is off). Its
    tables are made by the first use, in a schema of their own. Connections belong to threads of the log, so that it
    works in any event loop; one that the server has closed is opened again.

    Args:
        dsn: Address of the database, such as `postgresql://user:password@host:5432/database`. A `schema` among its
            parameters names the schema.
        schema: Schema of the tables, if the address names none.
        connections: Most connections.
        patience: Seconds to try to connect again to a server that was there before, as it may be restarting.
        timeout: Seconds to wait for an answer.
        lapse: Seconds after which a process on another machine counts as dead, when it has not renewed its leases.

    Raises:
        LogError: The address cannot be read, or psycopg is not installed.
    """

    in_memory = False
    _now = "extract(epoch FROM clock_timestamp())::double precision"
    _bytes = "octet_length(json)"

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "arriero",
        connections: int = 4,
        patience: float = 5.0,
        timeout: float = 30.0,
        lapse: float = LAPSE,
    ) -> None:
        self._settings, self.schema, name = _read(dsn, schema)
        super().__init__(name, lapse)
        self._patience = patience
        self._timeout = timeout
        self._threads = threading.local()
        self._workers = Workers(connections, self._leave)
        self._lease_worker = Workers(1, self._leave)  # its connection need not wait for the disk
        self._preparing = threading.Lock()
        self._prepared = False

    async def aclose(self) -> None:
        """Release what this process has leased, and close the connections. Closing twice is fine."""
        self._ended.set()
        if self._is_forked():
            return
        if (self._held or self._owed) and not self._closed:
            with suppress(LogError):  # it lapses soon
                await self._change([("DELETE FROM leases WHERE owner = ?", [self.owner])], durable=False)
        self._held.clear()
        self._closed = True
        await self._workers.aclose()
        await self._lease_worker.aclose()

    async def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return await self._run(lambda connection: connection.execute(_placed(query), values).fetchall(), again=True)

    async def _change(self, statements: Sequence[Statement], *, durable: bool = True) -> list[int]:
        return await self._run(partial(_transaction, statements), durable=durable, again=not durable)

    def _change_here(self, statements: Sequence[Statement]) -> list[int]:
        with self._connect(0.0, durable=False) as connection, typed(self.name, connection):
            return _transaction(statements, connection)

    async def _insert(self, rows: Sequence[Row]) -> None:
        statement, values = inserting(rows)

        def insert(connection: "Connection[Any]") -> None:
            connection.execute(_placed(statement), values)

        try:
            await self._run(insert)
        except LostConnection:  # before or after the commit, or while the server still works on it
            try:
                await self._run(insert)
            except LogConflict:
                session, _, first, *_ = rows[0]
                kept = await self._select(_KEPT, [session, first, first + len(rows)])  # type: ignore[operator]
                if kept != [(row[1], row[2], row[-1]) for row in rows]:
                    raise

    async def _run(self, work: Callable[["Connection[Any]"], T], *, durable: bool = True, again: bool = False) -> T:
        """Do work on a thread with a connection, and `again` if that breaks. An answer that is late is given up."""
        self._check()
        using: list[Connection[Any]] = []

        def job() -> T:
            connection = self._connection(durable)
            using.append(connection)
            with typed(self.name, connection):
                return work(connection)

        try:
            with anyio.fail_after(self._timeout):
                return await (self._workers if durable else self._lease_worker).run(job)
        except LostConnection:
            if not again:
                raise
        except TimeoutError:
            for connection in using:
                _hang_up(connection)
            raise LogError(
                f"{self.name} did not answer within {self._timeout:g} s, so it is not known whether it wrote: check"
                " the server, and run the turn again"
            ) from None
        return await self._run(work, durable=durable)

    def _connection(self, durable: bool) -> "Connection[Any]":
        """This thread's connection, opened if need be."""
        connection: Connection[Any] | None = getattr(self._threads, "connection", None)
        if connection is not None and _answers(connection):
            return connection
        self._leave()
        self._threads.connection = connection = self._connect(self._patience if self._prepared else 0.0, durable)
        return connection

    def _connect(self, patience: float, durable: bool) -> "Connection[Any]":
        import psycopg

        deadline = time.monotonic() + patience
        while True:
            try:
                connection = psycopg.connect(**self._settings, autocommit=True)
                break
            except psycopg.OperationalError as error:
                failure, hopeless = unreachable(self.name, error)
                if hopeless or time.monotonic() > deadline or self._closed:
                    raise failure from error
                time.sleep(_PAUSE)
        try:
            with typed(self.name, connection):
                self._begin(connection)
                if not durable:
                    connection.execute(_SOON)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, connection: "Connection[Any]") -> None:
        (*_, encoding, fsync), *_ = connection.execute(_SETTINGS, [f'"{self.schema}"']).fetchall()
        if encoding != "UTF8":
            raise LogError(f"{self.name} keeps text as {encoding}: give a database with the encoding UTF8")
        with self._preparing:
            if self._prepared:
                return
            if fsync != "on":
                _log.warning("%s runs with fsync off: a power cut may lose what was committed", self.name)
            prepare(connection, self.schema, self.name)
            self._prepared = True

    def _leave(self) -> None:
        connection: Connection[Any] | None = getattr(self._threads, "connection", None)
        if connection is not None:
            self._threads.connection = None
            connection.close()


def _read(dsn: str, schema: str) -> tuple[dict[str, Any], str, str]:
    """Settings of a connection, the schema, and how errors call the log. No error has the password."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise LogError("a log in PostgreSQL needs psycopg: pip install 'arriero[postgres]'") from error
    try:
        parts = urlsplit(dsn)
        if parts.scheme in ("postgresql", "postgres"):
            given = parts.query.split("&")
            own = [unquote(pair.removeprefix("schema=")) for pair in given if pair.startswith("schema=")]
            schema = own[-1] if own else schema
            dsn = urlunsplit(parts._replace(query="&".join(pair for pair in given if not pair.startswith("schema="))))
        settings = dict(conninfo_to_dict(dsn))
    except (ProgrammingError, ValueError):
        raise LogError("that is no address of a PostgreSQL database: give postgresql://user@host/database") from None
    if not schema or '"' in schema or "\0" in schema:
        raise LogError(f"{schema!r} cannot be the name of a schema: give another one")
    host, port, database = (settings.get(key) for key in ("host", "port", "dbname"))
    name = f"the event log {schema} in PostgreSQL {host or 'on this machine'}:{port or 5432}/{database or ''}"
    defaults = {"connect_timeout": 5, "keepalives_idle": 10, "tcp_user_timeout": 30_000, "application_name": "arriero"}
    return defaults | settings, schema, name


@lru_cache(256)
def _placed(statement: str) -> Any:
    return statement.replace("?", "%s")


def _transaction(statements: Sequence[Statement], connection: "Connection[Any]") -> list[int]:
    if len(statements) == 1:
        statement, values = statements[0]
        return [connection.execute(_placed(statement), values).rowcount]
    with connection.pipeline(), connection.transaction():
        cursors = [connection.execute(_placed(statement), values) for statement, values in statements]
    return [cursor.rowcount for cursor in cursors]


def _answers(connection: "Connection[Any]") -> bool:
    """Whether the server has not closed an idle connection, which shows in what can be read from it."""
    import psycopg

    try:
        connection.pgconn.consume_input()  # its last words, if it closed
        connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return not connection.closed


def _hang_up(connection: "Connection[Any]") -> None:
    """End a connection that another thread waits on, which wakes that thread."""
    import psycopg

    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
