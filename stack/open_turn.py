"""A turn that is not over, as its events tell: what a process needs to go on with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from arriero.prompts.messages import JSON, Message, ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.engine import Usage
from arriero.stack.events import CallFinished, CallStarted, DecisionAsked, StepFinished
from arriero.tools import ToolResult


@dataclass(slots=True)
class CallState:
    """How far a call of the running step is.

    Args:
        call: The call, as it is run.
        started: Whether it was about to run.
        asked: What is to be decided about it.
        decision: What was decided, until the call is started for it.
        approved: Whether a person has said that it may run.
        consulted: Whether the agent was asked to decide in place of a person.
        result: What came of it.
    """

    call: ToolCall
    started: bool = False
    asked: DecisionAsked | None = None
    decision: Decision | None = None
    approved: bool = False
    consulted: bool = False
    result: ToolResult | None = None

    @property
    def waits(self) -> bool:
        """Whether somebody must decide about it."""
        return self.asked is not None and self.decision is None and self.result is None


@dataclass(slots=True)
class Mark:
    """Where a transcript was when its turn began; the whole of it, once the turn has rewritten it."""

    ids: int
    messages: int
    unread: tuple[Message, ...]
    agent: str
    tools: tuple[Any, ...]
    builtins: tuple[str, ...]
    before: tuple[list[int], list[Message], list[int]] | None = None


@dataclass(slots=True)
class OpenTurn:
    """What a turn has done and used so far. A fold over its events, by its session's `Tape`.

    Args:
        id: The turn.
        mark: Where the transcript was when it began.
        step: Number of the last finished message of the model.
        prompted: Number of the step whose prompt is in the transcript.
        usage: Tokens of all steps together.
        calls: Tool calls so far.
        calls_of: Tool calls by the tool's name.
        states: The calls of the last step, until the model has read their results.
        unheard: Whether the user said something that is in no prompt yet.
        unjudged: Whether the user said something, in the last prompt, that no shield has judged.
        answer: The last step's message, if it is an answer that has not become the turn's end yet.
        cleared: Whether a shield has let that answer pass.
        repeats: How often in a row the last calls gave the same results.
        waiting: What it waits for, while it is paused.
        taker: Name of the agent that is about to take over.
        handed_over: The step after which the agent that has the turn took over; 0 for the one that began it.
        too_long: Whether the results of its last step do not fit the model's context.
        ran: Seconds that it ran, in the processes that ended or paused it.
    """

    id: str
    mark: Mark
    step: int = 0
    prompted: int = 0
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    calls_of: dict[str, int] = field(default_factory=dict)
    states: list[CallState] = field(default_factory=list)
    unheard: bool = True
    unjudged: bool = False
    answer: StepFinished | None = None
    cleared: bool = False
    repeats: int = 0
    waiting: tuple[str, ...] = ()
    taker: str = ""
    handed_over: int = 0
    too_long: bool = False
    ran: float = 0.0
    _round: list[tuple[ToolCall, JSON]] = field(default_factory=list)
    _before: float = 0.0
    _since: float | None = None

    @property
    def paused(self) -> bool:
        """Whether it waits for decisions."""
        return bool(self.waiting)

    def names_waiting(self) -> tuple[str, ...]:
        """Names of the calls that somebody must decide about."""
        return tuple(f"{self.step}.{position}" for position, state in enumerate(self.states) if state.waits)

    def say(self, said: StepFinished) -> None:
        """The model finished a message."""
        self.step, self.answer = said.step, None if said.tool_calls else said
        self.cleared = False
        self.usage = total(self.usage, said.usage)
        self.states = [CallState(call) for call in said.tool_calls]
        for call in said.tool_calls:
            self.calls += 1
            self.calls_of[call.name] = self.calls_of.get(call.name, 0) + 1

    def start(self, event: CallStarted) -> None:
        """A call is about to run."""
        for state in self._at(event.position):
            asked = state.asked
            if state.decision is not None and asked is not None and asked.asked == "approval" and not asked.nested:
                state.approved = True
            state.call, state.started, state.asked, state.decision = event.call, True, None, None

    def finish(self, event: CallFinished) -> None:
        """A call has a result."""
        position = event.position
        while position < len(self.states) and self.states[position].result is not None:
            position += 1  # logs of old do not name positions
        for state in self._at(position):
            state.result = event.result

    def ask(self, event: DecisionAsked) -> None:
        """A call waits for a decision."""
        for state in self._at(event.position):
            state.call, state.asked, state.decision, state.started = event.call, event, None, False

    def decide(self, position: int, decision: Decision) -> None:
        """Somebody decided."""
        for state in self._at(position):
            state.decision = decision

    def read(self, *, rest: str | None = None) -> Iterator[Message]:
        """Take the results of the last step, in call order, as messages that the model reads.

        Args:
            rest: What it reads of calls without a result, where others have one: it tells results apart by their order.
        """
        results = [state.result for state in self.states if state.result is not None]
        if results:
            # `is` first: comparing what is long costs, and in a loop the values are often the same objects.
            now = [(result.call, result.content) for result in results]
            self.repeats = self.repeats + 1 if now == self._round else 1
            self._round = now
        states, self.states = self.states, []
        for state in states:
            if state.result is not None:
                yield Message("tool", state.result.content)
            elif results and rest is not None:
                yield Message("tool", rest)

    def repeats_with(self, results: list[ToolResult]) -> int:
        """How often in a row the last calls gave the same results, with these."""
        return self.repeats + 1 if [(result.call, result.content) for result in results] == self._round else 1

    def tick(self, at: float, *, begins: bool = False) -> None:
        """An event was logged at that time."""
        if begins or self._since is None:
            self._before, self._since = self.ran, at
        self.ran = self._before + max(0.0, at - self._since)

    def _at(self, position: int) -> list[CallState]:
        return self.states[position : position + 1]


def total(before: Usage, step: Usage) -> Usage:
    """Tokens of several requests together."""
    cached = before.cached_tokens
    if step.cached_tokens is not None:
        cached = (cached or 0) + step.cached_tokens
    return Usage(before.prompt_tokens + step.prompt_tokens, before.completion_tokens + step.completion_tokens, cached)
