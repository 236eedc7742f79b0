"""What every log does, on both stores."""

import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arriero.stack.engine import Usage
from arriero.stack.events import (
    LimitReached,
    PromptAppended,
    SessionForked,
    StepFinished,
    TurnFinished,
    TurnStarted,
)
from arriero.stack.log import (
    DatabaseLog,
    LogConflict,
    LogError,
    NewerLog,
    Retention,
    SQLiteLog,
    UnknownSession,
    open_log,
    prune,
)

pytestmark = pytest.mark.anyio

EVENTS = [PromptAppended(1, (1, 2)), LimitReached("steps", "1 of 1")]


async def test_events_come_back_in_order_by_session_and_turn(log_address: str) -> None:
    log = open_log(log_address)
    await log.append("alice", "t1", 0, EVENTS)
    await log.append("bob", "t2", 0, EVENTS[:1])
    await log.append("alice", "t3", 2, EVENTS[1:])
    await log.aclose()

    log = open_log(log_address)
    records = await log.read("alice")
    assert [record.event for record in records] == [*EVENTS, EVENTS[1]]
    assert [record.seq for record in records] == [0, 1, 2]
    assert [record.event for record in await log.read("alice", "t3")] == EVENTS[1:]
    assert await log.length("alice") == 3
    assert await log.length("nobody") == 0
    assert await log.sessions() == ["alice", "bob"]
    await log.aclose()


async def test_two_writers_cannot_take_the_same_position(log_address: str) -> None:
    first, second = open_log(log_address), open_log(log_address)
    await first.append("alice", "t1", 0, EVENTS)
    with pytest.raises(LogConflict, match="another process continued the session"):
        await second.append("alice", "t2", 1, EVENTS)
    assert await second.length("alice") == 2
    await second.append("alice", "t2", 2, EVENTS)
    await first.aclose()
    await second.aclose()


async def test_events_are_written_all_or_none(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 1, EVENTS[:1])
    with pytest.raises(LogConflict):
        await event_log.append("alice", "t1", 0, EVENTS)
    assert [record.seq for record in await event_log.read("alice")] == [1]


async def test_many_events_are_one_commit_too(event_log: DatabaseLog) -> None:
    many = [PromptAppended(1, (number,)) for number in range(7000)]
    await event_log.append("alice", "t1", 6999, EVENTS[:1])
    with pytest.raises(LogConflict):
        await event_log.append("alice", "t1", 0, many)
    assert len(await event_log.read("alice")) == 1
    await event_log.append("bob", "t1", 0, many)
    assert [record.event for record in await event_log.read("bob")] == many


async def test_a_closed_log_says_so(log_address: str) -> None:
    log = open_log(log_address)
    await log.append("alice", "t1", 0, EVENTS)
    await log.aclose()
    await log.aclose()
    for refused in (log.append("alice", "t1", 2, EVENTS), log.read("alice"), log.take("alice"), log.length("alice")):
        with pytest.raises(LogError, match="closed"):
            await refused


@pytest.mark.parametrize("name", ["", 'ana\'s "notes" % ? {}', "Ωμέγα 🐎", "x" * 2000, "; DROP TABLE events --"])
async def test_any_text_is_a_name(event_log: DatabaseLog, name: str) -> None:
    await event_log.take(name)
    await event_log.append(name, name, 0, EVENTS)
    assert [(record.session, record.turn) for record in await event_log.read(name, name)] == [(name, name)] * 2
    assert await event_log.sessions() == [name]
    await event_log.release(name)


async def test_a_name_that_is_no_text_is_a_typed_error(event_log: DatabaseLog) -> None:
    with pytest.raises(LogError, match="cannot hold that name"):
        await event_log.append("\ud800", "t1", 0, EVENTS)
    await event_log.append("alice", "t1", 0, EVENTS)


async def test_an_event_that_cannot_be_stored_is_a_typed_error_and_writes_nothing(event_log: DatabaseLog) -> None:
    for detail in ("\ud800", object()):
        with pytest.raises(LogError, match="cannot hold a LimitReached"):
            await event_log.append("alice", "t1", 0, [*EVENTS, LimitReached("steps", detail)])  # type: ignore[arg-type]
    await event_log.append("alice", "t1", 0, [])
    assert await event_log.sessions() == []


async def test_text_of_any_kind_is_kept(event_log: DatabaseLog) -> None:
    texts = ["\0\0 a \\u0000", "'; --", "🐎", '"\\', "\n\r\u2028"]
    await event_log.append("alice", "t1", 0, [LimitReached("steps", text) for text in texts])
    assert [record.event for record in await event_log.read("alice")] == [LimitReached("steps", text) for text in texts]


async def test_a_fork_is_a_copy_up_to_an_event_and_says_where_it_comes_from(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, EVENTS)
    await event_log.append("alice", "t2", 2, EVENTS)
    await event_log.fork("alice", 2, "bob")
    original, copy = await event_log.read("alice"), await event_log.read("bob")
    assert [(r.turn, r.seq, r.time, r.event) for r in copy[:3]] == [
        (r.turn, r.seq, r.time, r.event) for r in original[:3]
    ]
    assert [(r.turn, r.seq, r.event) for r in copy[3:]] == [("t2", 3, SessionForked("alice", 2))]
    await event_log.append("bob", "t3", 4, EVENTS)
    assert await event_log.length("alice") == 4


async def test_a_fork_while_the_session_is_pruned_is_whole_or_none(log_address: str) -> None:
    forking, pruning = open_log(log_address), open_log(log_address)
    for number in range(10):
        await forking.append(f"s{number}", "t1", 0, EVENTS * 20)

    async def fork(number: int) -> None:
        with suppress(UnknownSession):
            await forking.fork(f"s{number}", 39, f"fork{number}")

    async with anyio.create_task_group() as group:
        group.start_soon(prune, pruning, Retention(delete_after=0.0, keep=["fork*"]))
        for number in range(10):
            group.start_soon(fork, number)
    for number in range(10):
        assert await forking.length(f"fork{number}") == len(await forking.read(f"fork{number}")) in (0, 41)
    for log in (forking, pruning):
        await log.aclose()


async def test_what_cannot_be_forked_is_a_typed_error_and_writes_nothing(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, EVENTS)
    for session, seq in (("nobody", 0), ("alice", 2), ("alice", -1)):
        with pytest.raises(UnknownSession):
            await event_log.fork(session, seq, "bob")
    with pytest.raises(LogConflict):
        await event_log.fork("alice", 0, "alice")
    assert await event_log.sessions() == ["alice"]
    assert await event_log.length("alice") == 2


async def test_open_log_tells_files_from_databases(tmp_path: Path) -> None:
    log = open_log(tmp_path / "events.sqlite")
    assert isinstance(log, SQLiteLog)
    assert not log.in_memory
    assert open_log(":memory:").in_memory
    with pytest.raises(LogError, match="no address"):
        open_log("postgresql://user:secret@[::")


async def test_a_session_of_a_later_release_says_so(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, EVENTS)
    await event_log.rewrite("alice", 2, [(1, '{"v": 3, "kind": "Unheard"}')], dry_run=False)
    with pytest.raises(NewerLog, match="version 3: this release reads up to 2"):
        await event_log.read("alice")


async def test_numbers_that_are_too_large_do_not_keep_turns_from_being_listed(event_log: DatabaseLog) -> None:
    said = StepFinished(1, (1,), "", (), "end_of_turn", Usage(2**62, 2**62, 2**62), 0.1)
    await event_log.append("alice", "t1", 0, [said] * 3)
    assert [turn.usage for turn in await event_log.turns()] == [Usage(3 * 2**62, 3 * 2**62, 3 * 2**62)]


FORKED = """
import os, sys, anyio
from arriero.stack.events import LimitReached
from arriero.stack.log import LogError, SessionBusy, open_log

EVENT = LimitReached("steps", "")

async def begin(log):
    await log.append("alice", "t1", 0, [EVENT])
    await log.take("alice")

async def child(log):
    for refused in (log.read("alice"), log.take("bob"), log.append("alice", "t1", 1, [EVENT]), log.length("alice")):
        try:
            await refused
            print("not refused")
        except LogError as error:
            print("open it here" in str(error))
    await log.aclose()

async def end(log):
    await log.append("alice", "t1", 1, [EVENT])
    other = open_log(sys.argv[1])
    try:
        await other.take("alice")
    except SessionBusy:
        print("still held")
    await other.aclose()
    await log.aclose()

log = open_log(sys.argv[1])
anyio.run(begin, log)
pid = os.fork()
if pid == 0:
    anyio.run(child, log)
    sys.stdout.flush()
    os._exit(0)
os.waitpid(pid, 0)
anyio.run(end, log)
"""


def test_a_log_does_not_come_along_into_a_fork_of_its_process(log_address: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, log_address], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n") == ["True"] * 4 + ["still held", ""], done.stderr


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    commits=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(1, 3)), max_size=8),
    cut=st.integers(0, 20),
)
def test_a_log_is_what_was_appended_and_a_fork_its_prefix(
    log_address: str, commits: list[tuple[str, str, int]], cut: int
) -> None:
    async def check() -> None:
        log, prefix = open_log(log_address), secrets.token_hex(8)
        model: dict[str, list[tuple[str, object]]] = {}
        for number, (name, turn, count) in enumerate(commits):
            kept = model.setdefault(prefix + name, [])
            events = [PromptAppended(number, (position,)) for position in range(count)]
            await log.append(prefix + name, turn, len(kept), events)
            kept += [(turn, event) for event in events]
        for session, kept in model.items():
            records = await log.read(session)
            assert [(record.turn, record.event) for record in records] == kept
            assert [record.seq for record in records] == list(range(len(kept)))
            await log.fork(session, seq := min(cut, len(kept) - 1), f"{session} forked")
            *copy, last = await log.read(f"{session} forked")
            assert [(record.turn, record.event) for record in copy] == kept[: seq + 1]
            assert last.event == SessionForked(session, seq)
        await log.aclose()

    anyio.run(check)


async def test_turns_say_what_happened_without_their_events_being_decoded(event_log: DatabaseLog) -> None:
    usage = Usage(10, 5, 4)
    await event_log.append("alice", "t1", 0, [
        TurnStarted((), agent="clerk"),
        StepFinished(1, (1,), "", (), "end_of_turn", usage, 0.1),
        StepFinished(2, (1,), "", (), "end_of_turn", usage, 0.1),
        TurnFinished("hi", "answer", Usage(20, 10, 8), 0.2),
    ])  # fmt: skip
    [turn] = await event_log.turns()
    assert (turn.session, turn.turn, turn.state, turn.reason, turn.agent) == (
        "alice",
        "t1",
        "finished",
        "answer",
        "clerk",
    )
    assert (turn.steps, turn.usage, turn.first, turn.last) == (2, Usage(20, 10, 8), 0, 3)
    assert turn.started == turn.updated
