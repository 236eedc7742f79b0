"""What can happen to a server: gone, restarted, stopped, full, read-only; and to connections: refused, broken."""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import psycopg
import pytest
from postgres_server import PostgresServer, postgres_server

from arriero.stack.events import LimitReached, PromptAppended
from arriero.stack.log import LogConflict, LogError, NewerLog, PostgresLog, SessionBusy

pytestmark = pytest.mark.anyio

EVENT = LimitReached("steps", "1 of 1")


@pytest.fixture
def schema() -> str:
    return f"test_{secrets.token_hex(6)}"


@pytest.fixture
async def log(postgres_dsn: str, schema: str) -> AsyncIterator[PostgresLog]:
    opened = PostgresLog(postgres_dsn, schema=schema)
    yield opened
    await opened.aclose()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with postgres_server() as server:
        yield server


def told(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


async def refused(log: PostgresLog) -> str:
    """What a log that cannot be used says, and nothing else happens."""
    with pytest.raises(LogError) as caught:
        await log.append("alice", "t1", 0, [EVENT])
    with pytest.raises(LogError):
        await log.take("alice")
    await log.aclose()
    return str(caught.value)


async def test_a_wrong_password_is_a_typed_error_that_does_not_tell_it(postgres: PostgresServer) -> None:
    dsn = postgres.dsn.replace(postgres.password, "hunter2")
    said = await refused(PostgresLog(dsn))
    assert "check the user and the password" in said
    assert "hunter2" not in said
    assert "hunter2" not in repr(PostgresLog(dsn)) + PostgresLog(dsn).name


async def test_a_database_that_does_not_exist_is_a_typed_error(postgres_dsn: str) -> None:
    assert "check the database" in await refused(PostgresLog(postgres_dsn.replace("/postgres", "/nothing")))


async def test_a_server_that_is_not_there_is_a_typed_error_at_once() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        said = await refused(PostgresLog(f"postgresql://u:hunter2@127.0.0.1:{nobody.getsockname()[1]}/d"))
    assert "check that the server runs there" in said
    assert "hunter2" not in said
    assert time.monotonic() - began < 20.0


@pytest.mark.parametrize("dsn", ["postgresql://u:hunter2@[::", "postgresql://u:hunter2@h/d?nonsense=1", "nonsense"])
def test_what_is_no_address_is_a_typed_error(dsn: str) -> None:
    with pytest.raises(LogError, match="no address") as caught:
        PostgresLog(dsn)
    assert "hunter2" not in str(caught.value)


async def test_a_server_out_of_connections_is_a_typed_error(postgres: PostgresServer, schema: str) -> None:
    told(postgres.dsn, f"CREATE ROLE {schema} LOGIN SUPERUSER CONNECTION LIMIT 1 PASSWORD 'p'")
    told(postgres.dsn, f"ALTER ROLE {schema} NOSUPERUSER")
    dsn = f"postgresql://{schema}:p@127.0.0.1:{postgres.port}/postgres"
    with psycopg.connect(dsn):
        assert "give the log fewer connections" in await refused(PostgresLog(dsn, schema=schema))


async def test_who_may_not_make_tables_is_told(postgres: PostgresServer, schema: str) -> None:
    told(postgres.dsn, f"CREATE ROLE {schema} LOGIN PASSWORD 'p'")
    dsn = f"postgresql://{schema}:p@127.0.0.1:{postgres.port}/postgres"
    assert "grant it" in await refused(PostgresLog(dsn, schema=schema))


async def test_a_read_only_database_can_be_read_and_not_written(postgres_dsn: str, log: PostgresLog) -> None:
    await log.append("alice", "t1", 0, [EVENT])
    standby = PostgresLog(f"{postgres_dsn}?options=-c%20default_transaction_read_only%3Don", schema=log.schema)
    assert await standby.length("alice") == 1
    assert [turn.turn for turn in await standby.turns()] == ["t1"]
    assert "address of the primary server" in await refused(standby)
    assert await log.length("alice") == 1


async def test_the_log_only_grows(postgres_dsn: str, log: PostgresLog) -> None:
    await log.append("alice", "t1", 0, [EVENT])
    for statement in ("DELETE FROM {}.events", "UPDATE {}.events SET json = ''", "TRUNCATE {}.events"):
        with pytest.raises(psycopg.errors.RaiseException, match="only grows"):
            told(postgres_dsn, statement.format(log.schema))


async def test_tables_of_a_later_release_say_so(postgres_dsn: str, log: PostgresLog) -> None:
    await log.append("alice", "t1", 0, [EVENT])
    told(postgres_dsn, f"UPDATE {log.schema}.layout SET version = 3")
    other = PostgresLog(postgres_dsn, schema=log.schema)
    with pytest.raises(NewerLog, match="layout 3"):
        await other.read("alice")
    await other.aclose()


async def test_tables_are_made_once_by_many_at_once(postgres_dsn: str, schema: str) -> None:
    logs = [PostgresLog(postgres_dsn, schema=schema) for _ in range(6)]
    async with anyio.create_task_group() as group:
        for number, log in enumerate(logs):
            group.start_soon(log.append, f"s{number}", "t1", 0, [EVENT])
    assert await logs[0].sessions() == [f"s{number}" for number in range(6)]
    for log in logs:
        await log.aclose()


async def test_the_schema_may_be_named_by_the_address_and_by_any_text(postgres_dsn: str) -> None:
    log = PostgresLog(f"{postgres_dsn}?schema=Ana%27s%20Log")
    assert log.schema == "Ana's Log"
    await log.append("alice", "t1", 0, [EVENT])
    assert await log.length("alice") == 1
    await log.aclose()
    for schema in ("", 'a"b'):
        with pytest.raises(LogError, match="name of a schema"):
            PostgresLog(postgres_dsn, schema=schema)


async def test_a_commit_is_durable_whatever_the_user_is_set_to(postgres: PostgresServer, log: PostgresLog) -> None:
    off = PostgresLog(f"{postgres.dsn}?options=-c%20synchronous_commit%3Doff", schema=log.schema)
    [[setting]] = await off._select("SELECT current_setting('synchronous_commit')")
    assert setting == "on"
    await off.aclose()


async def test_a_database_in_another_encoding_is_refused(postgres: PostgresServer, schema: str) -> None:
    told(postgres.dsn, f"CREATE DATABASE {schema} ENCODING 'LATIN1' TEMPLATE template0")
    assert "encoding UTF8" in await refused(PostgresLog(postgres.dsn.replace("/postgres", f"/{schema}")))


async def test_a_restart_of_the_server_goes_unnoticed(own_server: PostgresServer, schema: str) -> None:
    log = PostgresLog(own_server.dsn, schema=schema)
    await log.take("alice")
    for seq, how in enumerate((signal.SIGINT, signal.SIGQUIT)):  # in order, and as if it had crashed
        await log.append("alice", "t1", seq, [EVENT])
        own_server.stop(how)
        own_server.start()
    assert await log.length("alice") == 2
    await log.append("alice", "t1", 2, [EVENT])
    other = PostgresLog(own_server.dsn, schema=schema)
    with pytest.raises(SessionBusy):
        await other.take("alice")
    await log.release("alice")
    await other.take("alice")
    await log.aclose()
    await other.aclose()


async def test_a_server_that_is_away_is_a_typed_error_and_the_log_goes_on_when_it_is_back(
    own_server: PostgresServer, schema: str
) -> None:
    log = PostgresLog(own_server.dsn, schema=schema, patience=0.1)
    await log.append("alice", "t1", 0, [EVENT])
    own_server.stop()
    for refusal in (log.append("alice", "t1", 1, [EVENT]), log.read("alice"), log.take("alice"), log.turns()):
        with pytest.raises(LogError):
            await refusal
    own_server.start()
    await log.take("alice")
    await log.append("alice", "t1", 1, [EVENT])
    assert await log.length("alice") == 2
    await log.aclose()


async def test_a_server_that_comes_back_in_time_is_waited_for(own_server: PostgresServer, schema: str) -> None:
    log = PostgresLog(own_server.dsn, schema=schema, patience=20.0)
    await log.append("alice", "t1", 0, [EVENT])
    own_server.stop()
    async with anyio.create_task_group() as group:
        group.start_soon(log.append, "alice", "t1", 1, [EVENT])
        await anyio.sleep(0.5)  # it tries in vain
        own_server.start()
    assert await log.length("alice") == 2
    await log.aclose()


async def test_a_server_that_does_not_answer_is_a_typed_error_in_time(own_server: PostgresServer, schema: str) -> None:
    log = PostgresLog(own_server.dsn, schema=schema, connections=1, timeout=2.0)
    [[process]] = await log._select("SELECT pg_backend_pid()")
    os.kill(process, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(LogError, match=r"did not answer within 2 s"):
            await log.append("alice", "t1", 0, [EVENT])
        assert time.monotonic() - began < 20.0
        await log.append("alice", "t1", 0, [EVENT])  # over another connection
    finally:
        os.kill(process, signal.SIGCONT)
    assert await log.length("alice") == 1
    await log.aclose()


async def test_a_full_disk_is_a_typed_error_and_the_log_goes_on_afterwards(schema: str) -> None:
    with postgres_server(largest_file=4_000_000) as server:
        log = PostgresLog(server.dsn, schema=schema)
        with pytest.raises(LogError, match=r"could not extend file"):
            await fill(log, events=200)
        seq = await log.length("alice")
        assert 0 < seq < 200
        server.stop()
        server.largest_file = None
        server.start()
        await log.append("alice", "t1", seq, [EVENT])
        assert await log.length("alice") == seq + 1
        await log.aclose()


async def fill(log: PostgresLog, events: int) -> None:
    for seq in range(events):
        await log.append("alice", "t1", seq, [LimitReached("steps", secrets.token_hex(50_000))])


class Breaking:
    """Stands between a log and the server, and breaks the connection that carries an INSERT of an event."""

    def __init__(self, dsn: str, when: str) -> None:
        self.server = urlsplit(dsn)
        self.when = when
        self.armed = False
        self.swallows = False
        self.broken = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        netloc = f"{self.server.username}:{self.server.password}@127.0.0.1:{self.listener.getsockname()[1]}"
        self.dsn = self.server._replace(netloc=netloc).geturl()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            assert self.server.port is not None
            server = socket.create_connection(("127.0.0.1", self.server.port))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(source, target, source is client), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket, outward: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if outward and self.armed and b"PromptAppended" in data:
                    self.armed, self.swallows = False, self.when == "after"
                    if not self.swallows:
                        self.broken += 1
                        break
                elif not outward and self.swallows:  # the server has answered
                    self.swallows, self.broken = False, self.broken + 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def breaking(dsn: str, when: str) -> Iterator[Breaking]:
    proxy = Breaking(dsn, when)
    try:
        yield proxy
    finally:
        proxy.listener.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_events_whose_connection_breaks_are_written_once(postgres_dsn: str, schema: str, when: str) -> None:
    with breaking(postgres_dsn, when) as proxy:
        log = PostgresLog(proxy.dsn, schema=schema, connections=1)
        await log.append("alice", "t1", 0, [EVENT])
        for seq in range(1, 4):
            proxy.armed = True
            await log.append("alice", "t1", seq, [PromptAppended(1, (seq,))])
        assert proxy.broken == 3
        assert [record.event for record in await log.read("alice")][1:] == [
            PromptAppended(1, (seq,)) for seq in range(1, 4)
        ]
        await log.aclose()


async def test_a_conflict_is_seen_where_the_connection_breaks_too(postgres_dsn: str, log: PostgresLog) -> None:
    await log.append("alice", "t1", 0, [EVENT])
    with breaking(postgres_dsn, "before") as proxy:
        other = PostgresLog(proxy.dsn, schema=log.schema, connections=1)
        await other.length("alice")
        proxy.armed = True
        with pytest.raises(LogConflict):
            await other.append("alice", "t2", 0, [PromptAppended(1, (1,))])
        assert proxy.broken == 1
        await other.aclose()


async def test_many_sessions_are_written_at_once(log: PostgresLog) -> None:
    async def session(name: str) -> None:
        await log.take(name)
        for seq in range(10):
            await log.append(name, "t1", seq, [PromptAppended(1, (seq,))])
        await log.release(name)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(session, f"s{number}")
    assert [turn.last for turn in await log.turns()] == [9] * 30


def test_a_log_works_in_one_event_loop_after_the_other(postgres_dsn: str, schema: str) -> None:
    log = PostgresLog(postgres_dsn, schema=schema)
    for seq in range(3):
        anyio.run(log.append, "alice", "t1", seq, [EVENT])
    assert anyio.run(log.length, "alice") == 3
    anyio.run(log.aclose)


async def test_a_server_that_may_lose_commits_is_warned_of(
    own_server: PostgresServer, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    told(own_server.dsn, "ALTER SYSTEM SET fsync = off")
    own_server.stop()
    own_server.start()
    with caplog.at_level(logging.WARNING):
        log = PostgresLog(own_server.dsn, schema=schema)
        await log.append("alice", "t1", 0, [EVENT])
    assert "fsync off" in caplog.text
    told(own_server.dsn, "ALTER SYSTEM RESET fsync")
    await log.aclose()
