"""A turn is cancelled, and spoken to, while it runs."""

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest
from scripted import Say, call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.messages import Message
from arriero.stack.decisions import Decision
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    Event,
    LimitReached,
    MessageAdded,
    StepFinished,
    TextDelta,
    TurnFinished,
    TurnPaused,
    VerdictGiven,
)
from arriero.stack.sessions import NoTurnRunning
from arriero.stack.shields import Verdict
from arriero.stack.stack import Stack
from arriero.stack.turn import Limits, Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"
SOON = 0.1


async def beside(stack: Stack, terms: Terms | None, act: Callable[[], Awaitable[object]]) -> list[Event]:
    """A turn's events, while something else happens."""
    events: list[Event] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(run, stack, "Go", terms, "alice", events)
            await act()
    return events


async def test_cancelling_ends_the_engines_request_and_yields_the_end_of_the_turn() -> None:
    async def seconds_to_cancel() -> float:
        asked = anyio.Event()

        async def for_ever() -> None:
            asked.set()
            await anyio.sleep(60)

        stack = scripted_stack(Say("Never.<|eot_id|>", before=for_ever))
        at = [0.0]

        async def cancel() -> None:
            await asked.wait()
            at[0] = time.perf_counter()
            assert await stack.cancel("alice")

        events = await beside(stack, None, cancel)
        seconds = time.perf_counter() - at[0]
        assert of(TurnFinished, events)[0].reason == "cancelled"
        assert events == await logged(stack, "alice")
        assert (engine_of(stack).running, engine_of(stack).closed_early) == (0, 1)
        assert not await stack.cancel("alice")
        return seconds

    # The best of a few: a busy machine may be late at any one of them.
    assert min([await seconds_to_cancel() for _ in range(5)]) < SOON


async def test_cancelling_ends_the_tools_and_the_turn_ends_before_those_that_are_slow_to_end() -> None:
    started, ended, over = anyio.Event(), anyio.Event(), anyio.Event()

    @tool
    async def slow() -> str:
        """Take long, and long to end."""
        started.set()
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await over.wait()
            ended.set()
        return "late"

    stack = scripted_stack(call("slow"))

    async def consume() -> None:
        async for event in stack.run_turn([Message("user", "Go")], Terms(registry=Registry([slow])), session="alice"):
            if isinstance(event, TurnFinished):
                assert not ended.is_set()
                over.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            await started.wait()
            await stack.cancel("alice")
    assert ended.is_set()


async def test_who_cancels_between_two_events_gets_the_end_as_the_next_one() -> None:
    stack = scripted_stack("A long answer.<|eot_id|>")
    events: list[Event] = []
    async for event in stack.run_turn([Message("user", "Go")], session="alice"):
        events.append(event)
        if isinstance(event, TextDelta):
            await stack.cancel("alice")
    assert kinds(events)[-2:] == ["TextDelta", "TurnFinished"]
    assert engine_of(stack).running == 0


async def test_a_cancelled_turn_keeps_the_results_it_had_and_the_next_turn_reads_them() -> None:
    quick_done = anyio.Event()

    @tool
    async def quick() -> str:
        """Be quick."""
        quick_done.set()
        return "quick as that"

    @tool
    async def slow() -> str:
        """Take long."""
        await anyio.sleep(60)
        return "late"

    both = call("quick").removesuffix("<|eot_id|>") + "; " + call("slow")
    terms = Terms(registry=Registry([quick, slow]))
    stack = scripted_stack(both, DONE)

    async def cancel() -> None:
        await quick_done.wait()
        await anyio.wait_all_tasks_blocked()
        await stack.cancel("alice")

    events = await beside(stack, terms, cancel)
    assert [event.result.content for event in of(CallFinished, events)] == ["quick as that"]
    await run(stack, "And?", terms, "alice")
    assert "quick as that" in engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])


async def test_an_answer_that_was_cancelled_while_it_was_judged_is_not_shown_and_not_kept() -> None:
    asked = anyio.Event()

    class Slow:
        name = "slow"

        async def check(self, messages: object, where: object) -> Verdict:
            asked.set()
            await anyio.sleep(60)
            return Verdict(True)

    stack = scripted_stack("Secret.<|eot_id|>", "Hi.<|eot_id|>", extending=False)

    async def cancel() -> None:
        await asked.wait()
        await stack.cancel("alice")

    events = await beside(stack, Terms(output_shields=(Slow(),)), cancel)
    assert "Secret" not in repr(events)
    await run(stack, "Hello", session="alice")
    assert "Secret" not in engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])


async def test_what_is_said_while_a_tool_runs_is_read_after_its_result() -> None:
    started, go_on = anyio.Event(), anyio.Event()

    @tool
    async def work() -> str:
        """Work."""
        started.set()
        await go_on.wait()
        return "worked"

    stack = scripted_stack(call("work"), DONE)

    async def say() -> None:
        await started.wait()
        await stack.say("alice", Message("user", "Hurry!"))
        assert isinstance((await logged(stack, "alice"))[-1], MessageAdded)
        go_on.set()

    events = await beside(stack, Terms(registry=Registry([work])), say)
    text = engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])
    assert text.index("worked") < text.index("Hurry!")
    assert [event for event in events if not isinstance(event, TextDelta)] == await logged(stack, "alice")
    assert of(TurnFinished, events)[0].text == "Done."


async def test_what_is_said_while_the_last_answer_is_written_is_answered_in_another_step() -> None:
    stack = scripted_stack(
        Say("First.<|eot_id|>", after=lambda: stack.say("alice", Message("user", "And second?"))), "Second.<|eot_id|>"
    )
    events = await run(stack, "First?", session="alice")
    assert [event.content for event in of(StepFinished, events)] == ["First.", "Second."]
    assert of(TurnFinished, events)[0].text == "Second."
    assert "And second?" in engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])


async def test_what_is_said_while_the_answer_is_judged_is_answered_and_judged_too() -> None:
    class Talks:
        name = "talks"
        told = False

        async def check(self, messages: object, where: object) -> Verdict:
            if not self.told:
                self.told = True
                await stack.say("alice", Message("user", "And second?"))
            return Verdict(True)

    stack = scripted_stack("First.<|eot_id|>", "Second.<|eot_id|>")
    events = await run(stack, "First?", Terms(output_shields=(Talks(),)), "alice")
    assert "".join(delta.text for delta in of(TextDelta, events)) == "First.Second."
    assert len(of(VerdictGiven, events)) == 2
    assert of(TurnFinished, events)[0].text == "Second."


async def test_what_is_said_is_judged_like_all_that_the_user_says() -> None:
    class Strict:
        name = "strict"

        async def check(self, messages: Sequence[Message], where: object) -> Verdict:
            return Verdict("awful" not in str(messages[-1].content))

    stack = scripted_stack(
        Say("First.<|eot_id|>", after=lambda: stack.say("alice", Message("user", "awful"))), "Second.<|eot_id|>"
    )
    events = await run(stack, "First?", Terms(input_shields=(Strict(),)), "alice")
    assert [event.verdict.allowed for event in of(VerdictGiven, events)] == [True, False]
    assert of(TurnFinished, events)[0].reason == "refused"


async def test_what_is_said_too_late_for_a_turn_that_reached_a_limit_is_read_in_the_next_turn() -> None:
    stack = scripted_stack(
        Say("First.<|eot_id|>", after=lambda: stack.say("alice", Message("user", "And second?"))), "Both.<|eot_id|>"
    )
    events = await run(stack, "First?", Terms(limits=Limits(steps=1)), "alice")
    assert of(LimitReached, events)[0].limit == "steps"
    await run(stack, "Well?", session="alice")
    text = engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])
    assert text.index("And second?") < text.index("Well?")


async def test_nothing_can_be_said_where_no_turn_runs() -> None:
    stack = scripted_stack(DONE)
    with pytest.raises(NoTurnRunning, match="alice"):
        await stack.say("alice", Message("user", "Hello?"))
    async for event in stack.run_turn([Message("user", "Go")], session="alice"):
        if isinstance(event, TurnFinished):
            with pytest.raises(NoTurnRunning):
                await stack.say("alice", Message("user", "Too late"))
    assert not of(MessageAdded, await logged(stack, "alice"))


async def test_a_decision_reaches_a_turn_whose_other_calls_still_run() -> None:
    started, go_on = anyio.Event(), anyio.Event()

    @tool(sensitive=True)
    async def pay() -> str:
        """Pay."""
        go_on.set()
        return "paid"

    @tool
    async def work() -> str:
        """Work until it was paid."""
        started.set()
        await go_on.wait()
        return "worked"

    both = call("pay").removesuffix("<|eot_id|>") + "; " + call("work")
    stack = scripted_stack(both, DONE)

    async def approve() -> None:
        await started.wait()
        await stack.decide("alice", "1.0", Decision.run())

    events = await beside(stack, Terms(registry=Registry([pay, work])), approve)
    assert not of(TurnPaused, events)
    assert [event.result.content for event in of(CallFinished, events)] == ["paid", "worked"]
    assert len(of(CallStarted, events)) == 2
