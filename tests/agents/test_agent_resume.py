"""Turns that wait for people: approved, edited, denied, answered for by a policy; here or in another process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import muleteer
import pytest
from pydantic import BaseModel
from scripted import Say, call, engine_of, kinds, logged, of, scripted_stack

from arriero import Agent, SQLiteLog, Stack, ToolCall, TurnFinished, Verdict, tool
from arriero.agents import Turn
from arriero.prompts.errors import InvalidMessage
from arriero.stack.decisions import Asked, Decision, InvalidDecision
from arriero.stack.events import MessageAdded, TurnPaused, TurnResumed
from arriero.stack.log import UnknownSession
from arriero.stack.sessions import NothingToResume, NoTurnRunning, TurnWaiting
from arriero.testing import scripted_opening
from arriero.tools import Registry, ToolContext

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


@pytest.fixture
def paid() -> list[int]:
    """What `pay` has paid."""
    return []


@pytest.fixture
def tools(paid: list[int]) -> list[Any]:
    @tool(sensitive=True)
    def pay(amount: int) -> str:
        """Pay an amount."""
        paid.append(amount)
        return f"paid {amount}"

    @tool
    def look(place: str) -> str:
        """Look at a place."""
        return f"nothing at {place}"

    return [pay, look]


BOTH = call("look", place="Salta").replace("<|eot_id|>", "; ") + call("pay", amount=5)


async def test_a_sensitive_call_makes_the_turn_wait_and_the_others_run(tools: list[Any], paid: list[int]) -> None:
    turn = await Agent(scripted_stack(BOTH), tools=tools).run("Pay!", session="s1")
    assert turn.reason == "paused"
    assert turn.text == ""
    (waiting,) = turn.waiting
    assert (waiting.id, waiting.asked) == ("1.1", "approval")
    assert waiting.call == ToolCall("pay", {"amount": 5})
    assert "pay" in waiting.question
    assert isinstance(turn.events[-1], TurnPaused)
    assert [result.content for result in turn.steps[0].results] == ["nothing at Salta"]
    assert paid == []


async def test_an_approved_call_runs_and_the_turn_is_one(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(stack := scripted_stack(BOTH, DONE), tools=tools)
    first = await agent.run("Pay!", session="s1")
    turn = await agent.resume("s1", decisions={first.waiting[0].id: Decision.run(by="ana")})
    assert (turn.reason, turn.text, turn.waiting) == ("answer", "Done.", ())
    assert paid == [5]
    assert list(turn.events) == await logged(stack, "s1")
    assert [result.content for result in turn.steps[0].results] == ["nothing at Salta", "paid 5"]
    assert [step.number for step in turn.steps] == [1, 2]
    earlier, later = engine_of(stack).requests
    assert later[: len(earlier)] == earlier


async def test_a_call_can_be_edited_and_the_model_reads_what_came_of_it(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_stack(BOTH, DONE), tools=tools)
    await agent.run("Pay!", session="s1")
    turn = await agent.resume("s1", decisions={"1.1": Decision.edit({"amount": 4}, by="ana")})
    assert paid == [4]
    assert turn.steps[0].calls[1].arguments == {"amount": 5}
    assert turn.steps[0].results[1].content == "paid 4"


async def test_a_denied_call_does_not_run_and_the_model_reads_why(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_stack(BOTH, DONE), tools=tools)
    await agent.run("Pay!", session="s1")
    turn = await agent.resume("s1", decisions={"1.1": Decision.deny("too expensive")})
    assert paid == []
    assert "too expensive" in str(turn.steps[0].results[1].content)


async def test_a_policy_decides_in_place_of_a_person(tools: list[Any], paid: list[int]) -> None:
    asked: list[tuple[Asked, str]] = []

    async def decide(what: Asked, made: ToolCall) -> Decision | None:
        asked.append((what, made.name))
        return Decision.run(by="policy") if made.arguments["amount"] < 10 else None

    small = await Agent(scripted_stack(BOTH, DONE), tools=tools, decide=decide).run("Pay!")
    assert small.reason == "answer"
    large = await Agent(scripted_stack(call("pay", amount=50)), tools=tools, decide=decide).run("Pay!")
    assert large.reason == "paused"
    assert asked == [("approval", "pay")] * 2
    assert paid == [5]


async def test_who_approves_through_the_registry_is_asked_at_once(tools: list[Any], paid: list[int]) -> None:
    async def approve(*_: object) -> bool:
        return True

    turn = await Agent(scripted_stack(BOTH, DONE), tools=Registry(tools, approve=approve)).run("Pay!")
    assert turn.reason == "answer"
    assert paid == [5]


async def test_what_is_resumed_can_be_watched(tools: list[Any]) -> None:
    agent = Agent(scripted_stack(BOTH, DONE), tools=tools)
    await agent.run("Pay!", session="s1")
    events = [event async for event in agent.resume_stream("s1", decisions={"1.1": Decision.run()})]
    assert isinstance(events[0], TurnResumed)
    assert isinstance(events[-1], TurnFinished)
    assert "TextDelta" in kinds(events)


async def test_an_output_type_holds_after_a_pause(tools: list[Any]) -> None:
    class Paid(BaseModel):
        amount: int

    stack = scripted_stack(BOTH, "none<|eot_id|>", '{"amount": 5}<|eot_id|>')
    agent = Agent(stack, tools=tools, output=Paid)
    assert (await agent.run("Pay!", session="s1")).problem
    turn = await agent.resume("s1", decisions={"1.1": Decision.run()})
    assert turn.output == Paid(amount=5)
    assert all(sampling.grammar is not None for sampling in engine_of(stack).samplings)


async def test_deps_are_given_again() -> None:
    @tool(sensitive=True)
    def sign(context: ToolContext) -> str:
        """Sign."""
        return f"signed by {context.deps}"

    agent = Agent[str](scripted_stack(call("sign"), DONE), tools=[sign])
    await agent.run("Go", session="s1", deps="Ana")
    turn = await agent.resume("s1", decisions={"1.0": Decision.run()}, deps="Eva")
    assert turn.steps[0].results[0].content == "signed by Eva"


class Strict:
    """A shield that allows everything."""

    name = "strict"

    async def check(self, _messages: object, _where: str) -> Verdict:
        return Verdict(allowed=True)


async def test_text_that_no_shield_has_judged_is_not_in_a_resumed_turn(tools: list[Any]) -> None:
    stack = scripted_stack("Secret. " + call("pay", amount=5), DONE)
    agent = Agent(stack, tools=tools, shields=[Strict()])
    paused = await agent.run("Pay!", session="s1")
    assert paused.reason == "paused"
    turn = await agent.resume("s1", decisions={"1.0": Decision.run()})
    assert "Secret" not in str(turn)
    assert turn.text == "Done."


def test_a_program_that_is_not_async_decides_too(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_opening(BOTH, DONE), tools=tools)
    waiting = agent.run_sync("Pay!", session="s1").waiting
    turn = agent.resume_sync("s1", decisions={one.id: Decision.run() for one in waiting})
    agent.close()
    assert turn.text == "Done."
    assert paid == [5]


async def test_what_cannot_be_resumed_says_why(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_stack(BOTH, DONE), tools=tools)
    with pytest.raises(UnknownSession, match="nobody"):
        await agent.resume("nobody")
    await agent.run("Pay!", session="s1")
    for decisions in ({"1.0": Decision.run()}, {"7.1": Decision.run()}):
        with pytest.raises(InvalidDecision):
            await agent.resume("s1", decisions=decisions)
    with pytest.raises(TurnWaiting):
        await agent.run("And then?", session="s1")
    assert paid == []
    await agent.resume("s1", decisions={"1.1": Decision.run()})
    with pytest.raises(NothingToResume):
        await agent.resume("s1", decisions={"1.1": Decision.run()})
    assert paid == [5]


async def test_a_decision_that_was_given_is_not_given_again(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(stack := scripted_stack(BOTH, DONE), tools=tools)
    await agent.run("Pay!", session="s1")
    await stack.decide("s1", "1.1", Decision.run(by="ana"))
    with pytest.raises(InvalidDecision):
        await stack.decide("s1", "1.1", Decision.deny(by="eva"))
    with pytest.raises(InvalidDecision):
        await agent.resume("s1", decisions={"1.1": Decision.deny(by="eva")})
    assert (await agent.resume("s1")).reason == "answer"
    assert paid == [5]


async def test_a_turn_that_waits_can_be_cancelled(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_stack(BOTH, DONE, extending=False), tools=tools)
    await agent.run("Pay!", session="s1")
    assert await agent.cancel("s1")
    assert not await agent.cancel("s1")
    assert (await agent.run("Never mind.", session="s1")).text == "Done."
    assert paid == []


async def test_a_running_turn_can_be_cancelled() -> None:
    reached = anyio.Event()

    async def wait() -> None:
        reached.set()
        await anyio.sleep_forever()

    agent = Agent(scripted_stack(Say("Hello", before=wait)))
    turns: list[Turn] = []

    async def run() -> None:
        turns.append(await agent.run("Hi", session="s1"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await reached.wait()
            assert await agent.cancel("s1")
    assert turns[0].reason == "cancelled"


async def test_a_running_turn_can_be_told_something() -> None:
    agent: Agent

    async def interrupt() -> None:
        await agent.say("s1", "In Salta, please.")

    @tool
    def look() -> str:
        """Look."""
        return "rain"

    stack = scripted_stack(Say(call("look"), before=interrupt), DONE)
    agent = Agent(stack, tools=[look])
    turn = await agent.run("How is it?", session="s1")
    assert [str(event.message.content) for event in of(MessageAdded, turn.events)] == ["In Salta, please."]
    assert "In Salta, please." in stack.engine.tokenizer.decode(engine_of(stack).requests[1])


async def test_there_must_be_a_turn_to_tell_something() -> None:
    agent = Agent(scripted_stack())
    with pytest.raises(NoTurnRunning):
        await agent.say("s1", "Hello?")
    with pytest.raises(InvalidMessage):
        await agent.say("s1", " ")


async def test_results_that_json_cannot_carry_are_errors_that_the_model_reads() -> None:
    @tool
    def broken() -> object:
        """Give what nobody can read."""
        return object()

    turn = await Agent(scripted_stack(call("broken"), DONE), tools=[broken]).run("Go")
    assert turn.steps[0].results[0].error
    assert turn.reason == "answer"


async def test_another_process_approves_what_this_one_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.sqlite"
    async with Stack.local(log=path) as stack:
        paused = await muleteer.agent(stack).run("What is the load of Zuri?", session="s1", deps="first process")
    assert paused.reason == "paused"
    assert "runs" not in capfd.readouterr().out
    script = Path(__file__).parent / "approves.py"
    command = [sys.executable, str(script), str(path), "s1"]
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    ran, said = done.stdout.decode().splitlines()
    assert ran == "mule_load runs for Zuri in the second process"
    assert said.startswith("mule_load answer ")
    assert "85" in said
    log = SQLiteLog(path)
    records = await log.read("s1")
    await log.aclose()
    assert isinstance(records[-1].event, TurnFinished)
