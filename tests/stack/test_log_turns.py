"""Lists of turns, on both stores."""

from dataclasses import replace

import pytest

from arriero.prompts.messages import ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    DecisionAsked,
    DecisionGiven,
    Event,
    NodeFinished,
    NodeStarted,
    PromptAppended,
    StepFinished,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    WorkflowFinished,
    WorkflowStarted,
)
from arriero.stack.log import DatabaseLog, open_log
from arriero.tools import ToolResult

pytestmark = pytest.mark.anyio

BEGUN: list[Event] = [TurnStarted((), agent="clerk"), PromptAppended(1, (1, 2))]
CALL = ToolCall("pay", {"amount": 5})
PAUSED: list[Event] = [*BEGUN, DecisionAsked(1, 0, CALL, "approval"), TurnPaused(("1.0",), Usage(), 1.0)]
DECIDED: list[Event] = [*PAUSED, DecisionGiven(1, 0, Decision.run())]


@pytest.mark.parametrize(
    ("events", "leased", "state"),
    [
        (BEGUN, True, "running"),
        (BEGUN, False, "interrupted"),
        (PAUSED, False, "waiting"),
        (DECIDED, False, "waiting"),
        (DECIDED, True, "waiting"),
        ([*DECIDED, TurnResumed("here")], True, "running"),
        ([*DECIDED, TurnResumed("here")], False, "interrupted"),
        ([*BEGUN, TurnFinished("", "limit", Usage(), 1.0)], False, "finished"),
        ([*BEGUN, TurnFinished("", "limit", Usage(), 1.0)], True, "finished"),
    ],
)
async def test_the_state_of_a_turn(event_log: DatabaseLog, events: list[Event], leased: bool, state: str) -> None:
    await event_log.append("alice", "t1", 0, events)
    if leased:
        await event_log.take("alice")
    [turn] = await event_log.turns("alice")
    assert turn.state == state


async def test_only_the_latest_turn_of_a_session_runs(event_log: DatabaseLog) -> None:
    await event_log.take("alice")
    await event_log.append("alice", "t1", 0, BEGUN)
    await event_log.append("alice", "t2", 2, BEGUN)
    assert [(turn.turn, turn.state) for turn in await event_log.turns()] == [("t2", "running"), ("t1", "interrupted")]


async def test_the_latest_turn_is_first_over_all_sessions(event_log: DatabaseLog) -> None:
    await event_log.append("b", "t1", 0, BEGUN)
    await event_log.append("a", "t1", 0, BEGUN)
    await event_log.append("c", "t1", 0, BEGUN)
    assert [turn.session for turn in await event_log.turns()] == ["c", "a", "b"]
    assert [turn.session for turn in await event_log.turns("a")] == ["a"]
    assert await event_log.turns("nobody") == []


async def test_a_fork_of_a_waiting_turn_waits_and_one_of_a_running_turn_was_interrupted(event_log: DatabaseLog) -> None:
    await event_log.take("alice")
    await event_log.append("alice", "t1", 0, PAUSED)
    await event_log.fork("alice", 3, "waits")
    await event_log.fork("alice", 1, "interrupted")
    assert [turn.state for turn in await event_log.turns("waits")] == ["waiting"]
    assert [turn.state for turn in await event_log.turns("interrupted")] == ["interrupted"]


async def test_the_run_of_a_workflow_is_listed_like_a_turn(event_log: DatabaseLog) -> None:
    begun: list[Event] = [WorkflowStarted("report", "1", {"x": 1}), NodeStarted("a", ""), NodeFinished("a", "", 1, 0.1)]
    await event_log.append("good", "w", 0, [*begun, WorkflowFinished(2, "", 0.2)])
    await event_log.append("bad", "w", 0, [*begun, WorkflowFinished(None, "no", 0.2)])
    await event_log.append("left", "w", 0, begun)
    turns = {turn.session: turn for turn in await event_log.turns()}
    assert [(turns[name].state, turns[name].reason) for name in ("good", "bad", "left")] == [
        ("finished", "answer"),
        ("finished", "failed"),
        ("interrupted", None),
    ]
    assert {(turn.agent, turn.steps) for turn in turns.values()} == {("report", 1)}


async def test_calls_and_tokens_are_counted(event_log: DatabaseLog) -> None:
    said = StepFinished(1, (1,), "", (CALL, CALL), "end_of_turn", Usage(7, 3), 0.1)
    results: list[Event] = [CallFinished(1, ToolResult(CALL, "ok"), position) for position in range(2)]
    await event_log.append("alice", "t1", 0, [*BEGUN, said, *results])
    [turn] = await event_log.turns()
    assert (turn.steps, turn.calls, turn.usage) == (1, 2, Usage(7, 3))


async def test_an_empty_log_has_no_turns(log_address: str) -> None:
    log = open_log(log_address)
    assert await log.turns() == []
    await log.aclose()


async def test_turns_are_listed_without_their_events_being_decoded(event_log: DatabaseLog) -> None:
    events: list[Event] = [*BEGUN, StepFinished(1, (1,), "", (), "end_of_turn", Usage(7, 3), 0.1)]
    await event_log.append("alice", "t1", 0, events)
    before = await event_log.turns()
    await event_log.rewrite("alice", 3, [(seq, "no JSON") for seq in range(3)], dry_run=False)
    [turn] = await event_log.turns()
    assert [replace(turn, redacted=False)] == before
