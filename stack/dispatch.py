"""The calls of one step while they run."""

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

import anyio

from arriero.prompts.messages import ToolCall
from arriero.stack.events import CallProgressed, DecisionAsked
from arriero.stack.terms import Terms
from arriero.tools import Progress, Registry, ToolContext, ToolResult
from arriero.tools.calling import PausedResult

_WAITING_PROGRESS = 100
_EARLY = 0.1
"""Seconds after which the results of quick calls are not held back for slow ones any longer."""

calling: ContextVar[tuple[int, int]] = ContextVar("calling")
"""The step and the position of the call that a tool serves, for what it runs: a turn of another agent's."""


class Dispatch:
    """Runs the calls of a step side by side, and tells when there is news of them.

    Every call has a task, which this owns: `aclose` ends them all.

    Args:
        context: What tools may know, the call's own part left open.
    """

    def __init__(self, context: ToolContext) -> None:
        self.step = 0
        self.deadline = math.inf
        """When calls are to be at an end, by anyio's clock."""
        self.ended: dict[int, ToolResult] = {}
        """Results that are not logged yet, by the position of the call."""
        self._context = context
        self._calls: dict[int, tuple[ToolCall, asyncio.Task[None]]] = {}
        self._given_up: list[asyncio.Task[None]] = []
        self._heard: deque[CallProgressed] = deque()
        self._news: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._fault: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether a call runs, or has broken, which `news` raises."""
        return bool(self._calls) or self._fault is not None

    @property
    def late(self) -> bool:
        """Whether results should be taken though other calls still run."""
        return self._late and bool(self.ended)

    @property
    def positions(self) -> set[int]:
        """Positions of the calls that run, or have a result that is not logged."""
        return {*self._calls, *self.ended}

    def start(self, terms: Terms, position: int, call: ToolCall, *, approved: bool = False) -> None:
        """Run a call.

        Args:
            terms: The tools, and what they are given.
            position: Its place among the calls of the step.
            call: The call.
            approved: Whether a person has said that it may run.
        """
        own, session = self._context, self._context.session
        context = ToolContext(
            session=session,
            run=own.run,
            deadline=self.deadline,
            bounded=True,
            idempotency_key=call_key(session, own.run, self.step, position),
            deps=terms.deps,
            approved=approved,
            count_tokens=own.count_tokens,
            report=partial(self._hear, call),
        )
        task = asyncio.get_running_loop().create_task(self._run(terms.registry, position, call, context))
        self._calls[position] = (call, task)

    async def news(self) -> None:
        """Wait until a call has ended, one tells its progress, results have waited for long, or `wake`."""
        if self._calls and not (self._heard or self.late or self._fault):
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        if self._fault is not None:
            raise self._fault

    def wake(self) -> None:
        """Let `news` return."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def progress(self) -> list[CallProgressed]:
        """Take what calls told of their progress."""
        told = [*self._heard]
        self._heard.clear()
        return told

    def asked(self) -> list[DecisionAsked]:
        """What is to be decided inside of calls that cannot go on before, and is not logged."""
        if not self.ended:
            return []
        return [
            DecisionAsked(self.step, position, result.call, result.asked, str(result.error), result.nested)
            for position, result in sorted(self.ended.items())
            if isinstance(result, PausedResult)
        ]

    def drop(self, position: int) -> None:
        """A result is logged."""
        self.ended.pop(position, None)
        if not self.ended:
            self._quiet()

    def give_up(self, unwanted: Callable[[int, ToolCall], bool] = lambda *_: True) -> None:
        """Cancel calls, and forget what they gave. `aclose` waits until they have ended.

        Args:
            unwanted: Which: given a position and the call there.
        """
        for position, (call, task) in [*self._calls.items()]:
            if unwanted(position, call):
                del self._calls[position]
                task.cancel()
                self._given_up.append(task)
        for position, result in [*self.ended.items()]:
            if unwanted(position, result.call):
                del self.ended[position]

    async def aclose(self) -> None:
        """Cancel all calls, and wait until they have ended."""
        self.give_up()
        if self._given_up:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(self._given_up)

    def _hear(self, call: ToolCall, said: object) -> None:
        if isinstance(said, Progress) and len(self._heard) < _WAITING_PROGRESS:  # a reader who is slow misses some
            self._heard.append(CallProgressed(self.step, call, said.message, said.done, said.total))
            self.wake()

    async def _run(self, registry: Registry, position: int, call: ToolCall, context: ToolContext) -> None:
        calling.set((self.step, position))  # for this task alone
        result: ToolResult | None = None
        try:
            result = await registry.call(call, context)
        except Exception as error:  # it makes results of what goes wrong with tools: this is a fault of its own
            self._fault = error
        finally:
            self._end(position, result)

    def _end(self, position: int, result: ToolResult | None) -> None:
        known = self._calls.get(position)
        if known is None or known[1] is not asyncio.current_task():
            return  # given up
        del self._calls[position]
        if result is not None:
            self.ended[position] = result
        elif self._fault is None:
            self._fault = RuntimeError(f"the call of {known[0].name} was cancelled, and not by its turn")
        if not self._calls:
            self._quiet()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EARLY, self._grow_late)
        self.wake()

    def _grow_late(self) -> None:
        self._late = True
        self.wake()

    def _quiet(self) -> None:
        self._late = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def call_key(session: str, turn: str, step: int, position: int) -> str:
    """Name of a call for other services: the same however often a turn is resumed, another for every other call.

    Args:
        session: The session.
        turn: The turn.
        step: Number of the step.
        position: Place of the call among the calls of the step.

    Returns:
        32 hexadecimal digits.

    Example:
        >>> call_key("alice", "t1", 1, 0) == call_key("alice", "t1", 1, 0) != call_key("alice", "t1", 1, 1)
        True
    """
    return hashlib.sha256(f"{session}\0{turn}\0{step}\0{position}".encode()).hexdigest()[:32]
