"""The sessions of one log: their tapes, and who may write them."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import anyio

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message
from arriero.stack.decisions import Decision
from arriero.stack.events import Event, TurnFailed, TurnFinished
from arriero.stack.log import EventLog, SessionBusy
from arriero.stack.tape import Tape, fold

_KEPT_TAPES = 256


class SessionMismatch(ArrieroError):
    """A session was begun in another dialect or with another vocabulary, which its transcript has fixed."""


class TurnWaiting(ArrieroError):
    """The session's last turn waits for decisions: a new one cannot begin."""


class NothingToResume(ArrieroError):
    """The session's last turn is over."""


class NoTurnRunning(ArrieroError):
    """No turn of the session runs in this process."""


class RunningTurn(Protocol):
    """A turn that runs in this process, as others may reach it."""

    async def cancel(self) -> bool:
        """End it as soon as may be; say whether there was something to end."""
        ...

    async def say(self, message: Message) -> None:
        """Add a message, which the model reads before its next step."""
        ...

    async def decide(self, waiting: str, decision: Decision) -> None:
        """Decide about a call that waits."""
        ...


class Sessions:
    """The tapes of one log: the latest in memory, the others rebuilt when they are wanted.

    Args:
        log: The log.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._running: dict[str, RunningTurn] = {}
        self._tapes: OrderedDict[str, Tape] = OrderedDict()
        self._busy: dict[str, asyncio.Event] = {}  # set while the session's turn can be reached, and when it is over

    @asynccontextmanager
    async def open(self, session: str) -> AsyncIterator[Tape]:
        """A session's tape, for one turn at a time in all processes.

        Args:
            session: Name of the session.

        Yields:
            The tape, as of the log's last event.

        Raises:
            SessionBusy: Another turn of this session is running.
            SessionRedacted: Its texts were removed.
            LogError: The log cannot be read.
        """
        if session in self._busy:
            raise SessionBusy(
                f"a turn of session {session!r} is running: wait until it is over, or use another session"
            )
        self._busy[session] = asyncio.Event()
        try:
            await self.log.take(session)
            try:
                tape = self._tapes.pop(session, None) or Tape(session)
                if tape.length != await self.log.length(session):
                    tape = fold(session, await self.log.read(session))
                yield tape
                self._keep(tape)
            finally:
                with anyio.CancelScope(shield=True):
                    await self.log.release(session)
        finally:
            self._busy.pop(session).set()

    def enter(self, session: str, turn: RunningTurn) -> None:
        """Let others reach the turn that runs in a session, which is open."""
        self._running[session] = turn
        self._busy[session].set()

    def leave(self, session: str) -> None:
        """Let nobody reach the session's turn any more."""
        del self._running[session]
        self._busy[session].clear()

    async def reach(self, session: str) -> RunningTurn | None:
        """The turn of a session that runs in this process. One that is about to begin, or to end, is waited for.

        Args:
            session: Name of the session.

        Returns:
            The turn; None when there is none.
        """
        while session in self._busy and session not in self._running:
            await self._busy[session].wait()
        return self._running.get(session)

    async def turn(self, session: str) -> RunningTurn:
        """The turn of a session that runs in this process.

        Raises:
            NoTurnRunning: There is none.
        """
        if (running := await self.reach(session)) is not None:
            return running
        raise NoTurnRunning(
            f"no turn of session {session!r} runs in this process: begin one, or resume the one that waits"
        )

    async def close_interrupted(self, tape: Tape) -> None:
        """End a turn that its process left, so that another may begin.

        Args:
            tape: The session's tape.

        Raises:
            TurnWaiting: The turn waits for decisions.
            LogError: The end could not be logged.
        """
        turn = tape.turn
        if turn is None:
            return
        if turn.paused:
            raise TurnWaiting(
                f"the last turn of session {tape.session!r} waits for a decision about {', '.join(turn.waiting)}:"
                " resume it with decisions, or cancel it"
            )
        failed = TurnFailed("Interrupted", "the process of the turn ended before it did, and another turn was begun")
        await self.log_events(tape, turn.id, [failed, TurnFinished("", "failed", turn.usage, turn.ran)])

    async def log_events(self, tape: Tape, turn: str, events: Sequence[Event]) -> None:
        """Log events of a turn that does not run.

        Args:
            tape: The session's tape, which is open.
            turn: The turn.
            events: The events.

        Raises:
            LogError: They could not be logged.
        """
        with anyio.CancelScope(shield=True):
            await self.log.append(tape.session, turn, tape.length, events)
            for event in events:
                tape.apply(event, turn)

    def _keep(self, tape: Tape) -> None:
        tape.ids.rest()
        self._tapes[tape.session] = tape
        while len(self._tapes) > _KEPT_TAPES:
            self._tapes.popitem(last=False)
