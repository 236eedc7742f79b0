"""What can happen to a file: read-only, full, damaged, of another release, somebody else's."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from scripted import run, scripted_stack

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.stack.engine import Usage
from arriero.stack.errors import ContextTooLong
from arriero.stack.event_json import to_json
from arriero.stack.events import Event, LimitReached, PromptAppended, StepFinished, TurnFinished, TurnStarted
from arriero.stack.log import LogBusy, LogError, NewerLog, SQLiteLog
from arriero.stack.shields import UnknownShield

pytestmark = pytest.mark.anyio

EVENTS: list[Event] = [PromptAppended(1, (1, 2)), LimitReached("steps", "1 of 1")]
TURN: list[Event] = [
    TurnStarted((Message("user", "Hello"),), "scripted", "llama3.1"),
    StepFinished(1, (1,), "Hi", (), "end_of_turn", Usage(5, 2, 1), 0.1),
    TurnFinished("Hi", "answer", Usage(5, 2, 1), 0.1),
]
FIRST_LAYOUT = """
PRAGMA journal_mode = WAL;
CREATE TABLE events (session TEXT NOT NULL, turn TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL,
    kind TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (session, seq));
CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the event log only grows'); END;
CREATE TRIGGER events_hold BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the event log only grows'); END;
PRAGMA user_version = 1;
"""


def file_of_the_first_layout(path: Path, turns: int = 1) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_LAYOUT)
    for turn in range(turns):
        for seq, event in enumerate(TURN):
            stored = json.loads(to_json(event)) | {"v": 1}
            stored.pop("agent", None)
            values = ("alice", f"t{turn}", turn * 3 + seq, 5.0 + turn, stored["kind"], json.dumps(stored))
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", values)
    connection.commit()
    connection.close()


def layout_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def python(script: str, *arguments: object, within: tuple[str, ...] = ()) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [*within, sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_a_file_of_the_first_layout_is_brought_up_to_date(tmp_path: Path) -> None:
    file_of_the_first_layout(tmp_path / "events.sqlite", turns=2)
    log = SQLiteLog(tmp_path / "events.sqlite")
    assert layout_of(tmp_path / "events.sqlite") == 2
    assert [record.event for record in await log.read("alice")] == TURN * 2
    assert [(turn.turn, turn.state, turn.reason, turn.usage, turn.started) for turn in await log.turns()] == [
        ("t1", "finished", "answer", Usage(5, 2, 1), 6.0),
        ("t0", "finished", "answer", Usage(5, 2, 1), 5.0),
    ]
    await log.take("alice")
    await log.append("alice", "t2", 6, TURN)
    await log.fork("alice", 2, "bob")
    await log.aclose()


async def test_processes_that_bring_a_file_up_to_date_at_once_do_it_once(tmp_path: Path) -> None:
    file_of_the_first_layout(tmp_path / "events.sqlite", turns=50)
    logs: list[SQLiteLog] = []

    def open_one() -> None:
        logs.append(SQLiteLog(tmp_path / "events.sqlite"))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(anyio.to_thread.run_sync, open_one)
    for log in logs:
        assert await log.length("alice") == 150
        await log.aclose()


def test_a_disk_that_fills_while_a_file_is_brought_up_to_date_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    file_of_the_first_layout(path, turns=2000)
    script = """
import resource, sys
from arriero.stack.log import LogError, SQLiteLog

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    SQLiteLog(sys.argv[1])
except LogError as error:
    print("LogError")
"""
    assert python(script, path) == "LogError"
    assert layout_of(path) == 1
    assert len(anyio.run(SQLiteLog(path).read, "alice")) == 6000


async def test_a_file_of_a_later_release_says_so_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    log = SQLiteLog(path)
    await log.append("alice", "t1", 0, EVENTS)
    await log.aclose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(NewerLog, match=r"layout 3.*use the release that wrote it"):
        SQLiteLog(path)
    assert layout_of(path) == 3


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
    for refused in (log.append("alice", "t1", 0, EVENTS), log.take("alice")):
        with pytest.raises(LogError, match="another process holds it"):
            await refused
    holder.execute("ROLLBACK")
    await log.take("alice")
    await log.append("alice", "t1", 0, EVENTS)
    assert await log.length("alice") == 2
    holder.close()
    await log.aclose()


FILL = """
import os, resource, sys, anyio
from arriero.stack.events import PromptAppended
from arriero.stack.log import LogError, SQLiteLog

folder, small = sys.argv[1], sys.argv[2] == "tmpfs"

def fill():
    if not small:
        return resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, resource.RLIM_INFINITY))
    with open(f"{folder}/ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return

def free():
    if not small:
        return resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.remove(f"{folder}/ballast")

async def main():
    log = SQLiteLog(f"{folder}/events.sqlite")
    await log.append("alice", "t1", 0, [PromptAppended(1, (1, 2))])
    fill()
    length, refused = 1, 0
    while refused < 3:  # what SQLite has reserved already may still hold some
        events = [PromptAppended(2, tuple(range(1000))), PromptAppended(3, (3,))]
        try:
            await log.append("alice", "t1", length, events)
            length += 2
        except LogError as error:
            refused += 1
            assert "free some space" in str(error) or not small, error
    try:
        await log.take("alice")
        print("taken")
    except LogError:
        print("not taken")
    assert [record.seq for record in await log.read("alice")] == list(range(length))
    free()
    await log.release("alice")
    await log.take("alice")
    await log.append("alice", "t1", length, events)
    assert await log.length("alice") == length + 2
    await log.aclose()
    print("recovered")

anyio.run(main)
"""


def small_disk(folder: Path) -> tuple[str, ...]:
    """What runs a command with a small disk in a folder, where this user may make one."""
    for options in ("-m", "-Urm"):
        mount = f'mount -t tmpfs -o size=300k none "{folder}" && exec "$@"'
        within = ("unshare", options, "sh", "-c", mount, "sh")
        if shutil.which("unshare") and subprocess.run([*within, "true"], capture_output=True).returncode == 0:
            return within
    return ()


def test_a_full_disk_is_a_typed_error_before_any_effect_and_the_log_goes_on_afterwards(tmp_path: Path) -> None:
    within = small_disk(tmp_path)  # else a limit of the file's size, which SQLite sees as another error
    assert python(FILL, tmp_path, "tmpfs" if within else "limit", within=within).endswith("recovered")


def test_a_file_that_may_grow_no_more_is_a_typed_error_and_the_log_goes_on_afterwards(tmp_path: Path) -> None:
    assert python(FILL, tmp_path, "limit").endswith("recovered")


READ_ONLY = """
import os, sys, anyio
from arriero.stack.events import LimitReached
from arriero.stack.log import LogError, SQLiteLog, open_log

async def main(path):
    warm = SQLiteLog(":memory:")  # modules cannot be read any more as another user
    await warm.append("alice", "t1", 0, [LimitReached("steps", "")])
    await warm.read("alice")
    if os.geteuid() == 0:
        os.setuid(65534)
    log = SQLiteLog(path)
    print(await log.length("alice"), len(await log.read("alice")), len(await log.turns()))
    for refused in (log.take("alice"), log.append("alice", "t1", 2, [LimitReached("steps", "")])):
        try:
            await refused
        except LogError as error:
            print("it is read-only; give a file that can be written" in str(error))
    await log.aclose()
    try:
        SQLiteLog(path + ".other")
    except LogError as error:
        print("cannot be made" in str(error))

anyio.run(main, sys.argv[1])
"""


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """A folder that other users can read."""
    folder = Path(tempfile.mkdtemp(dir="/tmp" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_file_can_be_read_and_not_written(reachable_folder: Path) -> None:
    path = reachable_folder / "events.sqlite"

    async def write() -> None:
        log = SQLiteLog(path)
        await log.append("alice", "t1", 0, EVENTS)
        await log.aclose()

    anyio.run(write)
    path.chmod(0o444)
    reachable_folder.chmod(0o555)
    said = python(READ_ONLY, path)
    assert said.split() == ["2", "2", "1", "True", "True", "True"]


async def test_unusable_files_are_refused_when_opened(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="folder must exist"):
        SQLiteLog(tmp_path / "no" / "such" / "folder.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no database at all, " * 100)
    with pytest.raises(LogError, match="something else"):
        SQLiteLog(tmp_path / "text.sqlite")
    with pytest.raises(LogError):
        SQLiteLog(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 2, 3, -1])
async def test_a_database_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.executescript(f"CREATE TABLE accounts (name TEXT); PRAGMA user_version = {version}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(LogError, match="not an event log" if version < 3 else "use the release that wrote it"):
        SQLiteLog(path)
    assert path.read_bytes() == before


async def test_a_damaged_file_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    log = SQLiteLog(path)
    for seq in range(200):
        await log.append("alice", "t1", seq, [LimitReached("steps", "x" * 500)])
    await log.aclose()
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 8 :] = b"\xff" * (len(damaged) - 4096 * 8)
    path.write_bytes(damaged)
    log = SQLiteLog(path)
    with pytest.raises(LogError, match="damaged; restore a copy"):
        await log.read("alice")
    await log.aclose()


async def test_damaged_events_are_a_log_error(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    await log.append("bob", "t1", 0, EVENTS)
    damaging = sqlite3.connect(tmp_path / "events.sqlite", isolation_level=None)
    damaging.execute(
        "INSERT INTO events (session, turn, seq, time, kind, json) VALUES ('a', 't1', 0, 0.0, 'LimitReached', '{')"
    )
    damaging.close()
    with pytest.raises(LogError, match="damaged"):
        await log.read("a")
    assert len(await log.turns()) == 2
    await log.aclose()


async def test_there_is_no_file_before_the_first_event(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    log, other = SQLiteLog(path), SQLiteLog(path)
    assert (await log.length("alice"), await log.read("alice"), await log.sessions()) == (0, [], [])
    assert await log.turns() == []
    await log.take("alice")
    await log.release("alice")
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


@pytest.mark.parametrize("name", ["a b.sqlite", "50%.sqlite", "what?#.sqlite", "Ωμέγα.sqlite"])
async def test_any_path_is_a_file(tmp_path: Path, name: str) -> None:
    log = SQLiteLog(tmp_path / name)
    await log.append("alice", "t1", 0, EVENTS)
    await log.aclose()
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("lock", ["BEGIN", "BEGIN IMMEDIATE"])
async def test_a_new_file_that_another_process_is_about_to_make_is_waited_for(tmp_path: Path, lock: str) -> None:
    path = tmp_path / "events.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute(lock)
    other.execute("SELECT count(*) FROM sqlite_master").fetchall()
    letting_go = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    letting_go.start()
    log = SQLiteLog(path)
    await log.append("alice", "t", 0, EVENTS)
    assert [record.event for record in await log.read("alice")] == EVENTS
    await log.aclose()
    letting_go.join()
    other.close()


def test_a_new_file_that_stays_locked_is_a_busy_log(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogBusy, match="another process holds it"):
        SQLiteLog(path, busy_timeout=0.1)
    other.close()
