"""Leases: one process at a time continues a session. On both stores, with real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from arriero.stack.events import LimitReached
from arriero.stack.log import DatabaseLog, LogConflict, PostgresLog, SessionBusy, SQLiteLog, open_log
from arriero.stack.log.owner import lives, this_process

pytestmark = pytest.mark.anyio

EVENT = LimitReached("steps", "1 of 1")
HOLDER = """
import sys, anyio
from arriero.stack.log import LogConflict, SessionBusy, open_log
from arriero.stack.events import LimitReached

async def main(address, *sessions):
    log = open_log(address)
    sys.stdin.readline()
    for session in sessions:
        try:
            await log.take(session)
            await log.append(session, "t1", await log.length(session), [LimitReached("steps", "1 of 1")])
            print("took", flush=True)
        except (SessionBusy, LogConflict):  # a conflict where both made the file
            print("busy", flush=True)
    sys.stdin.readline()
    await log.aclose()

anyio.run(main, *sys.argv[1:])
"""


def open_another(address: str, lapse: float) -> DatabaseLog:
    return PostgresLog(address, lapse=lapse) if "://" in address else SQLiteLog(address, lapse=lapse)


@contextmanager
def holder(address: str, *sessions: str) -> Iterator[subprocess.Popen[str]]:
    """A process that takes sessions when it is given a line, and says for each whether it got it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, address, *sessions], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_a_session_is_taken_once_until_it_is_given_back(event_log: DatabaseLog) -> None:
    await event_log.take("alice")
    with pytest.raises(SessionBusy, match="running here"):
        await event_log.take("alice")
    await event_log.take("bob")
    await event_log.release("alice")
    await event_log.release("alice")
    await event_log.release("nobody")
    await event_log.take("alice")


async def test_two_logs_of_one_process_do_not_share_a_lease(log_address: str) -> None:
    first, second = open_log(log_address), open_log(log_address)
    await first.append("alice", "t1", 0, [EVENT])
    await first.take("alice")
    with pytest.raises(SessionBusy, match=f"process {os.getpid()}"):
        await second.take("alice")
    await second.release("alice")
    with pytest.raises(SessionBusy):
        await second.take("alice")
    await first.aclose()
    await second.take("alice")
    await second.aclose()


async def test_of_many_tasks_that_take_a_session_at_once_one_has_it(log_address: str) -> None:
    logs = [open_log(log_address) for _ in range(4)]
    await logs[0].append("alice", "t1", 0, [EVENT])
    taken = 0

    async def take(log: DatabaseLog) -> None:
        nonlocal taken
        try:
            await log.take("alice")
            taken += 1
        except SessionBusy:
            return

    async with anyio.create_task_group() as group:
        for log in logs * 5:
            group.start_soon(take, log)
    assert taken == 1
    for log in logs:
        await log.aclose()


def test_of_two_processes_that_take_sessions_at_once_exactly_one_gets_each(log_address: str) -> None:
    sessions = [f"s{number}" for number in range(20)]
    with holder(log_address, *sessions) as first, holder(log_address, *sessions) as second:
        tell(first)
        tell(second)
        said = [sorted((line_of(first), line_of(second))) for _ in sessions]
    assert said == [["busy", "took"]] * len(sessions)


async def test_what_a_killed_process_held_is_taken_over_at_once(log_address: str) -> None:
    with holder(log_address, "alice") as process:
        tell(process)
        assert line_of(process) == "took"
        log = open_log(log_address)
        with pytest.raises(SessionBusy, match=f"process {process.pid}"):
            await log.take("alice")
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet buried
        began = time.monotonic()
        await log.take("alice")
        assert time.monotonic() - began < 5.0
        await log.append("alice", "t2", await log.length("alice"), [EVENT])
        await log.aclose()


async def test_a_process_that_stands_still_keeps_what_it_holds(log_address: str) -> None:
    with holder(log_address, "alice") as process:
        tell(process)
        assert line_of(process) == "took"
        process.send_signal(signal.SIGSTOP)
        log = open_another(log_address, lapse=0.01)
        with pytest.raises(SessionBusy):
            await log.take("alice")
        await log.aclose()


async def test_a_process_id_that_was_given_out_again_is_another_process(event_log: DatabaseLog) -> None:
    host, pid, started, machine = this_process().split(":")
    assert lives(f"{host}:{pid}:{started}:{machine}:1234")
    assert lives(f"{host}:{pid}:{int(started) - 1}:{machine}:1234") is False
    assert lives(f"{host}:{pid}:{started}:another") is None


def elsewhere(log: DatabaseLog) -> None:
    """Make it a log of a process on another machine."""
    host, pid, started, _, nonce = log.owner.split(":")
    log.owner = f"{host}:{pid}:{started}:another-machine:{nonce}"


async def test_a_process_on_another_machine_counts_as_dead_when_it_has_not_renewed(log_address: str) -> None:
    far = open_another(log_address, lapse=3600.0)
    patient, quick = open_another(log_address, lapse=3600.0), open_another(log_address, lapse=0.05)
    elsewhere(far)
    await far.append("alice", "t1", 0, [EVENT])
    await far.take("alice")
    with pytest.raises(SessionBusy):
        await patient.take("alice")
    assert [turn.state for turn in await patient.turns()] == ["running"]
    await asyncio.sleep(0.1)
    assert [turn.state for turn in await quick.turns()] == ["interrupted"]
    await quick.take("alice")
    for log in (far, patient, quick):
        await log.aclose()


async def test_a_process_on_another_machine_renews_what_it_holds(log_address: str) -> None:
    lapse = 0.6
    far, here = open_another(log_address, lapse), open_another(log_address, lapse=3600.0)
    elsewhere(far)
    await far.append("alice", "t1", 0, [EVENT])
    await far.take("alice")
    renewed = "SELECT renewed FROM leases"
    [[begun]] = await here._select(renewed)
    while (await here._select(renewed))[0][0] < begun + 2 * lapse:  # noqa: ASYNC110  the database has no event for it
        await asyncio.sleep(0.05)
    with pytest.raises(SessionBusy):
        await here.take("alice")
    await far.append("alice", "t1", 1, [EVENT])
    await far.aclose()
    await here.take("alice")
    await here.aclose()


async def test_who_lost_a_session_meanwhile_cannot_write_it(log_address: str) -> None:
    slept, other = open_another(log_address, lapse=0.2), open_another(log_address, lapse=0.2)
    elsewhere(slept)
    await slept.append("alice", "t1", 0, [EVENT])
    await slept.take("alice")
    slept._ended.set()  # its computer sleeps: nothing is renewed
    await asyncio.sleep(0.3)
    await other.take("alice")
    with pytest.raises(LogConflict, match="taken over"):
        await slept.append("alice", "t1", 1, [EVENT])
    assert await other.length("alice") == 1
    await slept.aclose()
    with pytest.raises(SessionBusy):
        await open_log(log_address).take("alice")
    await other.aclose()


async def test_who_slept_and_lost_nothing_goes_on(log_address: str) -> None:
    slept = open_another(log_address, lapse=0.1)
    await slept.append("alice", "t1", 0, [EVENT])
    await slept.take("alice")
    slept._ended.set()
    await asyncio.sleep(0.2)
    await slept.append("alice", "t1", 1, [EVENT])
    assert await slept.length("alice") == 2
    await slept.aclose()


async def test_a_session_of_a_file_that_does_not_exist_yet_is_taken_by_who_writes_first(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    first, second = SQLiteLog(path), SQLiteLog(path)
    await first.take("alice")
    await second.take("alice")
    assert not path.exists()
    await second.append("alice", "t2", 0, [EVENT])
    with pytest.raises(LogConflict):
        await first.append("alice", "t1", 0, [EVENT])
    await first.release("alice")
    with pytest.raises(SessionBusy):
        await first.take("alice")
    await first.aclose()
    await second.aclose()


async def test_a_take_that_is_cancelled_can_be_given_back(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, [EVENT])
    with anyio.CancelScope() as scope:
        scope.cancel()
        await event_log.take("alice")
    await event_log.release("alice")
    await event_log.take("alice")
    with pytest.raises(SessionBusy):
        await event_log.take("alice")


def test_a_process_that_can_open_no_file_takes_no_other_for_dead() -> None:
    code = (
        "import os, resource\n"
        "from arriero.stack.log.owner import lives, this_process\n"
        "mine = this_process()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(lives(mine))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None\n"
