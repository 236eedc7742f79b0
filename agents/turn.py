"""What came of a turn: a fold over its events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, cast

from arriero.agents.output import TEXT, AnswerReader, Output, OutputInvalid
from arriero.prompts.messages import ToolCall
from arriero.stack.decisions import Asked
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    DecisionAsked,
    Event,
    Reason,
    StepFinished,
    TurnFinished,
    TurnPaused,
    VerdictGiven,
)
from arriero.tools import ToolResult


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the model, and what came of its calls.

    Args:
        number: Number of the step, from 1.
        text: The text of the message.
        calls: The calls of the message, in the order written.
        results: What the calls gave, in the same order; those that wait for a decision have none yet.
        usage: Tokens of the request.
        duration: Seconds that the model took.
    """

    number: int
    text: str
    calls: tuple[ToolCall, ...]
    results: tuple[ToolResult, ...]
    usage: Usage
    duration: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that waits for somebody's decision.

    Args:
        id: Its name among those of the turn, which `resume` wants: `step.position`.
        call: The call, as the model wrote it.
        asked: What is to be decided: `approval`, `interrupted` or `answer`.
        question: What a person reads.
    """

    id: str
    call: ToolCall
    asked: Asked
    question: str = ""


@dataclass(frozen=True, slots=True)
class Turn(Generic[Output]):
    """A turn that is over, or waits for decisions.

    Args:
        session: The session that the turn belongs to; the next turn may continue it.
        text: What the user reads: the answer, or the refusal.
        reason: Why the turn is over: `answer`, `refused`, `limit` or `cancelled`; `paused` when it waits.
        steps: What the model said and did.
        verdicts: What the shields said, in the order in which they said it.
        usage: Tokens of all steps together, shields not counted.
        duration: Seconds that it ran.
        events: Everything that happened, as it is in the log.
        waiting: The calls that wait for a decision.
        problem: Why there is no output; empty where there is one.
        value: The output, where there is one.
    """

    session: str
    text: str
    reason: Reason | Literal["paused"]
    steps: tuple[Step, ...]
    verdicts: tuple[VerdictGiven, ...]
    usage: Usage
    duration: float
    events: tuple[Event, ...]
    waiting: tuple[Waiting, ...] = ()
    problem: str = ""
    value: Output | None = None

    @property
    def output(self) -> Output:
        """The answer as a value of the agent's output type.

        Raises:
            OutputInvalid: There is none: the answer does not fit the type, or the turn ended without an answer. Where
                the type is `str`, there always is one.
        """
        if self.problem:
            raise OutputInvalid(self.problem)
        return cast("Output", self.value)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of all steps, in the order written."""
        return tuple(call for step in self.steps for call in step.calls)

    @classmethod
    def of(cls, events: Iterable[Event], session: str, reader: AnswerReader[Output] | None = None) -> "Turn[Output]":
        """Fold the events of one turn.

        Args:
            events: The events, the last one `TurnFinished` or `TurnPaused`.
            session: The session's name.
            reader: Reads the answer; None for text.

        Returns:
            The turn.

        Raises:
            ValueError: The turn is neither finished nor paused.

        Example:
            >>> turn = Turn.of([TurnFinished("42", "answer", Usage(12, 3), 0.5)], "alice")
            >>> turn.text, turn.usage.completion_tokens
            ('42', 3)
        """
        logged = tuple(events)
        end = logged[-1] if logged else None
        if not isinstance(end, TurnFinished | TurnPaused):
            raise ValueError("the last event is neither TurnFinished nor TurnPaused: fold the events of a whole turn")
        text, reason, waiting = _end(end)
        value, problem = _output(text, reason, reader or TEXT)
        return cls(
            session,
            text,
            reason,
            _steps(logged),
            tuple(event for event in logged if isinstance(event, VerdictGiven)),
            end.usage,
            end.duration,
            logged,
            _waiting(logged, waiting),
            problem,
            value,
        )


def _end(end: TurnFinished | TurnPaused) -> tuple[str, Reason | Literal["paused"], tuple[str, ...]]:
    return ("", "paused", end.waiting) if isinstance(end, TurnPaused) else (end.text, end.reason, ())


def _steps(events: Sequence[Event]) -> tuple[Step, ...]:
    steps: dict[int, Step] = {}
    results: dict[int, dict[int, ToolResult]] = {}
    for event in events:
        match event:
            case StepFinished(step, _, content, tool_calls, _, usage, duration):
                steps[step] = Step(step, content, tool_calls, (), usage, duration)
            case CallFinished(step, result, position):
                placed = results.setdefault(step, {})
                placed[len(placed) if position in placed else position] = result  # logs of old have no positions
            case _:
                continue
    for number in results.keys() & steps.keys():
        ordered = tuple(result for _, result in sorted(results[number].items(), key=lambda item: item[0]))
        steps[number] = replace(steps[number], results=ordered)
    return tuple(steps.values())


def _waiting(events: Sequence[Event], ids: Sequence[str]) -> tuple[Waiting, ...]:
    asked = {f"{event.step}.{event.position}": event for event in events if isinstance(event, DecisionAsked)}
    return tuple(Waiting(id_, asked[id_].call, asked[id_].asked, asked[id_].question) for id_ in ids if id_ in asked)


def _output(text: str, reason: str, reader: AnswerReader[Any]) -> tuple[Any, str]:
    """The value of an answer, or why there is none."""
    if reader.text:
        return reader.read(text), ""
    if reason != "answer":
        return None, f"there is no output: the turn ended with {reason!r}"
    try:
        return reader.read(text), ""
    except OutputInvalid as error:
        return None, str(error)
