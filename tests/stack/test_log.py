import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import run, scripted_stack

from arriero.prompts.errors import InvalidMessage
from arriero.stack.errors import ContextTooLong
from arriero.stack.events import LimitReached, PromptAppended
from arriero.stack.log import LogConflict, LogError, SQLiteLog
from arriero.stack.shields import UnknownShield

pytestmark = pytest.mark.anyio

EVENTS = [PromptAppended(1, (1, 2)), LimitReached("steps", "1 of 1")]


async def test_events_come_back_in_order_by_session_and_turn(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    await log.append("alice", "t1", 0, EVENTS)
    await log.append("bob", "t2", 0, EVENTS[:1])
    await log.append("alice", "t3", 2, EVENTS[1:])
    await log.aclose()

    log = SQLiteLog(tmp_path / "events.sqlite")
    records = await log.read("alice")
    assert [record.event for record in records] == [*EVENTS, EVENTS[1]]
    assert [record.seq for record in records] == [0, 1, 2]
    assert [record.event for record in await log.read("alice", "t3")] == EVENTS[1:]
    assert await log.length("alice") == 3
    assert await log.length("nobody") == 0
    assert await log.sessions() == ["alice", "bob"]
    await log.aclose()


async def test_two_writers_cannot_take_the_same_position(tmp_path: Path) -> None:
    first, second = SQLiteLog(tmp_path / "events.sqlite"), SQLiteLog(tmp_path / "events.sqlite")
    await first.append("alice", "t1", 0, EVENTS)
    with pytest.raises(LogConflict, match="another process continued the session"):
        await second.append("alice", "t2", 1, EVENTS)
    assert await second.length("alice") == 2
    await second.append("alice", "t2", 2, EVENTS)
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET json = ''"])
async def test_the_log_only_grows(tmp_path: Path, statement: str) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    await log.append("alice", "t1", 0, EVENTS)
    await log.aclose()
    connection = sqlite3.connect(tmp_path / "events.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="only grows"):
        connection.execute(statement)
    connection.close()


async def test_a_log_that_another_process_holds_is_a_typed_error_and_stays_usable(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite", busy_timeout=0.05)
    holder = sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="another process holds it"):
        await log.append("alice", "t1", 0, EVENTS)
    holder.execute("ROLLBACK")
    await log.append("alice", "t1", 0, EVENTS)
    assert await log.length("alice") == 2
    holder.close()
    await log.aclose()


def test_a_full_disk_is_a_typed_error_and_leaves_no_half_written_event(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    script = """
import resource, sys, anyio
from arriero.stack.events import PromptAppended
from arriero.stack.log import LogError, SQLiteLog

async def main(path):
    log = SQLiteLog(path)
    await log.append("alice", "t1", 0, [PromptAppended(1, (1, 2))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    try:
        await log.append("alice", "t1", 1, [PromptAppended(2, (3,)), PromptAppended(3, tuple(range(100_000)))])
    except LogError as error:
        print(type(error).__name__, await log.length("alice"))
anyio.run(main, sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "LogError 1", done.stderr


async def test_unusable_files_are_refused_when_opened(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="folder must exist"):
        SQLiteLog(tmp_path / "no" / "such" / "folder.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database at all, " * 100)
    with pytest.raises(LogError, match="something else"):
        SQLiteLog(tmp_path / "text.sqlite")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE accounts (name TEXT)")
    other.close()
    with pytest.raises(LogError, match="not an event log"):
        SQLiteLog(tmp_path / "other.sqlite")


async def test_there_is_no_file_before_the_first_event(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    log, other = SQLiteLog(path), SQLiteLog(path)
    assert (await log.length("alice"), await log.read("alice"), await log.sessions()) == (0, [], [])
    assert not path.exists()
    await log.append("alice", "t1", 0, EVENTS)
    assert path.exists()
    assert await other.length("alice") == 2
    assert await other.sessions() == ["alice"]
    await log.aclose()
    await other.aclose()


async def test_a_turn_that_cannot_begin_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    stack = scripted_stack("Never.<|eot_id|>", log=SQLiteLog(path), context_length=40)
    with pytest.raises(ContextTooLong):
        await run(stack, "Hello")
    with pytest.raises(UnknownShield):
        stack.shield("other")
    with pytest.raises(InvalidMessage):
        [event async for event in stack.run_turn([])]
    await stack.aclose()
    assert not path.exists()


async def test_damaged_events_are_a_log_error(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    await log.append("bob", "t1", 0, EVENTS)
    damaging = sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)
    damaging.execute("INSERT INTO events VALUES ('alice', 't1', 0, 0.0, 'LimitReached', '{\"v\": 1')")
    damaging.close()
    with pytest.raises(LogError, match="damaged"):
        await log.read("alice")
    await log.aclose()


async def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    await log.aclose()
    await log.aclose()
    with pytest.raises(LogError):
        await log.append("alice", "t1", 0, EVENTS)
