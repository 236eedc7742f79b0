"""What came of a turn: a fold over its events."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from arriero.prompts.messages import ToolCall
from arriero.stack.engine import Usage
from arriero.stack.events import CallFinished, Event, Reason, StepFinished, TurnFinished, VerdictGiven
from arriero.tools import ToolResult


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the model, and what came of its calls.

    Args:
        number: Number of the step, from 1.
        text: The text of the message.
        calls: The calls of the message, in the order written.
        results: What the calls gave, in the same order.
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
class Turn:
    """A finished turn.

    Args:
        session: The session that the turn belongs to; the next turn may continue it.
        text: What the user reads: the answer, or the refusal.
        reason: Why the turn is over: `answer`, `refused` or `limit`.
        steps: What the model said and did.
        verdicts: What the shields said, in the order in which they said it.
        usage: Tokens of all steps together, shields not counted.
        duration: Seconds.
        events: Everything that happened, as it is in the log.
    """

    session: str
    text: str
    reason: Reason
    steps: tuple[Step, ...]
    verdicts: tuple[VerdictGiven, ...]
    usage: Usage
    duration: float
    events: tuple[Event, ...]

    @property
    def output(self) -> str:
        """The answer as a value of the agent's output type, which is text."""
        return self.text

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of all steps, in the order written."""
        return tuple(call for step in self.steps for call in step.calls)

    @classmethod
    def of(cls, events: Iterable[Event], session: str) -> "Turn":
        """Fold the events of one finished turn.

        Args:
            events: The events, the last one `TurnFinished`.
            session: The session's name.

        Returns:
            The turn.

        Raises:
            ValueError: The turn is not finished.

        Example:
            >>> turn = Turn.of([TurnFinished("42", "answer", Usage(12, 3), 0.5)], "alice")
            >>> turn.text, turn.usage.completion_tokens
            ('42', 3)
        """
        logged = tuple(events)
        steps: list[Step] = []
        for event in logged:
            match event:
                case StepFinished(step, _, content, tool_calls, _, usage, duration):
                    steps.append(Step(step, content, tool_calls, (), usage, duration))
                case CallFinished(_, result):
                    steps[-1] = replace(steps[-1], results=(*steps[-1].results, result))
                case _:
                    continue
        if not (logged and isinstance(end := logged[-1], TurnFinished)):
            raise ValueError("the last event is not TurnFinished: fold the events of a whole turn")
        verdicts = tuple(event for event in logged if isinstance(event, VerdictGiven))
        return cls(session, end.text, end.reason, tuple(steps), verdicts, end.usage, end.duration, logged)
