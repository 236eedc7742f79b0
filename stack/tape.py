"""Transcript tapes: the ids a session has sent and received. They only grow, and are a fold over the log."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message
from arriero.stack.events import CallFinished, Event, PromptAppended, StepFinished, TurnFinished, TurnStarted
from arriero.stack.log import EventLog, Record, SessionBusy

_KEPT_TAPES = 256


class SessionMismatch(ArrieroError):
    """A session was begun with another dialect, vocabulary or other tools, which its transcript has fixed."""


@dataclass(slots=True)
class Tape:
    """What a session's model has seen and said.

    Args:
        session: Name of the session.
        ids: Everything sent and received, as one transcript.
        messages: The same as messages, for shields and people.
        length: Number of events in the log.
        opening: The event that began the transcript.

    Example:
        >>> tape = Tape("alice")
        >>> tape.apply(PromptAppended(1, (1, 2)))
        >>> tape.ids
        [1, 2]
    """

    session: str
    ids: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    length: int = 0
    opening: TurnStarted | None = None
    _turn: tuple[int, int] = (0, 0)
    _steps: int = 0

    def apply(self, event: Event) -> None:
        """Take in the next logged event.

        A turn that was refused leaves no trace, and neither does one that ended before the model had said
        anything. Whatever else ended a turn early, its finished steps stay: their tools have run.
        """
        self.length += 1
        match event:
            case TurnStarted(messages):
                self.forget_silent_turn()
                self._turn, self._steps = (len(self.ids), len(self.messages)), 0
                self.opening = event if not self.ids else self.opening
                self.messages += messages
            case PromptAppended(_, token_ids):
                self.ids += token_ids
            case StepFinished(_, token_ids, content, tool_calls):
                self._steps += 1
                self.ids += token_ids
                self.messages.append(Message("assistant", content, tool_calls))
            case CallFinished(_, result):
                self.messages.append(Message("tool", result.content))
            case TurnFinished(_, "refused"):
                self._rewind()
            case TurnFinished():
                self.forget_silent_turn()
            case _:
                return

    def forget_silent_turn(self) -> None:
        """Take back the latest turn if the model has said nothing in it. Only while no turn is running."""
        if not self._steps:
            self._rewind()

    def _rewind(self) -> None:
        ids, messages = self._turn
        del self.ids[ids:], self.messages[messages:]


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
        tape.apply(record.event)
    return tape


class Sessions:
    """The tapes of one log: the latest in memory, the others rebuilt when they are wanted.

    Args:
        log: The log.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._tapes: OrderedDict[str, Tape] = OrderedDict()
        self._busy: set[str] = set()

    @asynccontextmanager
    async def open(self, session: str) -> AsyncIterator[Tape]:
        """A session's tape, for one turn at a time.

        Args:
            session: Name of the session.

        Yields:
            The tape, as of the log's last event.

        Raises:
            SessionBusy: Another turn of this session is running.
            LogError: The log cannot be read.
        """
        if session in self._busy:
            raise SessionBusy(
                f"a turn of session {session!r} is running: wait until it is over, or use another session"
            )
        self._busy.add(session)
        try:
            tape = self._tapes.pop(session, None) or Tape(session)
            if tape.length != await self.log.length(session):
                tape = fold(session, await self.log.read(session))
            tape.forget_silent_turn()  # a process that was killed has logged no end of it
            yield tape
            self._keep(tape)
        finally:
            self._busy.discard(session)

    def _keep(self, tape: Tape) -> None:
        self._tapes[tape.session] = tape
        while len(self._tapes) > _KEPT_TAPES:
            self._tapes.popitem(last=False)
