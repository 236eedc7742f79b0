"""The turn loop: render, generate, parse, dispatch, append, until an answer or a limit.

Each step costs two commits: one before the engine is asked (the results of the last step and the ids that
are about to be sent) and one when it has answered (what it said and the calls that are about to run). A
place with shields adds one, for their verdicts.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from uuid import uuid4

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.stack.decisions import Decision
from arriero.stack.engine import Engine
from arriero.stack.events import Event, TurnStarted
from arriero.stack.log import UnknownSession
from arriero.stack.loop import TurnLoop
from arriero.stack.open_turn import OpenTurn
from arriero.stack.sessions import NothingToResume, SessionMismatch, Sessions
from arriero.stack.tape import Tape
from arriero.stack.terms import REFUSAL, Limits, Terms
from arriero.stack.waiting import given

__all__ = ["REFUSAL", "Limits", "Terms", "resume_turn", "run_turn"]


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

    Everything but `TextDelta` and `CallProgressed` is on disk before it is yielded. Leave the iterator early only
    through `aclose()` (or `contextlib.aclosing`): that ends the engine's request and the tools at once.

    Args:
        messages: What the conversation gains, usually one user message.
        engine: The model.
        dialect: How it writes.
        sessions: Where the transcripts are.
        terms: Tools, shields, limits, hooks.
        session: Session to begin or continue; None for one of its own.

    Yields:
        Events, the last one `TurnFinished`, or `TurnPaused` when it waits for a decision.

    Raises:
        InvalidMessage: The messages cannot be rendered. Nothing was logged.
        ContextTooLong: They do not fit the model's context. Nothing was logged.
        SessionBusy: Another turn of the session is running.
        SessionRedacted: The session's texts were removed.
        TurnWaiting: The session's last turn waits for decisions.
        SessionMismatch: The session was begun in another dialect or with another vocabulary.
        EngineError: The engine failed; `TurnFailed` is logged and yielded first.
        LogError: An event could not be logged; what was to follow has not happened.
    """
    if not messages or not all(isinstance(message, Message) for message in messages):
        raise InvalidMessage("a turn begins with messages: give a sequence of at least one Message")
    async with sessions.open(session or uuid4().hex) as tape:
        _check_same(tape, engine, dialect)
        await sessions.close_interrupted(tape)
        turn = TurnLoop(engine, dialect, sessions, tape, terms, uuid4().hex)
        async with aclosing(turn.run(messages)) as events:
            async for event in events:
                yield event


async def resume_turn(
    *,
    engine: Engine,
    dialect: Dialect,
    sessions: Sessions,
    terms: Terms,
    session: str,
    decisions: Mapping[str, Decision] = MappingProxyType({}),
) -> AsyncGenerator[Event, None]:
    """Go on with a turn that paused, or whose process died.

    Finished steps are kept. A call that was running when its process died is run again only if its tool is pure or
    idempotent, with the same idempotency key; about any other one somebody must decide.

    Args:
        engine: The model.
        dialect: How it writes.
        sessions: Where the transcripts are.
        terms: Terms of the agent that has the conversation, see `Tape.agent`.
        session: The session.
        decisions: What is decided about calls that wait, by their names.

    Yields:
        Events, the first one `TurnResumed`, the last one `TurnFinished`, or `TurnPaused`.

    Raises:
        UnknownSession: The log has no such session.
        NothingToResume: Its last turn is over.
        InvalidDecision: A decision does not fit what was asked, or nothing was asked. Nothing was logged.
        SessionBusy: The turn runs, here or in another process.
        SessionRedacted: The session's texts were removed.
        SessionMismatch: The session was begun in another dialect or with another vocabulary.
        EngineError: As for `run_turn`.
        LogError: As for `run_turn`.
    """
    async with sessions.open(session) as tape:
        left = check_open(tape)
        _check_same(tape, engine, dialect)
        told = given(left, decisions)
        turn = TurnLoop(engine, dialect, sessions, tape, terms, left.id)
        async with aclosing(turn.resume(told)) as events:
            async for event in events:
                yield event


def check_open(tape: Tape) -> OpenTurn:
    """The turn of a session that can go on.

    Args:
        tape: The session's tape.

    Returns:
        The turn.

    Raises:
        UnknownSession: It has no events.
        NothingToResume: Its last turn is over.
    """
    if not tape.length:
        raise UnknownSession(f"there is no session {tape.session!r} in the log: look at its name")
    if tape.turn is None:
        raise NothingToResume(f"the last turn of session {tape.session!r} is over: begin another one")
    return tape.turn


def _check_same(tape: Tape, engine: Engine, dialect: Dialect) -> None:
    begun: TurnStarted | None = tape.opening
    if begun is None or not tape.ids:
        return
    vocabulary = engine.tokenizer.fingerprint
    for what, was, is_ in (
        ("dialect", begun.dialect, dialect.name),
        ("vocabulary", begun.vocabulary or vocabulary, vocabulary),  # logs of old do not name it
    ):
        if was != is_:
            raise SessionMismatch(
                f"session {tape.session!r} was begun with another {what}, which its transcript has fixed: continue it"
                " with the same, or begin another session"
            )
