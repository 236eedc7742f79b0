"""Sessions run again from their logs, without a model and without tools."""

import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from scripted import Say, call, engine_of, run, scripted_stack

from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.stack.compaction import DropOldestResults
from arriero.stack.decisions import Decision
from arriero.stack.errors import EngineUnavailable
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    Event,
    HandedOff,
    MessageAdded,
    PromptAppended,
    StepFinished,
    TextDelta,
    TranscriptRewritten,
    TurnFinished,
    VerdictGiven,
)
from arriero.stack.log import (
    DatabaseLog,
    EventLog,
    LogError,
    Retention,
    SessionRedacted,
    SQLiteLog,
    UnknownSession,
    prune,
)
from arriero.stack.replay import Replay, replay, replay_events
from arriero.stack.sessions import SessionMismatch
from arriero.stack.shields import Place, Verdict
from arriero.stack.stack import Stack
from arriero.stack.summary import Summarise
from arriero.stack.terms import Handoff, Hooks, Limits, Terms
from arriero.testing import byte_tokenizer
from arriero.tools import Registry, ToolError, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@tool
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@tool(sensitive=True)
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool(pure=True)
async def slow(seconds: float) -> str:
    """Wait."""
    await anyio.sleep(seconds)
    return f"waited {seconds}"


TOOLS = Registry([double, fail, pay, slow])
TERMS = Terms(registry=TOOLS, instructions="You are brief.")


def both(*calls: str) -> str:
    return "; ".join(one.removesuffix("<|eot_id|>") for one in calls) + "<|eot_id|>"


async def again(log: EventLog, session: str = "s1", **settings: Any) -> Replay:
    return await replay(log, session, byte_tokenizer(), seconds=5, **settings)


async def exact(log: EventLog, session: str = "s1") -> Replay:
    done = await again(log, session)
    assert done.differences == ()
    assert done.exact
    return done


async def events_of(log: EventLog, session: str = "s1") -> list[Event]:
    return [record.event for record in await log.read(session)]


async def finish(stack: Stack, terms: Terms = TERMS, **decisions: Decision) -> list[Event]:
    named = {name.removeprefix("d").replace("_", "."): decision for name, decision in decisions.items()}
    return [event async for event in stack.resume("s1", terms, decisions=named)]


async def test_turns_with_calls_come_out_as_they_did(event_log: EventLog) -> None:
    script = [
        both(call("double", number=2), call("fail", why="no")),
        call("nothing"),
        "Four.<|eot_id|>",
        "Bye.<|eot_id|>",
    ]
    stack = scripted_stack(*script, log=event_log)
    await run(stack, "Double two.", TERMS, "s1")
    await run(stack, "Bye!", TERMS, "s1")
    done = await exact(event_log)
    assert (done.turns, done.given) == (2, 0)
    assert done.compared == len(await events_of(event_log))


async def test_neither_the_model_nor_the_tools_need_to_exist(event_log: EventLog) -> None:
    ran: list[int] = []

    @tool
    def once(number: int) -> str:
        """Run."""
        ran.append(number)
        return "ran"

    stack = scripted_stack(call("once", number=1), DONE, log=event_log)
    await run(stack, "Go", Terms(registry=Registry([once])), "s1")
    requests = len(engine_of(stack).requests)
    await exact(event_log)
    assert ran == [1]
    assert len(engine_of(stack).requests) == requests


async def test_results_that_came_in_another_order_do_not_matter(event_log: EventLog) -> None:
    stack = scripted_stack(both(call("slow", seconds=0.3), call("double", number=2)), DONE, log=event_log)
    await run(stack, "Go", TERMS, "s1")
    positions = [event.position for event in await events_of(event_log) if isinstance(event, CallFinished)]
    assert positions == [1, 0]
    await exact(event_log)


async def test_steering_comes_where_it_came(event_log: EventLog) -> None:
    stack: Stack = scripted_stack(
        Say(call("double", number=2), before=lambda: stack.say("s1", Message("user", "Quick!"))),
        Say("Four.<|eot_id|>", after=lambda: stack.say("s1", Message("user", "And six?"))),
        "Twelve.<|eot_id|>",
        log=event_log,
    )
    await run(stack, "Double two.", TERMS, "s1")
    assert sum(isinstance(event, MessageAdded) for event in await events_of(event_log)) == 2
    assert (await exact(event_log)).given == 0


@pytest.mark.parametrize(
    "decision", [Decision.run(), Decision.edit({"amount": 1}), Decision.deny("no"), Decision.answer("It is paid.")]
)
async def test_approvals_and_what_was_decided(event_log: EventLog, decision: Decision) -> None:
    stack = scripted_stack(both(call("pay", amount=5), call("double", number=2)), DONE, log=event_log)
    await run(stack, "Pay!", TERMS, "s1")
    await finish(stack, d1_0=decision)
    assert (await exact(event_log)).given == 0


async def test_decisions_given_before_the_resume_and_by_a_policy(event_log: EventLog) -> None:
    async def decide(asked: str, wanted: ToolCall) -> Decision | None:
        return Decision.run(by="policy") if wanted.arguments["amount"] == 1 else None

    terms = replace(TERMS, decide=decide)
    stack = scripted_stack(both(call("pay", amount=5), call("pay", amount=1)), DONE, log=event_log)
    await run(stack, "Pay!", terms, "s1")
    await stack.decide("s1", "1.0", Decision.deny())
    await finish(stack, terms)
    done = await exact(event_log)
    assert done.given == 1


async def test_questions_to_the_user(event_log: EventLog) -> None:
    terms = replace(TERMS, asks=frozenset({"double"}))
    stack = scripted_stack(call("double", number=2), DONE, log=event_log)
    await run(stack, "Go", terms, "s1")
    await finish(stack, terms, d1_0=Decision.answer("Seven."))
    await exact(event_log)


async def test_a_turn_that_was_killed_at_any_event_and_resumed(event_log: EventLog) -> None:
    stack = scripted_stack(both(call("double", number=2), call("double", number=3)), "Ten.<|eot_id|>", log=event_log)
    await run(stack, "Go", TERMS, "s1")
    records = await event_log.read("s1")
    for count in range(1, len(records)):
        session = f"killed after {count}"
        for record in records[:count]:
            await event_log.append(session, "t1", record.seq, [record.event])
        steps = sum(isinstance(record.event, StepFinished) for record in records[:count])
        script = [both(call("double", number=2), call("double", number=3)), "Ten.<|eot_id|>"][steps:]
        stack = scripted_stack(*script, log=event_log)
        events = [event async for event in stack.resume(session, TERMS)]
        if isinstance(events[-1], TurnFinished):
            assert events[-1].text == "Ten."
        done = await exact(event_log, session)
        assert done.compared >= count
    assert any(isinstance(event, DecisionAsked) for event in await events_of(event_log, "killed after 4"))


async def test_a_killed_turn_that_another_turn_followed(event_log: EventLog) -> None:
    stack = scripted_stack(call("double", number=2), "Four.<|eot_id|>", "Yes.<|eot_id|>", log=event_log)
    await run(stack, "Go", TERMS, "s1")
    records = await event_log.read("s1")
    for count in (1, 2, 3, 4, 5):
        session = f"left after {count}"
        for record in records[:count]:
            await event_log.append(session, "t1", record.seq, [record.event])
        await run(scripted_stack("Yes.<|eot_id|>", log=event_log), "There?", TERMS, session)
        assert (await exact(event_log, session)).turns == 2


async def test_limits_and_cancellation_and_failures_are_taken_from_the_log(event_log: EventLog) -> None:
    terms = replace(TERMS, limits=Limits(steps=1))
    await run(scripted_stack(call("double", number=2), log=event_log), "Go", terms, "s1")
    stack = scripted_stack(Say("Late", before=lambda: stack.cancel("s1"), delay=0), log=event_log)
    await run(stack, "Go on", TERMS, "s1")
    with suppress(EngineUnavailable):
        await run(scripted_stack(Say("Half", fault=EngineUnavailable("gone")), log=event_log), "Go on", TERMS, "s1")
    await run(scripted_stack(DONE, log=event_log), "Go on", TERMS, "s1")
    reasons = [event.reason for event in await events_of(event_log) if isinstance(event, TurnFinished)]
    assert reasons == ["limit", "cancelled", "failed", "answer"]
    done = await exact(event_log)
    assert done.turns == 4
    assert done.given > 0


async def test_an_abandoned_turn_and_what_followed(event_log: EventLog) -> None:
    stack = scripted_stack(call("double", number=2), "Four.<|eot_id|>", "Yes.<|eot_id|>", log=event_log)
    async with aclosing(stack.run_turn([Message("user", "Go")], TERMS, session="s1")) as events:
        async for event in events:
            if isinstance(event, CallStarted):
                break
    await run(scripted_stack("Yes.<|eot_id|>", log=event_log), "There?", TERMS, "s1")
    await exact(event_log)


class Guard:
    """Forbids what holds a word."""

    def __init__(self, word: str, name: str = "guard") -> None:
        self.word, self.name = word, name

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        return Verdict(self.word not in str(messages[-1].content), (), None, self.word)


@pytest.mark.parametrize("text", ["Hello", "bad input", "say bad"])
async def test_verdicts_of_several_shields(event_log: EventLog, text: str) -> None:
    shields = (Guard("bad input", "first"), Guard("bad", "second"))
    terms = replace(TERMS, input_shields=shields[:1], output_shields=shields, refusal="No.")
    answer = "bad words.<|eot_id|>" if text == "say bad" else "Fine.<|eot_id|>"
    stack = scripted_stack(call("double", number=2), answer, "Bye.<|eot_id|>", log=event_log, extending=False)
    await run(stack, text, terms, "s1")
    await run(scripted_stack("Bye.<|eot_id|>", log=event_log), "Bye", terms, "s1")
    await exact(event_log)


async def test_compaction_is_the_recorded_one(event_log: EventLog) -> None:
    @tool
    def read(page: int) -> str:
        """Read."""
        return f"page {page} " * 60

    terms = Terms(registry=Registry([read]), compaction=DropOldestResults(keep_turns=1), instructions="Read.")
    script = [answer for page in range(4) for answer in (call("read", page=page), f"Read {page}.<|eot_id|>")]
    stack = scripted_stack(*script, log=event_log, context_length=2_600)
    for page in range(4):
        await run(stack, f"Read page {page}.", terms, "s1")
    rewritten = [event for event in await events_of(event_log) if isinstance(event, TranscriptRewritten)]
    assert [event.policy for event in rewritten] == ["drop-oldest-results"] * len(rewritten) != []
    assert (await exact(event_log)).given == 0


async def test_a_summary_is_the_recorded_one_and_no_model_writes_it_again(event_log: EventLog) -> None:
    writer = scripted_stack("It is about mules.<|eot_id|>", extending=False)
    terms = Terms(compaction=Summarise(writer, keep_turns=1))
    stack = scripted_stack("word " * 90 + "<|eot_id|>", "Yes.<|eot_id|>", log=event_log, context_length=1_100)
    await run(stack, "Tell me of mules.", terms, "s1")
    await run(stack, "More! " * 40, terms, "s1")
    assert any(isinstance(event, TranscriptRewritten) for event in await events_of(event_log))
    await exact(event_log)


async def test_other_tools_and_a_handoff(event_log: EventLog) -> None:
    async def billing() -> Terms:
        return Terms(registry=Registry([double]), instructions="You know bills.", agent="billing")

    @tool
    def transfer() -> str:
        """Hand over."""
        return "billing takes over"

    async def last(messages: Sequence[Message]) -> Sequence[Message]:
        return messages[-3:]

    for number, carry in enumerate((None, last)):
        session = f"s{number}"
        handoffs = {"transfer": Handoff("billing", billing, carry)}
        terms = Terms(registry=Registry([transfer]), instructions="A", agent="triage", handoffs=handoffs)
        stack = scripted_stack(
            call("transfer"), call("double", number=1), "Two.<|eot_id|>", "Bye.<|eot_id|>", log=event_log
        )
        await run(stack, "My bill!", terms, session)
        await run(stack, "Thanks.", replace(await billing(), registry=Registry([double, slow])), session)
        events = await events_of(event_log, session)
        assert [e.reason for e in events if isinstance(e, TranscriptRewritten)] == ["handoff", "tools"]
        assert any(isinstance(event, HandedOff) for event in events)
        assert (await exact(event_log, session)).given == 0


async def test_a_conversation_that_was_shortened_for_the_agent_that_took_it_over(event_log: EventLog) -> None:
    async def billing() -> Terms:
        policy = DropOldestResults(keep_turns=0)
        return Terms(registry=Registry([double]), instructions="B" * 1_500, agent="billing", compaction=policy)

    @tool
    def read(page: int) -> str:
        """Read."""
        return f"page {page} " * 150

    @tool
    def transfer() -> str:
        """Hand over."""
        return "billing takes over"

    handoffs = {"transfer": Handoff("billing", billing)}
    terms = Terms(registry=Registry([read, transfer]), instructions="A", agent="triage", handoffs=handoffs)
    script = [call("read", page=1), call("transfer"), "Two.<|eot_id|>"]
    await run(scripted_stack(*script, log=event_log, context_length=3_600), "My bill!", terms, "s1")
    rewritten = [event for event in await events_of(event_log) if isinstance(event, TranscriptRewritten)]
    assert [(event.reason, event.policy) for event in rewritten] == [("handoff", "drop-oldest-results")]
    assert (await exact(event_log)).given == 0


@pytest.mark.parametrize("options", [None, RenderOptions(repair=True, tools_in_user_message=False)])
async def test_a_session_that_lasted_longer_than_a_day(event_log: EventLog, options: RenderOptions | None) -> None:
    shields = (Guard("bad"),)
    for day, text, tools in (
        ("29 Nov 2026", "a bad word", [double]),  # which is taken back as a whole
        ("30 Nov 2026", "Go", [double]),
        ("01 Dec 2026", "Go", [double, slow]),
        ("02 Dec 2026", "Go", [double]),
    ):
        dated = replace(options or RenderOptions(repair=True), date_string=day)
        stack = scripted_stack(DONE, log=event_log, dialect="llama3.2")
        await run(stack, text, Terms(registry=Registry(tools), options=dated, input_shields=shields), "s1")
    rewritten = [event for event in await events_of(event_log) if isinstance(event, TranscriptRewritten)]
    assert ["Dec 2026" in byte_tokenizer().decode(event.token_ids) for event in rewritten] == [True, True]
    assert (await again(event_log, options=options)).differences == ()


async def test_what_hooks_did(event_log: EventLog) -> None:
    checked: list[str] = []

    async def before_step(step: int) -> Sequence[Message]:
        return [Message("user", f"Step {step}.")] if step > 1 else []

    async def before_calls(step: int, calls: Sequence[ToolCall]) -> Sequence[Any]:
        return [replace(one, arguments={"number": 21}) for one in calls]

    async def after_calls(step: int, results: Sequence[Any]) -> Sequence[Any]:
        return [replace(one, content="forty-two") for one in results]

    async def accept(text: str) -> Message | None:
        checked.append(text)
        return Message("user", "Shorter.") if len(checked) == 1 else None

    async def other(step: int, terms: Terms) -> Terms:
        return replace(terms, registry=TOOLS) if step == 2 else terms

    hooks = Hooks(other, before_step, before_calls, after_calls, accept)
    terms = Terms(registry=Registry([double]), hooks=hooks)
    stack = scripted_stack(call("double", number=2), "A long answer.<|eot_id|>", "Short.<|eot_id|>", log=event_log)
    await run(stack, "Go", terms, "s1")
    kinds = {type(event) for event in await events_of(event_log)}
    assert {TranscriptRewritten, MessageAdded} <= kinds
    assert (await exact(event_log)).given == 0


async def test_a_fork_in_the_middle_of_a_turn(event_log: EventLog) -> None:
    stack = scripted_stack(
        call("double", number=2), "Four.<|eot_id|>", "Four!<|eot_id|>", log=event_log, extending=False
    )
    await run(stack, "Go", TERMS, "s1")
    records = await event_log.read("s1")
    at = next(record.seq for record in records if isinstance(record.event, CallFinished))
    await stack.fork("s1", at=at, into="s2")
    events = [event async for event in stack.resume("s2", TERMS)]
    assert isinstance(events[-1], TurnFinished)
    assert (await exact(event_log, "s2")).turns == 1


async def test_the_other_agents_shields_judge_after_a_handoff(event_log: EventLog) -> None:
    @tool
    def transfer() -> str:
        """Hand over."""
        return "billing takes over"

    async def billing() -> Terms:
        return Terms(instructions="B", agent="billing", output_shields=(Guard("bad", "second"),))

    terms = Terms(registry=Registry([transfer]), agent="triage", handoffs={"transfer": Handoff("billing", billing)})
    stack = scripted_stack(call("transfer"), "bad words.<|eot_id|>", log=event_log)
    events = await run(stack, "My bill!", terms, "s1")
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].reason == "refused"
    await exact(event_log)


class Talking:
    """Says something to the turn while it judges."""

    name = "talking"

    def __init__(self) -> None:
        self.stack: Stack | None = None

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        if self.stack is not None:
            stack, self.stack = self.stack, None
            await stack.say("s1", Message("user", "And you?"))
        return Verdict(True)


async def test_what_was_said_while_an_answer_was_judged(event_log: EventLog) -> None:
    shield = Talking()
    stack = scripted_stack("Hello.<|eot_id|>", "Fine.<|eot_id|>", log=event_log)
    shield.stack = stack
    await run(stack, "Hello", Terms(output_shields=(shield,)), "s1")
    kinds = [type(event) for event in await events_of(event_log)]
    assert kinds.index(MessageAdded) < kinds.index(VerdictGiven)
    await exact(event_log)


async def test_a_turn_that_was_killed_while_the_model_answered_what_a_shield_had_cleared(event_log: EventLog) -> None:
    terms = Terms(input_shields=(Guard("bad"),))
    await run(scripted_stack(DONE, log=event_log), "Hello", terms, "s1")
    for record in (await event_log.read("s1"))[:3]:
        await event_log.append("s2", "t1", record.seq, [record.event])
    events = [event async for event in scripted_stack(DONE, log=event_log).resume("s2", terms)]
    assert isinstance(events[-1], TurnFinished)
    assert (await exact(event_log, "s2")).given == 0


# What is not as it was.


async def changed(log: EventLog, change: Any, kind: type) -> EventLog:
    """The session in a log of its own, with one event changed."""
    other, seen = SQLiteLog(":memory:"), False
    for record in await log.read("s1"):
        event = record.event
        if not seen and isinstance(event, kind):
            event, seen = change(event), True
        await other.append("s1", record.turn, record.seq, [event])
    assert seen
    return other


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        (PromptAppended, lambda e: replace(e, token_ids=(*e.token_ids[:9], 7, *e.token_ids[10:])), "number 9 on"),
        (StepFinished, lambda e: replace(e, tool_calls=(ToolCall("double", {"number": 3}),)), "tool_calls differs"),
        (StepFinished, lambda e: replace(e, content="Something else"), "content differs"),
        (CallStarted, lambda e: DecisionAsked(e.step, 3, e.call, "approval"), "has DecisionAsked, the loop gave"),
        (CallFinished, lambda e: replace(e, result=replace(e.result, content="5")), "the ids differ"),
    ],
)
async def test_the_first_difference_is_named(kind: type, change: Any, problem: str) -> None:
    log = SQLiteLog(":memory:")
    stack = scripted_stack(call("double", number=2), "Four.<|eot_id|>", "Bye.<|eot_id|>", log=log)
    await run(stack, "Go", TERMS, "s1")
    await run(stack, "Bye", TERMS, "s1")
    other = await changed(log, change, kind)
    done = await again(other)
    assert not done.exact
    (difference,) = done.differences
    assert problem in difference.problem
    record = (await other.read("s1"))[difference.seq]
    assert (record.event, record.turn) == (difference.recorded, difference.turn)


async def test_a_log_that_lacks_an_event_differs_there() -> None:
    log, other = SQLiteLog(":memory:"), SQLiteLog(":memory:")
    await run(scripted_stack(call("double", number=2), DONE, log=log), "Go", TERMS, "s1")
    kept = [record for record in await log.read("s1") if not isinstance(record.event, CallFinished)]
    for seq, record in enumerate(kept):
        await other.append("s1", record.turn, seq, [record.event])
    done = await replay(other, "s1", byte_tokenizer(), seconds=0.5)
    assert "waits for what the log does not have" in done.differences[0].problem


async def test_sessions_that_cannot_be_replayed_are_typed_errors() -> None:
    log = SQLiteLog(":memory:")
    await run(scripted_stack(DONE, log=log), "Go", TERMS, "s1")
    with pytest.raises(UnknownSession, match="no session 'other'"):
        await again(log, "other")
    with pytest.raises(SessionMismatch, match="another vocabulary"):
        await replay(log, "s1", byte_tokenizer(["<|eot_id|>"]))
    with pytest.raises(UnknownSession):
        _ = [event async for event in replay_events(log, "other")]
    await log.aclose()
    with pytest.raises(LogError):
        await again(log)


async def test_a_session_whose_texts_were_removed_is_a_typed_error(event_log: DatabaseLog) -> None:
    await run(scripted_stack(DONE, log=event_log), "Go", TERMS, "s1")
    await prune(event_log, Retention(redact_after=1.0), now=time.time() + 60)
    with pytest.raises(SessionRedacted, match="cannot be replayed"):
        await again(event_log)


async def test_a_log_is_not_changed_by_its_replay(event_log: EventLog) -> None:
    await run(scripted_stack(call("double", number=2), DONE, log=event_log), "Go", TERMS, "s1")
    before = await event_log.read("s1")
    await exact(event_log)
    assert await event_log.read("s1") == before


async def test_events_are_shown_again_with_their_text() -> None:
    log = SQLiteLog(":memory:")
    await run(scripted_stack(call("double", number=2), "It is four.<|eot_id|>", log=log), "Go", TERMS, "s1")
    shown = [event async for event in replay_events(log, "s1")]
    assert [event for event in shown if not isinstance(event, TextDelta)] == await events_of(log)
    assert "".join(event.text for event in shown if isinstance(event, TextDelta)) == "It is four."
    turn = (await log.turns("s1"))[0].turn
    assert len([event async for event in replay_events(log, "s1", turn, speed=1_000)]) == len(shown)
