"""Turns of agents in a workflow's steps have sessions of their own, and go on with the run."""

from typing import Literal

import anyio
import pytest
from failing_log import FailingLog
from scripted import call

from arriero import Agent, Stack, tool
from arriero.agents.workflow import NodeContext, NodeError, Retry, Workflow
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.events import NodeFinished, StepFinished, TurnStarted
from arriero.stack.log import DatabaseLog, EventLog, LogError, SQLiteLog
from arriero.testing import scripted_stack, when

pytestmark = pytest.mark.anyio

ANSWERS = (
    when("What does Zuri carry?", call("load", mule="Zuri")),
    when("Is 85 much?", "Not much.<|eot_id|>"),
    when("85", "It carries 85.<|eot_id|>"),
)


@pytest.fixture
def loads() -> list[str]:
    """Mules whose loads were looked up."""
    return []


def agents(log: EventLog, loads: list[str], *, sensitive: bool = False) -> Agent[None, str]:
    @tool(idempotent=True, sensitive=sensitive)
    def load(mule: str) -> int:
        """Look up a load."""
        loads.append(mule)
        return 85

    return Agent(scripted_stack(*ANSWERS, log=log), tools=[load], name="driver")


def flow(*, idempotent: bool = True) -> Workflow[str, str]:
    made = Workflow("ask", takes=str, gives=str)

    @made.step(made.input, idempotent=idempotent)
    async def asked(at: NodeContext[Agent[None, str]], mule: str) -> str:
        return (await at.ask(at.deps, f"What does {mule} carry?")).text

    @made.step(asked, idempotent=True)
    async def judged(at: NodeContext[Agent[None, str]], told: str) -> str:
        assert told == "It carries 85."
        return (await at.ask(at.deps, "Is 85 much?")).text

    made.returns(judged)
    return made


async def test_each_turn_has_a_session_named_after_its_run_and_step(log: DatabaseLog, loads: list[str]) -> None:
    run = await flow().run("Zuri", log=log, deps=agents(log, loads), run="r")
    assert run.output == "Not much."
    assert {turn.session for turn in await log.turns()} == {"r", "r/asked/driver", "r/judged/driver"}


async def commits() -> int:
    log = FailingLog(SQLiteLog(":memory:"))
    await flow().run("Zuri", log=log, deps=agents(log, []), run="r")
    await log.aclose()
    return log.commits


@pytest.mark.parametrize("when_", ["before", "after"])
async def test_whatever_commit_a_run_breaks_off_at_no_step_of_a_turn_is_made_again(
    when_: Literal["before", "after"],
) -> None:
    for at in range(1, await commits()):
        log, loads = SQLiteLog(":memory:"), list[str]()
        failing = FailingLog(log, at, when_, times=99)
        with pytest.raises(LogError):
            await flow().run("Zuri", log=failing, deps=agents(failing, loads), run="r")
        if await log.length("r"):
            run = await flow().resume("r", log=log, deps=agents(log, loads))
        else:
            run = await flow().run("Zuri", log=log, deps=agents(log, loads), run="r")
        assert run.output == "Not much.", at
        for session, steps in {"r/asked/driver": 2, "r/judged/driver": 1}.items():
            events = [record.event for record in await log.read(session)]
            assert sum(isinstance(event, TurnStarted) for event in events) == 1, (at, session)
            assert sum(isinstance(event, StepFinished) for event in events) == steps, (at, session)
        await log.aclose()


async def test_a_sensitive_call_in_a_step_makes_the_workflow_wait_and_its_approval_goes_on(
    log: DatabaseLog, loads: list[str]
) -> None:
    run = await flow().run("Zuri", log=log, deps=agents(log, loads, sensitive=True), run="r")
    (pending,) = run.waiting
    assert (pending.id, pending.node, pending.asked) == ("asked/driver:1.0", "asked", "approval")
    assert pending.call is not None
    assert pending.call.arguments == {"mule": "Zuri"}
    assert loads == []
    assert not (await flow().resume("r", log=log, deps=agents(log, loads, sensitive=True))).state.of_node("judged")
    run = await flow().resume(
        "r", log=log, deps=agents(log, loads, sensitive=True), decisions={pending.id: Decision.run(by="ana")}
    )
    assert run.output == "Not much."
    assert loads == ["Zuri"]


async def test_a_step_that_is_not_idempotent_and_the_turn_in_it_are_decided_together(
    log: DatabaseLog, loads: list[str]
) -> None:
    asking, who = flow(idempotent=False), agents(log, loads, sensitive=True)
    run = await asking.run("Zuri", log=log, deps=who, run="r")
    assert [(pending.id, pending.asked) for pending in run.waiting] == [
        ("asked/driver:1.0", "approval"),
        ("asked", "interrupted"),
    ]
    with pytest.raises(InvalidDecision, match=r"'asked/driver:1\.0' waits in 'asked', which would be run again"):
        await asking.resume("r", log=log, deps=who, decisions={"asked/driver:1.0": Decision.run()})
    decisions = {pending.id: Decision.run() for pending in run.waiting}
    assert (await asking.resume("r", log=log, deps=who, decisions=decisions)).output == "Not much."
    assert loads == ["Zuri"]


@pytest.mark.parametrize("wrong", ["asked/driver:9.9", "asked/nobody:1.0"])
async def test_a_decision_about_a_call_that_does_not_wait_changes_nothing(
    log: DatabaseLog, loads: list[str], wrong: str
) -> None:
    who = agents(log, loads, sensitive=True)
    (pending,) = (await flow().run("Zuri", log=log, deps=who, run="r")).waiting
    with pytest.raises(InvalidDecision, match=r"it waits for asked/driver:1\.0"):
        await flow().resume("r", log=log, deps=who, decisions={wrong: Decision.run()})
    run = await flow().resume("r", log=log, deps=who, decisions={pending.id: Decision.run()})
    assert (run.output, loads) == ("Not much.", ["Zuri"])


async def test_a_decision_that_its_turn_has_already_does_not_fail_the_step(log: DatabaseLog, loads: list[str]) -> None:
    who = agents(log, loads, sensitive=True)
    (pending,) = (await flow().run("Zuri", log=log, deps=who, run="r")).waiting
    await who.open_stack.decide(pending.session, "1.0", Decision.run())
    with pytest.raises(InvalidDecision):
        await flow().resume("r", log=log, deps=who, decisions={pending.id: Decision.deny("late")})
    assert (await flow().resume("r", log=log, deps=who)).output == "Not much."


async def test_a_decision_about_a_turn_may_be_given_to_its_session(log: DatabaseLog, loads: list[str]) -> None:
    who = agents(log, loads, sensitive=True)
    (pending,) = (await flow().run("Zuri", log=log, deps=who, run="r")).waiting
    stack: Stack = who.open_stack
    await stack.decide(pending.session, pending.id.rpartition(":")[2], Decision.run())
    assert (await flow().resume("r", log=log, deps=who)).output == "Not much."


async def test_a_log_that_fails_in_a_task_group_of_a_step_breaks_it_off(log: DatabaseLog, loads: list[str]) -> None:
    gathered = Workflow("gathered", takes=str, gives=str)

    @gathered.step(gathered.input, idempotent=True)
    async def asked(at: NodeContext[Agent[None, str]], mule: str) -> str:
        async with anyio.create_task_group() as group:
            group.start_soon(at.ask, at.deps, f"What does {mule} carry?")
        return mule

    gathered.returns(asked)
    failing = FailingLog(log, 4)
    with pytest.raises(LogError):
        await gathered.run("Zuri", log=failing, deps=agents(failing, loads), run="r")
    assert (await gathered.resume("r", log=log, deps=agents(log, loads))).output == "Zuri"
    assert {turn.session for turn in await log.turns()} == {"r", "r/asked/driver"}


async def test_a_further_attempt_asks_in_a_new_session(log: DatabaseLog, loads: list[str]) -> None:
    shaky = Workflow("shaky", takes=str, gives=str)

    @shaky.step(shaky.input, retry=Retry(attempts=2, wait=0.0))
    async def asked(at: NodeContext[Agent[None, str]], mule: str) -> str:
        turn = await at.ask(at.deps, f"What does {mule} carry?")
        if at.attempt == 1:
            raise ValueError("not convinced")
        return turn.session

    shaky.returns(asked)
    run = await shaky.run("Zuri", log=log, deps=agents(log, loads), run="r")
    assert run.output == "r/asked.2/driver"
    assert loads == ["Zuri", "Zuri"]


async def test_a_step_that_asks_something_else_after_a_crash_has_failed(log: DatabaseLog, loads: list[str]) -> None:
    failing = FailingLog(log, 4, "after", times=99)
    with pytest.raises(LogError):
        await flow().run("Zuri", log=failing, deps=agents(failing, loads), run="r")
    assert await log.length("r/asked/driver")
    other = Workflow("ask", takes=str, gives=str)

    @other.step(other.input, idempotent=True)
    async def asked(at: NodeContext[Agent[None, str]], mule: str) -> str:
        return (await at.ask(at.deps, f"Who is {mule}?")).text

    @other.step(asked, idempotent=True)
    async def judged(at: NodeContext[Agent[None, str]], told: str) -> str:
        return told

    other.returns(judged)
    with pytest.raises(NodeError, match="asks driver something else than before"):
        await other.resume("r", log=log, deps=agents(log, loads))


async def test_several_questions_of_one_step_have_sessions_of_their_own(log: DatabaseLog) -> None:
    both = Workflow("both", takes=str, gives=list[str])

    @both.step(both.input)
    async def asked(at: NodeContext[Agent[None, str]], question: str) -> list[str]:
        return [(await at.ask(at.deps, question)).session for _ in range(2)]

    both.returns(asked)
    run = await both.run("Is 85 much?", log=log, deps=agents(log, []), run="r")
    assert run.output == ["r/asked/driver", "r/asked/driver-2"]
    finished = [record.event for record in await log.read("r") if isinstance(record.event, NodeFinished)]
    assert finished[0].output == run.output
