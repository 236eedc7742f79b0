"""Transcript tapes: what a session's model has seen and said. A fold over the session's log."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from arriero.prompts.messages import Message
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    HandedOff,
    LimitReached,
    MessageAdded,
    PromptAppended,
    SessionForked,
    StepFinished,
    TranscriptRewritten,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    VerdictGiven,
)
from arriero.stack.log import Record, SessionBusy
from arriero.stack.open_turn import Mark, OpenTurn
from arriero.stack.token_ids import TokenIds

__all__ = ["SessionBusy", "Tape", "fold"]


_ENDS: Mapping[str, Literal["eom"]] = MappingProxyType({"end_of_message": "eom"})


_NO_RESULT = "error: the turn ended before this call had a result"


@dataclass(slots=True)
class Tape:
    """What a session's model has seen and said, and the turn that is not over.

    Args:
        session: Name of the session.
        ids: Everything sent and received, as one transcript.
        messages: The same as messages, for shields, compaction and people.
        begins: Places in the messages, the unread ones included, at which turns begin.
        length: Number of events in the log.
        opening: The event that began the transcript.
        agent: Name of the agent that has the conversation.
        tools: Declarations that the transcript's prompt offers, as rendered.
        builtins: Built-in tools that it turns on.
        unread: Messages that the model has not read yet: it reads them first in its next prompt.
        turn: The turn that is not over; None when there is none.

    Example:
        >>> tape = Tape("alice")
        >>> tape.apply(PromptAppended(1, (1, 2)))
        >>> tape.ids
        TokenIds([1, 2])
    """

    session: str
    ids: TokenIds = field(default_factory=TokenIds)
    messages: list[Message] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    length: int = 0
    opening: TurnStarted | None = None
    agent: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    builtins: tuple[str, ...] = ()
    unread: list[Message] = field(default_factory=list)
    turn: OpenTurn | None = None

    def apply(self, event: Event, turn: str = "", at: float | None = None) -> None:
        """Take in the next logged event.

        A turn that was refused leaves no trace, and neither does one that ended before the model had said
        anything. Whatever else ended a turn early, its finished steps stay: their tools have run. An answer that
        a shield was still to judge goes.

        Args:
            event: The event.
            turn: Its turn.
            at: When it was logged, in seconds since the epoch; None while the turn runs here.
        """
        self.length += 1
        open_turn = self.turn
        match event:
            case PromptAppended(step, token_ids):
                self.messages += self._read()
                self.ids += token_ids
                if open_turn is not None:
                    open_turn.prompted, open_turn.answer = step, None
            case StepFinished():
                if open_turn is not None:
                    open_turn.say(event)
                self.ids += event.token_ids
                said = Message("assistant", event.content, event.tool_calls, _ENDS.get(event.end))
                self.messages.append(said)
            case CallStarted():
                if open_turn is not None:
                    open_turn.start(event)
            case CallFinished():
                if open_turn is not None:
                    open_turn.finish(event)
            case TurnStarted():
                self._begin(event, turn)
            case TurnFinished(_, reason):
                self._end(reason)
            case _:
                self._apply_rare(event)
        if at is not None and self.turn is not None and not isinstance(event, SessionForked | DecisionGiven):
            self.turn.tick(at, begins=isinstance(event, TurnStarted | TurnResumed))

    def pending(self) -> list[Message]:
        """What the model has not read yet: results of its calls in their order, then other messages."""
        states = self.turn.states if self.turn else ()
        results = [Message("tool", state.result.content) for state in states if state.result is not None]
        return [*results, *self.unread]

    def _apply_rare(self, event: Event) -> None:
        if isinstance(event, MessageAdded):
            self.unread.append(event.message)
        if isinstance(event, TranscriptRewritten):
            self._rewrite(event)
        turn = self.turn
        if turn is None:
            return
        match event:
            case MessageAdded(_, _, source):
                turn.unheard = turn.unheard or source == "user"
                turn.answer = None if source == "output" else turn.answer
            case VerdictGiven("input"):
                turn.unjudged = False
            case VerdictGiven("output", verdict):
                turn.cleared = verdict.allowed
            case DecisionAsked():
                turn.ask(event)
            case DecisionGiven(_, position, decision):
                turn.decide(position, decision)
            case TurnPaused(waiting, _, duration):
                turn.waiting, turn.ran = waiting, duration
            case TurnResumed():
                turn.waiting, turn.taker = (), ""
            case HandedOff(_, agent):
                turn.taker = agent  # it has the conversation when this is rewritten for it
            case LimitReached("context"):
                turn.too_long = True
            case _:
                return

    def _read(self) -> list[Message]:
        """The pending messages, which are in the transcript from here on."""
        turn = self.turn
        if turn is not None and turn.unheard:
            turn.unheard, turn.unjudged = False, True
        results = turn.read() if turn is not None and turn.states else ()
        messages = [*results, *self.unread]
        self.unread = []
        return messages

    def _begin(self, event: TurnStarted, turn: str) -> None:
        if self.turn is not None:  # its process died, and logged no end of it
            self._end("failed")
        unread = tuple(self.unread)
        mark = Mark(len(self.ids), len(self.messages), unread, self.agent, self.tools, self.builtins)
        self.turn = OpenTurn(turn, mark)
        if not self.ids:
            self.opening, self.tools, self.builtins = event, event.tools, event.builtins
        self.agent = event.agent or self.agent
        self.begins.append(len(self.messages) + len(self.unread))
        self.unread += event.messages

    def _rewrite(self, event: TranscriptRewritten) -> None:
        turn = self.turn
        if turn is not None:
            if turn.mark.before is None:
                mark = turn.mark
                mark.before = (self.ids[: mark.ids], self.messages[: mark.messages], self.begins[:-1])
            self.messages += self._read()
            turn.prompted, turn.answer = turn.step + 1, None
            if event.reason == "handoff":
                self.agent, turn.taker = turn.taker or self.agent, ""
                turn.handed_over = turn.step
        # Whatever shortens a conversation leaves its end as it is.
        shift = len(event.messages) - len(self.messages)
        self.begins = sorted({max(0, at + shift) for at in self.begins})
        self.ids, self.messages = TokenIds(event.token_ids), list(event.messages)
        self.tools, self.builtins = event.tools, event.builtins

    def _end(self, reason: str) -> None:
        turn = self.turn
        if turn is None:
            return
        self.turn = None
        if reason == "refused" or not turn.step:
            mark = turn.mark
            if mark.before is not None:
                ids, self.messages, self.begins = mark.before
                self.ids = TokenIds(ids)
            else:
                self.begins.pop()
            self.ids.truncate(mark.ids)
            del self.messages[mark.messages :]
            self.unread, self.agent, self.tools, self.builtins = [*mark.unread], mark.agent, mark.tools, mark.builtins
            return
        if turn.answer is not None and not turn.cleared and reason in ("failed", "cancelled"):
            self.ids.truncate(len(self.ids) - len(turn.answer.token_ids))
            del self.messages[-1:]
        results = () if turn.too_long else turn.read(rest=_NO_RESULT)
        self.unread = [*results, *self.unread]


def fold(session: str, records: Iterable[Record]) -> Tape:
    """The tape that a session's log amounts to.

    Args:
        session: Name of the session.
        records: Its events, from the first on.

    Returns:
        The tape.
    """
    tape = Tape(session)
    for record in records:
        tape.apply(record.event, record.turn, record.time)
    return tape
