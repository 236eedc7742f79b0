"""A turn that runs: its events, as they are logged, and the ways to stop it."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal

import anyio

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.stack.decisions import Decision
from arriero.stack.dispatch import Dispatch
from arriero.stack.engine import Engine, Usage
from arriero.stack.events import (
    CallFinished,
    DecisionGiven,
    Event,
    LimitReached,
    MessageAdded,
    Reason,
    StepFinished,
    TurnFailed,
    TurnFinished,
    TurnPaused,
)
from arriero.stack.generation import Generation
from arriero.stack.log import LogError
from arriero.stack.open_turn import OpenTurn, total
from arriero.stack.rendering import Rendering
from arriero.stack.sessions import NoTurnRunning, Sessions
from arriero.stack.tape import Tape
from arriero.stack.terms import Terms
from arriero.stack.waiting import given
from arriero.tools import ToolContext
from arriero.tools.calling import PausedResult

_log = logging.getLogger(__name__)

Station = Callable[[], Awaitable[None]]


class Running(ABC):
    """One turn while it runs: how it logs, how others reach it, how it is stopped. What it does is in `TurnLoop`.

    A station logs events and names the station that follows. The turn can be stopped in the waits of a station, and
    between two of them.

    Args:
        engine: The model.
        dialect: How it writes.
        sessions: Where the transcripts are.
        tape: The session's.
        terms: Tools, shields, limits, hooks.
        id_: The turn.
    """

    def __init__(
        self, engine: Engine, dialect: Dialect, sessions: Sessions, tape: Tape, terms: Terms, id_: str
    ) -> None:
        self.engine, self.dialect, self.sessions, self.tape = engine, dialect, sessions, tape
        self.id = id_
        self.rendering = Rendering(engine, dialect, tape, terms)
        self.over = False
        self.changes = 0  # how often others have added to the log of this turn
        self.replan = True  # whether something is new about what becomes of the calls
        self.generation: Generation | None = None
        self.unlogged: StepFinished | None = None  # finished, and somebody has a say in it before it is logged
        self.hooked: set[int] = set()  # positions of calls whose results the hook has seen that has a say in them
        self.unshown: StepFinished | None = None  # logged, and not to be seen before it is judged
        self.out: list[Event] = []
        self.next: Station | None = None
        self._scope: anyio.CancelScope | None = None
        self._stopped: Literal["seconds", "cancelled"] | None = None
        self._lock = asyncio.Lock()
        self._started = time.perf_counter()
        self._before = tape.turn.ran if tape.turn is not None else 0.0
        self.dispatch = Dispatch(
            ToolContext(session=tape.session, run=id_, count_tokens=lambda text: len(engine.tokenizer.encode(text)))
        )
        self._timer = self._timed()

    @property
    def terms(self) -> Terms:
        """What holds now."""
        return self.rendering.terms

    @property
    def turn(self) -> OpenTurn:
        """What the turn has done so far."""
        if self.tape.turn is None:
            raise RuntimeError(f"turn {self.id} of session {self.tape.session!r} has not begun, or is over")
        return self.tape.turn

    def adopt(self, terms: Terms) -> None:
        """Go on under other terms."""
        seconds = self.terms.limits.seconds
        self.rendering.adopt(terms)
        if terms.limits.seconds != seconds:
            self._timer.cancel()
            self._timer = self._timed()

    async def events(self, first: Station) -> AsyncGenerator[Event, None]:
        """Run it.

        Args:
            first: The first station.

        Yields:
            What is logged, and text.
        """
        self.next = first
        self.sessions.enter(self.tape.session, self)
        try:
            while not self.over or self.out:
                events = await self._advance()
                for event in events:
                    yield event
        except LogError:
            raise
        except Exception as error:  # the boundary: whatever ends a turn is in its log
            if self.tape.turn is None or self.over:
                raise  # nothing has been logged
            for event in await self._fail(error):
                yield event
            raise
        except BaseException:  # cancelled, or the caller closed the iterator: nobody is there to read an event
            if not self.over:
                await self._note_abandoned()
            raise
        finally:
            self._timer.cancel()
            self.sessions.leave(self.tape.session)
            with anyio.CancelScope(shield=True):
                async with self._lock:  # whoever is adding something is done with it, or hears that it is too late
                    self.over = True
            if self.tape.turn is not None:
                self.tape.turn.ran = self.elapsed()
            await self.close_generation()
            await self.dispatch.aclose()

    async def cancel(self) -> bool:
        """End the turn as soon as may be; at once, if it has just paused.

        Returns:
            Whether there was something to end.

        Raises:
            LogError: The end could not be logged.
        """
        if not self.over:
            self._stop("cancelled")
            return True
        if self.tape.turn is None or not self.tape.turn.paused:
            return False
        return await self.commit([self.end("", "cancelled")])

    async def say(self, message: Message) -> None:
        """Log a message, which the model reads before its next step.

        Args:
            message: The message.

        Raises:
            NoTurnRunning: The turn has not begun yet, or has come to its end.
            InvalidMessage: The message cannot be rendered.
            ContextTooLong: It alone fills the model's context.
            LogError: It could not be logged.
        """
        self.rendering.check(message)
        await self._add(lambda: [MessageAdded(self.turn.step, message)])

    async def decide(self, waiting: str, decision: Decision) -> None:
        """Log a decision about a call that waits.

        Args:
            waiting: Name of the call.
            decision: The decision.

        Raises:
            InvalidDecision: It does not fit what was asked, or nothing was asked.
            NoTurnRunning: The turn has not begun yet, or has come to its end.
            LogError: It could not be logged.
        """
        await self._add(lambda: given(self.turn, {waiting: decision}))
        self.replan = True
        self.dispatch.wake()

    async def commit(
        self, events: Sequence[Event], *, shown: Sequence[Event] | None = None, since: int | None = None
    ) -> bool:
        """Log events and take them in, at once for all other tasks.

        Args:
            events: The events.
            shown: What the caller of the turn is given of them; None for all.
            since: What `changes` was when the events were made, where they depend on it.

        Returns:
            Whether they were logged. They were not if something was added since.

        Raises:
            LogError: They could not be logged.
        """
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if since is not None and since != self.changes:
                    return False
                await self.sessions.log.append(self.tape.session, self.id, self.tape.length, events)
                for event in events:
                    self.tape.apply(event, self.id)
                    if isinstance(event, CallFinished):
                        self.dispatch.drop(event.position)
                    elif event is self.unlogged:
                        self.unlogged = None
                self.over = isinstance(events[-1], TurnFinished | TurnPaused)
                self.out += events if shown is None else shown
        return True

    def end(self, text: str, reason: Reason, usage: Usage | None = None) -> TurnFinished:
        """The turn's last event."""
        used = usage or (self.turn.usage if self.tape.turn is not None else Usage())
        if usage is None and self.unlogged is not None:
            used = total(used, self.unlogged.usage)
        return TurnFinished(text, reason, used, self.elapsed())

    def pause(self, waiting: tuple[str, ...]) -> TurnPaused:
        """The turn's last event for now."""
        return TurnPaused(waiting, self.turn.usage, self.elapsed())

    def elapsed(self) -> float:
        """Seconds that it has run."""
        return self._before + time.perf_counter() - self._started

    def results(self) -> list[CallFinished]:
        """What calls have given and is not logged yet, in call order."""
        ended = sorted(self.dispatch.ended.items())
        return [
            CallFinished(self.dispatch.step, result, position)
            for position, result in ended
            if not isinstance(result, PausedResult)
        ]

    async def close_generation(self) -> None:
        """End the engine's request."""
        generation, self.generation = self.generation, None
        if generation is None:
            return
        try:
            await generation.aclose()
        except Exception as error:  # what the engine has said is there, or the turn ends for another reason
            _log.warning("a request of turn %s could not be closed: %s", self.id, type(error).__name__)

    async def _advance(self) -> Sequence[Event]:
        """Go through stations until there are events."""
        if self._stopped is None:
            try:
                with anyio.CancelScope() as self._scope:
                    while not self.out and not self.over and self.next is not None:
                        await self.next()
            except LogError:
                raise
            except Exception as error:
                if self._stopped is None or self.over:
                    raise
                _log.warning("turn %s was stopped, and %s came of it", self.id, type(error).__name__)
            if self._stopped is not None and not self.over and not self.out:
                await self._cut_short(self._stopped)
        elif not self.over:
            await self._cut_short(self._stopped)
        events, self.out = self.out, []
        return events

    def _stop(self, why: Literal["seconds", "cancelled"]) -> None:
        if self._stopped is None and not self.over:
            self._stopped = why
            if self._scope is not None:
                self._scope.cancel()

    async def _cut_short(self, why: Literal["seconds", "cancelled"]) -> None:
        """Log that the turn is stopped. Tools are told to end, and waited for when that is logged."""
        await self.close_generation()
        if self.tape.turn is None:  # it had not begun
            await self.refuse_to_begin(why)
            return
        reached = (
            [LimitReached("seconds", f"the turn took longer than {self.terms.limits.seconds:g} s")]
            if why == "seconds"
            else []
        )
        await self._finish([*reached, self.end("", "limit" if why == "seconds" else "cancelled")])

    async def _fail(self, error: Exception) -> Sequence[Event]:
        await self.close_generation()
        await self._finish([TurnFailed(type(error).__name__, str(error)), self.end("", "failed")])
        return self.out

    async def _note_abandoned(self) -> None:
        if self.tape.turn is None:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self.close_generation()
                await self._finish([TurnFailed("Abandoned", "the caller left before the end"), self.end("", "failed")])
        except LogError as error:  # the caller is leaving: cancellation must not turn into another error
            _log.warning("the end of turn %s could not be logged: %s", self.id, error)

    async def _finish(self, end: Sequence[Event]) -> None:
        if self.unshown is not None:
            self.out.append(without_text(self.unshown))
        said = [self.unlogged] if self.unlogged is not None else []
        shown = [without_text(one) for one in said] if self.terms.output_shields else said
        finished = self.results() if self.dispatch.step == self.turn.step else []  # else calls of no logged message
        if self.terms.hooks.after_calls is not None:  # nobody reads what the hook has not seen
            finished = [event for event in finished if event.position in self.hooked]
        self.dispatch.give_up()
        await self.commit([*said, *finished, *end], shown=[*shown, *finished, *end])

    async def _add(self, events: Callable[[], Sequence[MessageAdded | DecisionGiven]]) -> None:
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if self.over or self.tape.turn is None:
                    raise NoTurnRunning(
                        f"the turn of session {self.tape.session!r} has not begun yet, or has come to its end: wait"
                        " for its first event, or begin another"
                    )
                added = events()
                await self.sessions.log.append(self.tape.session, self.id, self.tape.length, added)
                for event in added:
                    self.tape.apply(event, self.id)
                self.changes += 1
                self.out += added

    def _timed(self) -> asyncio.TimerHandle:
        """Stops the turn, and its calls, when its time is up."""
        left = max(0.0, self.terms.limits.seconds - self.elapsed())
        self.dispatch.deadline = anyio.current_time() + left
        return asyncio.get_running_loop().call_later(left, self._stop, "seconds")

    @abstractmethod
    async def refuse_to_begin(self, why: Literal["seconds", "cancelled"]) -> None:
        """Log a turn that was stopped before it began."""


def without_text(said: StepFinished) -> StepFinished:
    """A message of the model as one may see that was not judged."""
    return replace(said, content="", token_ids=())
