"""A stack: an engine, the dialect it speaks, a log, shields. What agents and the server run on."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from uuid import uuid4

import anyio.to_thread

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import UnknownDialect
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.stack.compact_session import compact_session
from arriero.stack.compaction import Compaction
from arriero.stack.decisions import Decision
from arriero.stack.engine import Engine
from arriero.stack.engines.quantization import Quantization
from arriero.stack.events import Event, TurnFinished
from arriero.stack.log import EventLog, open_log
from arriero.stack.sessions import Sessions
from arriero.stack.shields import LlamaGuard, Shield, UnknownShield
from arriero.stack.terms import Terms
from arriero.stack.tracing import Tracing
from arriero.stack.turn import check_open, resume_turn, run_turn
from arriero.stack.waiting import given

_SHIELDS: Mapping[str, Callable[[Engine], Shield]] = MappingProxyType({"llama-guard": LlamaGuard})


class Stack:
    """Everything a turn needs besides its tools. Open one with `Stack.connect` or `Stack.local`.

    Args:
        engine: The model.
        dialect: How it writes.
        log: Where events go.
        guard: Model that shields ask; None for the same model.
        tracing: Hears of every turn, for OpenTelemetry; None for nobody.

    Example:
        >>> import anyio
        >>> from arriero.prompts.messages import Message
        >>> async def kinds() -> list[str]:
        ...     async with Stack.local() as stack:
        ...         return [type(event).__name__ async for event in stack.run_turn([Message("user", "Hello!")])]
        >>> anyio.run(kinds)[-1]
        'TurnFinished'
    """

    def __init__(
        self,
        engine: Engine,
        dialect: Dialect,
        *,
        log: EventLog,
        guard: Engine | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.engine = engine
        self.dialect = dialect
        self.log = log
        self.guard = guard or engine
        self.tracing = tracing
        self.sessions = Sessions(log)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        tokenizer: str | Path | None = None,
        dialect: str | Dialect | None = None,
        log: EventLog | str | Path | None = None,
        guard: Engine | None = None,
        tracing: Tracing | None = None,
    ) -> "Opening":
        """A stack over a vLLM server. Use it as `async with Stack.connect(url) as stack`, or await it.

        Args:
            url: The server, such as `http://localhost:8000/v1`.
            model: Name of a served model; None for the first.
            api_key: Key that the server was started with.
            tokenizer: Folder of the model's tokenizer; None looks where the server says its model is.
            dialect: How the model writes; None finds it by the model.
            log: File of the event log, or address of a PostgreSQL database, or a log; None keeps events in memory.
            guard: Engine that serves Llama Guard; None asks the same model.
            tracing: Hears of every turn, for OpenTelemetry; None for nobody.

        Returns:
            The opening of the stack.

        Raises:
            EngineError: The server cannot be reached or refuses, or its tokenizer cannot be read.
            UnknownDialect: The model's dialect is not known; pass `dialect`.
            LogError: The log cannot be opened.
        """

        async def open_engine() -> tuple[Engine, list[str | Path]]:
            from arriero.stack.engines.vllm import VLLMEngine

            engine = await VLLMEngine.connect(url, model=model, tokenizer=tokenizer, api_key=api_key)
            return engine, [engine.model, *([tokenizer] if tokenizer else [])]

        return Opening(lambda: cls._open(open_engine, dialect, log, guard, tracing))

    @classmethod
    def local(
        cls,
        folder: str | Path | None = None,
        *,
        quantization: Quantization | None = None,
        dialect: str | Dialect | None = None,
        log: EventLog | str | Path | None = None,
        guard: Engine | None = None,
        tracing: Tracing | None = None,
    ) -> "Opening":
        """A stack over a model in this process, through transformers. Use it as `connect`.

        The weights are loaded when it opens, so a model that cannot be used is known before anything is logged.

        Args:
            folder: Model folder in Hugging Face format; None for the bundled `arriero-demo`.
            quantization: `bf16`, or `int8` or `int4` through torchao; None for fp32.
            dialect: How the model writes; None finds it by the folder.
            log: File of the event log, or address of a PostgreSQL database, or a log; None keeps events in memory.
            guard: Engine that serves Llama Guard; None asks the same model.
            tracing: Hears of every turn, for OpenTelemetry; None for nobody.

        Returns:
            The opening of the stack.

        Raises:
            ModelNotReadable: The folder holds no usable model.
            EngineUnavailable: torch or transformers is not installed, or torchao where it is needed.
            EngineRejected: There is no such quantization.
            UnknownDialect: The model's dialect is not known; pass `dialect`.
            LogError: The log cannot be opened.
        """

        async def open_engine() -> tuple[Engine, list[str | Path]]:
            from arriero.stack.engines.local import TransformersEngine

            where = Path(folder or DEMO)
            engine = await anyio.to_thread.run_sync(lambda: TransformersEngine(where, quantization=quantization))
            await engine.load()
            return engine, [where]

        return Opening(lambda: cls._open(open_engine, dialect, log, guard, tracing))

    @classmethod
    async def _open(
        cls,
        open_engine: Callable[[], Awaitable[tuple[Engine, list[str | Path]]]],
        dialect: str | Dialect | None,
        log: EventLog | str | Path | None,
        guard: Engine | None,
        tracing: Tracing | None,
    ) -> "Stack":
        known = Dialect.get(dialect) if isinstance(dialect, str) else dialect
        async with AsyncExitStack() as opened:
            engine, sources = await open_engine()
            opened.push_async_callback(engine.aclose)
            spoken = known or _detect(sources)
            kept = open_log(log or ":memory:") if log is None or isinstance(log, str | Path) else log
            stack = cls(engine, spoken, log=kept, guard=guard, tracing=tracing)
            opened.pop_all()
        return stack

    def run_turn(
        self, messages: Sequence[Message], terms: Terms | None = None, *, session: str | None = None
    ) -> AsyncGenerator[Event, None]:
        """Run one turn; see `arriero.stack.turn.run_turn`.

        Args:
            messages: What the conversation gains, usually one user message.
            terms: Tools, shields, limits; None for none and the defaults.
            session: Session to begin or continue; None for one of its own.

        Returns:
            The turn's events.
        """
        terms, session = terms or Terms(), session or uuid4().hex
        events = run_turn(
            messages, engine=self.engine, dialect=self.dialect, sessions=self.sessions, terms=terms, session=session
        )
        return self._watched(events, terms, session)

    def _watched(self, events: AsyncGenerator[Event, None], terms: Terms, session: str) -> AsyncGenerator[Event, None]:
        if self.tracing is None:
            return events
        called = terms.registry.called
        return self.tracing.watch(events, session=session, name=terms.agent, model=self.engine.model, tools=called)

    def resume(
        self, session: str, terms: Terms | None = None, *, decisions: Mapping[str, Decision] = MappingProxyType({})
    ) -> AsyncGenerator[Event, None]:
        """Go on with a turn that paused, or whose process died; see `arriero.stack.turn.resume_turn`.

        Args:
            session: The session.
            terms: Terms of the agent that has the conversation; None for no tools and the defaults.
            decisions: What is decided about calls that wait, by their names.

        Returns:
            The turn's further events.
        """
        terms = terms or Terms()
        events = resume_turn(
            engine=self.engine,
            dialect=self.dialect,
            sessions=self.sessions,
            terms=terms,
            session=session,
            decisions=decisions,
        )
        return self._watched(events, terms, session)

    async def decide(self, session: str, waiting: str, decision: Decision) -> None:
        """Decide about a call that waits. A turn that has paused goes on when it is resumed.

        Args:
            session: The session.
            waiting: Name of the call: `step.position`.
            decision: The decision, which is on disk when this returns.

        Raises:
            UnknownSession: The log has no such session.
            NothingToResume: Its last turn is over.
            InvalidDecision: The decision does not fit what was asked, nothing was asked, or it was decided before.
            SessionBusy: The turn runs in another process.
            SessionRedacted: The session's texts were removed.
            LogError: It could not be logged.
        """
        if (running := await self.sessions.reach(session)) is not None:
            await running.decide(waiting, decision)
            return
        async with self.sessions.open(session) as tape:
            turn = check_open(tape)
            await self.sessions.log_events(tape, turn.id, given(turn, {waiting: decision}))

    async def say(self, session: str, message: Message) -> None:
        """Say something to a turn while it runs. The model reads it before its next step.

        Args:
            session: The session.
            message: The message, which is on disk when this returns.

        Raises:
            NoTurnRunning: No turn of the session runs in this process.
            InvalidMessage: The message cannot be rendered in the middle of a conversation.
            ContextTooLong: It alone fills the model's context.
            LogError: It could not be logged.
        """
        await (await self.sessions.turn(session)).say(message)

    async def cancel(self, session: str) -> bool:
        """End the session's turn: one that runs here, soon after this returns; one that waits, at once.

        Who iterates a running turn gets `TurnFinished` with the reason `cancelled`.

        Args:
            session: The session.

        Returns:
            Whether there was a turn to end.

        Raises:
            SessionBusy: The turn runs in another process.
            SessionRedacted: The session's texts were removed.
            LogError: The end could not be logged.
        """
        if (running := await self.sessions.reach(session)) is not None:
            return await running.cancel()
        async with self.sessions.open(session) as tape:
            if (turn := tape.turn) is None:
                return False
            await self.sessions.log_events(tape, turn.id, [TurnFinished("", "cancelled", turn.usage, turn.ran)])
        return True

    async def compact(
        self, session: str, policy: Compaction, *, most: int | None = None, options: RenderOptions | None = None
    ) -> int:
        """Shorten a session between its turns. A turn does so by itself, where its terms have a policy.

        Args:
            session: The session.
            policy: What it gives up.
            most: Most tokens that may stay; None for half of the model's context.
            options: How its prompts are rendered, where the terms of its turns do not have the default options.

        Returns:
            How many tokens it is shorter. With 0 nothing was logged.

        Raises:
            UnknownSession: The log has no such session.
            TurnWaiting: Its last turn is not over.
            NotCompacted: Even what the policy leaves is longer than `most`.
            InvalidCompaction: The policy gave up what must stay.
            SessionBusy: A turn of it runs.
            SessionRedacted: Its texts were removed.
            LogError: It could not be logged.
        """
        default = RenderOptions(repair=True)
        return await compact_session(self.sessions, session, self, policy, most, options or default)

    async def fork(self, session: str, *, at: int | None = None, into: str | None = None) -> str:
        """Begin a session as a copy of another one. A turn that was not over there can be resumed in both.

        Args:
            session: The session.
            at: Position of its last event to copy; None for all.
            into: Name of the new session; None for a new name.

        Returns:
            Name of the new session.

        Raises:
            UnknownSession: There is no such session or event.
            SessionRedacted: Its texts were removed.
            LogConflict: The new session has events already.
            LogError: The log could not be written.
        """
        name = into or uuid4().hex
        await self.log.fork(session, max(0, await self.log.length(session) - 1) if at is None else at, name)
        return name

    def shield(self, name: str) -> Shield:
        """The shield of that name, over the guard model.

        Args:
            name: `"llama-guard"`.

        Returns:
            The shield.

        Raises:
            UnknownShield: There is none.
        """
        try:
            return _SHIELDS[name](self.guard)
        except KeyError:
            raise UnknownShield(f"unknown shield {name!r}; known: {', '.join(_SHIELDS)}") from None

    async def aclose(self) -> None:
        """Close the engines and the log."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.log.aclose)
            closing.push_async_callback(self.engine.aclose)
            if self.guard is not self.engine:
                closing.push_async_callback(self.guard.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.aclose()


def _detect(sources: Sequence[str | Path]) -> Dialect:
    """The dialect of a model by its name, else by its tokenizer's folder."""
    *others, last = sources
    for source in others:
        with suppress(UnknownDialect):
            return Dialect.detect(source)
    return Dialect.detect(last)


class Opening:
    """A stack that is about to be opened: `async with opening as stack`, or `stack = await opening`.

    Args:
        open_stack: Opens it.
    """

    def __init__(self, open_stack: Callable[[], Awaitable[Stack]]) -> None:
        self._open = open_stack
        self._stack: Stack | None = None

    def __await__(self) -> Generator[object, object, Stack]:
        return self._open().__await__()

    async def __aenter__(self) -> Stack:
        self._stack = await self._open()
        return self._stack

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stack is not None:
            await self._stack.__aexit__(kind, error, trace)
