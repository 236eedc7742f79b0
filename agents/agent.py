"""An agent: instructions, tools, shields and a type of answers over a stack."""

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic
from uuid import uuid4

from arriero.agents.agent_terms import events_so_far, fixed_terms, resumed_events, said, terms_of, turn_events
from arriero.agents.background import Background
from arriero.agents.choice import Choice, ToolChoice
from arriero.agents.context import Context, Deps
from arriero.agents.handoff import AgentHandoff, tools_of
from arriero.agents.instructions import Instructions, usable
from arriero.agents.output import Answer, AnswerReader, Output, reader_of
from arriero.agents.turn import Turn
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import ToolCall
from arriero.stack.compaction import Compaction
from arriero.stack.decisions import Asked, Decision
from arriero.stack.engine import Sampling
from arriero.stack.events import CallProgressed, Event, TextDelta
from arriero.stack.shields import Shield, UnknownShield
from arriero.stack.stack import Opening, Stack
from arriero.stack.terms import Hooks, Limits, Price, Terms
from arriero.tools import Registry, Tool, ToolGroup

if TYPE_CHECKING:
    from arriero.agents.iterate import Steps
    from arriero.agents.map import Inputs, Mapped
    from arriero.agents.map_progress import Progress


class StackNotReady(ArrieroError):
    """An agent's stack is not open where it must be, or is open where it must not be."""


class Agent(Generic[Deps, Output]):
    """A model with instructions, tools, shields and a type of answers.

    `Agent[Deps, Output]`: what its callers give for each turn, and what its answers are. Both are inferred from the
    functions and the `output` given; without them they are `None` and `str`.

    Args:
        stack: What it runs on. One that is not open yet serves `run_sync` alone.
        instructions: System text, a `Template`, or a function of the `Context`. It is made for each turn, and written
            when a session begins: what a model has read never changes.
        tools: What it can do: tools and groups, which the agent closes, or a registry, which its owner closes.
        tools_when: Whether a tool is offered at a turn, by its context; async or not. None offers all of them.
        output: Type of the answers: any that pydantic reads, or an `Answer` of it. None is text.
        retries: How often a turn gives the model an answer back that does not fit the type.
        tool_choice: `auto`, `required`, `none`, or the name of a tool. The model is held to it by a grammar, to
            `required` and a name at the first step of a turn.
        shields: Names of shields, or shields; each judges the input and the output.
        limits: What a turn may use up; None for the defaults.
        sampling: How to sample each step; None for greedy.
        price: What tokens cost, for the limit `cost`.
        hooks: Functions that the turn loop asks.
        compaction: What a conversation gives up when it becomes too long; None ends the turn.
        decide: Decides about calls that would wait for a person; None from it leaves the call waiting.
        handoffs: Other agents that may take over the conversation; see `handoff`.
        name: Name for people, for the log and for other agents.

    Raises:
        UnknownShield: No shield has that name, something is none, or one name is given in place of a list.
        ToolDefinitionError: Two tools have the same name, or something is no tool, or no handoff.
        InvalidInstructions: They are no text, no template and no function.
        InvalidToolChoice: There is no such tool, nothing to call, or an engine that takes no grammars.
        UnusableOutput: The output type is none, or the engine cannot be held to it.
        GrammarNotExpressible: A grammar was asked for, and what it should say cannot be said in one.

    Example:
        >>> import anyio
        >>> from arriero import Agent, Stack, tool
        >>> @tool
        ... def mule_load(mule: str) -> int:
        ...     '''Get the load of a mule.'''
        ...     return {"Zuri": 85}[mule]
        >>> async def ask() -> str:
        ...     async with Stack.local() as stack:
        ...         turn = await Agent(stack, tools=[mule_load]).run("What is the load of Zuri?")
        ...     return turn.reason
        >>> anyio.run(ask)
        'answer'
    """

    def __init__(
        self,
        stack: Stack | Opening,
        *,
        instructions: Instructions[Deps] = "",
        tools: Registry | Iterable[Tool | ToolGroup] = (),
        tools_when: Callable[[Context[Deps], Tool], bool | Awaitable[bool]] | None = None,
        output: type[Output] | Answer[Output] | None = None,
        retries: int = 2,
        tool_choice: ToolChoice = "auto",
        shields: Iterable[str | Shield] = (),
        limits: Limits | None = None,
        sampling: Sampling | None = None,
        price: Price | None = None,
        hooks: Hooks | None = None,
        compaction: Compaction | None = None,
        decide: Callable[[Asked, ToolCall], Awaitable[Decision | None]] | None = None,
        handoffs: Iterable[AgentHandoff] = (),
        name: str = "agent",
    ) -> None:
        if isinstance(shields, str):
            raise UnknownShield(f"shields is one text, {shields!r}: give a list, shields=[{shields!r}]")
        self.name, self.shields = name, tuple(shields)
        self.instructions: Instructions[Deps] = usable(instructions)
        self.reader: AnswerReader[Output] = reader_of(output)
        self.tools_when, self.retries = tools_when, retries
        self.limits, self.sampling, self.price = limits or Limits(), sampling or Sampling(), price
        self.hooks, self.compaction, self.decide = hooks or Hooks(), compaction, decide
        self.handoffs = tuple(handoffs)
        self._owns_tools = not isinstance(tools, Registry)
        registry = tools if isinstance(tools, Registry) else Registry(tools)
        self.registry = registry.plus(tools_of(self.handoffs)) if self.handoffs else registry
        self.choice = Choice(tool_choice, self.reader, self.registry)
        self._stack, self._opening = stack, threading.Lock()
        self._background: tuple[Background, Stack] | None = None
        if isinstance(stack, Stack):
            fixed_terms(self, stack, "", self.registry)  # a mistake is an error here, not in mid-conversation

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, tools={list(self.tools)!r})"

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of its tools, in the order given."""
        return self.registry.names

    @property
    def open_stack(self) -> Stack:
        """The stack it runs on.

        Raises:
            StackNotReady: It is not open.
        """
        if isinstance(self._stack, Stack):
            return self._stack
        raise StackNotReady(
            f"the stack of {self!r} is not open: write `async with Stack.local() as stack` and give it that stack,"
            " or call run_sync"
        )

    async def run(self, text: str, *, deps: Deps | None = None, session: str | None = None) -> Turn[Output]:
        """Run one turn.

        Args:
            text: What the user says.
            deps: What instructions, `tools_when` and tools are to know, as `context.deps`.
            session: Session to begin or continue; None for a new one.

        Returns:
            What came of it. A turn that was refused, reached a limit or waits for a decision is returned as well; see
            `Turn.reason`.

        Raises:
            InvalidMessage: The text is empty, or no text.
            InvalidInstructions: The instructions give no text.
            ContextTooLong: The conversation does not fit the model's context.
            EngineError: The engine failed.
            SessionBusy: Another turn of the session is running.
            TurnWaiting: The session's last turn waits for decisions.
            LogError: An event could not be logged.
            StackNotReady: The stack is not open.
        """
        return await self._run(self.open_stack, text, deps, session)

    def stream(self, text: str, *, deps: Deps | None = None, session: str | None = None) -> AsyncGenerator[Event, None]:
        """Run one turn and watch it.

        Leave the iterator early only through `aclose()` (or `contextlib.aclosing`): that ends the engine's
        request and the tools at once.

        Args:
            text: What the user says.
            deps: As for `run`.
            session: Session to begin or continue; None for one of its own.

        Returns:
            Its events, the last one `TurnFinished` or `TurnPaused`. The iterator raises what `run` raises.

        Raises:
            InvalidMessage: The text is empty, or no text.
            StackNotReady: The stack is not open.
        """
        return turn_events(self, self.open_stack, said(text), deps, session or uuid4().hex)

    def iterate(self, text: str, *, deps: Deps | None = None, session: str | None = None) -> "Steps[Output]":
        """Run one turn step by step, with a say in what follows.

        Args:
            text: What the user says.
            deps: As for `run`.
            session: Session to begin or continue; None for a new one.

        Returns:
            The steps: `async with agent.iterate(...) as steps`, then `async for step in steps`. Each comes before its
            calls are run, and can change them; see `Steps`.

        Raises:
            InvalidMessage: The text is empty, or no text.
            StackNotReady: The stack is not open.
        """
        from arriero.agents.iterate import Steps

        stack, session = self.open_stack, session or uuid4().hex
        start = partial(turn_events, self, stack, said(text), deps, session)
        return Steps(start, session, self.reader, cancel=stack.cancel)

    async def resume(
        self, session: str, *, decisions: Mapping[str, Decision] = MappingProxyType({}), deps: Deps | None = None
    ) -> Turn[Output]:
        """Go on with a turn that waits for decisions, or that a process left when it died. In any process.

        Args:
            session: The session.
            decisions: What was decided about calls that wait, by `Waiting.id`. Those left out wait on.
            deps: As for `run`: nothing of it was kept.

        Returns:
            The whole turn, what happened before included.

        Raises:
            UnknownSession: The log has no such session.
            NothingToResume: Its last turn is over.
            InvalidDecision: A decision is for a call that does not wait, or does not fit what was asked.
            SessionBusy: Another process is running the turn.
            EngineError: The engine failed.
            LogError: An event could not be logged.
            StackNotReady: The stack is not open.
        """
        return await self._resume(self.open_stack, session, decisions, deps)

    def resume_stream(
        self, session: str, *, decisions: Mapping[str, Decision] = MappingProxyType({}), deps: Deps | None = None
    ) -> AsyncGenerator[Event, None]:
        """Go on with a turn, and watch it.

        Args:
            session: The session.
            decisions: As for `resume`.
            deps: As for `run`.

        Returns:
            The events from here on. The iterator raises what `resume` raises.

        Raises:
            StackNotReady: The stack is not open.
        """
        return resumed_events(self, self.open_stack, session, decisions, deps)

    async def say(self, session: str, text: str) -> None:
        """Tell a turn something while it runs. The model reads it before its next step.

        Args:
            session: The turn's session.
            text: What the user says. It is on disk when this returns.

        Raises:
            InvalidMessage: The text is empty, or no text.
            NoTurnRunning: No turn of the session runs in this process.
            StackNotReady: The stack is not open.
        """
        await self.open_stack.say(session, said(text))

    async def cancel(self, session: str) -> bool:
        """End a turn: at once if it runs in this process, else if it waits for decisions.

        Args:
            session: The turn's session.

        Returns:
            Whether there was one to end.
        """
        return await self.open_stack.cancel(session)

    def run_sync(self, text: str, *, deps: Deps | None = None, session: str | None = None) -> Turn[Output]:
        """Run one turn from a program that is not async.

        The agent is given a stack that is not open yet, as in `Agent(Stack.local())`. It is opened at the first
        call, in a thread of its own, and stays open until `close()` or the end of the program.

        Args:
            text: What the user says.
            deps: As for `run`.
            session: Session to begin or continue; None for a new one.

        Returns:
            What came of it, as from `run`.

        Raises:
            StackNotReady: The stack is open in an event loop: there, `await agent.run(...)`.
            ArrieroError: As from `run`.

        Example:
            >>> from arriero import Agent, Stack
            >>> agent = Agent(Stack.local())
            >>> agent.run_sync("Hello").reason
            'answer'
            >>> agent.close()
        """
        return self._in_background(lambda stack: self._run(stack, text, deps, session))

    def resume_sync(
        self, session: str, *, decisions: Mapping[str, Decision] = MappingProxyType({}), deps: Deps | None = None
    ) -> Turn[Output]:
        """Go on with a turn from a program that is not async; see `run_sync` and `resume`."""
        return self._in_background(lambda stack: self._resume(stack, session, decisions, deps))

    async def terms(self, stack: Stack, context: Context[Deps]) -> Terms:
        """On what terms a turn of this agent is run.

        Args:
            stack: What it runs on.
            context: The turn.

        Returns:
            The terms, for `Stack.run_turn`.

        Raises:
            InvalidInstructions: The instructions give no text.
            InvalidToolChoice: The tools offered at this turn cannot be called so.
        """
        return await terms_of(self, stack, context)

    def turn_of(self, events: Iterable[Event], session: str) -> Turn[Output]:
        """What came of one of its turns, by the turn's events; see `Turn.of`."""
        return Turn.of(events, session, self.reader)

    def as_tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        on_turn: Callable[[Turn[Any]], None] | None = None,
    ) -> Tool:
        """A tool for another agent, that gives this one a task. See `agent_tool`, which takes the same arguments."""
        from arriero.agents.agent_tool import agent_tool

        return agent_tool(self, name=name, description=description, on_turn=on_turn)

    def map(
        self,
        inputs: "Inputs",
        *,
        concurrency: int = 8,
        name: str | None = None,
        progress: "Progress" = True,
        deps: Deps | None = None,
    ) -> "Mapped[Output]":
        """Run one turn for each input, several at once. See `map_inputs`, which takes the same arguments."""
        from arriero.agents.map import map_inputs

        return map_inputs(
            self, self.open_stack, inputs, concurrency=concurrency, name=name, progress=progress, deps=deps
        )

    async def aclose(self) -> None:
        """Release what the tools hold. The stack is its opener's to close."""
        if self._owns_tools:
            await self.registry.aclose()

    def close(self) -> None:
        """Release what the tools hold, and the stack that `run_sync` opened."""
        if self._background is None:
            return
        (background, _), self._background = self._background, None
        try:
            background.run(self.aclose)
        finally:
            background.close()

    def _in_background(self, work: Callable[[Stack], Awaitable[Turn[Output]]]) -> Turn[Output]:
        if isinstance(self._stack, Stack):
            raise StackNotReady(
                "run_sync opens the stack by itself: give the agent one that is not open, as in"
                " Agent(Stack.local()), or `await agent.run(...)` where the stack is open"
            )
        with self._opening:
            self._background = background, stack = self._background or Background.opened(self._stack)
        return background.run(partial(work, stack))

    async def _run(self, stack: Stack, text: str, deps: Deps | None, session: str | None) -> Turn[Output]:
        session = session or uuid4().hex
        async with aclosing(turn_events(self, stack, said(text), deps, session)) as stream:
            events = [event async for event in stream if not isinstance(event, TextDelta | CallProgressed)]
        return self.turn_of(events, session)

    async def _resume(
        self, stack: Stack, session: str, decisions: Mapping[str, Decision], deps: Deps | None
    ) -> Turn[Output]:
        events = await events_so_far(self, stack, session)
        async with aclosing(resumed_events(self, stack, session, decisions, deps)) as stream:
            events += [event async for event in stream if not isinstance(event, TextDelta | CallProgressed)]
        return self.turn_of(events, session)
