"""A turn step by step: seen before its calls run, changed, ended."""

from typing import Any

import anyio
import pytest
from held import takes
from pydantic import BaseModel
from scripted import Say, call, engine_of, kinds, logged, of, scripted_stack

from arriero import Agent, EngineError, Limits, Message, Sampling, ToolCall, Verdict, tool
from arriero.agents import NextStep, StackNotReady, StepOver
from arriero.agents.handoff import handoff
from arriero.prompts.errors import InvalidMessage
from arriero.stack.events import LimitReached
from arriero.stack.replay import replay
from arriero.stack.stack import Stack
from arriero.stack.terms import Hooks
from arriero.tools import ToolContext

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"
TWO = call("pay", amount=1).replace("<|eot_id|>", "; ") + call("pay", amount=2)


class Number(BaseModel):
    number: int


class Strict:
    """A shield that allows everything."""

    name = "strict"

    async def check(self, _messages: object, _where: str) -> Verdict:
        return Verdict(allowed=True)


@pytest.fixture
def paid() -> list[int]:
    """What `pay` has paid."""
    return []


@pytest.fixture
def tools(paid: list[int]) -> list[Any]:
    @tool
    def pay(amount: int) -> str:
        """Pay an amount."""
        paid.append(amount)
        return f"paid {amount}"

    return [pay]


def prompt(stack: Stack, request: int) -> str:
    return stack.engine.tokenizer.decode(engine_of(stack).requests[request])


async def test_each_step_comes_before_its_calls_are_run(tools: list[Any], paid: list[int]) -> None:
    seen: list[tuple[int, str, tuple[ToolCall, ...], list[int]]] = []
    agent = Agent(stack := scripted_stack(TWO, call("pay", amount=3), DONE), tools=tools)
    async with agent.iterate("Pay!", session="s1") as steps:
        async for step in steps:
            seen.append((step.number, step.text, step.calls, list(paid)))
    one, two, three = (ToolCall("pay", {"amount": amount}) for amount in (1, 2, 3))
    assert seen == [(1, "", (one, two), []), (2, "", (three,), [1, 2]), (3, "Done.", (), [1, 2, 3])]
    assert steps.turn.text == "Done."
    assert list(steps.turn.events) == await logged(stack, "s1")


async def test_an_unchanged_turn_is_the_same_as_without_steps(tools: list[Any]) -> None:
    plain = await Agent(one := scripted_stack(TWO, DONE), tools=tools).run("Pay!")
    async with Agent(two := scripted_stack(TWO, DONE), tools=tools).iterate("Pay!") as steps:
        async for _ in steps:
            pass
    assert kinds(steps.turn.events) == kinds(plain.events)
    assert engine_of(two).requests == engine_of(one).requests


async def test_arguments_can_be_edited_and_calls_denied(tools: list[Any], paid: list[int]) -> None:
    stack = scripted_stack(TWO, DONE)
    async with Agent(stack, tools=tools).iterate("Pay!") as steps:
        async for step in steps:
            if step.calls:
                step.edit(0, {"amount": 10})
                step.deny(1, "too much")
    assert paid == [10]
    first, second = steps.turn.steps[0].results
    assert first.content == "paid 10"
    assert second.error == "pay was denied: too much"
    assert "pay was denied: too much" in prompt(stack, 1)


async def test_a_message_is_read_after_the_results(tools: list[Any]) -> None:
    stack = scripted_stack(TWO, DONE)
    async with Agent(stack, tools=tools).iterate("Pay!") as steps:
        async for step in steps:
            if step.calls:
                step.say("Be quick.")
                step.say("Be kind.")
    text = prompt(stack, 1)
    assert text.index("paid 2") < text.index("Be quick.\n\nBe kind.")


async def test_after_an_answer_a_message_makes_the_turn_go_on() -> None:
    stack = scripted_stack("Forty-one.<|eot_id|>", "Forty-two.<|eot_id|>")
    async with Agent(stack).iterate("Twice 21?") as steps:
        async for step in steps:
            if step.text == "Forty-one.":
                step.say("Are you sure?")
    assert [step.text for step in steps.turn.steps] == ["Forty-one.", "Forty-two."]
    assert steps.turn.text == "Forty-two."


async def test_limits_and_sampling_change_for_the_rest(tools: list[Any]) -> None:
    stack = scripted_stack(TWO, "A long answer.<|eot_id|>")
    async with Agent(stack, tools=tools).iterate("Pay!") as steps:
        async for step in steps:
            if step.calls:
                step.change(sampling=Sampling(temperature=0.7, max_tokens=4))
    first, second = engine_of(stack).samplings
    assert (first.temperature, second.temperature, second.max_tokens) == (0.0, 0.7, 4)
    assert steps.turn.reason == "limit"


async def test_the_limit_of_seconds_changes_too(tools: list[Any]) -> None:
    agent = Agent(scripted_stack(TWO, Say(DONE, before=anyio.sleep_forever)), tools=tools)
    with anyio.fail_after(5):
        async with agent.iterate("Pay!") as steps:
            async for step in steps:
                step.change(limits=Limits(seconds=1e-3))
    assert of(LimitReached, steps.turn.events)[0].limit == "seconds"


async def test_a_turn_may_be_given_more_seconds() -> None:
    left: list[float] = []

    @tool
    async def look(context: ToolContext) -> None:
        """Look."""
        left.append(context.deadline - anyio.current_time())

    stack = scripted_stack(call("look"), call("look"), DONE)
    async with Agent(stack, tools=[look], limits=Limits(seconds=10)).iterate("Look!") as steps:
        async for step in steps:
            step.change(limits=Limits(seconds=20))
    assert 0 < left[0] <= 10 < left[1] <= 20


async def test_a_limit_that_is_used_up_already_ends_the_turn(tools: list[Any]) -> None:
    async with Agent(scripted_stack(TWO, DONE), tools=tools).iterate("Pay!") as steps:
        async for step in steps:
            step.change(limits=Limits(tokens=1))
    assert steps.turn.reason == "limit"


async def test_other_tools_are_offered_for_the_rest(tools: list[Any], paid: list[int]) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "rain"

    stack = scripted_stack(TWO, call("pay", amount=9), call("look"), DONE, extending=False)
    async with Agent(stack, tools=tools, tool_choice="pay").iterate("Pay!") as steps:
        async for step in steps:
            if step.number == 1:
                step.change(tools=[look])
    assert paid == [1, 2]
    assert "there is no tool 'pay'" in str(steps.turn.steps[1].results[0].content)
    assert steps.turn.steps[2].results[0].content == "rain"
    assert kinds(steps.turn.events).count("TranscriptRewritten") == 1


async def test_stopping_ends_the_turn_without_running_the_calls(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(stack := scripted_stack(TWO, DONE), tools=tools)
    async with agent.iterate("Pay!", session="s1") as steps:
        async for step in steps:
            await steps.stop()
            with pytest.raises(StepOver):
                step.edit(0, {})
    assert steps.turn.reason == "cancelled"
    assert paid == []
    assert kinds(await logged(stack, "s1")) == ["TurnStarted", "PromptAppended", "StepFinished", "TurnFinished"]
    assert [made.arguments for made in steps.turn.calls] == [{"amount": 1}, {"amount": 2}]
    assert steps.turn.usage == steps.turn.steps[0].usage
    assert (await agent.run("Never mind.", session="s1")).text == "Done."


@pytest.mark.parametrize("shields", [(), (Strict(),)], ids=["open", "shielded"])
async def test_an_answer_that_the_turn_was_stopped_at_was_paid_for_and_is_not_read_again(shields: Any) -> None:
    agent = Agent(stack := scripted_stack("Secret.<|eot_id|>", DONE, extending=False), shields=shields)
    async with agent.iterate("Hi", session="s1") as steps:
        async for _ in steps:
            await steps.stop()
    assert (steps.turn.reason, steps.turn.text) == ("cancelled", "")
    assert steps.turn.usage.completion_tokens == len("Secret.") + 1
    assert [step.text for step in steps.turn.steps] == ["" if shields else "Secret."]
    assert (await agent.run("Well?", session="s1")).text == "Done."
    assert "Secret" not in prompt(stack, 1)
    assert (await replay(stack.log, "s1", stack.engine.tokenizer)).exact


async def test_leaving_the_block_ends_the_turn(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_stack(TWO, DONE, extending=False), tools=tools)
    async with agent.iterate("Pay!", session="s1") as steps:
        async for _ in steps:
            break
    assert steps.turn.reason == "cancelled"
    assert paid == []
    assert (await agent.run("Never mind.", session="s1")).reason == "answer"


async def test_leaving_the_block_at_once_leaves_nothing_running() -> None:
    agent = Agent(stack := scripted_stack(DONE, DONE, extending=False))
    with anyio.fail_after(5):
        async with agent.iterate("Hi", session="s1"):
            pass
    assert engine_of(stack).running == 0
    assert (await agent.run("Hi", session="s1")).text == "Done."


async def test_an_error_in_the_block_ends_the_turn_and_is_raised(tools: list[Any], paid: list[int]) -> None:
    agent = Agent(scripted_stack(TWO, DONE, extending=False), tools=tools)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  the block is what is tested
        async with agent.iterate("Pay!", session="s1") as steps:
            async for _ in steps:
                raise ZeroDivisionError
    assert paid == []
    assert (await agent.run("Hi", session="s1")).text == "Done."


async def test_what_ends_a_turn_is_raised_from_its_steps() -> None:
    def fail() -> None:
        raise EngineError("it broke")

    async with Agent(scripted_stack(Say("Hello", before=fail))).iterate("Hi") as steps:
        with pytest.raises(EngineError, match="it broke"):
            async for _ in steps:
                pass


async def test_a_turn_that_waits_for_a_decision_ends_the_steps() -> None:
    @tool(sensitive=True)
    def erase() -> None:
        """Erase everything."""

    async with Agent(scripted_stack(call("erase")), tools=[erase]).iterate("Go") as steps:
        assert [step.number async for step in steps] == [1]
    assert steps.turn.reason == "paused"
    assert steps.turn.waiting[0].id == "1.0"


async def test_an_answer_that_does_not_fit_is_a_step_too() -> None:
    stack = scripted_stack("42<|eot_id|>", '{"number": 42}<|eot_id|>')
    async with Agent(stack, output=Number).iterate("Twice 21?") as steps:
        assert [step.text async for step in steps] == ["42", '{"number": 42}']
    assert steps.turn.output == Number(number=42)


async def test_the_agents_own_hooks_are_asked_as_well(tools: list[Any], paid: list[int]) -> None:
    async def before_calls(_: int, calls: Any) -> list[ToolCall]:
        return [ToolCall(made.name, {"amount": made.arguments["amount"] + 100}) for made in calls]

    async def before_step(step: int) -> list[Message]:
        return [Message("user", "Hook.")] if step == 2 else []

    hooks = Hooks(before_calls=before_calls, before_step=before_step)
    stack = scripted_stack(TWO, DONE)
    async with Agent(stack, tools=tools, hooks=hooks).iterate("Pay!") as steps:
        async for step in steps:
            if step.calls:
                step.deny(0)
    assert paid == [102]
    assert "Hook." in prompt(stack, 1)


async def test_the_steps_of_an_agent_that_takes_over_come_as_well(tools: list[Any], paid: list[int]) -> None:
    stack = scripted_stack(call("transfer_to_payer"), call("pay", amount=1), DONE, extending=False)
    payer = Agent(stack, tools=tools, name="payer")
    async with Agent(stack, handoffs=[handoff(payer)]).iterate("Pay!") as steps:
        async for step in steps:
            if step.number == 2:
                step.deny(0)
    assert [len(step.calls) for step in steps.turn.steps] == [1, 1, 0]
    assert paid == []


async def test_a_step_is_changed_before_the_next_one(tools: list[Any]) -> None:
    kept: list[NextStep] = []
    async with Agent(scripted_stack(TWO, DONE), tools=tools).iterate("Pay!") as steps:
        with pytest.raises(StepOver, match="not over"):
            _ = steps.turn
        async for step in steps:
            kept.append(step)
            with pytest.raises(StepOver, match="none at 2"):
                step.edit(2, {})
    for change in (lambda: kept[0].deny(0), lambda: kept[0].say("x"), lambda: kept[0].change(limits=Limits())):
        with pytest.raises(StepOver, match="gone on from step 1"):
            change()


async def test_what_is_said_at_a_step_is_text() -> None:
    async with Agent(scripted_stack(DONE)).iterate("Hi") as steps:
        async for step in steps:
            for nothing in (" ", 5):
                with pytest.raises(InvalidMessage):
                    step.say(nothing)  # type: ignore[arg-type]
    assert len(steps.turn.steps) == 1


async def test_steps_are_taken_in_their_block_and_once() -> None:
    steps = Agent(scripted_stack(DONE)).iterate("Hi")
    with pytest.raises(StepOver, match="async with"):
        await anext(steps)
    async with steps:
        assert [step.text async for step in steps] == ["Done."]
    with pytest.raises(StepOver, match="iterate again"):
        await steps.__aenter__()


async def test_what_an_agent_that_took_over_may_write_stays_when_a_step_changes_its_terms(tools: list[Any]) -> None:
    stack = scripted_stack(call("transfer_to_payer"), "Hm.<|eot_id|>", DONE, extending=False)
    payer = Agent(stack, tools=tools, name="payer", tool_choice="none")
    triage = Agent(stack, name="triage", tool_choice="required", handoffs=[handoff(payer)])
    async with triage.iterate("Pay!") as steps:
        async for step in steps:
            if step.text == "Hm.":
                step.change(sampling=Sampling(temperature=0.5))
                step.say("Well?")
    engine = engine_of(stack)
    for sampling in engine.samplings[1:]:
        assert takes(engine, sampling.grammar, "Done.")
        assert not takes(engine, sampling.grammar, '{"name": "pay", "parameters": {"amount": 1}}')
    assert engine.samplings[2].temperature == 0.5


async def test_other_tools_of_the_same_name_are_called_by_their_own_parameters(tools: list[Any]) -> None:
    @tool
    def pay(town: str) -> str:
        """Pay a town."""
        return f"paid {town}"

    stack = scripted_stack(TWO, '{"number": 1}<|eot_id|>', extending=False)
    async with Agent(stack, tools=tools, output=Number).iterate("Pay!") as steps:
        async for step in steps:
            if step.calls:
                step.change(tools=[pay])
    engine = engine_of(stack)
    salta = '{"name": "pay", "parameters": {"town": "Salta"}}'
    assert [takes(engine, sampling.grammar, salta) for sampling in engine.samplings] == [False, True]


async def test_an_iteration_wants_a_question_and_an_open_stack() -> None:
    with pytest.raises(InvalidMessage):
        Agent(scripted_stack()).iterate(" ")
    with pytest.raises(StackNotReady):
        Agent(Stack.local()).iterate("Hi")
