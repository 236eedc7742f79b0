import subprocess
import sys
from pathlib import Path

import pytest
from failing_log import FailingLog
from scripted import call, engine_of, run, scripted_stack

from arriero.stack.event_json import from_json
from arriero.stack.events import CallStarted, PromptAppended, StepFinished
from arriero.stack.log import SQLiteLog
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


def header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


KEPT = {  # what the killed turn leaves in the transcript, by the number of events seen; one commit may hold several
    **dict.fromkeys((1, 2), ""),
    **dict.fromkeys((3, 4), call("double", number=4)),
    **dict.fromkeys(
        (5, 6), f'{call("double", number=4)}{header("ipython")}"8"<|eot_id|>{header("assistant")}<|eot_id|>'
    ),
    **dict.fromkeys(
        (7, 8),
        f'{call("double", number=4)}{header("ipython")}"8"<|eot_id|>{header("assistant")}It is 8.<|eot_id|>',
    ),
}


@pytest.mark.parametrize("seen", range(1, EVENTS_OF_THE_TURN + 1))
async def test_what_was_yielded_is_on_disk_after_kill_9_and_the_session_goes_on_from_there(
    tmp_path: Path, seen: int
) -> None:
    path = tmp_path / "events.sqlite"
    lines = killed_after(path, seen)
    log = SQLiteLog(path)
    stored = [record.event for record in await log.read("alice")]
    yielded = [from_json(line) for line in lines if line != "RAN"]
    assert stored[: len(yielded)] == yielded
    assert "RAN" not in lines or any(isinstance(event, CallStarted) for event in stored)

    stack = scripted_stack("It was 8.<|eot_id|>", log=log)
    terms = Terms(registry=Registry([double]))
    await run(stack, "What was it?", terms, "alice")
    await log.aclose()

    fresh = scripted_stack("8.<|eot_id|>")
    await run(fresh, "What was it?" if not KEPT[seen] else "4?", terms)
    begun = engine_of(fresh).tokenizer.decode(engine_of(fresh).requests[0])
    went_on = f"{header('user')}What was it?<|eot_id|>{header('assistant')}" if KEPT[seen] else ""
    assert engine_of(stack).tokenizer.decode(engine_of(stack).requests[0]) == f"{begun}{KEPT[seen]}{went_on}"


async def test_a_step_costs_two_commits() -> None:
    log = FailingLog(SQLiteLog(":memory:"))
    calls = [call("double", number=number) for number in range(5)]
    events = await run(scripted_stack(*calls, "Done.<|eot_id|>", log=log), "Go", Terms(registry=Registry([double])))
    assert len([event for event in events if isinstance(event, StepFinished)]) == 6
    assert log.commits == 12


async def test_a_turn_killed_before_the_model_spoke_leaves_no_trace_in_a_session_that_had_begun(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    log = SQLiteLog(path)
    before = await run(scripted_stack("Hi.<|eot_id|>", log=log), "Hello", session="alice")
    await log.append("alice", "killed", len(await log.read("alice")), [*before[:1], PromptAppended(1, (1, 2, 3))])
    stack = scripted_stack("Yes.<|eot_id|>", log=log)
    await run(stack, "Still there?", session="alice")
    text = engine_of(stack).tokenizer.decode(engine_of(stack).requests[0])
    assert text.endswith(f"Hi.<|eot_id|>{header('user')}Still there?<|eot_id|>{header('assistant')}")
    await log.aclose()
