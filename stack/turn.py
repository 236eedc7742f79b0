"""The turn loop: render, generate, parse, dispatch, append, until an answer or a limit.

Each step costs two commits: one before the engine is asked (the results of the last step and the ids that
are about to be sent) and one when it has answered (what it said and the calls that are about to run). A
place with shields adds one, for their verdicts.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import uuid4

import anyio

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.dispatch import running
from arriero.stack.engine import Engine, Sampling, Usage
from arriero.stack.errors import ContextTooLong
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    Event,
    Limit,
    LimitReached,
    PromptAppended,
    Reason,
    StepFinished,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnStarted,
    VerdictGiven,
)
from arriero.stack.generation import Generation, request, stop_ids
from arriero.stack.log import EventLog, LogError
from arriero.stack.shields import Place, Shield, judge
from arriero.stack.tape import SessionMismatch, Sessions, Tape
from arriero.stack.terms import REFUSAL, Limits, Terms, offered
from arriero.tools import ToolContext

__all__ = ["REFUSAL", "Limits", "Terms", "run_turn"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class _OutOfTime(Exception):
    """The turn's deadline has passed."""


async def run_turn(
    messages: Sequence[Message],
    *,
    engine: Engine,
    dialect: Dialect,
    sessions: Sessions,
    terms: Terms,
    session: str | None = None,
) -> AsyncGenerator[Event, None]:
    """Run one turn of a session.

    Everything but `TextDelta` is on disk before it is yielded. Leave the iterator early only through
    `aclose()` (or `contextlib.aclosing`): that ends the engine's request and the tools at once.

    Args:
        messages: What the conversation gains, usually one user message.
        engine: The model.
        dialect: How it writes.
        sessions: Where the transcripts are.
        terms: Tools, shields, limits.
        session: Session to begin or continue; None for one of its own.

    Yields:
        Events, the last one `TurnFinished`.

    Raises:
        InvalidMessage: The messages cannot be rendered. Nothing was logged.
        ContextTooLong: They do not fit the model's context. Nothing was logged.
        SessionBusy: Another turn of the session is running.
        SessionMismatch: The session was begun with other tools, in another dialect or with another vocabulary.
        EngineError: The engine failed; `TurnFailed` is logged and yielded first.
        LogError: An event could not be logged; what was to follow has not happened.
    """
    async with sessions.open(session or uuid4().hex) as tape:
        turn = _Turn(engine, dialect, sessions.log, tape, terms)
        async with aclosing(turn.run(messages)) as events:
            async for event in events:
                yield event


class _Turn:
    """One running turn. `run` is the loop; the other methods are its stations."""

    def __init__(self, engine: Engine, dialect: Dialect, log: EventLog, tape: Tape, terms: Terms) -> None:
        self.engine, self.dialect, self.log, self.tape, self.terms = engine, dialect, log, tape, terms
        self.id = uuid4().hex
        self.options, self.declarations, self.builtins = offered(terms, dialect)
        self.stop_ids = stop_ids(dialect, engine.tokenizer)
        self.step = 0
        self.calls = 0
        self.usage = Usage()
        self.over = False
        self.started = time.perf_counter()
        self.deadline = anyio.current_time() + terms.limits.seconds

    async def run(self, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
        opening = self._opening(messages)
        try:
            for event in await self._commit(opening):
                yield event
            while not self.over:
                async with aclosing(self._step()) as events:
                    async for event in events:
                        yield event
        except _OutOfTime:
            limit = LimitReached("seconds", f"the turn took longer than {self.terms.limits.seconds:g} s")
            for event in await self._commit([limit, self._end("", "limit")]):
                yield event
        except LogError:
            raise
        except Exception as error:  # the boundary: whatever ends a turn is in its log
            for event in await self._commit([TurnFailed(type(error).__name__, str(error)), self._end("", "failed")]):
                yield event
            raise
        except BaseException:  # cancelled, or the caller closed the iterator: nobody is there to read an event
            if not self.over:
                await self._note_abandoned()
            raise

    async def _step(self) -> AsyncGenerator[Event, None]:
        self.step += 1
        started = time.perf_counter()
        async with request(self.engine, self.tape.ids, self._sampling()) as deltas:
            parser = self.dialect.parser(self.terms.registry.called, self.engine.tokenizer)
            generation = Generation(deltas, parser)
            if self.step == 1 and self.terms.input_shields:
                for event in await self._gate_input(generation):
                    yield event
            withheld = bool(self.terms.output_shields)
            while not self.over:
                if generation.has_text and not withheld:
                    yield TextDelta(self.step, generation.take_text())
                if generation.finished:
                    break
                await self._within(generation.read_until(lambda: generation.has_text and not withheld))
        if self.over:
            return
        for event in await self._settle(generation, time.perf_counter() - started):
            yield event
        if not self.over:
            async with aclosing(self._dispatch(generation.calls)) as events:
                async for event in events:
                    yield event

    def _opening(self, messages: Sequence[Message]) -> list[Event]:
        """The first prompt. Raises before anything is logged."""
        if not messages:
            raise InvalidMessage("the turn has no message: give at least one")
        tape = self.tape
        if tape.ids:
            ids = self._continuation(messages)
        else:
            if self.terms.instructions:
                messages = [Message("system", self.terms.instructions), *messages]
            prompt = self.dialect.render(messages, self.declarations, self.options)
            ids = prompt.encode(self.engine.tokenizer)
        if len(tape.ids) + len(ids) >= self.engine.context_length:
            raise ContextTooLong(len(tape.ids) + len(ids), self.engine.context_length)
        started = TurnStarted(
            tuple(messages),
            self.engine.model,
            self.dialect.name,
            tuple(self.declarations),
            self.builtins,
            self.engine.tokenizer.fingerprint,
        )
        if tape.opening is not None and tape.ids:
            _check_same(tape.session, tape.opening, started)
        return [started, PromptAppended(1, tuple(ids))]

    async def _gate_input(self, generation: Generation) -> Sequence[Event]:
        """Judge the input beside generation. Nothing of the answer is shown before this returns."""
        verdicts: list[VerdictGiven] = []
        failure: Exception | None = None

        async def read_ahead() -> None:
            nonlocal failure
            async with anyio.create_task_group() as group:

                async def judge() -> None:
                    verdicts.extend(await self._judge("input", self.terms.input_shields))
                    if not _allowed(verdicts):
                        group.cancel_scope.cancel()

                group.start_soon(judge)
                try:
                    await generation.read_until(lambda: bool(verdicts))
                except Exception as error:  # kept out of the group, which would wrap it
                    failure = error
                    group.cancel_scope.cancel()

        await self._within(read_ahead())
        if failure is not None and _allowed(verdicts):
            raise failure
        if not _allowed(verdicts):
            return await self._commit([*verdicts, self._end(self.terms.refusal, "refused")])
        return await self._commit(verdicts)

    async def _settle(self, generation: Generation, duration: float) -> Sequence[Event]:
        """Log what the model said, and decide whether the turn goes on."""
        parsed, calls = generation.parsed, generation.calls
        self.usage = _sum(self.usage, generation.usage)
        said = StepFinished(
            self.step,
            tuple(generation.token_ids),
            parsed.content,
            calls,
            parsed.end,
            generation.usage,
            duration,
        )
        limit = self._limit(generation)
        reached = [limit] if limit else []
        if calls and not limit:
            self.calls += len(calls)
            await self._commit([said, *(started := [CallStarted(self.step, call) for call in calls])])
            # Text beside a call was judged by nobody.
            return [_without_text(said) if self.terms.output_shields and parsed.content else said, *started]
        reason: Reason = "limit" if limit else "answer"
        if not (self.terms.output_shields and parsed.content):
            return await self._commit([said, *reached, self._end(parsed.content, reason)])
        await self._commit([said])
        verdicts = await self._within(self._judge("output", self.terms.output_shields))
        if _allowed(verdicts):
            *events, end = await self._commit([*verdicts, *reached, self._end(parsed.content, reason)])
            return [said, *events, TextDelta(self.step, parsed.content), end]
        return [
            _without_text(said),
            *await self._commit([*verdicts, self._end(self.terms.refusal, "refused")]),
        ]

    async def _dispatch(self, calls: Sequence[ToolCall]) -> AsyncGenerator[Event, None]:
        """Run the calls of a step side by side; their results go back in call order."""
        context = ToolContext(
            session=self.tape.session,
            run=self.id,
            deadline=self.deadline,
            idempotency_key=f"{self.tape.session}\0{self.id}\0{self.step}",
            count_tokens=lambda text: len(self.engine.tokenizer.encode(text)),
        )
        async with running(self.terms.registry, calls, context, self.step) as work:
            while (progress := await self._within(work.progress())) is not None:
                yield progress
            results = await work.results()
        finished = [CallFinished(self.step, result) for result in results]
        ids = self._continuation([Message("tool", result.content) for result in results])
        total = len(self.tape.ids) + len(ids)
        if total < self.engine.context_length:
            following: list[Event] = [PromptAppended(self.step + 1, tuple(ids))]
        else:
            limit = LimitReached("context", f"{total} tokens of {self.engine.context_length} with the tools' results")
            following = [limit, self._end("", "limit")]
        for event in await self._commit([*finished, *following]):
            yield event

    async def _judge(self, where: Place, shields: Sequence[Shield]) -> list[VerdictGiven]:
        messages = tuple(self.tape.messages)
        return await _in_order([partial(_verdict, shield, messages, where) for shield in shields])

    def _continuation(self, messages: Sequence[Message]) -> list[int]:
        """Ids that follow the model's last message. A message that was cut off is ended first."""
        ids = self.dialect.render_delta(messages, self.options).encode(self.engine.tokenizer)
        if self._ends_open():
            ids.insert(0, self.engine.tokenizer.special_id(self.dialect.end_of_turn))
        return ids

    def _ends_open(self) -> bool:
        return self.tape.ids[-1] not in self.stop_ids

    def _sampling(self) -> Sampling:
        room = self.engine.context_length - len(self.tape.ids)
        left = self.terms.limits.tokens - self.usage.completion_tokens
        most = min(self.terms.sampling.max_tokens, left, room)
        return replace(self.terms.sampling, max_tokens=most, stop_ids=self.stop_ids)

    def _limit(self, generation: Generation) -> LimitReached | None:
        limits, calls = self.terms.limits, generation.calls
        spent = self.usage.completion_tokens
        found: tuple[Limit, str] | None = None
        if generation.cut and not calls:
            full = len(self.tape.ids) + len(generation.token_ids) >= self.engine.context_length
            found = ("context" if full else "tokens", f"the message was cut after {len(generation.token_ids)} tokens")
        elif calls and self.step >= limits.steps:
            found = ("steps", f"{self.step} of {limits.steps}, and the model wants to call a tool")
        elif calls and self.calls + len(calls) > limits.calls:
            found = ("calls", f"{self.calls + len(calls)} of {limits.calls}")
        elif calls and spent >= limits.tokens:
            found = ("tokens", f"{spent} of {limits.tokens}, and the model wants to call a tool")
        return LimitReached(*found) if found else None

    def _end(self, text: str, reason: Reason) -> TurnFinished:
        return TurnFinished(text, reason, self.usage, time.perf_counter() - self.started)

    async def _commit(self, events: Sequence[Event]) -> Sequence[Event]:
        """Write events and take them in. Not to be interrupted between the two."""
        with anyio.CancelScope(shield=True):
            await self.log.append(self.tape.session, self.id, self.tape.length, events)
            for event in events:
                self.tape.apply(event)
            self.over = self.over or isinstance(events[-1], TurnFinished)
        return events

    async def _note_abandoned(self) -> None:
        try:
            await self._commit([TurnFailed("Abandoned", "the caller left before the end"), self._end("", "failed")])
        except LogError as error:  # the caller is leaving: cancellation must not turn into another error
            _log.warning("the end of turn %s could not be logged: %s", self.id, error)

    async def _within(self, work: Awaitable[T]) -> T:
        with anyio.CancelScope(deadline=self.deadline):
            return await work
        raise _OutOfTime


async def _verdict(shield: Shield, messages: Sequence[Message], where: Place) -> VerdictGiven:
    started = time.perf_counter()
    verdict = await judge(shield, messages, where)
    return VerdictGiven(where, verdict, time.perf_counter() - started, shield.name)


async def _in_order(jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run jobs side by side; give their results in the order of the jobs."""
    if len(jobs) == 1:
        return [await jobs[0]()]
    results: dict[int, T] = {}

    async def run(position: int) -> None:
        results[position] = await jobs[position]()

    async with anyio.create_task_group() as group:
        for position in range(len(jobs)):
            group.start_soon(run, position)
    return [results[position] for position in range(len(jobs))]


def _allowed(verdicts: Sequence[VerdictGiven]) -> bool:
    return all(given.verdict.allowed for given in verdicts)


def _without_text(said: StepFinished) -> StepFinished:
    return replace(said, content="", token_ids=())


def _sum(total: Usage, step: Usage) -> Usage:
    cached = [usage.cached_tokens for usage in (total, step) if usage.cached_tokens is not None]
    return Usage(
        total.prompt_tokens + step.prompt_tokens,
        total.completion_tokens + step.completion_tokens,
        sum(cached) if cached else None,
    )


def _check_same(session: str, begun: TurnStarted, now: TurnStarted) -> None:
    for what, was, is_ in (
        ("dialect", begun.dialect, now.dialect),
        ("tools", begun.tools, now.tools),
        ("built-in tools", begun.builtins, now.builtins),
        ("vocabulary", begun.vocabulary or now.vocabulary, now.vocabulary),  # logs of old do not name it
    ):
        if was != is_:
            raise SessionMismatch(
                f"session {session!r} was begun with other {what}, which its transcript has fixed: continue it with"
                " the same, or begin another session"
            )
