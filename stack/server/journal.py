"""What the log keeps of a client's request: a session of one turn with one step."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from arriero.prompts.messages import ToolCall
from arriero.stack.events import Event, LimitReached, StepFinished, TurnFailed, TurnFinished
from arriero.stack.generation import Generation
from arriero.stack.log import EventLog, LogError, SQLiteLog

_log = logging.getLogger(__name__)

Answer = Callable[[Generation], tuple[str, tuple[ToolCall, ...]]]
"""The text and the calls that the client is given of a generation."""


@asynccontextmanager
async def logged(
    log: EventLog, session: str, opening: Sequence[Event], generation: Generation, answer: Answer
) -> AsyncIterator[None]:
    """Log a request around its generation: the opening before, what came of it after.

    A log in memory is left alone: nobody could read it, and it would grow as long as the server runs.

    Args:
        log: The stack's log.
        session: Name of the request.
        opening: Events that are on disk before the engine is asked.
        generation: What the block reads to its end.
        answer: What the client is given of it.

    Raises:
        LogError: An event could not be logged.
    """
    if isinstance(log, SQLiteLog) and log.in_memory:
        yield
        return
    started = time.perf_counter()
    await log.append(session, session, 0, opening)
    try:
        yield
    except BaseException as error:  # cancelled or closed too: the client left
        failed = TurnFailed("Abandoned", "the client left before the end")
        if isinstance(error, Exception):
            failed = TurnFailed(type(error).__name__, str(error))
        end = TurnFinished("", "failed", generation.usage, time.perf_counter() - started)
        await _append_last(log, session, len(opening), [failed, end])
        raise
    with anyio.CancelScope(shield=True):
        seconds = time.perf_counter() - started
        await log.append(session, session, len(opening), _ending(generation, answer, seconds))


def _ending(generation: Generation, answer: Answer, seconds: float) -> list[Event]:
    text, calls = answer(generation)
    ids, usage = tuple(generation.token_ids), generation.usage
    said = StepFinished(1, ids, text, calls, generation.parsed.end, usage, seconds)
    if generation.cut and not calls:
        limit = LimitReached("tokens", f"the message was cut after {len(ids)} tokens")
        return [said, limit, TurnFinished(text, "limit", usage, seconds)]
    return [said, TurnFinished(text, "answer", usage, seconds)]


async def _append_last(log: EventLog, session: str, seq: int, events: Sequence[Event]) -> None:
    with anyio.CancelScope(shield=True):
        try:
            await log.append(session, session, seq, events)
        except LogError as error:  # what ended the request must not turn into another error
            _log.warning("the end of request %s could not be logged: %s", session, error)
