"""The way of one call: bounds, approval, cache, its turn, attempts, files, length."""

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any, Literal, cast

import anyio
import anyio.lowlevel

from arriero.prompts.messages import JSON, ToolCall
from arriero.tools.arguments import check_bounds
from arriero.tools.artifacts import Artifact, Artifacts, Attachment, ToolOutput
from arriero.tools.cache import KnownResults
from arriero.tools.context import Progress, ThreadLeft, ToolContext
from arriero.tools.declared import Tool
from arriero.tools.errors import ToolArgumentError, ToolError, ToolPaused, ToolTimeout, ToolUnavailable
from arriero.tools.events import (
    Outcome,
    Refusal,
    ToolCallApproved,
    ToolCallDenied,
    ToolCallFinished,
    ToolCallProgressed,
    ToolCallRetried,
    ToolCallStarted,
    ToolEvent,
)
from arriero.tools.owned_task import Attempt
from arriero.tools.truncation import cut_middle, fits
from arriero.tools.values import as_text, shorten, strict, to_output

Approve = Callable[[ToolCall, Tool, ToolContext], Awaitable[bool]]
"""Asks a person about a call, or about `context.question` in the middle of one."""

_log = logging.getLogger(__name__)

_SHOWN_PROBLEM = 2_000
_SHOWN_PROGRESS = 200
_SHOWN_NAME = 100
_MOST_PROGRESS = 1_000
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call.

    Args:
        call: The call, its id included.
        content: What the model reads: text, or a dict or list of JSON values.
        error: What went wrong; None when nothing did.
        duration: Seconds.
        source: Where the text comes from, where it is somebody else's; see `Tool`.
        artifacts: Files that the tool gave, and the whole result when `content` lacks its middle.
    """

    call: ToolCall
    content: JSON
    error: str | None = None
    duration: float = 0.0
    source: str | None = None
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True)
class PausedResult(ToolResult):
    """A call that has no result yet, for somebody must decide first. It is never logged.

    Args:
        asked: What is to be decided; `error` is the question.
        nested: Where a turn inside of the tool asks; see `ToolPaused`.
    """

    asked: Literal["approval", "interrupted", "answer"] = "approval"
    nested: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as a registry offers it, with what its calls share."""

    tool: Tool
    slots: anyio.Semaphore | None
    known: KnownResults | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What all calls of a registry share."""

    slots: anyio.Semaphore
    artifacts: Artifacts
    max_result_tokens: int
    count_tokens: Callable[[str], int] | None
    approve: Approve | None
    on_event: Callable[[ToolEvent], None] | None
    left: set["asyncio.Task[None]"] = field(default_factory=set)

    def tell(self, event: ToolEvent) -> None:
        """Hand an event on. A listener that fails does not harm the call."""
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception as error:
            _log.warning("a listener of tool events failed on %s: %s", type(event).__name__, type(error).__name__)


class _NotApproved(ToolError):
    """Nobody agreed to a call."""


_OUTCOMES: tuple[tuple[type[ToolError], Outcome], ...] = (
    (ToolArgumentError, "bad arguments"),
    (_NotApproved, "denied"),
    (ToolTimeout, "timed out"),
    (ToolError, "failed"),
)


class Calling:
    """One call on its way.

    Args:
        call: The call, as the model wrote it.
        offer: Its tool.
        rules: What the registry wants.
        context: What is known about the call; its id and key are made where it has none.
    """

    def __init__(self, call: ToolCall, offer: Offer, rules: Rules, context: ToolContext) -> None:
        self._call, self._offer, self._tool, self._rules, self._context = call, offer, offer.tool, rules, context
        self._name = offer.tool.name
        self._key = context.idempotency_key or token_hex(16)
        self._id = context.call_id or call.id or f"call_{self._key[:12]}"
        self._started = time.perf_counter()
        self._attempt: Attempt[ToolOutput] | None = None
        self._over = False
        self._attempts = self._progress = 0
        self._cached = self._cut = self._thread_left = self._task_left = False
        self._outcome: Outcome = "cancelled"
        self._exception: BaseException | None = None
        self._artifacts: list[Artifact] = []

    async def run(self) -> ToolResult:
        """Bring the call to its end.

        Returns:
            Its result; only cancellation from outside is raised.
        """
        context = self._context
        self._rules.tell(ToolCallStarted(self._id, self._name, context.session, context.run, self._key))
        try:
            if context.bounded or context.deadline == math.inf:
                return await self._answer()
            with anyio.CancelScope(deadline=context.deadline):
                return await self._answer()
            await anyio.lowlevel.checkpoint()  # a scope around this one that ends at the same time comes first
            return self._failed("timed out", f"{self._name} {self._given_up()}: the turn's time was over")
        finally:
            self._over = True
            self._rules.tell(self._ending())
            self._attempt = self._exception = None  # they lead back here: all this would wait for the collector

    async def _answer(self) -> ToolResult:
        try:
            result = await self._result(await self._output())
        except ToolPaused as pause:
            told = f"error: {self._name} waits for a decision: {pause}"
            return PausedResult(
                self._call, told, pause.question, self._duration(), asked=pause.asked, nested=pause.nested
            )
        except ToolError as error:
            outcome = next(outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
            return self._failed(outcome, str(error), error.__cause__ or error)
        except Exception as error:  # a counter or a check that is somebody else's
            return self._failed("failed", _told(error), error)
        self._outcome = "failed" if result.error else "completed"
        return result

    async def _output(self) -> ToolOutput:
        tool, known = self._tool, self._offer.known
        arguments = check_bounds(self._call.arguments)
        key = ""
        if tool.sensitive or known:  # else the handler's own check is soon enough
            key = tool.check(arguments) if tool.check else json.dumps(arguments, sort_keys=True)
        if tool.sensitive and not self._context.approved:
            await self._require_approval()
        if known and (found := known.find(key)):
            self._cached = True
            return found
        async with self._offer.slots or nullcontext(), self._rules.slots:
            output = await self._try(arguments)
        if known:
            known.keep(key, output)
        return output

    async def _try(self, arguments: Mapping[str, Any]) -> ToolOutput:
        """Attempt it until it works, or must not be tried again."""
        while True:
            self._attempts += 1
            output, error = await self._once(arguments)
            if error is None:
                return cast("ToolOutput", output)  # one of the two is None
            final = isinstance(error, ToolError) and not isinstance(error, ToolTimeout | ToolUnavailable)
            if self._attempts > self._tool.retries or final or not isinstance(error, Exception):
                if isinstance(error, ToolError):
                    raise error
                raise ToolError(_told(error)) from error
            delay = min(_FIRST_DELAY * 2 ** (self._attempts - 1), _LONGEST_DELAY) * random.uniform(0.5, 1)  # noqa: S311
            self._rules.tell(ToolCallRetried(self._id, self._name, self._attempts, delay, error))
            await anyio.sleep(delay)

    async def _once(self, arguments: Mapping[str, Any]) -> tuple[ToolOutput | None, BaseException | None]:
        timeout = self._tool.timeout
        context = self._told_context(asyncio.get_running_loop().time() + timeout)
        self._thread_left = self._task_left = False

        async def work() -> ToolOutput:
            return to_output(await self._tool.handler(arguments, context))

        self._attempt = Attempt(work, timeout, self._leave)
        outcome = await self._attempt.outcome()
        if outcome is not None:
            output, error = outcome
            return output, _alone(error)
        return None, ToolTimeout(f"{self._name} took longer than {timeout:g} s and {self._given_up()}")

    def _given_up(self) -> str:
        if self._thread_left:
            return "was given up (its thread runs on, for Python cannot stop it)"
        return "was given up (it runs on, for it does not listen)" if self._task_left else "was stopped"

    def _told_context(self, deadline: float) -> ToolContext:
        """The context as the tool is told it, or who approves."""
        given = self._context
        return ToolContext(
            session=given.session,
            run=given.run,
            call_id=self._id,
            deadline=min(given.deadline, deadline),
            idempotency_key=self._key,
            deps=given.deps,
            count_tokens=self._rules.count_tokens or given.count_tokens,
            report=self._report,
            ask=self._ask if self._rules.approve else None,
        )

    def _leave(self, task: "asyncio.Task[None]") -> None:
        self._task_left = True
        self._rules.left.add(task)
        task.add_done_callback(self._rules.left.discard)

    async def _require_approval(self) -> None:
        if self._rules.approve is None:
            self._rules.tell(ToolCallDenied(self._id, self._name, "nobody to ask", 0.0))
            raise _NotApproved(f"{self._name} needs the approval of a person, and nobody can be asked; it was not run")
        if not await self._approved(""):
            raise _NotApproved(f"{self._name} was not run: a person must approve it, and did not")

    async def _ask(self, question: str) -> bool:
        """Ask in the middle of an attempt, whose clock stands still meanwhile."""
        attempt = self._attempt
        if attempt is None:
            return False
        attempt.pause()
        try:
            return await self._approved(question)
        finally:
            attempt.go_on()

    async def _approved(self, question: str) -> bool:
        if self._rules.approve is None:
            return False
        started = time.perf_counter()
        reason: Refusal = "denied"
        approved = False
        try:
            context = replace(self._told_context(self._context.deadline), question=question)
            answer = await self._rules.approve(self._call, self._tool, context)
            approved = answer is True  # what is nearly true is no consent
        except (Exception, asyncio.CancelledError) as error:  # whatever is wrong with the asking, nobody agreed
            if _is_cancelled():
                raise
            _log.warning("asking for approval of %s failed: %s", self._name, type(error).__name__)
            reason = "asking failed"
        duration = time.perf_counter() - started
        if approved:
            self._rules.tell(ToolCallApproved(self._id, self._name, duration))
        else:
            self._rules.tell(ToolCallDenied(self._id, self._name, reason, duration))
        return approved

    def _report(self, said: Progress | ThreadLeft) -> None:
        if isinstance(said, ThreadLeft):
            self._thread_left = True
        elif not self._over and self._progress < _MOST_PROGRESS:
            self._progress += 1
            said = replace(said, message=shorten(strict(str(said.message)), _SHOWN_PROGRESS))
            self._rules.tell(ToolCallProgressed(self._id, self._name, said.message, said.done, said.total))
            try:
                self._context.report(said)
            except Exception as error:  # as for a listener of events
                _log.warning("a listener of progress failed: %s", type(error).__name__)

    async def _result(self, output: ToolOutput) -> ToolResult:
        content = output.content
        notes = [_note(attachment, await self._keep(attachment)) for attachment in output.attachments]
        if notes and content == "":
            content = "\n".join(notes)
        most = self._tool.max_result_tokens or self._rules.max_result_tokens
        text, count = as_text(content), self._rules.count_tokens or self._context.count_tokens
        if not fits(text, most, count):
            self._cut = True
            suffix, kind = ("txt", "text/plain; charset=utf-8") if text is content else ("json", "application/json")
            kept = await self._keep(Attachment(f"{self._name}.{suffix}", kind, text.encode()))
            whole = f"the whole is artifact {kept.id}" if kept else "the whole could not be kept"
            content = cut_middle(text, most, count, whole)
        error = output.error and shorten(strict(output.error), _SHOWN_PROBLEM)
        return ToolResult(self._call, content, error, self._duration(), self._tool.source, tuple(self._artifacts))

    async def _keep(self, attachment: Attachment) -> Artifact | None:
        try:
            artifact = await self._rules.artifacts.put(attachment)
        except Exception as error:  # a full store must not cost the model the text
            _log.warning("a file of %s could not be kept: %s", self._name, type(error).__name__)
            return None
        self._artifacts.append(artifact)
        return artifact

    def _failed(self, outcome: Outcome, problem: str, error: BaseException | None = None) -> ToolResult:
        self._outcome, self._exception = outcome, error
        problem = shorten(strict(problem), _SHOWN_PROBLEM)
        return ToolResult(
            self._call, f"error: {problem}", problem, self._duration(), self._tool.source, tuple(self._artifacts)
        )

    def _duration(self) -> float:
        return time.perf_counter() - self._started

    def _ending(self) -> ToolCallFinished:
        return ToolCallFinished(
            call_id=self._id,
            tool=self._name,
            outcome=self._outcome,
            duration=self._duration(),
            attempts=self._attempts,
            cached=self._cached,
            artifacts=len(self._artifacts),
            cut=self._cut,
            thread_left_running=self._thread_left,
            task_left_running=self._task_left,
            exception=self._exception,
        )


def _is_cancelled() -> bool:
    """Whether somebody wants this task to end, and not merely something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _note(attachment: Attachment, kept: Artifact | None) -> str:
    where = f"artifact {kept.id}" if kept else "which could not be kept"
    name = shorten(strict(attachment.name), _SHOWN_NAME)
    return f"file {name} ({attachment.media_type}, {len(attachment.data)} bytes), {where}"


def _alone(error: BaseException | None) -> BaseException | None:
    """What is alone in its group: what one task of a tool's task group raised is what the tool raised."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> str:
    """An exception as a model reads it."""
    try:
        text = str(error)
    except Exception:  # a __str__ of somebody else's
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
