"""A turn whose log cannot be written any more: nothing happens that is not on disk, and it goes on afterwards."""

import os
import resource
import shutil
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from kill_scenarios import SCENARIOS, Notes, live, stack_of, terms_of
from postgres_server import PostgresServer, postgres_server
from turn_law import problems

from arriero.prompts.messages import Message
from arriero.stack.events import Event, TurnFinished
from arriero.stack.log import EventLog, LogError, SQLiteLog, open_log
from arriero.stack.stack import Stack
from arriero.stack.tape import fold

pytestmark = [pytest.mark.anyio, pytest.mark.reliability]

COMMITS = 6
"""As many as the scenario `calls` has."""


@dataclass
class Choked:
    """A log whose disk fails from its n-th commit on."""

    inner: EventLog
    at: int
    choke: Callable[[], None]
    commits: int = 0
    failed: list[LogError] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        self.commits += 1
        if self.commits == self.at:
            self.choke()
        try:
            await self.inner.append(session, turn, seq, events)
        except LogError as error:
            self.failed.append(error)
            raise


@dataclass
class InMemoryNotes(Notes):
    """Notes that need no disk, and know what happened after the log failed."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    log: Choked | None = None

    def write(self, what: str, **more: Any) -> None:
        late = self.log is not None and bool(self.log.failed)
        self.kept.append({"session": self.session, "what": what, "late": late, **more})

    def read(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in note.items() if name != "late"} for note in self.kept]


@contextmanager
def small_files(path: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """How to let files grow no more, and how to undo it. What was begun may be written in part, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def choke() -> None:
        written = path.with_name(path.name + "-wal")
        size = written.stat().st_size if written.exists() else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        yield choke, free
    finally:
        free()


async def turn_that_fails(log: EventLog, notes: InMemoryNotes) -> list[Event]:
    """The scenario's turn, until its log cannot be written."""
    events: list[Event] = []
    stack, terms = stack_of(SCENARIOS["calls"], log, notes), terms_of(SCENARIOS["calls"], notes)
    with pytest.raises(LogError):
        await all_of(stack, stack.run_turn([Message("user", "Begin")], terms, session=notes.session), events)
    return events


async def all_of(stack: Stack, turn: AsyncIterator[Event], into: list[Event]) -> None:
    async for event in turn:
        into.append(event)


async def look_at(log: EventLog, notes: InMemoryNotes, yielded: Sequence[Event]) -> None:
    """What holds when the disk is full: nothing was done that is not on disk, and the log is legal."""
    late = [note for note in notes.kept if note["late"]]
    assert [note for note in late if note["what"] == "ask"] == []
    assert [note for note in late if note["what"] == "run" and note["tool"] != "look"] == []  # pure tools may
    records = await log.read(notes.session)
    assert problems(records) == []
    assert not any(isinstance(event, TurnFinished) for event in yielded)


async def recovers(place: EventLog, notes: InMemoryNotes) -> None:
    """With a disk again, the turn goes on, and what may be done only once was done once."""
    notes.log = None
    assert await live("calls", place, notes) == "All done."
    records = await place.read(notes.session)
    assert problems(records) == []
    assert [str(message.content) for message in fold(notes.session, records).messages if message.role == "tool"] == [
        "put a", "saw left", "put b", "paid 5", "saw right",
    ]  # fmt: skip
    assert [note["tool"] for note in notes.kept if note["what"] == "run"].count("pay") == 1


@pytest.mark.parametrize("at", range(1, COMMITS + 1))
async def test_a_disk_that_is_full_at_a_commit_stops_the_turn_before_any_effect(at: int, tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    inner = SQLiteLog(path)
    with small_files(path) as (choke, free):
        log = Choked(inner, at, choke)
        notes = InMemoryNotes(os.devnull, "alice", log=log)
        events = await turn_that_fails(log, notes)
        assert log.failed
        free()
        await look_at(inner, notes, events)
    await inner.aclose()
    again = open_log(path)
    await recovers(again, notes)
    await again.aclose()


async def test_the_same_process_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    inner = SQLiteLog(path)
    with small_files(path) as (choke, free):
        log = Choked(inner, 3, choke)
        notes = InMemoryNotes(os.devnull, "alice", log=log)
        await turn_that_fails(log, notes)
        free()
    await recovers(inner, notes)
    await inner.aclose()


def without_rights(work: Callable[[], Awaitable[None]]) -> int:
    """Do it in a child that is bound by the rights of files, as root is not. Gives its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            anyio.run(work)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """A folder that other users can read."""
    folder = Path(tempfile.mkdtemp(dir="/tmp" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_turn_on_a_read_only_file_is_refused_before_any_effect_and_works_when_it_can_be_written(
    reachable_folder: Path,
) -> None:
    path = reachable_folder / "events.sqlite"

    async def works(session: str) -> None:
        log = open_log(path)
        await recovers(log, InMemoryNotes(os.devnull, session))
        await log.aclose()

    async def is_refused() -> None:
        log, notes = open_log(path), InMemoryNotes(os.devnull, "bruno")
        assert await turn_that_fails(log, notes) == []
        assert notes.kept == []
        assert await log.length("alice")
        await log.aclose()

    anyio.run(works, "alice")
    path.chmod(0o444)
    reachable_folder.chmod(0o555)
    assert without_rights(is_refused) == 0
    reachable_folder.chmod(0o755)
    path.chmod(0o644)
    anyio.run(works, "bruno")


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.mark.parametrize("at", range(1, COMMITS + 1))
async def test_a_database_that_becomes_read_only_stops_the_turn_before_any_effect(
    at: int, own_server: PostgresServer
) -> None:
    def read_only(state: str) -> None:
        with psycopg.connect(own_server.dsn, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
            connection.execute("SELECT pg_reload_conf()")
        while True:
            with psycopg.connect(own_server.dsn, autocommit=True) as connection:
                row = connection.execute("SHOW default_transaction_read_only").fetchone()
            if row == (state,):
                return

    inner = open_log(f"{own_server.dsn}?schema=full_{at}")
    await inner.length("warm")
    log = Choked(inner, at, lambda: read_only("on"))
    notes = InMemoryNotes(os.devnull, "alice", log=log)
    try:
        events = await turn_that_fails(log, notes)
        assert "read-only" in str(log.failed[0])
        await look_at(inner, notes, events)
    finally:
        read_only("off")
    await recovers(inner, notes)
    await inner.aclose()
