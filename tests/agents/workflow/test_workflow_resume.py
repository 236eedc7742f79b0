"""A run goes on where its process ended: what has finished is not run again, and what is unsure waits."""

import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import pytest
from failing_log import FailingLog
from resumed_flow import Effects, counted

from arriero.agents.wording import node_text
from arriero.agents.workflow import (
    NeedsDecision,
    NodeError,
    Retry,
    Workflow,
    WorkflowChanged,
    read_run,
)
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.events import NodeFinished, NodeStarted, WorkflowFinished, WorkflowPaused, WorkflowStarted
from arriero.stack.log import DatabaseLog, EventLog, LogError, SessionBusy, UnknownSession, open_log
from arriero.stack.sessions import NothingToResume

pytestmark = pytest.mark.anyio

NODES = ("size", "items", "each[1]", "each[2]", "each[3]", "count[1]", "enough[1]", "count[2]", "enough[2]", "together")
COMMITS = 2 + 2 * len(NODES)


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    return Effects(tmp_path / "effects")


def killed(address: str, effects: Effects, at: int = 0, when: str = "before") -> None:
    script = Path(__file__).parent / "killed_workflow.py"
    done = subprocess.run(
        [sys.executable, str(script), address, str(effects.file), str(at), when],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, COMMITS + 1))
async def test_whatever_commit_a_run_breaks_off_at_no_finished_step_runs_again(
    log: DatabaseLog, effects: Effects, at: int, when: Literal["before", "after"]
) -> None:
    with pytest.raises(LogError):
        await counted().run(3, log=FailingLog(log, at, when, times=99), deps=effects, run="r")
    finished = {
        node_text(record.event.node, record.event.key)
        for record in await log.read("r")
        if isinstance(record.event, NodeFinished)
    }
    before = Counter(effects.seen())
    if not await log.length("r"):
        run = await counted().run(3, log=log, deps=effects, run="r")
    elif (at, when) == (COMMITS, "after"):
        with pytest.raises(NothingToResume, match="'r' has finished"):
            await counted().resume("r", log=log, deps=effects)
        return
    else:
        run = await counted().resume("r", log=log, deps=effects)
    assert run.output == [1, 2, 3, 2]
    assert not finished & (Counter(effects.seen()) - before).keys()
    assert set(effects.seen()) == set(NODES)


async def test_a_run_killed_in_every_step_still_ends(address: str, effects: Effects) -> None:
    killed(address, effects, at=1, when="after")
    killed(address, effects, when="size")
    killed(address, effects, when="each[2]")
    killed(address, effects, when="together")
    log = open_log(address)
    run = await counted().resume("r", log=log, deps=effects)
    assert run.output == [1, 2, 3, 2]
    assert Counter(effects.seen())["together"] == 2
    await log.aclose()


async def test_an_interrupted_step_that_is_not_idempotent_waits_for_a_decision(
    log: DatabaseLog, effects: Effects
) -> None:
    flow = await interrupted(log)
    run = await flow.resume("r", log=log, deps=effects)
    assert [(pending.id, pending.node, pending.asked) for pending in run.waiting] == [("size", "size", "interrupted")]
    with pytest.raises(NeedsDecision, match="size had begun when its process ended"):
        _ = run.output
    assert "size" not in effects.seen()
    state = await read_run(log, "r")
    assert (state.standing, state.waiting, state.of_node("size")) == ("waiting", ("size",), "waiting")
    assert (await log.turns("r"))[0].state == "waiting"


@pytest.mark.parametrize(
    ("decision", "output", "ran"),
    [(Decision.run(), [1, 2, 3, 2], 1), (Decision.answer('"large"'), [2], 0)],
)
async def test_a_decision_runs_an_interrupted_step_again_or_gives_its_output(
    log: DatabaseLog, effects: Effects, decision: Decision, output: list[int], ran: int
) -> None:
    flow = await interrupted(log)
    await flow.resume("r", log=log, deps=effects)
    run = await flow.resume("r", log=log, deps=effects, decisions={"size": decision})
    assert run.output == output
    assert effects.seen().count("size") == ran


async def test_a_denied_step_ends_the_run(log: DatabaseLog, effects: Effects) -> None:
    flow = await interrupted(log)
    with pytest.raises(NodeError, match="Denied: size is not to be run again: paid twice"):
        await flow.resume("r", log=log, deps=effects, decisions={"size": Decision.deny("paid twice")})
    assert (await read_run(log, "r")).standing == "failed"


@pytest.mark.parametrize(
    ("waiting", "decision", "problem"),
    [
        ("items", Decision.run(), "does not wait for 'items': it waits for size"),
        ("size", Decision.edit({}), "no arguments to edit"),
        ("size", Decision.answer("large"), "must be its output as JSON"),
        ("size", Decision.answer('"huge"'), "must be its output"),
    ],
)
async def test_a_decision_fits_what_waits(
    log: DatabaseLog, effects: Effects, waiting: str, decision: Decision, problem: str
) -> None:
    flow = await interrupted(log)
    with pytest.raises(InvalidDecision, match=problem):
        await flow.resume("r", log=log, deps=effects, decisions={waiting: decision})
    assert (await flow.resume("r", log=log, deps=effects)).waiting


async def test_what_does_not_need_the_step_that_waits_goes_on(log: DatabaseLog, effects: Effects) -> None:
    flow = await interrupted(log)
    await flow.resume("r", log=log, deps=effects)
    assert set(effects.seen()) == {"count[1]", "enough[1]", "count[2]", "enough[2]"}


async def test_a_run_that_failed_goes_on_with_the_steps_that_did_not_finish(log: DatabaseLog) -> None:
    flow = Workflow("mended", takes=int, gives=int)
    ran: list[str] = []

    @flow.step(flow.input)
    async def first(number: int) -> int:
        ran.append("first")
        return number

    @flow.step(first, retry=Retry(attempts=2, wait=0.0))
    async def second(number: int) -> int:
        ran.append("second")
        if ran.count("second") < 4:
            raise OSError("no")
        return number + 1

    flow.returns(second)
    with pytest.raises(NodeError):
        await flow.run(1, log=log, run="r")
    run = await flow.resume("r", log=log)
    assert run.output == 2
    assert ran == ["first", "second", "second", "second", "second"]
    attempts = [record.event.attempt for record in await log.read("r") if isinstance(record.event, NodeStarted)]
    assert attempts == [1, 1, 2, 3, 4]
    ends = [type(record.event) for record in await log.read("r")]
    assert ends.count(WorkflowFinished) == 2
    assert WorkflowPaused not in ends


async def test_a_run_is_resumed_by_the_graph_that_began_it(log: DatabaseLog, effects: Effects) -> None:
    await interrupted(log)
    other = counted(idempotent=False)

    @other.step(other.input)
    def more(number: int) -> int:
        return number

    other.loop(more, more, again=more.gave(1), most=9)
    with pytest.raises(WorkflowChanged) as caught:
        await other.resume("r", log=log, deps=effects)
    assert caught.value.changes == ("step more is new", "loop more to more is new")


async def test_what_functions_do_may_change(log: DatabaseLog, effects: Effects) -> None:
    await interrupted(log)
    assert (await counted(idempotent=True, rounds=1).resume("r", log=log, deps=effects)).output == [1, 2, 3, 1]


async def test_a_cancelled_run_is_given_back_and_goes_on_like_a_killed_one(log: DatabaseLog) -> None:
    flow = Workflow("long", takes=int, gives=int)
    begun = anyio.Event()
    patient = True

    @flow.step(flow.input, idempotent=True)
    async def wait(number: int) -> int:
        begun.set()
        if patient:
            await anyio.sleep_forever()
        return number

    flow.returns(wait)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(flow.run, 3, log=log, run="r"))
            await begun.wait()
            with pytest.raises(SessionBusy):
                await flow.resume("r", log=log)
            group.cancel_scope.cancel()
        patient = False
        assert (await flow.resume("r", log=log)).output == 3


async def test_only_a_run_that_has_begun_is_resumed(log: DatabaseLog, effects: Effects) -> None:
    with pytest.raises(UnknownSession, match="no run 'r'"):
        await counted().resume("r", log=log, deps=effects)


async def test_one_process_at_a_time_runs_it(log: DatabaseLog, effects: Effects) -> None:
    flow = await interrupted(log)
    await log.take("r")
    with pytest.raises(SessionBusy):
        await flow.resume("r", log=log, deps=effects)
    await log.release("r")
    assert (await flow.resume("r", log=log, deps=effects)).waiting


async def interrupted(log: EventLog) -> Workflow[int, list[int]]:
    """A workflow, of which the log has a run that ended in the middle of its first step."""
    flow = counted(idempotent=False)
    began = WorkflowStarted(flow.name, flow.graph.version, 3, flow.graph.parts())
    await log.append("r", "r", 0, [began, NodeStarted("size", "")])
    return flow
