"""An agent: instructions, tools and shields over a stack."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial
from uuid import uuid4

from arriero.agents.background import Background
from arriero.agents.turn import Turn
from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.prompts.messages import Message
from arriero.stack.engine import Sampling
from arriero.stack.events import CallProgressed, Event, TextDelta
from arriero.stack.shields import Shield, UnknownShield
from arriero.stack.stack import Opening, Stack
from arriero.stack.terms import Limits, Terms
from arriero.tools import Registry, Tool, ToolGroup


class StackNotReady(ArrieroError):
    """An agent's stack is not open where it must be, or is open where it must not be."""


class Agent:
    """A model with instructions, tools and shields.

    Args:
        stack: What it runs on. One that is not open yet serves `run_sync` alone.
        instructions: System text, written when a session begins.
        tools: What it can do: tools and groups, which the agent closes, or a registry, which its owner closes.
        shields: Names of shields, or shields; each judges the input and the output.
        limits: What a turn may use up; None for the defaults.
        sampling: How to sample each step; None for greedy.
        name: Name for people to read.

    Raises:
        UnknownShield: No shield has that name, or one name is given in place of a list.
        ToolDefinitionError: Two tools have the same name, or something is not a tool.

    Example:
        >>> import anyio
        >>> from arriero import Agent, Stack, tool
        >>> @tool
        ... def mule_load(mule: str) -> int:
        ...     '''Get the load of a mule.
        ...
        ...     Args:
        ...         mule: The mule.
        ...     '''
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
        instructions: str = "",
        tools: Registry | Iterable[Tool | ToolGroup] = (),
        shields: Iterable[str | Shield] = (),
        limits: Limits | None = None,
        sampling: Sampling | None = None,
        name: str = "agent",
    ) -> None:
        self.name = name
        self.instructions = instructions
        self.limits = limits or Limits()
        self.sampling = sampling or Sampling()
        self._stack = stack
        self._owns_tools = not isinstance(tools, Registry)
        self._registry = tools if isinstance(tools, Registry) else Registry(tools)
        if isinstance(shields, str):
            raise UnknownShield(f"shields is one text, {shields!r}: give a list, shields=[{shields!r}]")
        self._shields = tuple(shields)
        self._background: tuple[Background, Stack] | None = None
        if isinstance(stack, Stack):
            self._terms(stack)  # an unknown shield is an error here, not in the middle of a conversation

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, tools={list(self.tools)!r})"

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of its tools, in the order given."""
        return self._registry.names

    async def run(self, text: str, *, session: str | None = None) -> Turn:
        """Run one turn.

        Args:
            text: What the user says.
            session: Session to begin or continue; None for a new one.

        Returns:
            What came of it. A turn that was refused or reached a limit is returned as well; see `Turn.reason`.

        Raises:
            InvalidMessage: The text is empty, or no text.
            ContextTooLong: The conversation does not fit the model's context.
            EngineError: The engine failed.
            SessionBusy: Another turn of the session is running.
            LogError: An event could not be logged.
            StackNotReady: The stack is not open.
        """
        return await self._run(self._open_stack(), text, session)

    def stream(self, text: str, *, session: str | None = None) -> AsyncGenerator[Event, None]:
        """Run one turn and watch it.

        Leave the iterator early only through `aclose()` (or `contextlib.aclosing`): that ends the engine's
        request and the tools at once.

        Args:
            text: What the user says.
            session: Session to begin or continue; None for one of its own.

        Returns:
            The turn's events, `TextDelta` while the answer is written, the last one `TurnFinished`. The iterator
            raises what `run` raises.

        Raises:
            InvalidMessage: The text is empty, or no text.
            StackNotReady: The stack is not open.
        """
        return self._stream(self._open_stack(), text, session)

    def run_sync(self, text: str, *, session: str | None = None) -> Turn:
        """Run one turn from a program that is not async.

        The agent is given a stack that is not open yet, as in `Agent(Stack.local())`. It is opened at the first
        call, in a thread of its own, and stays open until `close()` or the end of the program.

        Args:
            text: What the user says.
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
        if isinstance(self._stack, Stack):
            raise StackNotReady(
                "run_sync opens the stack by itself: give the agent one that is not open, as in"
                " Agent(Stack.local()), or `await agent.run(...)` where the stack is open"
            )
        if self._background is None:
            background = Background()
            try:
                self._background = background, background.enter(self._stack)
            except BaseException:
                background.close()
                raise
        background, stack = self._background
        return background.run(partial(self._run, stack, text, session))

    async def aclose(self) -> None:
        """Release what the tools hold. The stack is its opener's to close."""
        if self._owns_tools:
            await self._registry.aclose()

    def close(self) -> None:
        """Release what the tools hold, and the stack that `run_sync` opened."""
        if self._background is None:
            return
        background, _ = self._background
        self._background = None
        try:
            background.run(self.aclose)
        finally:
            background.close()

    def _open_stack(self) -> Stack:
        if isinstance(self._stack, Stack):
            return self._stack
        raise StackNotReady(
            f"the stack of {self!r} is not open: write `async with Stack.local() as stack` and give it that stack,"
            " or call run_sync"
        )

    async def _run(self, stack: Stack, text: str, session: str | None) -> Turn:
        session = session or uuid4().hex
        async with aclosing(self._stream(stack, text, session)) as stream:
            events = [event async for event in stream if not isinstance(event, TextDelta | CallProgressed)]
        return Turn.of(events, session)

    def _stream(self, stack: Stack, text: str, session: str | None) -> AsyncGenerator[Event, None]:
        if not isinstance(text, str):
            raise InvalidMessage(f"the question must be text, not {type(text).__name__}: pass a string")
        if not text.strip():
            raise InvalidMessage("the question is empty: write some text")
        return stack.run_turn([Message("user", text)], self._terms(stack), session=session)

    def _terms(self, stack: Stack) -> Terms:
        shields = tuple(stack.shield(shield) if isinstance(shield, str) else shield for shield in self._shields)
        return Terms(
            registry=self._registry,
            instructions=self.instructions,
            input_shields=shields,
            output_shields=shields,
            limits=self.limits,
            sampling=self.sampling,
        )
