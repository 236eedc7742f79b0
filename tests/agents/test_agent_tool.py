"""Agents as tools: the task is a turn of its own, which is never run twice."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import BaseModel
from scripted import Say, call, engine_of, of, scripted_stack

from arriero import Agent, Limits, SQLiteLog, Stack, Turn, tool
from arriero.agents.ask import ask_user
from arriero.prompts.messages import ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.errors import EngineUnavailable
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    StepFinished,
    TurnFinished,
)
from arriero.stack.replay import replay
from arriero.tools import Registry, ToolContext, ToolDefinitionError

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"
TASK = call("helper", task="How many mules?")


def outer(stack: Stack, helper: Agent[Any, Any], **settings: Any) -> Agent[Any, Any]:
    return Agent(stack, tools=[helper.as_tool()], name="outer", **settings)


async def result_of(stack: Stack, helper: Agent[Any, Any]) -> CallFinished:
    turn = await outer(stack, helper).run("Go")
    (finished,) = of(CallFinished, turn.events)
    return finished


async def test_the_answer_of_the_nested_turn_is_the_result() -> None:
    stack = scripted_stack(TASK, "Ten mules.<|eot_id|>", "There are ten.<|eot_id|>")
    turn = await outer(stack, Agent(stack, name="helper", instructions="Count.")).run("How many?")
    (finished,) = of(CallFinished, turn.events)
    assert (finished.result.content, finished.result.source) == ("Ten mules.", "agent helper")
    assert turn.text == "There are ten."
    asked = engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])
    assert "Count." in asked
    assert "How many mules?" in asked


async def test_an_output_of_a_type_comes_as_its_json() -> None:
    class Count(BaseModel):
        mules: int

    stack = scripted_stack(TASK, '{"mules": 10}<|eot_id|>', DONE)
    finished = await result_of(stack, Agent(stack, name="helper", output=Count))
    assert finished.result.content == {"mules": 10}


async def test_the_nested_session_is_named_after_the_call_and_tells_its_steps() -> None:
    stack = scripted_stack(TASK, "Ten.<|eot_id|>", DONE)
    agent = outer(stack, Agent(stack, name="helper"))
    events = [event async for event in agent.stream("Go", session="s1")]
    names = sorted({turn.session for turn in await stack.log.turns()})
    assert names[0] == "s1"
    assert names[1].startswith("s1/helper-")
    assert [event.message for event in of(CallProgressed, events)] == ["helper: step 1"]


async def test_each_call_is_a_session_of_its_own() -> None:
    both = TASK.replace("<|eot_id|>", "; ") + TASK
    stack = scripted_stack(both, "One.<|eot_id|>", "Two.<|eot_id|>", DONE)
    turn = await outer(stack, Agent(stack, name="helper")).run("Go")
    assert sorted(str(event.result.content) for event in of(CallFinished, turn.events)) == ["One.", "Two."]


async def test_the_caller_is_told_of_nested_turns_and_their_usage() -> None:
    heard: list[Turn[Any]] = []
    stack = scripted_stack(TASK, "Ten.<|eot_id|>", DONE)
    helper = Agent(stack, name="helper")
    turn = await Agent(stack, tools=[helper.as_tool(on_turn=heard.append)]).run("Go")
    assert [nested.text for nested in heard] == ["Ten."]
    assert heard[0].usage.completion_tokens > 0
    assert turn.usage.completion_tokens == sum(step.usage.completion_tokens for step in of(StepFinished, turn.events))


async def test_nested_tools_find_what_the_caller_gave() -> None:
    seen: list[object] = []

    @tool
    def look(context: ToolContext) -> str:
        """Look."""
        seen.append(context.deps)
        return "seen"

    stack = scripted_stack(TASK, call("look"), "Ten.<|eot_id|>", DONE)
    await outer(stack, Agent(stack, name="helper", tools=[look])).run("Go", deps="Ana")
    assert seen == ["Ana"]


@pytest.mark.parametrize(
    ("script", "settings", "problem"),
    [
        ([call("look"), call("look")], {"limits": Limits(steps=1)}, "did not finish: limit (steps: 1 of 1"),
        ([Say("", before=lambda: _raise())], {}, "nobody answers"),
        (['"ten"<|eot_id|>'], {"output": int, "retries": 0}, "gave no usable answer"),
    ],
    ids=["limit", "engine", "output"],
)
async def test_what_goes_wrong_inside_is_an_error_that_the_outer_model_reads(
    script: list[Any], settings: dict[str, Any], problem: str
) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "seen"

    stack = scripted_stack(TASK, *script[:1], DONE)
    finished = await result_of(stack, Agent(stack, name="helper", tools=[look], **settings))
    assert problem in str(finished.result.error)


def _raise() -> None:
    raise EngineUnavailable("nobody answers")


async def test_the_outer_turns_time_ends_the_nested_one() -> None:
    stack = scripted_stack(TASK, Say("Late.<|eot_id|>", before=lambda: anyio.sleep(60)))
    agent = outer(stack, Agent(stack, name="helper"), limits=Limits(seconds=0.3))
    with anyio.fail_after(10):
        turn = await agent.run("Go", session="s1")
    assert turn.reason == "limit"
    (nested,) = [one for one in await stack.log.turns() if one.session != "s1"]
    assert nested.state == "finished"
    assert engine_of(stack).running == 0


async def test_an_agent_cannot_be_given_a_task_that_it_waits_for() -> None:
    stack = scripted_stack(call("first", task="a"), call("second", task="b"), DONE, DONE)
    tools: list[Any] = []

    @tool(name="second")
    async def delegate(context: ToolContext, task: str) -> object:
        """Give it back."""
        return (await Registry(tools).call(ToolCall("first", {"task": task}), context)).content

    first = Agent(stack, name="first", tools=[delegate])
    tools.append(first.as_tool())
    turn = await Agent(stack, tools=tools).run("Go", session="s1")
    nested = next(one.session for one in await stack.log.turns() if one.session != "s1")
    (finished,) = [record.event for record in await stack.log.read(nested) if isinstance(record.event, CallFinished)]
    assert "waits for this task itself (first -> first)" in str(finished.result.content)
    assert turn.reason == "answer"


def test_a_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="use 1 to 64 letters"):
        Agent(Stack.local(), name="my helper").as_tool()


# Kills: what was logged up to some event, taken up by other agents over the same log.


def agents(log: SQLiteLog, paid: list[int], *answers: str) -> tuple[Stack, Agent[Any, Any]]:
    @tool
    def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    @tool(sensitive=True)
    def sign(paper: str) -> str:
        """Sign."""
        paid.append(len(paper))
        return f"signed {paper}"

    stack = scripted_stack(*answers, log=log, extending=False)
    helper = Agent(stack, name="helper", tools=[pay, sign, ask_user()])
    return stack, outer(stack, helper)


async def prefix(source: SQLiteLog, path: Path, sessions: dict[str, int]) -> SQLiteLog:
    """A log with the first events of some sessions, as kills leave it."""
    log = SQLiteLog(path)
    for session, count in sessions.items():
        for record in (await source.read(session))[:count]:
            await log.append(session, record.turn, record.seq, [record.event])
    return log


async def test_after_a_kill_at_any_moment_the_nested_turn_goes_on_and_no_step_is_run_twice(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "whole.sqlite")
    answers = [TASK, call("pay", amount=5), "Paid.<|eot_id|>", DONE]
    _, agent = agents(log, paid, *answers)
    await agent.run("Go", session="s1")
    nested = next(turn.session for turn in await log.turns() if turn.session != "s1")
    started = 1 + next(r.seq for r in await log.read("s1") if isinstance(r.event, CallStarted))
    whole = await log.read(nested)
    unsure = {r.seq + 1 for r in whole if isinstance(r.event, CallStarted)}  # it may have paid, or not
    for count in range(len(whole) + 1):
        if count in unsure:
            continue
        steps = sum(isinstance(record.event, StepFinished) for record in whole[:count])
        left = await prefix(log, tmp_path / f"{count}.sqlite", {"s1": started, nested: count})
        paid.clear()
        stack, agent = agents(left, paid, *answers[1 + steps :])
        turn = await agent.resume("s1")
        assert turn.text == "Done."
        assert len(engine_of(stack).requests) == 3 - steps
        assert paid == ([5] if not any(isinstance(record.event, CallFinished) for record in whole[:count]) else [])
        await left.aclose()
    await log.aclose()


async def test_a_nested_approval_makes_the_outer_turn_wait_and_is_handed_on_days_later(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    _, agent = agents(log, paid, TASK, call("sign", paper="will"))
    turn = await agent.run("Go", session="s1")
    (waiting,) = turn.waiting
    assert (turn.reason, waiting.id, waiting.asked, waiting.call.name) == ("paused", "1.0", "approval", "helper")
    assert "sign" in waiting.question
    assert paid == []
    await log.aclose()

    log = SQLiteLog(tmp_path / "log.sqlite")
    stack, agent = agents(log, paid, "Signed.<|eot_id|>", DONE)
    turn = await agent.resume("s1", decisions={"1.0": Decision.run(by="ana")})
    assert (turn.text, paid) == ("Done.", [4])
    (finished,) = of(CallFinished, turn.events)
    assert finished.result.content == "Signed."
    (nested,) = [one.session for one in await log.turns() if one.session != "s1"]
    assert [e.decision.by for e in of(DecisionGiven, await events_of(stack, nested))] == ["ana"]
    await log.aclose()


async def events_of(stack: Stack, session: str) -> list[Event]:
    return [record.event for record in await stack.log.read(session)]


@pytest.mark.parametrize(
    ("decision", "signed", "content"),
    [
        (Decision.edit({"paper": "testament"}), [9], "signed testament"),
        (Decision.deny("no"), [], "a person must approve it, and did not: no"),
        (Decision.answer("It is signed already."), [], "It is signed already."),
    ],
)
async def test_every_decision_reaches_the_nested_call(
    tmp_path: Path, decision: Decision, signed: list[int], content: str
) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    stack, agent = agents(log, paid, TASK, call("sign", paper="will"), "So be it.<|eot_id|>", DONE)
    await agent.run("Go", session="s1")
    turn = await agent.resume("s1", decisions={"1.0": decision})
    assert (turn.text, paid) == ("Done.", signed)
    (nested,) = [one.session for one in await log.turns() if one.session != "s1"]
    (finished,) = of(CallFinished, await events_of(stack, nested))
    assert content in str(finished.result.content)
    await log.aclose()


async def test_two_nested_decisions_are_asked_one_after_the_other(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    both = call("sign", paper="a").replace("<|eot_id|>", "; ") + call("sign", paper="bb")
    _, agent = agents(log, paid, TASK, both, "Signed.<|eot_id|>", DONE)
    turn = await agent.run("Go", session="s1")
    turn = await agent.resume("s1", decisions={turn.waiting[0].id: Decision.deny("not a")})
    assert turn.reason == "paused"
    assert '"bb"' in turn.waiting[0].question
    turn = await agent.resume("s1", decisions={turn.waiting[0].id: Decision.run()})
    assert (turn.text, paid) == ("Done.", [2])
    await log.aclose()


async def test_a_question_of_the_nested_agent_reaches_the_user() -> None:
    stack, agent = agents(SQLiteLog(":memory:"), [], TASK, call("ask_user", question="Which?"), "That.<|eot_id|>", DONE)
    turn = await agent.run("Go", session="s1")
    assert [(one.asked, one.question) for one in turn.waiting] == [("answer", "Which?")]
    turn = await agent.resume("s1", decisions={"1.0": Decision.answer("The brown one.")})
    assert turn.text == "Done."
    assert "The brown one." in engine_of(stack).tokenizer.decode(engine_of(stack).requests[2])


async def test_agents_in_agents_wait_all_the_way_up() -> None:
    paid: list[int] = []

    @tool(sensitive=True)
    def sign(paper: str) -> str:
        """Sign."""
        paid.append(len(paper))
        return "signed"

    stack = scripted_stack(
        call("middle", task="x"), call("inner", task="y"), call("sign", paper="will"), DONE, DONE, "All.<|eot_id|>"
    )
    inner = Agent(stack, name="inner", tools=[sign])
    middle = Agent(stack, name="middle", tools=[inner.as_tool()])
    agent = Agent(stack, name="outer", tools=[middle.as_tool()])
    turn = await agent.run("Go", session="s1")
    assert turn.reason == "paused"
    assert "sign" in turn.waiting[0].question
    turn = await agent.resume("s1", decisions={"1.0": Decision.run()})
    assert (turn.text, paid) == ("All.", [4])


async def test_resuming_without_a_decision_waits_on(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    _, agent = agents(log, paid, TASK, call("sign", paper="will"), "Signed.<|eot_id|>", DONE)
    await agent.run("Go", session="s1")
    assert (await agent.resume("s1")).reason == "paused"
    turn = await agent.resume("s1", decisions={"1.0": Decision.run()})
    assert (turn.text, paid) == ("Done.", [4])
    await log.aclose()


async def test_a_kill_between_the_decision_and_the_nested_turn_loses_nothing(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    _, agent = agents(log, paid, TASK, call("sign", paper="will"), "Signed.<|eot_id|>", DONE)
    await agent.run("Go", session="s1")
    await agent.resume("s1", decisions={"1.0": Decision.run()})
    nested = next(turn.session for turn in await log.turns() if turn.session != "s1")
    records = await log.read("s1")
    given = next(record.seq for record in records if isinstance(record.event, DecisionGiven))
    paused = 1 + next(r.seq for r in await log.read(nested) if type(r.event).__name__ == "TurnPaused")
    for count in range(given + 1, given + 3):  # the decision is logged; the call is about to run again
        left = await prefix(log, tmp_path / f"{count}.sqlite", {"s1": count, nested: paused})
        paid.clear()
        _, agent = agents(left, paid, "Signed.<|eot_id|>", DONE)
        turn = await agent.resume("s1")
        assert (turn.text, paid) == ("Done.", [4])
        await left.aclose()
    await log.aclose()


async def test_a_branch_asks_for_itself_and_takes_the_decision_about_its_own_call(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    signing = call("sign", paper="will")
    stack, agent = agents(log, paid, TASK, signing, signing, "Not signed.<|eot_id|>", DONE)
    await agent.run("Go", session="s1")
    branch = await stack.fork("s1")
    turn = await agent.resume(branch, decisions={"1.0": Decision.run()})
    assert turn.reason == "paused"  # the task is given anew in the branch: this is another call
    turn = await agent.resume(branch, decisions={"1.0": Decision.deny("not here")})
    assert (turn.text, paid) == ("Done.", [])
    await log.aclose()


async def test_a_decision_is_handed_on_once_only(tmp_path: Path) -> None:
    paid: list[int] = []
    log = SQLiteLog(tmp_path / "log.sqlite")
    twice = [TASK, call("sign", paper="a"), call("sign", paper="bb"), "Signed.<|eot_id|>", DONE]
    stack, agent = agents(log, paid, *twice)
    await agent.run("Go", session="s1")
    turn = await agent.resume("s1", decisions={"1.0": Decision.run()})
    assert (turn.reason, paid) == ("paused", [1])
    turn = await agent.resume("s1", decisions={"1.0": Decision.run()})
    assert (turn.text, paid) == ("Done.", [1, 2])
    asked = of(DecisionAsked, await events_of(stack, "s1"))
    assert [event.nested.rpartition("#")[2] for event in asked] == ["1.0", "2.0"]
    for session in {one.session for one in await log.turns()}:
        assert (await replay(log, session, stack.engine.tokenizer)).differences == ()
    assert of(TurnFinished, turn.events)[0].reason == "answer"
    await log.aclose()
