import subprocess
import sys
from pathlib import Path

import pytest
from scripted import engine_of, run, scripted_stack

from arriero.stack.events import CallStarted, StepFinished, from_json
from arriero.stack.log import SQLiteLog
from arriero.stack.tape import fold
from arriero.stack.turn import Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio

EVENTS_OF_THE_TURN = 8


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def killed_after(path: Path, seen: int) -> list[str]:
    """Lines that a turn printed before it was killed between two events."""
    script = Path(__file__).parent / "killed_turn.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines: list[str] = []
    with process:
        while len([line for line in lines if line != "RAN"]) < seen:
            line = process.stdout.readline().strip()
            assert line, "the turn ended too early"
            if line != "RAN" and len([other for other in lines if other != "RAN"]) < seen - 1:
                process.stdin.write("\n")
                process.stdin.flush()
            lines.append(line)
        process.kill()
    return lines


@pytest.mark.parametrize("seen", range(1, EVENTS_OF_THE_TURN + 1))
async def test_whatever_was_yielded_is_on_disk_after_kill_9(tmp_path: Path, seen: int) -> None:
    path = tmp_path / "events.sqlite"
    lines = killed_after(path, seen)
    log = SQLiteLog(path)
    stored = [record.event for record in await log.read("alice")]
    yielded = [from_json(line) for line in lines if line != "RAN"]
    assert stored[: len(yielded)] == yielded
    if "RAN" in lines:
        assert any(isinstance(event, CallStarted) for event in stored)
    await log.aclose()


async def test_a_session_goes_on_after_kill_9_with_the_steps_it_had_finished(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    killed_after(path, 6)  # the tool has run, its result and the second prompt are logged
    log = SQLiteLog(path)
    before = fold("alice", await log.read("alice"))
    stack = scripted_stack("It was 8.<|eot_id|>", log=log)
    await run(stack, "What was it?", Terms(registry=Registry([double])), "alice")
    assert engine_of(stack).requests[0][: len(before.ids)] == before.ids
    assert len([record for record in await log.read("alice") if isinstance(record.event, StepFinished)]) == 2
    await log.aclose()
