"""Random walks over sessions, beside a simple model of what they must hold.

Most walks are over a log in memory, some over a file and over PostgreSQL. ARRIERO_WALKS multiplies their number.
"""

import asyncio
import copy
import os
import secrets
import tempfile
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import anyio
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from turn_law import problems

from arriero.prompts.messages import Message
from arriero.stack.compaction import LEFT_OUT, DropOldestResults
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.events import (
    CallStarted,
    DecisionAsked,
    Event,
    StepFinished,
    TranscriptRewritten,
    TurnFinished,
    TurnPaused,
)
from arriero.stack.log import DatabaseLog, LogConflict, SessionRedacted, UnknownSession, open_log
from arriero.stack.log.retention import Retention, prune
from arriero.stack.replay import replay
from arriero.stack.sessions import NothingToResume, TurnWaiting
from arriero.stack.tape import fold
from arriero.stack.terms import Terms
from arriero.testing import Answer, Asked, Say, call, scripted_stack, when
from arriero.testing.stack import ScriptedStack
from arriero.tools import Registry, tool

pytestmark = pytest.mark.reliability

T = TypeVar("T")
WALKS = float(os.environ.get("ARRIERO_WALKS", "1"))

THINGS = st.sampled_from(["hay", "rope", "lamp"])
NAMES = ("alice", "bruno", "carla")


@tool(pure=True)
def look(thing: str) -> str:
    """Look at a thing."""
    return f"saw {thing}"


@tool
def pay(thing: str) -> str:
    """Pay for a thing."""
    return f"paid {thing}"


@tool(sensitive=True)
def sell(thing: str) -> str:
    """Sell a thing."""
    return f"sold {thing}"


@tool
def ask(question: str) -> str:
    """Ask the user."""
    raise AssertionError("a question is never run")


TOOLS = Registry([look, pay, sell, ask])
PAST = {"look": "saw", "pay": "paid", "sell": "sold"}


def said(asked: Asked) -> Answer:
    """What the model answers: calls what the user names, and says that it is done when it has a result."""
    last = asked.new.split("<|start_header_id|>")[-1]
    words = last.split()
    if last.startswith("ipython") or "mind" in words:
        return "Done."
    *_, verb, thing = words
    if verb == "hang":
        return Say("Never.", before=anyio.Event().wait)
    if verb == "ask":
        return call("ask", question=thing)
    return call(verb, thing=thing) if verb in PAST else f"Said {thing}."


class Killed(BaseException):
    """The process is dead: nothing that it still does is of any effect."""


class Mortal:
    """A log whose process dies at one of its commits."""

    def __init__(self, inner: DatabaseLog, at: int = 0, when: str = "before") -> None:
        self.inner, self.at, self.when, self.dead, self.commits = inner, at, when, False, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        self.commits += 1
        if self.dead or (self.commits == self.at and self.when == "before"):
            self.dead = True
            raise Killed
        await self.inner.append(session, turn, seq, events)
        if self.commits == self.at:
            self.dead = True
            raise Killed


Line = tuple[str, str]
"""Who speaks, and the text; a call is its name and argument."""


@dataclass
class Session:
    """What a session must hold."""

    lines: list[Line] = field(default_factory=list)
    state: Literal["idle", "waiting", "killed"] = "idle"
    verb: str = ""
    thing: str = ""
    redacted: bool = False

    def ends(self, *lines: Line) -> None:
        self.lines += [*lines, ("assistant", "Done.")]
        self.state = "idle"


def lines_of(messages: Sequence[Message]) -> list[Line]:
    return [
        (message.role, "; ".join(f"{made.name} {next(iter(made.arguments.values()))}" for made in message.tool_calls))
        if message.tool_calls
        else (message.role, str(message.content))
        for message in messages
    ]


class Walk(RuleBasedStateMachine):
    """One walk: sessions of one log, and the model of each."""

    place: ClassVar[str] = ":memory:"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.sessions: dict[str, Session] = {}
        self.log = open_log(self.address())

    def address(self) -> str:
        return ":memory:"

    def opened(self, log: Any) -> ScriptedStack:
        """A stack as another process would open it."""
        return scripted_stack(when(lambda asked: True, said), log=log, context_length=self.context_length)

    context_length = 8192

    @initialize(short=st.booleans())
    def choose_context(self, short: bool) -> None:
        self.context_length = 2600 if short else 8192
        self.stack = self.opened(self.log)

    def do(self, work: Awaitable[T]) -> T:
        async def bounded() -> T:
            with anyio.fail_after(20):
                return await work

        return self.runner.run(bounded())

    def teardown(self) -> None:
        try:
            for name, model in self.sessions.items():
                if model.lines and not model.redacted:
                    self.check_replay(name)
            self.runner.run(self.stack.aclose())
        finally:
            self.runner.close()

    @property
    def terms(self) -> Terms:
        return Terms(registry=TOOLS, asks=frozenset({"ask"}), compaction=DropOldestResults(keep_turns=1))

    # What sessions do.

    async def events(self, session: str, text: str, stack: ScriptedStack | None = None) -> list[Event]:
        turn = (stack or self.stack).run_turn([Message("user", text)], self.terms, session=session)
        return [event async for event in turn]

    async def resumed(self, session: str, decisions: Mapping[str, Decision]) -> list[Event]:
        return [event async for event in self.stack.resume(session, self.terms, decisions=decisions)]

    def those(self, state: str, name: str) -> str:
        """A session in that state, if there is one: most of the walk would lead nowhere otherwise."""
        found = [known for known, model in self.sessions.items() if model.state == state]
        return name if not found or name in found else found[0]

    def usable(self, name: str) -> Session:
        return self.sessions.setdefault(name, Session())

    @rule(name=st.sampled_from(NAMES), verb=st.sampled_from(["say", "look", "pay", "sell", "ask"]), thing=THINGS)
    def turn(self, name: str, verb: str, thing: str) -> None:
        model = self.usable(name)
        if model.redacted:
            with pytest.raises(SessionRedacted):
                self.do(self.events(name, f"{verb} {thing}"))
            return
        if model.state == "waiting":
            with pytest.raises(TurnWaiting):
                self.do(self.events(name, f"{verb} {thing}"))
            return
        if model.state == "killed":
            self.adopt(name)
        *_, end = self.do(self.events(name, f"{verb} {thing}"))
        self.took(model, verb, thing, end)
        self.check(name)

    def took(self, model: Session, verb: str, thing: str, end: Event) -> None:
        model.lines.append(("user", f"{verb} {thing}"))
        if verb == "say":
            model.lines.append(("assistant", f"Said {thing}."))
        else:
            model.lines.append(("assistant", f"{verb} {thing}"))
            model.verb, model.thing = verb, thing
        if verb in ("sell", "ask"):
            model.state = "waiting"
            assert isinstance(end, TurnPaused)
            assert end.waiting == ("1.0",)
            return
        assert isinstance(end, TurnFinished)
        assert (end.reason, end.text) == ("answer", "Done." if verb != "say" else f"Said {thing}.")
        model.state = "idle"
        if verb != "say":
            model.ends(("tool", f"{PAST[verb]} {thing}"))

    @rule(
        name=st.sampled_from(NAMES),
        choice=st.sampled_from(["run", "edit", "deny", "answer"]),
        thing=THINGS,
        ahead=st.booleans(),
        any_=st.booleans(),
    )
    def decide(self, name: str, choice: str, thing: str, ahead: bool, any_: bool) -> None:
        name = name if any_ else self.those("waiting", name)
        model = self.usable(name)
        if not any_ and model.state == "idle" and not model.redacted:
            self.took(model, "sell", "rope", self.do(self.events(name, "sell rope"))[-1])
        decision = {
            "run": Decision.run(),
            "edit": Decision.edit({"thing": thing}),
            "deny": Decision.deny("no"),
            "answer": Decision.answer(f"told {thing}"),
        }[choice]
        if not model.lines and model.state == "idle" and not model.redacted:
            with pytest.raises((UnknownSession, NothingToResume)):
                self.do(self.resumed(name, {"1.0": decision}))
            return
        if model.state == "idle" or model.redacted:
            with pytest.raises((NothingToResume, SessionRedacted)):
                self.do(self.resumed(name, {"1.0": decision}))
            return
        if model.state == "killed":
            with pytest.raises(InvalidDecision):
                self.do(self.resumed(name, {"1.0": decision, "7.7": decision}))
            return
        if model.verb == "ask" and choice in ("run", "edit"):
            with pytest.raises(InvalidDecision):
                self.do(self.resumed(name, {"1.0": decision}))
            return
        self.decided(name, model, decision, thing, ahead=ahead)

    def decided(self, name: str, model: Session, decision: Decision, thing: str, *, ahead: bool) -> None:
        if ahead:
            self.do(self.stack.decide(name, "1.0", decision))
            with pytest.raises(InvalidDecision):  # twice
                self.do(self.stack.decide(name, "1.0", decision))
            with pytest.raises(InvalidDecision):
                self.do(self.resumed(name, {"1.0": decision}))
            *_, end = self.do(self.resumed(name, {}))
        else:
            *_, end = self.do(self.resumed(name, {"1.0": decision}))
        assert isinstance(end, TurnFinished)
        assert (end.reason, end.text) == ("answer", "Done.")
        result = {
            "run": f"{PAST.get(model.verb)} {model.thing}",
            "edit": f"{PAST.get(model.verb)} {thing}",
            "deny": "error:",
            "answer": f"told {thing}",
        }[decision.choice]
        model.ends(("tool", result))
        with pytest.raises(NothingToResume):  # it is over
            self.do(self.stack.decide(name, "1.0", decision))
        self.check(name)

    @precondition(lambda self: any(model.state == "waiting" for model in self.sessions.values()))
    @rule(name=st.sampled_from(NAMES))
    def resume_undecided(self, name: str) -> None:
        name = self.those("waiting", name)
        model = self.usable(name)
        if model.state != "waiting":
            return
        *_, end = self.do(self.resumed(name, {}))
        assert isinstance(end, TurnPaused)
        self.check(name)

    @rule(name=st.sampled_from(NAMES))
    def cancel(self, name: str) -> None:
        model = self.usable(name)
        if model.state == "killed" or model.redacted:
            return
        assert self.do(self.stack.cancel(name)) == (model.state == "waiting")
        model.state = "idle"
        self.check(name)

    @rule(name=st.sampled_from(NAMES), thing=THINGS)
    def cancel_while_it_runs(self, name: str, thing: str) -> None:
        model = self.usable(name)
        if model.state != "idle" or model.redacted:
            return

        async def cancelled() -> Event:
            async with anyio.create_task_group() as group:
                group.start_soon(self.cancel_once_asked, name)
                *_, end = await self.events(name, f"hang {thing}")
            return end

        end = self.do(cancelled())
        assert isinstance(end, TurnFinished)
        assert end.reason == "cancelled"
        self.check(name)  # the model said nothing, so the turn leaves no trace

    async def cancel_once_asked(self, name: str) -> None:
        while not self.stack.engine.running:
            await anyio.lowlevel.checkpoint()
        begun = time.monotonic()
        assert await self.stack.cancel(name)
        while self.stack.engine.running:
            await anyio.lowlevel.checkpoint()
        assert time.monotonic() - begun < 1.0  # 100 ms on a machine that has time

    @rule(name=st.sampled_from(NAMES), thing=THINGS)
    def steer(self, name: str, thing: str) -> None:
        model = self.usable(name)
        if model.state != "idle" or model.redacted:
            return

        async def steered() -> Event:
            last: Event | None = None
            turn = self.stack.run_turn([Message("user", f"pay {thing}")], self.terms, session=name)
            async for last in turn:
                if isinstance(last, StepFinished) and last.step == 1:
                    await self.stack.say(name, Message("user", f"mind the {thing}"))
            assert last is not None
            return last

        end = self.do(steered())
        assert isinstance(end, TurnFinished)
        model.lines += [("user", f"pay {thing}"), ("assistant", f"pay {thing}")]
        model.ends(("tool", f"paid {thing}"), ("user", f"mind the {thing}"))
        self.check(name)

    @rule(
        name=st.sampled_from(NAMES),
        verb=st.sampled_from(["say", "look", "pay", "sell"]),
        thing=THINGS,
        at=st.integers(1, 5),
        before=st.booleans(),
    )
    def kill(self, name: str, verb: str, thing: str, at: int, before: bool) -> None:
        """A process dies in the middle of a turn, and with it all that it had in memory."""
        model = self.usable(name)
        if model.state != "idle" or model.redacted:
            return
        length = self.do(self.log.length(name))
        stack = self.opened(Mortal(self.log, at, "before" if before else "after"))
        try:
            *_, end = self.do(self.events(name, f"{verb} {thing}", stack))
        except Killed:
            new = [record.event for record in self.do(self.log.read(name))[length:]]
            self.check_legal(name)
            if new and isinstance(new[-1], TurnFinished | TurnPaused):
                self.took(model, verb, thing, new[-1])
            elif new:
                model.state, model.verb, model.thing = "killed", verb, thing
        else:
            self.took(model, verb, thing, end)
        self.stack = self.opened(self.log)  # nobody remembers anything

    @precondition(lambda self: any(model.state == "killed" for model in self.sessions.values()))
    @rule(name=st.sampled_from(NAMES), again=st.booleans())
    def resume_killed(self, name: str, again: bool) -> None:
        name = self.those("killed", name)
        model = self.usable(name)
        if model.state != "killed" or model.redacted:
            return
        events = [record.event for record in self.do(self.log.read(name))]
        started = isinstance(events[-1], CallStarted)
        end = self.do(self.resumed(name, {}))[-1]
        if model.verb == "pay" and started:
            assert isinstance(end, TurnPaused)
            asked = [r.event for r in self.do(self.log.read(name)) if isinstance(r.event, DecisionAsked)][-1]
            assert asked.asked == "interrupted"
            decision = Decision.run() if again else Decision.answer(f"paid {model.thing}")
            end = self.do(self.resumed(name, {end.waiting[0]: decision}))[-1]
        self.took(model, model.verb, model.thing, end)
        self.check(name)

    @rule(name=st.sampled_from(NAMES), into=st.sampled_from(NAMES), at=st.none() | st.floats(0, 1))
    def fork(self, name: str, into: str, at: float | None) -> None:
        model = self.usable(name)
        length = self.do(self.log.length(name))
        place = None if at is None else int(at * (length - 1))
        if not length:
            with pytest.raises(UnknownSession):
                self.do(self.stack.fork(name, at=0, into=into))
            return
        if model.redacted:
            with pytest.raises(SessionRedacted):
                self.do(self.stack.fork(name, at=place, into="no such"))
            return
        if into in self.sessions and self.do(self.log.length(into)):
            with pytest.raises(LogConflict):
                self.do(self.stack.fork(name, at=place, into=into))
            return
        assert self.do(self.stack.fork(name, at=place, into=into)) == into
        self.sessions[into] = copy.deepcopy(model)
        if place is not None and place < length - 1:
            self.adopt(into)
        else:
            self.check(into)

    @precondition(lambda self: any(model.lines for model in self.sessions.values()))
    @rule(name=st.sampled_from(NAMES), redact=st.booleans())
    def prune(self, name: str, redact: bool) -> None:
        model = self.usable(name)
        others = tuple(other for other in NAMES if other != name)
        ages = {"redact_after": 0.0} if redact else {"delete_after": 0.0}
        known = self.do(self.log.length(name))
        done = self.do(prune(self.log, Retention(keep=others, **ages), now=time.time() + 5))
        if not known or model.state == "waiting" or (redact and model.redacted):
            assert (done.deleted, done.redacted) == ((), ())
            return
        assert (done.redacted if redact else done.deleted) == (name,)
        if redact:
            model.redacted = True
            texts = str([record.event for record in self.do(self.log.read(name))])
            assert not any(thing in texts for thing in ("hay", "rope", "lamp"))
        else:
            self.sessions[name] = Session()
            assert self.do(self.log.length(name)) == 0

    @rule()
    def restart(self) -> None:
        """Another process takes over."""
        self.stack = self.opened(self.log)

    # What must hold.

    def check_legal(self, name: str) -> None:
        assert problems(self.do(self.log.read(name))) == []

    def check_replay(self, name: str) -> None:
        """Run again from its log, the session comes out as it did."""
        if self.do(self.log.length(name)):
            again = self.do(replay(self.log, name, self.stack.engine.tokenizer))
            assert again.exact, again.differences

    def check(self, name: str) -> None:
        """The session holds what the model says."""
        model = self.sessions[name]
        records = self.do(self.log.read(name))
        assert problems(records) == []
        tape = fold(name, records)
        states = [turn.state for turn in self.do(self.log.turns(name))]
        assert states[:1] in ([], [{"idle": "finished", "waiting": "waiting", "killed": "interrupted"}[model.state]])
        assert set(states[1:]) <= {"finished"}
        assert (tape.turn is not None) == (model.state != "idle")
        if model.state == "killed":
            return  # how far it came is not known here
        held = lines_of([*tape.messages, *tape.pending()] if model.state == "idle" else tape.messages)
        shortened = any(isinstance(record.event, TranscriptRewritten) for record in records)
        expected = model.lines[-len(held) :] if shortened and held else model.lines
        assert len(held) == len(expected)
        for got, wanted in zip(held, expected, strict=True):
            same = got == wanted or (wanted == ("tool", "error:") and got[1].startswith("error:"))
            assert same or (shortened and got == ("tool", LEFT_OUT)), (held, expected)
        if shortened:
            model.lines = model.lines[-len(held) :]

    def adopt(self, name: str) -> None:
        """Take the session as it is, where the model cannot know: it must be legal, and can be gone on with."""
        self.check_legal(name)
        model = self.sessions[name]
        is_open = fold(name, self.do(self.log.read(name))).turn is not None
        assert self.do(self.stack.cancel(name)) == is_open
        tape = fold(name, self.do(self.log.read(name)))
        model.lines, model.state = lines_of([*tape.messages, *tape.pending()]), "idle"


class WalkOverFile(Walk):
    def address(self) -> str:
        self.folder = tempfile.TemporaryDirectory()
        return str(Path(self.folder.name) / "events.sqlite")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class WalkOverPostgres(Walk):
    dsn: ClassVar[str] = ""

    def address(self) -> str:
        return f"{self.dsn}?schema=walk_{secrets.token_hex(6)}"


def walks(number: int, steps: int = 7) -> settings:
    return settings(
        max_examples=max(1, int(number * WALKS)),
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[*HealthCheck],
        database=None,
        phases=(Phase.explicit, Phase.generate),
    )


Walk.TestCase.settings = walks(1_880)
WalkOverFile.TestCase.settings = walks(90)
WalkOverPostgres.TestCase.settings = walks(30)

TestWalksInMemory = Walk.TestCase
TestWalksOverFiles = WalkOverFile.TestCase


@pytest.mark.usefixtures("_dsn")
class TestWalksOverPostgres(WalkOverPostgres.TestCase):  # type: ignore[name-defined, misc]
    @pytest.fixture
    @classmethod
    def _dsn(cls, postgres_dsn: str) -> None:
        WalkOverPostgres.dsn = postgres_dsn
