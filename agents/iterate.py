"""A turn step by step: each comes before its calls are run, and can change them and what follows."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, Self

from arriero.agents.agent_terms import said
from arriero.agents.output import AnswerReader, Output
from arriero.agents.turn import Turn
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.engine import Sampling
from arriero.stack.events import CallProgressed, Event, TextDelta
from arriero.stack.log import SessionBusy
from arriero.stack.terms import Handoff, Hooks, Limits, Terms
from arriero.tools import Registry, Tool, ToolGroup, ToolResult
from arriero.tools.owned_task import started


class StepOver(ArrieroError):
    """A step was changed after the turn had gone on, or has no such call; or steps were taken outside of a block."""


class NextStep:
    """A message of the model whose calls are about to be run. It can be changed until the next one is asked for.

    Args:
        number: Number of the step, from 1.
        text: The text of the message.
        calls: The calls of the message, in the order written; none in an answer.
        change: Changes the terms of the steps that follow.
    """

    def __init__(
        self, number: int, text: str, calls: Sequence[ToolCall], change: Callable[[Callable[[Terms], Terms]], None]
    ) -> None:
        self.number = number
        self.text = text
        self.calls = tuple(calls)
        self._change = change
        self._becomes: list[ToolCall | ToolResult] = list(calls)
        self._said: list[str] = []
        self._over = False

    def __repr__(self) -> str:
        return f"NextStep({self.number}, {self.text!r}, {self.calls!r})"

    def edit(self, position: int, arguments: Mapping[str, Any]) -> None:
        """Run a call with other arguments.

        Args:
            position: Its place among the calls, from 0.
            arguments: The arguments, all of them.

        Raises:
            StepOver: The step has no such call, or the turn has gone on.
        """
        self._place(position, replace(self._call(position), arguments=dict(arguments)))

    def deny(self, position: int, reason: str = "") -> None:
        """Do not run a call. The model reads that it was denied, and why.

        Args:
            position: Its place among the calls, from 0.
            reason: The reason.

        Raises:
            StepOver: The step has no such call, or the turn has gone on.
        """
        call = self._call(position)
        problem = f"{call.name} was denied" + (f": {reason}" if reason else "")
        self._place(position, ToolResult(call, f"error: {problem}", problem))

    def say(self, text: str) -> None:
        """Tell the model something, which it reads after the results. After an answer, the turn goes on with it.

        Args:
            text: What the user says.

        Raises:
            StepOver: The turn has gone on.
            InvalidMessage: The text is empty, or no text.
        """
        self._check()
        said(text)  # raises what the turn would fail with
        self._said.append(text)

    def change(
        self,
        *,
        limits: Limits | None = None,
        sampling: Sampling | None = None,
        tools: Registry | Iterable[Tool | ToolGroup] | None = None,
    ) -> None:
        """Change what holds for the rest of the turn. What is None stays.

        Args:
            limits: What the turn may use up, what it has used included.
            sampling: How to sample.
            tools: What the model can do from the next step on; they are yours to close. The conversation is written
                anew for that, so the model reads all of it again.

        Raises:
            StepOver: The turn has gone on.
        """
        self._check()
        registry = tools if tools is None or isinstance(tools, Registry) else Registry(tools)
        given = {"limits": limits, "sampling": sampling, "registry": registry}
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._change(lambda terms: replace(terms, **changed))

    def _call(self, position: int) -> ToolCall:
        if not 0 <= position < len(self.calls):
            raise StepOver(f"step {self.number} has {len(self.calls)} calls, and none at {position}: count from 0")
        return self.calls[position]

    def _place(self, position: int, value: ToolCall | ToolResult) -> None:
        self._check()
        self._becomes[position] = value

    def _check(self) -> None:
        if self._over:
            raise StepOver(f"the turn has gone on from step {self.number}: change a step before you ask for the next")

    def _close(self) -> tuple[list[ToolCall | ToolResult], str]:
        self._over = True
        return self._becomes, "\n\n".join(self._said)


class Steps(Generic[Output]):
    """The steps of a turn, one after the other. `Agent.iterate` makes it.

    The turn waits while you look at a step; what you take counts towards its limit of seconds. Leaving the block
    before the end cancels the turn.

    Args:
        start: Runs the turn on terms that it is given a chance to adapt.
        session: The session.
        reader: Reads the answer.
        cancel: Cancels the session's turn.

    Example:
        >>> import anyio
        >>> from arriero import Agent, Stack
        >>> async def main() -> None:
        ...     async with Stack.local() as stack, Agent(stack).iterate("Hello!") as steps:
        ...         async for step in steps:
        ...             print(step.number, len(step.calls))
        ...     print(steps.turn.reason)
        >>> anyio.run(main)
        1 0
        answer
    """

    def __init__(
        self,
        start: Callable[[Callable[[Terms], Terms]], AsyncGenerator[Event, None]],
        session: str,
        reader: AnswerReader[Output],
        *,
        cancel: Callable[[str], Awaitable[bool]],
    ) -> None:
        self.session = session
        self._start, self._reader, self._cancel = start, reader, cancel
        self._events: list[Event] = []
        self._ready: asyncio.Queue[NextStep | None] = asyncio.Queue()
        self._go_on = asyncio.Event()
        self._text: list[str] = []
        self._number = 1
        self._step: NextStep | None = None
        self._changes: list[Callable[[Terms], Terms]] = []
        self._said: list[Message] = []
        self._working: AbstractAsyncContextManager[asyncio.Task[None]] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def turn(self) -> Turn[Output]:
        """What came of the turn, once it is over or paused.

        Raises:
            StepOver: It is neither yet.
        """
        if self._task is None or not self._task.done() or not self._events:
            raise StepOver("the turn is not over: ask for its steps until there are no more")
        return Turn.of(self._events, self.session, self._reader)

    async def stop(self) -> None:
        """End the turn here. The calls of the step in hand are not run; `turn.reason` is `cancelled`."""
        task = self._task
        if task is None or task.done():
            return
        try:
            runs = await self._cancel(self.session)
        except SessionBusy:
            runs = False
        if not runs:  # it has not begun yet
            task.cancel()
        await asyncio.wait({task})

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise StepOver("these steps were taken already: call iterate again for another turn")
        self._working = started(self._run())
        self._task = await self._working.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.stop()
        if self._working is not None:
            await self._working.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NextStep:
        if self._task is None:
            raise StepOver(
                "the turn has not begun: write `async with agent.iterate(...) as steps`, then take its steps"
            )
        if self._step is not None:
            self._step = None
            self._go_on.set()
        self._step = await self._ready.get()
        if self._step is None:
            self._ready.put_nowait(None)
            if self._task is not None and not self._task.cancelled():
                await self._task  # raises what the turn raised
            raise StopAsyncIteration
        return self._step

    async def _run(self) -> None:
        try:
            async with aclosing(self._start(self._with_steps)) as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        self._text.append(event.text)
                    elif not isinstance(event, CallProgressed):
                        self._events.append(event)
        finally:
            self._ready.put_nowait(None)

    def _with_steps(self, terms: Terms) -> Terms:
        """The terms, with each step handed over before what follows it."""
        hooks = terms.hooks

        async def change(step: int, now: Terms) -> Terms:
            now = await hooks.terms(step, now) if hooks.terms else now
            changes, self._changes = self._changes, []
            for changed in changes:
                now = changed(now)
            return now

        async def before_step(step: int) -> Sequence[Message]:
            self._number, said = step, self._said
            self._text, self._said = [], []
            return [*said, *(await hooks.before_step(step) if hooks.before_step else ())]

        async def before_calls(step: int, calls: Sequence[ToolCall]) -> Sequence[ToolCall | ToolResult]:
            becomes, said = await self._handed(step, calls)
            if said:
                self._said.append(Message("user", said))
            return await _after(hooks, step, becomes)

        async def accept(text: str) -> Message | None:
            told = await hooks.accept(text) if hooks.accept else None
            _, said = await self._handed(self._number, (), text)
            if told is not None and said:
                self._said.append(Message("user", said))
            return told or (Message("user", said) if said else None)

        mine = replace(hooks, terms=change, before_step=before_step, before_calls=before_calls, accept=accept)
        handoffs = {name: replace(to, terms=self._taken_over(to)) for name, to in terms.handoffs.items()}
        return replace(terms, hooks=mine, handoffs=handoffs)

    def _taken_over(self, to: Handoff) -> Callable[[], Awaitable[Terms]]:
        async def terms() -> Terms:
            return self._with_steps(await to.terms())

        return terms

    async def _handed(
        self, number: int, calls: Sequence[ToolCall], text: str | None = None
    ) -> tuple[list[ToolCall | ToolResult], str]:
        step = NextStep(number, "".join(self._text) if text is None else text, calls, self._changes.append)
        self._go_on.clear()
        self._ready.put_nowait(step)
        try:
            await self._go_on.wait()
        finally:  # cancelled, too: the turn has gone on without the step
            becomes = step._close()
        return becomes


async def _after(hooks: Hooks, step: int, becomes: Sequence[ToolCall | ToolResult]) -> Sequence[ToolCall | ToolResult]:
    """What the agent's own hook makes of the calls that are still to be run."""
    ask: Callable[[int, Sequence[ToolCall]], Awaitable[Sequence[ToolCall | ToolResult]]] | None = hooks.before_calls
    if ask is None:
        return becomes
    told = iter(await ask(step, [call for call in becomes if isinstance(call, ToolCall)]))
    return [next(told) if isinstance(call, ToolCall) else call for call in becomes]
