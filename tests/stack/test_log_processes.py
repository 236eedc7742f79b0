"""Processes that write a log at once, and that are killed while they do. On both stores."""

import random
import subprocess
import sys

import pytest

from arriero.stack.events import PromptAppended
from arriero.stack.log import open_log

pytestmark = pytest.mark.anyio

WRITER = """
import sys, anyio
from arriero.stack.events import PromptAppended
from arriero.stack.log import open_log

async def main(address, session, count):
    log = open_log(address)
    await log.take(session)
    seq = await log.length(session)
    for number in range(seq // 2, seq // 2 + int(count)):
        events = [PromptAppended(step, (number,)) for step in (1, 2)]
        await log.append(session, f"t{number}", 2 * number, events)
        print(number, flush=True)
    await log.release(session)
    await log.aclose()

anyio.run(main, *sys.argv[1:])
"""


def writer(address: str, session: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, address, session, str(count)], stdout=subprocess.PIPE, text=True
    )


async def test_processes_write_sessions_of_their_own_at_once(log_address: str) -> None:
    writers = {f"s{number}": writer(log_address, f"s{number}", 20) for number in range(3)}
    for process in writers.values():
        process.communicate(timeout=60)
        assert process.returncode == 0
    log = open_log(log_address)
    for session in writers:
        records = await log.read(session)
        assert [record.event for record in records] == [
            PromptAppended(step, (number,)) for number in range(20) for step in (1, 2)
        ]
    assert await log.sessions() == sorted(writers)
    await log.aclose()


async def test_what_a_killed_process_was_told_is_written_is_there_whole(log_address: str) -> None:
    chance, told = random.Random(0), -1
    for _ in range(2):
        process = writer(log_address, "alice", 10_000)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 60)):
            told = int(process.stdout.readline())
        process.kill()
        said, _ = process.communicate()
        told = max([told, *(int(line) for line in said.split("\n")[:-1])])
        log = open_log(log_address)
        records = await log.read("alice")
        assert [(record.seq, record.event) for record in records] == [
            (seq, PromptAppended(1 + seq % 2, (seq // 2,))) for seq in range(len(records))
        ]
        assert len(records) % 2 == 0
        assert told < len(records) // 2 <= told + 2  # one that was being written may be there
        await log.aclose()
