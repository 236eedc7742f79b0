"""A turn goes on wherever its process was killed: every prefix of its log is tried."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.decisions import Asked, Decision
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    Event,
    LimitReached,
    PromptAppended,
    StepFinished,
    TextDelta,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    VerdictGiven,
)
from arriero.stack.limits import before_step
from arriero.stack.log import EventLog, SQLiteLog, UnknownSession
from arriero.stack.shields import Place, Verdict
from arriero.stack.stack import Stack
from arriero.stack.turn import Limits, Terms
from arriero.tools import Registry, ToolContext, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


@dataclass
class Ran:
    """What tools were called, and by which key."""

    keys: dict[str, list[str]] = field(default_factory=dict)

    def registry(self) -> Registry:
        @tool(idempotent=True)
        async def book(context: ToolContext, mule: str) -> str:
            """Book a mule."""
            self.keys.setdefault(mule, []).append(context.idempotency_key)
            return f"booked {mule}"

        @tool(pure=True)
        async def weigh(context: ToolContext, mule: str) -> str:
            """Weigh a mule."""
            self.keys.setdefault(mule, []).append(context.idempotency_key)
            return f"{mule}: 85 kg"

        @tool
        async def feed(context: ToolContext, mule: str) -> str:
            """Feed a mule."""
            self.keys.setdefault(mule, []).append(context.idempotency_key)
            return f"fed {mule}"

        return Registry([book, weigh, feed])


TWO = call("book", mule="Zuri").removesuffix("<|eot_id|>") + "; " + call("weigh", mule="Lola")
SCRIPT = (TWO, call("feed", mule="Paco"), DONE)


async def whole_turn() -> tuple[list[Event], Ran]:
    ran = Ran()
    stack = scripted_stack(*SCRIPT)
    await run(stack, "Go", Terms(registry=ran.registry()), "alice")
    return await logged(stack, "alice"), ran


async def log_of(events: Sequence[Event], turn: str = "t1") -> EventLog:
    log = SQLiteLog(":memory:")
    if events:
        await log.append("alice", turn, 0, events)
    return log


async def resumed(stack: Stack, terms: Terms, **decisions: Decision) -> list[Event]:
    named = {name.removeprefix("at_").replace("_", "."): decision for name, decision in decisions.items()}
    return [event async for event in stack.resume("alice", terms, decisions=named)]


def left(events: Sequence[Event], script: Sequence[str] = SCRIPT) -> Sequence[str]:
    return script[len(of(StepFinished, events)) :]


async def test_every_prefix_of_a_turn_goes_on_to_its_end_and_no_finished_step_runs_again() -> None:
    events, _ = await whole_turn()
    for kept in range(2, len(events)):
        ran = Ran()
        prefix = events[:kept]
        stack = scripted_stack(*left(prefix), log=await log_of(prefix))
        more = await resumed(stack, Terms(registry=ran.registry()))
        if of(TurnPaused, more):
            (asked,) = of(DecisionAsked, more)
            assert (asked.asked, asked.call.name) == ("interrupted", "feed")
            assert isinstance(prefix[-1], CallStarted)
            assert "Paco" not in ran.keys
            more += await resumed(stack, Terms(registry=ran.registry()), at_2_0=Decision.run())
        stored = await logged(stack, "alice")
        assert stored[:kept] == prefix
        assert [event for event in more if not isinstance(event, TextDelta)] == stored[kept:]
        assert isinstance(more[0], TurnResumed)
        assert of(TurnFinished, stored)[0].text == "Done."
        assert [event.step for event in of(StepFinished, stored)] == [1, 2, 3]
        finished = [(event.step, event.position) for event in of(CallFinished, stored)]
        assert sorted(finished) == [(1, 0), (1, 1), (2, 0)]
        assert [event.token_ids for event in of(PromptAppended, stored)] == [
            event.token_ids for event in of(PromptAppended, events)
        ]
        had = {event.result.call.arguments["mule"] for event in of(CallFinished, prefix)}
        assert not had & set(ran.keys)


async def test_a_call_has_the_same_key_however_often_its_turn_is_resumed() -> None:
    events, _ = await whole_turn()
    started = next(at for at, event in enumerate(events) if isinstance(event, CallStarted))
    keys = set()
    for _ in range(3):
        ran = Ran()
        stack = scripted_stack(*left(events[: started + 1]), log=await log_of(events[: started + 1]))
        await resumed(stack, Terms(registry=ran.registry()))
        keys.add((*ran.keys["Zuri"], *ran.keys["Lola"]))
    ((zuri, lola),) = keys
    assert zuri != lola


async def test_a_step_is_asked_for_again_with_the_ids_that_were_logged() -> None:
    events, _ = await whole_turn()
    stack = scripted_stack(*SCRIPT, log=await log_of(events[:2]))
    await resumed(stack, Terms(registry=Ran().registry()))
    assert engine_of(stack).requests[0] == list(of(PromptAppended, events)[0].token_ids)


@dataclass
class Judge:
    """A shield that forbids what holds a word."""

    forbidden: str = "Done"
    name: str = "judge"
    seen: list[tuple[Place, str]] = field(default_factory=list)

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        self.seen.append((where, str(messages[-1].content)))
        return Verdict(self.forbidden not in str(messages[-1].content))


async def test_an_answer_that_was_not_judged_is_judged_when_the_turn_is_resumed() -> None:
    stack = scripted_stack(DONE)
    await run(stack, "Go", Terms(output_shields=(Judge("never"),)), "alice")
    events = await logged(stack, "alice")
    prefix = events[: kinds(events).index("StepFinished") + 1]
    judge = Judge()
    other = scripted_stack(log=await log_of(prefix))
    more = await resumed(other, Terms(output_shields=(judge,), refusal="No."))
    assert judge.seen == [("output", "Done.")]
    assert of(TurnFinished, more)[0].text == "No."
    assert "Done" not in repr(more)


async def test_an_answer_that_was_not_judged_is_not_in_the_transcript_of_the_next_turn() -> None:
    stack = scripted_stack(DONE)
    await run(stack, "Go", Terms(output_shields=(Judge("never"),)), "alice")
    events = await logged(stack, "alice")
    prefix = events[: kinds(events).index("StepFinished") + 1]
    other = scripted_stack("Hi.<|eot_id|>", log=await log_of(prefix))
    await run(other, "Hello", session="alice")
    assert "Done" not in engine_of(other).tokenizer.decode(engine_of(other).requests[0])
    assert [event.error for event in await logged(other, "alice") if hasattr(event, "error")] == ["Interrupted"]


async def test_input_that_was_not_judged_is_judged_when_the_turn_is_resumed() -> None:
    stack = scripted_stack(DONE)
    await run(stack, "Go", session="alice")
    prefix = (await logged(stack, "alice"))[:2]
    judge = Judge("Go")
    more = await resumed(scripted_stack(DONE, log=await log_of(prefix)), Terms(input_shields=(judge,)))
    assert judge.seen == [("input", "Go")]
    assert of(TurnFinished, more)[0].reason == "refused"


async def test_input_that_was_judged_is_not_judged_again() -> None:
    stack = scripted_stack(DONE)
    terms = Terms(input_shields=(Judge("never"),))
    await run(stack, "Go", terms, "alice")
    prefix = (await logged(stack, "alice"))[:3]
    assert isinstance(prefix[-1], VerdictGiven)
    judge = Judge()
    await resumed(scripted_stack(DONE, log=await log_of(prefix)), Terms(input_shields=(judge,)))
    assert judge.seen == []


async def test_what_a_turn_has_used_counts_after_it_is_resumed() -> None:
    events, _ = await whole_turn()
    asked = kinds(events).index("PromptAppended", 2) + 1
    terms = Terms(registry=Ran().registry(), limits=Limits(steps=2))
    more = await resumed(scripted_stack(*left(events[:asked]), log=await log_of(events[:asked])), terms)
    assert of(TurnFinished, more)[0].reason == "limit"
    calls = Terms(registry=Ran().registry(), limits=Limits(calls=2))
    more = await resumed(scripted_stack(*left(events[:asked]), log=await log_of(events[:asked])), calls)
    assert of(TurnFinished, more)[0].reason == "limit"
    usage = of(TurnFinished, events)[0].usage
    whole = Terms(registry=Ran().registry())
    more = await resumed(scripted_stack(*left(events[:asked]), log=await log_of(events[:asked])), whole)
    assert of(TurnFinished, more)[0].usage == usage
    assert before_step(calls, 0, usage, "") is None


async def test_a_fork_of_a_turn_that_waits_goes_on_by_itself() -> None:
    events, _ = await whole_turn()
    started = len(events) - 1 - [*reversed(kinds(events))].index("CallStarted")
    ran = Ran()
    stack = scripted_stack(DONE, DONE, log=await log_of(events[: started + 1]), extending=False)
    fork = await stack.fork("alice")
    assert of(TurnPaused, await resumed(stack, Terms(registry=ran.registry())))
    more = [event async for event in stack.resume(fork, Terms(registry=ran.registry()))]
    more += [
        event
        async for event in stack.resume(fork, Terms(registry=ran.registry()), decisions={"2.0": Decision.answer("fed")})
    ]
    assert of(TurnFinished, more)[0].reason == "answer"
    assert not of(TurnFinished, await logged(stack, "alice"))
    assert ran.keys == {}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_a_turn_that_is_killed_again_and_again_comes_to_the_same_end(cuts: list[int]) -> None:
    async def again(asked: Asked, call: ToolCall) -> Decision:
        return Decision.run()

    async def killed() -> None:
        events, _ = await whole_turn()
        for cut in cuts:
            prefix = events[: max(2, min(cut, len(events) - 1))]
            terms = Terms(registry=Ran().registry(), decide=again)
            stack = scripted_stack(*left(prefix), log=await log_of(prefix))
            await resumed(stack, terms)
            events = await logged(stack, "alice")
        assert of(TurnFinished, events)[-1].text == "Done."
        assert [event.step for event in of(StepFinished, events)] == [1, 2, 3]

    anyio.run(killed)


async def test_a_turn_that_has_used_up_its_tokens_asks_for_no_more_when_it_is_resumed() -> None:
    events, _ = await whole_turn()
    asked = kinds(events).index("PromptAppended", 2) + 1
    stack = scripted_stack(log=await log_of(events[:asked]))
    more = await resumed(stack, Terms(registry=Ran().registry(), limits=Limits(tokens=5)))
    assert of(LimitReached, more)[0].limit == "tokens"
    assert engine_of(stack).requests == []


async def test_a_fork_of_what_is_not_there_is_refused() -> None:
    events, _ = await whole_turn()
    stack = scripted_stack(log=await log_of(events))
    for session, at in (("bob", None), ("bob", 0), ("alice", 99)):
        with pytest.raises(UnknownSession, match=session):
            await stack.fork(session, at=at)


async def test_a_fork_at_an_event_shares_what_was_sent_up_to_there() -> None:
    events, _ = await whole_turn()
    step = kinds(events).index("StepFinished")
    stack = scripted_stack(SCRIPT[1], DONE, log=await log_of(events))
    fork = await stack.fork("alice", at=step, into="fork")
    more = [event async for event in stack.resume(fork, Terms(registry=Ran().registry()))]
    assert of(TurnFinished, more)[0].text == "Done."
    stored = of(PromptAppended, events)
    assert engine_of(stack).requests[0][: len(stored[0].token_ids)] == list(stored[0].token_ids)
    assert await logged(stack, "alice") == events
