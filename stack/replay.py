"""Sessions run again from their logs: no model is asked and no tool is run, and everything must come out as it did."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import takewhile

import anyio

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.tokens import Tokenizer
from arriero.stack.compaction import Compaction, compact_with
from arriero.stack.engine import Sampling
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    HandedOff,
    MessageAdded,
    PromptAppended,
    StepFinished,
    TextDelta,
    TranscriptRewritten,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
)
from arriero.stack.generation import stop_ids
from arriero.stack.log import EventLog, Record, SessionRedacted, UnknownSession
from arriero.stack.recorded_parts import Handoffs, RecordedEngine, RecordedTools, date_in, is_compacted, shields_of
from arriero.stack.recorded_session import Cut, Difference, Diverged, RecordedSession, system_of
from arriero.stack.sessions import SessionMismatch, Sessions
from arriero.stack.terms import Handoff, Hooks, Limits, Terms
from arriero.stack.turn import resume_turn, run_turn
from arriero.tools import ToolResult

__all__ = ["Difference", "Replay", "replay", "replay_events"]

_WITHOUT_END = Limits(steps=10**9, calls=10**9, tokens=10**12, seconds=86_400.0, repeats=10**9)


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of running a session again.

    Args:
        session: The session.
        turns: How many turns it has.
        compared: Events that the loop gave, and that were compared with the log's.
        given: Events that were taken as they are, for nothing that the loop does leads to them: that a process died
            or resumed, that a limit or somebody ended a turn, what people did while nothing ran; and the rest of a turn
            that went another way.
        differences: Where a turn went another way, at most one for each run of a turn.
    """

    session: str
    turns: int
    compared: int
    given: int
    differences: tuple[Difference, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether everything came out as it did."""
        return not self.differences


async def replay(
    log: EventLog,
    session: str,
    tokenizer: Tokenizer,
    *,
    dialect: Dialect | None = None,
    options: RenderOptions | None = None,
    seconds: float = 60.0,
) -> Replay:
    """Run the turn loop over a session's log, with the ids and the results that are in it, and compare each event.

    Prompts are rendered and encoded again, what the model wrote is read again: ids, texts and calls must be the same.
    No engine is needed, and no tool: sessions replay whose model and tools no longer exist. What came from outside is
    taken from the log: results, verdicts, decisions, messages that came while a turn ran, and where a turn was killed,
    stopped or ended by a limit.

    Args:
        log: The log.
        session: The session.
        tokenizer: The vocabulary with which the ids were made.
        dialect: How the model writes; None for the dialect that the log names.
        options: How prompts were rendered, where the session's terms did not have the default options; the log does
            not say. The date in the system text is taken from the log, unless they name one.
        seconds: Longest time for one turn; a loop that waits for what the log does not have is a difference.

    Returns:
        What was the same, and where it first was not.

    Raises:
        UnknownSession: The log has no such session.
        SessionRedacted: Its texts were removed.
        SessionMismatch: The ids were made with another vocabulary.
        UnknownDialect: The log names a dialect that is not known here.
        LogError: The log cannot be read.

    Example:
        >>> import anyio
        >>> from arriero import Agent, Stack
        >>> async def again() -> bool:
        ...     async with Stack.local() as stack:
        ...         await Agent(stack).run("Hello!", session="s1")
        ...         return (await replay(stack.log, "s1", stack.engine.tokenizer)).exact
        >>> anyio.run(again)
        True
    """
    records = await log.read(session)
    if not records:
        raise UnknownSession(f"there is no session {session!r} in the log: look at its name")
    if any(turn.redacted for turn in await log.turns(session)):
        raise SessionRedacted(f"the texts of session {session!r} were removed: it cannot be replayed")
    begun = next((record.event for record in records if isinstance(record.event, TurnStarted)), None)
    if begun is not None and begun.vocabulary not in ("", tokenizer.fingerprint):
        raise SessionMismatch(f"session {session!r} was written with another vocabulary: give its model's tokenizer")
    if dialect is None:
        dialect = Dialect.get(begun.dialect if begun is not None and begun.dialect else "llama3.1")
    again = _Again(session, records, tokenizer, dialect, options, seconds)
    await again.run()
    turns = len({record.turn for record in records if isinstance(record.event, TurnStarted)})
    recorded = again.recorded
    return Replay(session, turns, recorded.compared, len(records) - recorded.compared, tuple(again.differences))


async def replay_events(
    log: EventLog, session: str, turn: str | None = None, *, speed: float | None = None
) -> AsyncIterator[Event]:
    """A session's events as they were streamed, text included, for a terminal.

    Args:
        log: The log.
        session: The session.
        turn: One of its turns; None for all.
        speed: How many times as fast as it happened; None without waiting.

    Yields:
        The events, `TextDelta` before the step that it is of. Nobody waits more than 5 seconds for one.

    Raises:
        UnknownSession: The log has no such session or turn.
        LogError: The log cannot be read.
    """
    records = await log.read(session, turn)
    if not records:
        raise UnknownSession(f"there is no such session or turn in the log: {session!r}, {turn or 'all turns'}")
    before = records[0].time
    for record in records:
        event, waits = record.event, min(5.0, max(0.0, record.time - before))
        before = record.time
        pieces = event.content.split(" ") if isinstance(event, StepFinished) and not event.tool_calls else []
        for number, piece in enumerate(pieces):
            if speed:
                await anyio.sleep(waits / len(pieces) / speed)
            text = piece if number == 0 else f" {piece}"
            if text and isinstance(event, StepFinished):
                yield TextDelta(event.step, text)
        if speed and not pieces:
            await anyio.sleep(waits / speed)
        yield event


class _Again:
    """One replay: the turns of a session, one after the other."""

    def __init__(
        self,
        session: str,
        records: Sequence[Record],
        tokenizer: Tokenizer,
        dialect: Dialect,
        options: RenderOptions | None,
        seconds: float,
    ) -> None:
        self.session, self.tokenizer, self.dialect, self.seconds = session, tokenizer, dialect, seconds
        self.recorded = RecordedSession(records)
        self.recorded.add_others = self._add
        self.differences: list[Difference] = []
        self.options = options or RenderOptions(repair=True)
        self.sessions = Sessions(self.recorded)

    async def run(self) -> None:
        """Go through the log."""
        recorded = self.recorded
        while recorded.left:
            event = recorded.next
            if isinstance(event, TurnStarted):
                await self._watch(event, self._begin(event))
            elif isinstance(event, TurnResumed) and any(isinstance(one.event, TurnStarted) for one in recorded.taken):
                await self._watch(event, self._resume())
            else:
                recorded.take_given()

    def _begin(self, started: TurnStarted) -> AsyncGenerator[Event, None]:
        has_system = bool(started.messages) and started.messages[0].role == "system"
        terms = self._terms(started.agent, "" if has_system else self.recorded.system, started)
        return run_turn(
            started.messages,
            engine=self._engine(started.model),
            dialect=self.dialect,
            sessions=self.sessions,
            terms=terms,
            session=self.session,
        )

    def _resume(self) -> AsyncGenerator[Event, None]:
        recorded = self.recorded
        following = [record.event for record in recorded.left][1:]
        told = takewhile(lambda event: isinstance(event, DecisionGiven), following)
        decisions = {f"{e.step}.{e.position}": e.decision for e in told if isinstance(e, DecisionGiven)}
        begun = [record.event for record in recorded.taken if isinstance(record.event, TurnStarted)][-1]
        return resume_turn(
            engine=self._engine(begun.model),
            dialect=self.dialect,
            sessions=self.sessions,
            terms=self._terms(recorded.agent, recorded.system, recorded.offered or begun),
            session=self.session,
            decisions=decisions,
        )

    async def _watch(self, first: Event, turn: AsyncGenerator[Event, None]) -> None:
        """Run a turn as far as the log goes, adding what others added to it."""
        recorded = self.recorded
        try:
            with anyio.fail_after(self.seconds):
                async with aclosing(turn):
                    async for _ in turn:
                        await self._add()
                if recorded.next is first:
                    raise Diverged(self._difference("nothing was logged"))
        except Cut:
            pass
        except Diverged as error:
            self._give_up(error.difference)
        except TimeoutError:
            self._give_up(self._difference("the loop waits for what the log does not have"))
        except (ArrieroError, AssertionError, RuntimeError) as error:
            self._give_up(self._difference(f"{type(error).__name__}: {error}"))
        self.sessions = Sessions(recorded)  # as another process would find it

    async def _add(self) -> None:
        """What came from other tasks while the turn ran comes now."""
        while not isinstance(self.recorded.taken[-1].event, TurnPaused | TurnFinished):
            match self.recorded.next:
                case MessageAdded(_, message, "user"):
                    await (await self.sessions.turn(self.session)).say(message)
                case DecisionGiven(step, position, decision):
                    await (await self.sessions.turn(self.session)).decide(f"{step}.{position}", decision)
                case _:
                    return

    def _give_up(self, difference: Difference) -> None:
        """Note the difference, and take the rest of the turn's run as it is."""
        self.differences.append(difference)
        recorded = self.recorded
        if recorded.left:
            recorded.take_given()
        while recorded.left and not isinstance(recorded.next, TurnStarted | TurnResumed):
            recorded.take_given()

    def _difference(self, problem: str) -> Difference:
        recorded = self.recorded
        record = recorded.left[0] if recorded.left else recorded.taken[-1]
        return Difference(record.turn, len(recorded.taken), recorded.next, None, problem)

    def _engine(self, model: str) -> RecordedEngine:
        return RecordedEngine(self.recorded, self.tokenizer, model, stop_ids(self.dialect, self.tokenizer))

    def _terms(
        self, agent: str, instructions: str, offers: TurnStarted | TranscriptRewritten, *, handed_over: bool = False
    ) -> Terms:
        recorded = self.recorded
        refused = [event.text for event in recorded.of_turn() if isinstance(event, TurnFinished)]
        asked = [event for event in recorded.of_turn() if isinstance(event, DecisionAsked) and not event.nested]
        terms = Terms(
            registry=RecordedTools(recorded, offers.tools, offers.builtins),
            instructions=instructions,
            input_shields=shields_of(recorded, "input", handed_over=handed_over),
            output_shields=shields_of(recorded, "output", handed_over=handed_over),
            limits=_WITHOUT_END,
            sampling=Sampling(max_tokens=1),  # room that a compaction leaves for an answer
            options=self.options,
            agent=agent,
            hooks=Hooks(self._next_terms, self._hooked, self._as_run, None, self._accepted),
            asks=frozenset(event.call.name for event in asked if event.asked == "answer"),
            handoffs=Handoffs(recorded, self._handed_over),
        )
        terms = replace(terms, refusal=refused[0]) if refused else terms
        return self._for_next_prompt(terms)

    def _for_next_prompt(self, terms: Terms) -> Terms:
        """The terms, with the date that the next prompt names, and the policy that shortens it, if one does."""
        ahead = self.recorded.prompt_ahead()
        if ahead is not None and self.options.date_string is None:
            date = date_in(self.tokenizer.decode(ahead.token_ids))
            terms = replace(terms, options=replace(self.options, date_string=date))
        policy: Compaction | None = None
        if isinstance(ahead, TranscriptRewritten) and is_compacted(ahead):
            policy = compact_with(ahead.policy, _giving(ahead.messages))
        return replace(terms, compaction=policy)

    async def _next_terms(self, step: int, terms: Terms) -> Terms:
        """The terms of the step that follows: with the tools and the system's message that its prompt has."""
        ahead = self.recorded.prompt_ahead()
        if isinstance(ahead, TranscriptRewritten):
            tools = RecordedTools(self.recorded, ahead.tools, ahead.builtins)
            terms = replace(terms, registry=tools, instructions=system_of(ahead.messages))
        return self._for_next_prompt(terms)

    async def _hooked(self, step: int) -> Sequence[Message]:
        before = takewhile(
            lambda event: not isinstance(event, PromptAppended | TranscriptRewritten), self.recorded.ahead()
        )
        return [event.message for event in before if isinstance(event, MessageAdded) and event.source == "hook"]

    async def _as_run(self, step: int, calls: Sequence[ToolCall]) -> Sequence[ToolCall | ToolResult]:
        """The calls as they were run, and the results of those that were not."""
        wanted: dict[int, ToolCall | ToolResult] = {}
        for event in self.recorded.ahead():
            if isinstance(event, CallStarted | DecisionAsked) and event.step == step:
                wanted.setdefault(event.position, event.call)
            elif isinstance(event, CallFinished) and event.step == step:
                wanted.setdefault(event.position, event.result)
            elif isinstance(event, PromptAppended | TranscriptRewritten):
                break
        return [wanted.get(position, call) for position, call in enumerate(calls)]

    async def _accepted(self, text: str) -> Message | None:
        ahead = (event for event in self.recorded.ahead() if not isinstance(event, StepFinished))
        match next(ahead, None):
            case MessageAdded(_, message, "output"):
                return message
            case _:
                return None

    def _handed_over(self, event: HandedOff, rewritten: TranscriptRewritten) -> Handoff:
        async def terms() -> Terms:
            return self._terms(event.agent, system_of(rewritten.messages), rewritten, handed_over=True)

        async def carry(messages: Sequence[Message]) -> Sequence[Message]:
            system = rewritten.messages[:1] if system_of(rewritten.messages) else ()
            return rewritten.messages[len(system) :]

        carry.__name__ = rewritten.policy
        return Handoff(event.agent, terms, carry)


def _giving(messages: Sequence[Message]) -> Callable[..., Awaitable[Sequence[Message]]]:
    async def give(*_: object) -> Sequence[Message]:
        return messages

    return give
