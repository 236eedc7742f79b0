"""Turns that are killed again and again: their tools write what they do to a file, which nothing takes back."""

import hashlib
import json
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.compaction import DropOldestResults
from arriero.stack.decisions import Decision
from arriero.stack.engine import Delta, Sampling
from arriero.stack.events import DecisionAsked, Event, StepFinished, TextDelta, TurnFinished
from arriero.stack.log import EventLog, SessionBusy, UnknownSession
from arriero.stack.sessions import NothingToResume, NoTurnRunning
from arriero.stack.stack import Stack
from arriero.stack.terms import Limits, Terms
from arriero.testing import Answer, Rule, ScriptedEngine, call, when
from arriero.tools import Registry, ToolContext, tool

TICK, TOOL_RAN = b".", b"!"
"""What a turn tells while it runs: that it got further, that a tool has done something."""
LONG = "hay and oats, " * 60


@dataclass(slots=True)
class Notes:
    """A file of what happened, in one line each. What was written there stays, as what was done in the world."""

    path: str
    session: str
    round: int = 0
    tick: Callable[[bytes], None] = lambda _: None

    def write(self, what: str, **more: Any) -> None:
        line = {"session": self.session, "round": self.round, "time": time.time(), "what": what, **more}
        out = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(out, json.dumps(line).encode() + b"\n")
        finally:
            os.close(out)
        self.tick(TOOL_RAN if what == "run" else TICK)

    def read(self) -> list[dict[str, Any]]:
        """What was noted; nothing where notes are thrown away."""
        with open(self.path, encoding="utf-8") as file:
            return [note for note in map(json.loads, file) if note["session"] == self.session]


def fingerprint(ids: Sequence[int]) -> str:
    return hashlib.sha256(json.dumps([*ids]).encode()).hexdigest()[:16]


@dataclass
class NotedEngine(ScriptedEngine):
    """A scripted engine that notes what it is asked, and ticks now and then while it answers."""

    notes: Notes = field(default_factory=lambda: Notes("/dev/null", ""))

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        self.notes.write("ask", prompt=fingerprint(prompt_ids))
        async for delta in super().generate(prompt_ids, sampling):
            if delta.token_ids and delta.token_ids[0] % 8 == 0:
                self.notes.tick(TICK)
            yield delta


def tools(notes: Notes) -> Registry:
    """One tool of each kind. Each notes that it ran before it gives its result."""

    def ran(context: ToolContext, name: str, **arguments: object) -> None:
        notes.write("run", tool=name, key=context.idempotency_key, **arguments)

    @tool(pure=True)
    async def look(context: ToolContext, where: str) -> str:
        """Look somewhere."""
        ran(context, "look", where=where)
        await anyio.lowlevel.checkpoint()
        return f"saw {where}"

    @tool(idempotent=True)
    async def put(context: ToolContext, thing: str) -> str:
        """Put something down."""
        ran(context, "put", thing=thing)
        await anyio.sleep(0.002)
        return f"put {thing}"

    @tool
    async def pay(context: ToolContext, amount: int) -> str:
        """Pay."""
        notes.tick(TICK)
        ran(context, "pay", amount=amount)
        await anyio.sleep(0.004)
        notes.tick(TICK)
        return f"paid {amount}"

    @tool(sensitive=True)
    async def sell(context: ToolContext, thing: str) -> str:
        """Sell something."""
        ran(context, "sell", thing=thing)
        await anyio.sleep(0.004)
        return f"sold {thing}"

    @tool(pure=True)
    def letter(number: int) -> str:
        """Read a long letter."""
        return f"letter {number}: {LONG}"

    return Registry([look, put, pay, sell, letter])


@dataclass(frozen=True)
class Scenario:
    """One turn, what the model says in it, and what a person does meanwhile."""

    script: tuple[Answer | Rule, ...]
    says: bool = False
    before: tuple[str, ...] = ()
    context_length: int = 8192
    keep_turns: int | None = None


SCENARIOS = {
    "calls": Scenario(
        (
            when("Begin", [call("put", thing="a"), call("look", where="left"), call("put", thing="b")]),
            when("put b", [call("pay", amount=5), call("look", where="right")]),
            when("paid 5", "All done."),
        )
    ),
    "approval": Scenario(
        (
            when("Begin", [call("sell", thing="mule"), call("look", where="left"), call("sell", thing="cart")]),
            when("sold cart", call("pay", amount=7)),
            when("paid 7", "All done."),
        )
    ),
    "steering": Scenario(
        (
            when("Begin", call("put", thing="a")),
            when("put a", call("put", thing="b")),
            when("put b", call("put", thing="c")),
            when("put c", "All done."),
            when("Also", "All done."),
        ),
        says=True,
    ),
    "compaction": Scenario(
        (
            when("First", call("letter", number=1)),
            when("letter 1", "Read the first."),
            when("Begin", call("letter", number=2)),
            when("letter 2", call("letter", number=3)),
            when("letter 3", call("pay", amount=9)),
            when("paid 9", "All done."),
        ),
        before=("First",),
        context_length=5200,
        keep_turns=0,
    ),
}


def stack_of(scenario: Scenario, log: EventLog, notes: Notes) -> Stack:
    dialect = Dialect.get("llama3.1")
    engine = NotedEngine(scenario.script, dialect, context_length=scenario.context_length, log=log, notes=notes)
    return Stack(engine, dialect, log=log)


def terms_of(scenario: Scenario, notes: Notes) -> Terms:
    compaction = None if scenario.keep_turns is None else DropOldestResults(keep_turns=scenario.keep_turns)
    return Terms(registry=tools(notes), limits=Limits(steps=12, seconds=60.0), compaction=compaction)


async def live(name: str, log: EventLog, notes: Notes) -> str:
    """Begin the scenario's turn, or go on with it, until it is over. Gives the answer."""
    notes.write("begin")
    scenario = SCENARIOS[name]
    stack, terms = stack_of(scenario, log, notes), terms_of(scenario, notes)
    over = [turn for turn in await log.turns(notes.session) if turn.state == "finished"]
    for text in scenario.before[len(over) :]:
        if await _finished(stack, terms, notes, text, says=False) is None:
            raise RuntimeError("a turn before the one that counts waits")
        over = [turn for turn in await log.turns(notes.session) if turn.state == "finished"]
    if len(over) > len(scenario.before):
        return await answer(log, notes.session)
    while (text := await _finished(stack, terms, notes, "Begin", says=scenario.says)) is None:
        notes.write("paused")
    return text


async def resume_once(name: str, log: EventLog, notes: Notes) -> str:
    """Try once to go on with the turn of a process that was killed. Says how that came out."""
    scenario = SCENARIOS[name]
    stack, terms = stack_of(scenario, log, notes), terms_of(scenario, notes)
    try:
        await _watched(stack, stack.resume(notes.session, terms), notes, says=False)
    except SessionBusy:
        return "busy"
    except NothingToResume:
        return "nothing to resume"
    return "won"


async def _finished(stack: Stack, terms: Terms, notes: Notes, text: str, *, says: bool) -> str | None:
    """Run or resume a turn to its end; None when it waits."""
    try:
        decisions = await _decisions(stack.log, notes)
        return await _watched(stack, stack.resume(notes.session, terms, decisions=decisions), notes, says=says)
    except (UnknownSession, NothingToResume):
        turn = stack.run_turn([Message("user", text)], terms, session=notes.session)
        return await _watched(stack, turn, notes, says=says)


async def _watched(stack: Stack, events: AsyncGenerator[Event, None], notes: Notes, *, says: bool) -> str | None:
    text: str | None = None
    failure: ArrieroError | None = None
    async with anyio.create_task_group() as group:
        try:
            async for event in events:
                if not isinstance(event, TextDelta):
                    notes.write("ack", kind=type(event).__name__)
                if says and isinstance(event, StepFinished):
                    says = False
                    group.start_soon(_say, stack, notes)
                text = event.text if isinstance(event, TurnFinished) else None
        except ArrieroError as error:  # the group would wrap it
            failure = error
    if failure is not None:
        raise failure
    return text


async def _say(stack: Stack, notes: Notes) -> None:
    message = f"Also {notes.round}."
    try:
        await stack.say(notes.session, Message("user", message))
    except NoTurnRunning:
        return
    notes.write("said", text=message)


async def _decisions(log: EventLog, notes: Notes) -> dict[str, Decision]:
    """What an honest person decides: who sees that it was done says so, else it may run."""
    waiting: dict[str, DecisionAsked] = {}
    for record in await log.read(notes.session):
        name = f"{getattr(record.event, 'step', 0)}.{getattr(record.event, 'position', 0)}"
        if isinstance(record.event, DecisionAsked):
            waiting[name] = record.event
        elif type(record.event).__name__ in ("DecisionGiven", "CallFinished", "CallStarted"):
            waiting.pop(name, None)
    done = {(note["tool"], json.dumps(_arguments(note))) for note in notes.read() if note["what"] == "run"}
    decisions = {}
    for name, asked in waiting.items():
        was_done = (asked.call.name, json.dumps(dict(asked.call.arguments))) in done
        decisions[name] = Decision.answer(_result(asked.call), by="ana") if was_done else Decision.run(by="ana")
    return decisions


def _arguments(note: dict[str, Any]) -> dict[str, Any]:
    known = ("session", "round", "time", "what", "tool", "key")
    return {name: value for name, value in note.items() if name not in known}


def _result(asked: ToolCall) -> str:
    past = {"pay": "paid", "sell": "sold"}[asked.name]
    return f"{past} {next(iter(asked.arguments.values()))}"


async def answer(log: EventLog, session: str) -> str:
    """The answer of a session's last turn."""
    return next(
        record.event.text for record in reversed(await log.read(session)) if isinstance(record.event, TurnFinished)
    )
