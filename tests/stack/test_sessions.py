"""Sessions: listed, branched at any event, made shorter by hand."""

from collections.abc import Sequence

import pytest
from scripted import call, engine_of, run, scripted_stack

from arriero.prompts.messages import Message
from arriero.stack.compaction import DropOldestResults, InvalidCompaction, NotCompacted, compact_with
from arriero.stack.decisions import Decision
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    HandedOff,
    SessionForked,
    StepFinished,
    TranscriptRewritten,
    TurnFinished,
    VerdictGiven,
)
from arriero.stack.log import EventLog, LogConflict, UnknownSession
from arriero.stack.replay import replay
from arriero.stack.sessions import TurnWaiting
from arriero.stack.shields import Place, Verdict
from arriero.stack.tape import fold
from arriero.stack.terms import Handoff, Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio


@tool
def read(page: int) -> str:
    """Read a page."""
    return f"page {page} " * 30


@tool(sensitive=True)
def burn(page: int) -> str:
    """Burn a page."""
    return "burnt"


TERMS = Terms(registry=Registry([read, burn]), instructions="You are brief.")


async def two_turns(log: EventLog) -> None:
    script = [call("read", page=1), "One.<|eot_id|>", call("read", page=2), "Two.<|eot_id|>"]
    stack = scripted_stack(*script, log=log)
    await run(stack, "Read page 1.", TERMS, "s1")
    await run(stack, "Read page 2.", TERMS, "s1")


async def test_sessions_are_listed_by_their_turns(event_log: EventLog) -> None:
    await two_turns(event_log)
    await run(scripted_stack("Hi.<|eot_id|>", log=event_log), "Hello", session="s2")
    listed = [(turn.session, turn.state, turn.reason, turn.steps, turn.calls) for turn in await event_log.turns()]
    assert listed[0] == ("s2", "finished", "answer", 1, 0)
    assert listed[1:] == [("s1", "finished", "answer", 2, 1)] * 2


async def test_a_branch_at_any_event_asks_with_the_ids_of_the_original_up_to_there(event_log: EventLog) -> None:
    await two_turns(event_log)
    records = await event_log.read("s1")
    for at in range(len(records)):
        stack = scripted_stack("Fine.<|eot_id|>", log=event_log, extending=False)
        name = await stack.fork("s1", at=at, into=f"branch {at}")
        before = fold("s1", records[: at + 1])
        branch = fold(name, await event_log.read(name))
        assert branch.ids == before.ids
        events = await run(stack, "And now?", TERMS, name)
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].text == "Fine."
        (asked,) = engine_of(stack).requests
        kept = fold("s1", records[: at + 1])
        if kept.turn is not None:  # as every turn that its process left when another one begins
            kept.apply(TurnFinished("", "failed", Usage(), 0.0))
        assert asked[: len(kept.ids)] == [*kept.ids]
        assert len(asked) > len(kept.ids)
        assert (await replay(event_log, name, stack.engine.tokenizer)).exact


async def test_a_branch_inside_of_a_turn_can_be_resumed_in_both_and_shares_the_prefix(event_log: EventLog) -> None:
    await two_turns(event_log)
    records = await event_log.read("s1")
    at = [record.seq for record in records if isinstance(record.event, StepFinished)][2]
    stack = scripted_stack("Two, again.<|eot_id|>", log=event_log, extending=False)
    name = await stack.fork("s1", at=at)
    assert (await event_log.turns(name))[0].state == "interrupted"
    events = [event async for event in stack.resume(name, TERMS)]
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].text == "Two, again."
    original = fold("s1", records).ids
    (asked,) = engine_of(stack).requests
    assert asked == [*original][: len(asked)]


async def test_a_branch_where_a_call_waits_waits_too_and_decisions_are_its_own(event_log: EventLog) -> None:
    stack = scripted_stack(call("burn", page=1), "Burnt.<|eot_id|>", "Kept.<|eot_id|>", log=event_log, extending=False)
    await run(stack, "Burn it.", TERMS, "s1")
    name = await stack.fork("s1")
    for session, decision, text in (("s1", Decision.run(), "Burnt."), (name, Decision.deny(), "Kept.")):
        events = [event async for event in stack.resume(session, TERMS, decisions={"1.0": decision})]
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].text == text


async def test_a_branch_that_is_not_wanted_further_can_be_cancelled_and_continued(event_log: EventLog) -> None:
    stack = scripted_stack(call("burn", page=1), "Kept.<|eot_id|>", log=event_log, extending=False)
    await run(stack, "Burn it.", TERMS, "s1")
    name = await stack.fork("s1")
    with pytest.raises(TurnWaiting):
        await run(stack, "Leave it.", TERMS, name)
    assert await stack.cancel(name)
    events = await run(stack, "Leave it.", TERMS, name)
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].text == "Kept."
    assert (await event_log.turns("s1"))[0].state == "waiting"


async def test_a_branch_where_another_agent_was_about_to_take_over_hands_over_itself(event_log: EventLog) -> None:
    @tool
    def transfer() -> str:
        """Hand over."""
        return "billing takes over"

    async def billing() -> Terms:
        return Terms(registry=Registry([read]), instructions="You know bills.", agent="billing")

    handoffs = {"transfer": Handoff("billing", billing)}
    terms = Terms(registry=Registry([transfer]), instructions="A", agent="triage", handoffs=handoffs)
    await run(scripted_stack(call("transfer"), "Paid.<|eot_id|>", log=event_log), "My bill!", terms, "s1")
    at = next(record.seq for record in await event_log.read("s1") if isinstance(record.event, HandedOff))
    stack = scripted_stack("Paid.<|eot_id|>", log=event_log)
    name = await stack.fork("s1", at=at)
    assert (await replay(event_log, name, stack.engine.tokenizer)).differences == ()
    assert fold(name, await event_log.read(name)).agent == "triage"
    assert [event async for event in stack.resume(name, terms)]
    tape = fold(name, await event_log.read(name))
    assert (tape.agent, tape.messages[0].content) == ("billing", "You know bills.")
    assert [*tape.ids] == [*fold("s1", await event_log.read("s1")).ids]
    assert (await replay(event_log, name, stack.engine.tokenizer)).differences == ()


class Guard:
    """Forbids what is bad."""

    name = "guard"

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        return Verdict("bad" not in str(messages[-1].content))


@pytest.mark.parametrize("answer", ["Good.", "A bad one."])
async def test_a_branch_after_the_verdict_about_an_answer_judges_it_anew(event_log: EventLog, answer: str) -> None:
    terms = Terms(output_shields=(Guard(),))
    whole = await run(scripted_stack(answer + "<|eot_id|>", log=event_log), "Hello", terms, "s1")
    at = next(record.seq for record in await event_log.read("s1") if isinstance(record.event, VerdictGiven))
    stack = scripted_stack("Good day.<|eot_id|>", log=event_log)
    resumed, other = await stack.fork("s1", at=at), await stack.fork("s1", at=at)
    events = [event async for event in stack.resume(resumed, terms)]
    ends = [one for one in (events[-1], whole[-1]) if isinstance(one, TurnFinished)]
    assert len(ends) == 2
    assert len({(end.text, end.reason) for end in ends}) == 1
    await run(stack, "And now?", terms, other)
    said = [message.content for message in fold(other, await event_log.read(other)).messages]
    assert ("A bad one." in said, "Good." in said) == (False, answer == "Good.")
    for name in (resumed, other):
        assert (await replay(event_log, name, stack.engine.tokenizer)).differences == ()


async def test_the_original_does_not_change_and_the_branch_says_where_it_is_from(event_log: EventLog) -> None:
    await two_turns(event_log)
    before = await event_log.read("s1")
    stack = scripted_stack("Fine.<|eot_id|>", log=event_log)
    await stack.fork("s1", at=3, into="b")
    await run(stack, "And now?", TERMS, "b")
    assert await event_log.read("s1") == before
    forked = [record.event for record in await event_log.read("b") if isinstance(record.event, SessionForked)]
    assert forked == [SessionForked("s1", 3)]


async def test_branches_of_nothing_are_typed_errors(event_log: EventLog) -> None:
    await two_turns(event_log)
    stack = scripted_stack(log=event_log)
    for session, at in (("s1", 99), ("s1", -1), ("nobody", 0), ("nobody", None)):
        with pytest.raises(UnknownSession):
            await stack.fork(session, at=at, into="b")
    await stack.fork("s1", into="b")
    with pytest.raises(LogConflict):
        await stack.fork("s1", into="b")


async def test_a_session_is_made_shorter_by_hand_and_goes_on_from_there(event_log: EventLog) -> None:
    await two_turns(event_log)
    stack = scripted_stack("Three.<|eot_id|>", log=event_log)
    long = len(fold("s1", await event_log.read("s1")).ids)
    dropped = await stack.compact("s1", DropOldestResults(keep_turns=1), most=1_500)
    tape = fold("s1", await event_log.read("s1"))
    assert len(tape.ids) == long - dropped <= 1_500
    records = await event_log.read("s1")
    assert isinstance(records[-1].event, TranscriptRewritten)
    assert records[-1].event.policy == "drop-oldest-results"
    assert [turn.state for turn in await event_log.turns("s1")] == ["finished"] * 2
    await run(stack, "And three?", TERMS, "s1")
    (asked,) = engine_of(stack).requests
    assert asked[: len(tape.ids)] == [*tape.ids]
    text = stack.engine.tokenizer.decode(asked)
    assert text.startswith("<|begin_of_text|>")
    assert text.endswith(
        "Two.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd three?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert (await replay(event_log, "s1", stack.engine.tokenizer)).exact


async def test_what_is_short_enough_is_left_as_it_is(event_log: EventLog) -> None:
    await two_turns(event_log)
    length = await event_log.length("s1")
    assert await scripted_stack(log=event_log).compact("s1", DropOldestResults(fill=1.0)) == 0
    assert await event_log.length("s1") == length


async def test_what_cannot_be_made_shorter_by_hand_is_a_typed_error_and_nothing_is_logged(event_log: EventLog) -> None:
    async def nothing(messages: Sequence[Message], count: object, most: int) -> Sequence[Message]:
        return []

    await two_turns(event_log)
    length = await event_log.length("s1")
    stack = scripted_stack(call("burn", page=1), log=event_log, extending=False)
    with pytest.raises(NotCompacted):
        await stack.compact("s1", DropOldestResults(), most=100)
    with pytest.raises(InvalidCompaction):
        await stack.compact("s1", compact_with("nothing", nothing))
    with pytest.raises(UnknownSession):
        await stack.compact("nobody", DropOldestResults())
    assert await event_log.length("s1") == length
    assert any(isinstance(record.event, CallFinished) for record in await event_log.read("s1"))
    await run(stack, "Burn it.", TERMS, "s1")
    with pytest.raises(TurnWaiting):
        await stack.compact("s1", DropOldestResults())
