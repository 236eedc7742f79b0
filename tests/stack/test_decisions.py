"""Calls that wait until somebody decides."""

from collections.abc import Iterable

import pytest
from scripted import call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.messages import ToolCall
from arriero.stack.decisions import Asked, Decision, InvalidDecision
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    TextDelta,
    TurnFinished,
    TurnPaused,
    TurnResumed,
)
from arriero.stack.log import UnknownSession
from arriero.stack.sessions import NothingToResume, TurnWaiting
from arriero.stack.stack import Stack
from arriero.stack.turn import Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"
paid: list[int] = []


@tool(sensitive=True)
async def pay(amount: int) -> str:
    """Pay."""
    paid.append(amount)
    return f"paid {amount}"


@tool
async def look() -> str:
    """Look."""
    return "seen"


@tool
async def ask_user(question: str) -> str:
    """Ask the user."""
    raise AssertionError("ran")


TERMS = Terms(registry=Registry([pay, look, ask_user]), asks=frozenset({"ask_user"}))
PAY = call("pay", amount=5)


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    paid.clear()


async def resumed(stack: Stack, session: str = "alice", terms: Terms = TERMS, **decisions: Decision) -> list[Event]:
    events: list[Event] = []
    named = {name.removeprefix("at_").replace("_", "."): decision for name, decision in decisions.items()}
    async for event in stack.resume(session, terms, decisions=named):
        events.append(event)
    return events


def shown(events: Iterable[Event]) -> list[str]:
    return [kind for kind in kinds(events) if kind != "TextDelta"]


async def test_a_sensitive_call_pauses_the_turn_and_nothing_runs() -> None:
    stack = scripted_stack(PAY, DONE)
    events = await run(stack, "Pay 5", TERMS, "alice")
    assert shown(events)[-3:] == ["StepFinished", "DecisionAsked", "TurnPaused"]
    (asked,) = of(DecisionAsked, events)
    assert (asked.asked, asked.call) == ("approval", ToolCall("pay", {"amount": 5}))
    assert "pay" in asked.question
    assert of(TurnPaused, events)[0].waiting == ("1.0",)
    assert paid == []


async def test_a_turn_that_waits_goes_on_in_another_process_when_a_person_approves() -> None:
    stack = scripted_stack(PAY)
    await run(stack, "Pay 5", TERMS, "alice")
    other = scripted_stack(DONE, log=stack.log)
    events = await resumed(other, at_1_0=Decision.run(by="ana"))
    assert shown(events) == [
        "TurnResumed", "DecisionGiven", "CallStarted", "CallFinished", "PromptAppended", "StepFinished", "TurnFinished",
    ]  # fmt: skip
    assert paid == [5]
    assert of(TurnFinished, events)[0].text == "Done."
    said = engine_of(stack).requests[0] + engine_of(stack).encode(PAY)
    assert engine_of(other).requests[0][: len(said)] == said


async def test_an_approved_call_may_be_edited() -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    events = await resumed(stack, at_1_0=Decision.edit({"amount": 3}))
    assert paid == [3]
    assert of(CallStarted, events)[0].call.arguments == {"amount": 3}


@pytest.mark.parametrize(
    ("decision", "content"),
    [
        (Decision.deny("too much"), "error: pay was not run: a person must approve it, and did not: too much"),
        (Decision.answer("it was paid by hand"), "it was paid by hand"),
    ],
)
async def test_a_call_that_is_not_run_has_a_result_that_the_model_reads(decision: Decision, content: str) -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    events = await resumed(stack, at_1_0=decision)
    assert (paid, of(CallStarted, events)) == ([], [])
    assert of(CallFinished, events)[0].result.content == content
    assert content[-8:] in engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])


async def test_other_calls_of_the_step_run_before_the_turn_pauses_and_only_once() -> None:
    both = PAY.removesuffix("<|eot_id|>") + "; " + call("look")
    stack = scripted_stack(both, DONE)
    events = await run(stack, "Go", TERMS, "alice")
    assert [event.position for event in of(CallFinished, events)] == [1]
    assert of(TurnPaused, events)[0].waiting == ("1.0",)
    events = await resumed(stack, at_1_0=Decision.run())
    assert [event.position for event in of(CallStarted, events)] == [0]
    text = engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])
    assert text.index("paid 5") < text.index("seen")


async def test_a_decision_may_be_given_days_before_the_turn_goes_on() -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    await stack.decide("alice", "1.0", Decision.run())
    assert isinstance((await logged(stack, "alice"))[-1], DecisionGiven)
    assert paid == []
    await resumed(scripted_stack(DONE, log=stack.log))
    assert paid == [5]


async def test_a_turn_that_is_resumed_without_a_decision_waits_on() -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    events = await resumed(stack)
    assert shown(events) == ["TurnResumed", "TurnPaused"]
    assert of(TurnPaused, events)[0].waiting == ("1.0",)


async def test_one_of_two_decisions_is_not_enough() -> None:
    both = PAY.removesuffix("<|eot_id|>") + "; " + call("pay", amount=7)
    stack = scripted_stack(both, DONE)
    await run(stack, "Pay", TERMS, "alice")
    events = await resumed(stack, at_1_1=Decision.run())
    assert paid == [7]
    assert of(TurnPaused, events)[0].waiting == ("1.0",)
    events = await resumed(stack, at_1_0=Decision.run())
    assert paid == [7, 5]
    assert of(TurnFinished, events)[0].reason == "answer"


async def test_a_question_to_the_user_waits_for_the_answer() -> None:
    stack = scripted_stack(call("ask_user", question="Which mule?"), DONE)
    events = await run(stack, "Go", TERMS, "alice")
    assert of(DecisionAsked, events)[0].question == "Which mule?"
    with pytest.raises(InvalidDecision, match="give one of answer, deny"):
        await resumed(stack, at_1_0=Decision.run())
    events = await resumed(stack, at_1_0=Decision.answer("Zuri"))
    assert of(CallFinished, events)[0].result.content == "Zuri"


async def test_a_policy_decides_in_place_of_a_person() -> None:
    async def small(asked: Asked, call: ToolCall) -> Decision | None:
        return Decision.run(by="policy") if call.arguments["amount"] < 10 else None

    terms = Terms(registry=Registry([pay]), decide=small)
    stack = scripted_stack(PAY, call("pay", amount=7), call("pay", amount=50), DONE)
    events = await run(stack, "Pay", terms, "alice")
    assert paid == [5, 7]
    assert [given.decision.by for given in of(DecisionGiven, events)] == ["policy", "policy"]
    assert of(TurnPaused, events)[0].waiting == ("3.0",)


async def test_a_registry_that_can_ask_does_so_and_the_turn_does_not_pause() -> None:
    async def approve(*_: object) -> bool:
        return True

    stack = scripted_stack(PAY, DONE)
    events = await run(stack, "Pay 5", Terms(registry=Registry([pay], approve=approve)))
    assert paid == [5]
    assert not of(DecisionAsked, events)


@pytest.mark.parametrize("name", ["1.1", "2.0", "1", "nonsense"])
async def test_a_decision_about_nothing_is_refused_before_anything_is_logged(name: str) -> None:
    stack = scripted_stack(PAY, DONE)
    before = await run(stack, "Pay 5", TERMS, "alice")
    with pytest.raises(InvalidDecision, match=r"what waits is 1\.0"):
        [event async for event in stack.resume("alice", TERMS, decisions={name: Decision.run()})]
    assert len(await logged(stack, "alice")) == len([event for event in before if not isinstance(event, TextDelta)])


async def test_deciding_twice_is_refused() -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    await stack.decide("alice", "1.0", Decision.run())
    with pytest.raises(InvalidDecision, match="decided before"):
        await stack.decide("alice", "1.0", Decision.deny())
    with pytest.raises(InvalidDecision, match="decided before"):
        await resumed(stack, at_1_0=Decision.deny())


async def test_what_is_over_cannot_be_resumed_or_decided() -> None:
    stack = scripted_stack(DONE)
    await run(stack, "Hello", TERMS, "alice")
    with pytest.raises(NothingToResume, match="alice"):
        await resumed(stack)
    with pytest.raises(NothingToResume):
        await stack.decide("alice", "1.0", Decision.run())
    with pytest.raises(UnknownSession, match="bob"):
        await resumed(stack, "bob")
    with pytest.raises(UnknownSession):
        await stack.decide("bob", "1.0", Decision.run())


async def test_a_turn_that_waits_must_be_resumed_or_cancelled_before_the_next() -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    with pytest.raises(TurnWaiting, match="resume it with decisions, or cancel it"):
        await run(stack, "Hello?", TERMS, "alice")
    assert await stack.cancel("alice")
    assert of(TurnFinished, await logged(stack, "alice"))[0].reason == "cancelled"
    assert not await stack.cancel("alice")
    events = await run(stack, "Hello?", TERMS, "alice")
    assert of(TurnFinished, events)[0].reason == "answer"
    assert paid == []


async def test_a_resumed_turn_begins_with_who_took_it_up() -> None:
    stack = scripted_stack(PAY, DONE)
    await run(stack, "Pay 5", TERMS, "alice")
    (event,) = of(TurnResumed, await resumed(stack, at_1_0=Decision.run()))
    assert event.owner


@pytest.mark.parametrize("value", [10**5000, "\ud800", object()], ids=["number", "text", "object"])
def test_a_decision_that_the_log_could_not_keep_is_refused(value: object) -> None:
    with pytest.raises(InvalidDecision, match="cannot be written as JSON"):
        Decision.edit({"amount": value}, by="ana")
    if isinstance(value, str):
        for decide in (Decision.answer, Decision.deny):
            with pytest.raises(InvalidDecision, match="cannot be written as JSON"):
                decide(value)
