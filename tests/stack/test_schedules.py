"""Whatever happens to a turn, and whenever: after every turn of the event loop something is tried."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from scripted import call, engine_of, of, scripted_stack

from arriero.prompts.messages import Message
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    Event,
    MessageAdded,
    StepFinished,
    TurnFinished,
    TurnPaused,
)
from arriero.stack.log import Record, SessionBusy, UnknownSession
from arriero.stack.prefixes import prefix_violations
from arriero.stack.sessions import NothingToResume, NoTurnRunning
from arriero.stack.shields import Verdict
from arriero.stack.stack import Stack
from arriero.stack.terms import Handoff
from arriero.stack.turn import Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio

LOOK, PAY, OVER = call("look").removesuffix("<|eot_id|>"), call("pay", amount=5), call("to_expert")
SCRIPT = (f"{LOOK}; {PAY}", OVER, "Done.<|eot_id|>", "More.<|eot_id|>", "Yet more.<|eot_id|>", "Bye.<|eot_id|>")
MOST = 400
"""More turns of the event loop than the turn takes."""


@dataclass
class Sees:
    """A shield that takes some turns of the event loop, and keeps what it was shown."""

    name: str = "sees"
    seen: list[str] = field(default_factory=list)

    async def check(self, messages: Sequence[Message], where: object) -> Verdict:
        self.seen += [str(message.content) for message in messages]
        await turns(2)
        return Verdict(True)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def terms_of(shield: Sees, paid: list[int]) -> Terms:
    """A turn with a pure call and a sensitive one, then a handoff, then an answer."""

    @tool(pure=True)
    async def look() -> str:
        """Look."""
        await turns(2)
        return "seen"

    @tool(sensitive=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        await turns(3)
        return "paid"

    @tool
    async def to_expert() -> str:
        """Hand over."""
        return "handed over"

    async def all_of(messages: Sequence[Message]) -> Sequence[Message]:
        await turns(2)
        return messages

    async def expert() -> Terms:
        await turns(2)
        return Terms(agent="expert", instructions="Expert.", input_shields=(shield,), output_shields=(shield,))

    return Terms(
        agent="clerk",
        registry=Registry([look, pay, to_expert]),
        input_shields=(shield,),
        output_shields=(shield,),
        handoffs={"to_expert": Handoff("expert", expert, all_of)},
    )


@dataclass
class Session:
    """One session, and how its turn went."""

    stack: Stack = field(default_factory=lambda: scripted_stack(*SCRIPT))
    shield: Sees = field(default_factory=Sees)
    paid: list[int] = field(default_factory=list)
    shown: list[Event] = field(default_factory=list)

    async def turn(self) -> None:
        """Run a turn up to its pause, then approve."""
        terms = terms_of(self.shield, self.paid)
        with suppress(SessionBusy, NothingToResume, InvalidDecision):  # somebody was quicker, where no turn runs
            async for event in self.stack.run_turn([Message("user", "Go")], terms, session="alice"):
                self.shown.append(event)
            if isinstance(self.shown[-1], TurnPaused):
                async for event in self.stack.resume("alice", terms, decisions={"1.1": Decision.run()}):
                    self.shown.append(event)

    async def while_it_runs(self, after: int, act: Callable[[], Awaitable[object]]) -> bool:
        """Do something after some turns of the event loop; say whether the turn ran until then."""
        task = asyncio.get_running_loop().create_task(self.turn())
        async with asyncio.timeout(10):
            await turns(after)
            running = not task.done()
            await act()
            await task
        return running

    async def records(self) -> list[Record]:
        records = await self.stack.log.read("alice")
        legal(records)
        assert not engine_of(self.stack).running
        return records


def legal(records: Sequence[Record]) -> None:
    """Every call follows the message that has it, every result its call, and all of it the law of transcripts."""
    assert prefix_violations(records) == []
    events = [record.event for record in records]
    known: dict[tuple[int, int], int] = {}
    for event in events:
        match event:
            case StepFinished(step, _, _, calls):
                known |= {(step, position): 0 for position in range(len(calls))}
            case CallStarted(step, _, position) | DecisionAsked(step, position):
                assert known[step, position] == 0
            case CallFinished(step, _, position):
                known[step, position] += 1
                assert known[step, position] == 1
            case _:
                pass


async def every(
    act: Callable[[Session], Callable[[], Awaitable[object]]], check: Callable[..., Awaitable[None]]
) -> None:
    for after in range(MOST):
        session = Session()
        running = await session.while_it_runs(after, act(session))
        await check(session, running)
        if not running:
            assert after > 20
            return
    pytest.fail(f"the turn takes more than {MOST} turns of the event loop")


async def test_a_turn_may_be_cancelled_at_any_moment() -> None:
    def cancelling(session: Session) -> Callable[[], Awaitable[object]]:
        return lambda: session.stack.cancel("alice")

    async def over(session: Session, running: bool) -> None:
        events = [record.event for record in await session.records()]
        if running and events:
            assert isinstance(events[-1], TurnFinished)
        assert len(session.paid) <= 1
        more = [event async for event in session.stack.run_turn([Message("user", "Again")], session="alice")]
        assert isinstance(more[-1], TurnFinished)
        await session.records()

    await every(cancelling, over)


async def test_what_is_said_at_any_moment_is_read_and_judged_if_it_was_taken() -> None:
    def saying(session: Session) -> Callable[[], Awaitable[object]]:
        async def say() -> None:
            with suppress(NoTurnRunning):
                await session.stack.say("alice", Message("user", "Hurry!"))

        return say

    async def read(session: Session, _running: bool) -> None:
        events = [record.event for record in await session.records()]
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].reason == "answer"
        taken = bool(of(MessageAdded, events))
        engine = engine_of(session.stack)
        assert (engine.tokenizer.decode(engine.requests[-1]).count("Hurry!") == 1) is taken
        assert ("Hurry!" in session.shield.seen) is taken
        assert session.paid == [5]

    await every(saying, read)


async def test_the_caller_may_leave_at_any_moment() -> None:
    for after in range(0, MOST, 2):
        session = Session()
        task = asyncio.get_running_loop().create_task(session.turn())
        await turns(after)
        running = not task.done()
        task.cancel()
        await asyncio.wait({task})
        await session.records()
        if not running:
            return


async def test_a_decision_may_come_at_any_moment() -> None:
    def deciding(session: Session) -> Callable[[], Awaitable[object]]:
        async def decide() -> None:
            with suppress(NoTurnRunning, NothingToResume, InvalidDecision, UnknownSession, SessionBusy):
                await session.stack.decide("alice", "1.1", Decision.run())

        return decide

    async def paid_once(session: Session, _running: bool) -> None:
        await session.records()
        if session.shown and session.paid != [5]:
            terms = terms_of(session.shield, session.paid)
            session.shown += [event async for event in session.stack.resume("alice", terms)]
        if session.shown:
            assert session.paid == [5]
            assert isinstance(session.shown[-1], TurnFinished)

    await every(deciding, paid_once)
