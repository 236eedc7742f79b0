"""Sessions made shorter between their turns, when somebody says so."""

from collections.abc import Sequence
from dataclasses import replace

from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.stack.compaction import Compaction, compacted
from arriero.stack.events import TranscriptRewritten
from arriero.stack.log import UnknownSession
from arriero.stack.sessions import Sessions, TurnWaiting
from arriero.stack.summary import Model


async def compact_session(
    sessions: Sessions, session: str, model: Model, policy: Compaction, most: int | None, options: RenderOptions
) -> int:
    """Shorten a session whose last turn is over; see `Stack.compact`.

    Args:
        sessions: Where the transcripts are.
        session: The session.
        model: Who has read it.
        policy: What it gives up.
        most: Most tokens that may stay; None for half of the model's context.
        options: How its prompts were rendered.

    Returns:
        How many tokens it is shorter.

    Raises:
        ArrieroError: As from `Stack.compact`.
    """
    engine, dialect = model.engine, model.dialect
    async with sessions.open(session) as tape:
        if not tape.length:
            raise UnknownSession(f"there is no session {session!r} in the log: look at its name")
        if tape.turn is not None:
            raise TurnWaiting(f"the last turn of session {session!r} is not over: resume or cancel it first")
        if not tape.messages:
            return 0
        if tape.builtins:
            options = replace(options, builtin_tools=tape.builtins)
        options = replace(options, add_generation_prompt=False)  # the next turn's message follows

        def ids_of(messages: Sequence[Message]) -> list[int]:
            return dialect.render(messages, tape.tools, options).encode(engine.tokenizer)

        room = engine.context_length // 2 if most is None else most
        kept = await compacted(policy, tape.messages, lambda messages: len(ids_of(messages)), room, tape.begins)
        ids = tuple(ids_of(kept))
        dropped = len(tape.ids) - len(ids)
        if dropped <= 0 or kept == tuple(tape.messages):
            return 0
        event = TranscriptRewritten("compaction", policy.name, kept, ids, tape.tools, tape.builtins, dropped)
        turn = (await sessions.log.turns(session))[0].turn
        await sessions.log_events(tape, turn, [event])
    return dropped
