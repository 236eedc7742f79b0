"""Events as rows of a table, and the turns that rows amount to."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from arriero.stack.engine import Usage
from arriero.stack.event_json import kind_of, to_json
from arriero.stack.events import (
    Event,
    Reason,
    StepFinished,
    TurnFinished,
    TurnStarted,
    WorkflowFinished,
    WorkflowStarted,
)
from arriero.stack.log.record import TurnState, TurnSummary

Row = tuple[object, ...]

_INSERT = "INSERT INTO events (session, turn, seq, time, kind, note, prompt, completion, cached, json) VALUES "
"""`note` and the tokens are what lists of turns want, so that they need not decode events; `json` is last, so that
SQLite need not read over it."""

_PLACES = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

NOTED = ("TurnStarted", "StepFinished", "TurnFinished", "WorkflowStarted", "WorkflowFinished")
"""Kinds of which a row notes something."""

_NOTHING = (None, None, None, None)


def row_of(session: str, turn: str, seq: int, time: float, event: Event) -> Row:
    """An event as a row, in the order of `inserting`."""
    return (session, turn, seq, time, kind_of(event), *noted(event), to_json(event))


def inserting(rows: Sequence[Row]) -> tuple[str, list[object]]:
    """The statement that inserts rows, all or none, and its values."""
    return _INSERT + ", ".join([_PLACES] * len(rows)), [value for row in rows for value in row]


def noted(event: Event) -> tuple[str | None, int | None, int | None, int | None]:
    """The note and the tokens of an event."""
    match event:
        case StepFinished(usage=usage):
            return None, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
        case TurnStarted(agent=name) | WorkflowStarted(workflow=name):
            return name, None, None, None
        case TurnFinished(reason=reason):
            return reason, None, None, None
        case WorkflowFinished(error=error):
            return "failed" if error else "answer", None, None, None
        case _:
            return _NOTHING


TURNS = """SELECT session, turn, min(seq), max(seq), min(time), max(time),
    sum(CASE WHEN kind IN ('StepFinished', 'NodeFinished') THEN 1 ELSE 0 END),
    sum(CASE WHEN kind = 'CallFinished' THEN 1 ELSE 0 END),
    coalesce(sum(prompt * 1.0), 0), coalesce(sum(completion * 1.0), 0), sum(cached * 1.0),
    max(CASE WHEN kind IN ('TurnStarted', 'WorkflowStarted') THEN note END),
    max(CASE WHEN kind IN ('TurnFinished', 'WorkflowFinished') THEN coalesce(note, 'failed') END),
    max(CASE WHEN kind IN ('TurnPaused', 'WorkflowPaused') THEN seq ELSE -1 END),
    max(CASE WHEN kind NOT IN ('TurnPaused', 'WorkflowPaused', 'DecisionGiven', 'SessionForked') THEN seq ELSE -1 END)
FROM events {where} GROUP BY session, turn"""
"""Rows for `summaries`. A sum of integers may overflow, and nothing could be listed any more."""


def summaries(rows: Sequence[Sequence[Any]], held: Mapping[str, bool], redacted: set[str]) -> list[TurnSummary]:
    """Turns, the latest first.

    Args:
        rows: What `TURNS` selects.
        held: Sessions that are leased, and whether their owner lives.
        redacted: Sessions whose texts were removed.

    Returns:
        The turns.
    """
    latest: dict[str, int] = {}
    for row in rows:
        latest[row[0]] = max(row[2], latest.get(row[0], -1))
    turns = [_summary(row, held.get(row[0], False) and latest[row[0]] == row[2], row[0] in redacted) for row in rows]
    if len(latest) == 1:  # a clock may have been set back, positions never
        return sorted(turns, key=lambda turn: turn.first, reverse=True)
    return sorted(turns, key=lambda turn: (turn.started, turn.session, turn.first), reverse=True)


def _summary(row: Sequence[Any], runs: bool, redacted: bool) -> TurnSummary:
    session, turn, first, last, started, updated, steps, calls, prompt, completion, cached, agent, end, paused, at = row
    state: TurnState = "running" if runs else "interrupted"
    if end is not None:
        state = "finished"
    elif paused > at:
        state = "waiting"
    reason: Reason | None = end if end in get_args(Reason) else None
    usage = Usage(int(prompt), int(completion), None if cached is None else int(cached))
    return TurnSummary(
        session, turn, state, reason, agent or "", started, updated, steps, calls, usage, first, last, redacted
    )
