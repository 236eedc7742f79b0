"""A recorded session in the place of a log, an engine, tools and shields: the turn loop runs over it once more."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile

import anyio

from arriero.prompts.messages import Message
from arriero.stack.event_json import to_json
from arriero.stack.events import (
    CallFinished,
    Event,
    HandedOff,
    LimitReached,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    PromptAppended,
    SessionForked,
    TranscriptRewritten,
    TurnFailed,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)
from arriero.stack.log import LogError, Record, TurnSummary

_GIVEN = (
    TurnStarted, TurnResumed, LimitReached, TurnFailed, SessionForked, WorkflowStarted, NodeStarted, NodeFinished,
    NodeFailed, WorkflowPaused, WorkflowFinished,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a turn, run again, went another way than its log.

    Args:
        turn: The turn.
        seq: Position in the session of the first event that differs.
        recorded: The event there; None where the log ends.
        produced: What came instead; None where nothing came.
        problem: What is wrong, for people.
    """

    turn: str
    seq: int
    recorded: Event | None
    produced: Event | None
    problem: str


class Cut(LogError):
    """From here on the log tells of what no loop does by itself: its process died, or it was stopped."""


class Diverged(LogError):
    """The loop went another way than the log."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference
        super().__init__(difference.problem)


class RecordedSession:
    """The records of a session, taken one after the other. It is the loop's log, and compares what the loop logs.

    Args:
        records: The records, from the first on.
    """

    owner = ""

    def __init__(self, records: Sequence[Record]) -> None:
        self.left = deque(records)
        self.taken: list[Record] = []
        self.compared = 0
        self.add_others: Callable[[], Awaitable[None]] = _nobody
        """Lets others add to the turn what they added then."""
        self.system = ""
        """The system's message as it is now."""
        self.agent = ""
        """The agent that has the conversation."""
        self.offered: TurnStarted | TranscriptRewritten | None = None
        """What offered the tools that the transcript's prompt has now."""
        self._taker = ""
        self._news = anyio.Event()

    @property
    def next(self) -> Event | None:
        """The next event of the log."""
        return self.left[0].event if self.left else None

    @property
    def at_cut(self) -> bool:
        """Whether the turn that runs does not go on by itself."""
        return is_given(self.next)

    def ahead(self) -> Iterator[Event]:
        """What the loop gives in the turn that runs, as far as the log tells."""
        begins = isinstance(self.next, TurnStarted | TurnResumed)
        for record in islice(self.left, int(begins), None):
            if is_given(record.event):
                return
            yield record.event
            if isinstance(record.event, TurnFinished | TurnPaused):
                return

    def of_turn(self) -> Iterator[Event]:
        """What is left of the turn that runs, whatever cut it."""
        turn = self.left[0].turn if self.left else ""
        return (record.event for record in takewhile(lambda record: record.turn == turn, self.left))

    def prompt_ahead(self) -> PromptAppended | TranscriptRewritten | None:
        """How the log goes on for the model, if it does."""
        return next((event for event in self.ahead() if isinstance(event, PromptAppended | TranscriptRewritten)), None)

    def take_given(self) -> Event:
        """Take the next event as it is: nothing that the loop does leads to it."""
        return self._take(0).event

    async def changed(self) -> None:
        """Wait until something was taken."""
        await self._news.wait()

    # What the loop needs of a log.

    async def append(self, session: str, turn: str, seq: int, events: Sequence[Event]) -> None:
        """Compare events with the log's; see `EventLog.append`.

        Raises:
            Cut: The log goes on with what no loop does by itself.
            Diverged: An event is another one than the log's.
        """
        for event in events:
            if self.at_cut and _kind(event) not in ("TurnStarted", "TurnResumed"):
                raise Cut("the log goes on with what came from outside")
            self._take(self._place_of(event))
            self.compared += 1
        if self.at_cut:
            raise Cut("the log goes on with what came from outside")

    async def read(self, session: str, turn: str | None = None) -> list[Record]:
        """What was taken; see `EventLog.read`."""
        return [record for record in self.taken if turn in (None, record.turn)]

    async def length(self, session: str) -> int:
        """How much was taken."""
        return len(self.taken)

    async def take(self, session: str) -> None:
        """Nobody else has it."""

    async def release(self, session: str) -> None:
        """Nobody else wants it."""

    async def turns(self, session: str | None = None) -> list[TurnSummary]:
        """None: no turn is listed."""
        return []

    async def fork(self, session: str, seq: int, into: str) -> None:
        """It cannot be forked."""
        raise LogError("a replay cannot be forked: fork the session itself")

    async def aclose(self) -> None:
        """There is nothing to release."""

    def _place_of(self, event: Event) -> int:
        """Where the event is in what is left: at once, or among results, which come in any order."""
        wanted = comparable(event)
        for place, record in enumerate(self.left):
            if comparable(record.event) == wanted:
                return place
            if not (isinstance(event, CallFinished) and isinstance(record.event, CallFinished)):
                break
        raise Diverged(self._difference(event))

    def _difference(self, event: Event) -> Difference:
        record, recorded = (self.left[0], self.left[0].event) if self.left else (self.taken[-1], None)
        return Difference(record.turn, len(self.taken), recorded, event, told(recorded, event))

    def _take(self, place: int) -> Record:
        record = self.left[place]
        del self.left[place]
        self.taken.append(replace(record, seq=len(self.taken)))
        match record.event:
            case TurnStarted(messages, agent=agent) as event:
                self.agent, self.offered = agent or self.agent, event
                self.system = system_of(messages) or self.system
            case TranscriptRewritten(reason, messages=messages) as event:
                self.offered, self.system = event, system_of(messages)
                if reason == "handoff":
                    self.agent, self._taker = self._taker or self.agent, ""
            case TurnResumed():
                self._taker = ""
            case HandedOff(_, agent):
                self._taker = agent
        self._news.set()
        self._news = anyio.Event()
        return record


async def _nobody() -> None:
    """Nobody adds anything."""


def comparable(event: Event | None) -> str:
    """An event as text, without what is never the same twice."""
    if event is None:
        return ""
    varies = {name: value for name, value in (("duration", 0.0), ("owner", "")) if name in event.__slots__}
    return to_json(replace(event, **varies))  # type: ignore[arg-type]


def told(recorded: Event | None, produced: Event) -> str:
    """What is different, in words."""
    if recorded is None or _kind(recorded) != _kind(produced):
        why = f" ({produced.error}: {produced.message})" if isinstance(produced, TurnFailed) else ""
        return f"the log has {_kind(recorded)}, the loop gave {_kind(produced)}{why}"
    fields = [
        name
        for name in produced.__slots__
        if name not in ("duration", "owner") and getattr(recorded, name) != getattr(produced, name)
    ]
    if "token_ids" in fields:
        old: Sequence[int] = recorded.token_ids  # type: ignore[union-attr]
        new: Sequence[int] = produced.token_ids  # type: ignore[union-attr]
        at = next((at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        return f"{_kind(produced)}: the ids differ from number {at} on, of {len(old)} in the log and {len(new)} now"
    return f"{_kind(produced)}: {', '.join(fields) or 'its JSON'} differs"


def system_of(messages: Sequence[Message]) -> str:
    """Text of the system's message, empty where there is none."""
    first = messages[0].content if messages and messages[0].role == "system" else ""
    return first if isinstance(first, str) else ""


def is_given(event: Event | None) -> bool:
    """Whether nothing that the loop does by itself leads to the event. So it is also at the log's end.

    A process began or died, a limit or somebody ended the turn, the session was forked.
    """
    if isinstance(event, TurnFinished):
        return event.reason in ("limit", "failed", "cancelled")
    return event is None or isinstance(event, _GIVEN)


def _kind(event: Event | None) -> str:
    return "no more event" if event is None else type(event).__name__
