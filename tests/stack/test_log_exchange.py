"""Export and import, redaction and retention, on both stores."""

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import run, scripted_stack

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.engine import Usage
from arriero.stack.event_json import kind_of, to_json
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    HandedOff,
    LimitReached,
    MessageAdded,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    PromptAppended,
    SessionForked,
    StepFinished,
    TextDelta,
    TranscriptRewritten,
    TurnFailed,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    VerdictGiven,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)
from arriero.stack.log import (
    DatabaseLog,
    InvalidExport,
    InvalidRetention,
    LogConflict,
    LogError,
    NewerLog,
    Retention,
    SessionBusy,
    SessionRedacted,
    SQLiteLog,
    UnknownSession,
    export_session,
    import_sessions,
    open_log,
    prune,
    redacted,
)
from arriero.stack.shields import Verdict
from arriero.stack.terms import Terms
from arriero.tools import Artifact, ToolResult

pytestmark = pytest.mark.anyio

SECRET = "s3cret"
IDS = (4711, 4712)
CALL = ToolCall("pay", {SECRET: SECRET}, SECRET)
ASKED = Message("user", f"My code is {SECRET}")
TOOLS = ({"type": "function", "function": {"name": "pay", "description": SECRET}},)
RESULT = ToolResult(CALL, {"got": SECRET}, SECRET, 0.5, SECRET, (Artifact(SECRET, SECRET, "text/plain", 1),))
EVERY: list[Event] = [
    TurnStarted((ASKED, Message("assistant", SECRET, (CALL,))), "llama", "llama3.1", TOOLS, ("brave",), "f", "clerk"),
    PromptAppended(1, IDS),
    TextDelta(1, SECRET),
    StepFinished(1, IDS, SECRET, (CALL,), "end_of_turn", Usage(7, 3, 2), 0.5),
    CallStarted(1, CALL),
    CallProgressed(1, CALL, SECRET, 1.0, 2.0),
    CallFinished(1, RESULT),
    VerdictGiven("output", Verdict(False, ("S9",), 0.9, SECRET), 0.5, "llama-guard"),
    MessageAdded(1, ASKED),
    DecisionAsked(1, 0, CALL, "approval", SECRET),
    DecisionGiven(1, 0, Decision.edit({SECRET: SECRET}, by=SECRET)),
    DecisionGiven(1, 0, Decision.deny(SECRET)),
    TurnPaused(("1.0",), Usage(7, 3), 0.5),
    TurnResumed("host:1"),
    TranscriptRewritten("compaction", "drop", (ASKED,), IDS, TOOLS, (), 3),
    HandedOff(1, "other"),
    SessionForked("alice", 3),
    LimitReached("repeats", SECRET),
    TurnFailed("ToolError", SECRET),
    WorkflowStarted("report", "1", {SECRET: SECRET}, {"a": "f"}),
    NodeStarted("a", "0"),
    NodeFinished("a", "0", SECRET, 0.5),
    NodeFailed("a", "0", 1, "ToolError", SECRET),
    WorkflowPaused(("a",), 0.5),
    WorkflowFinished(SECRET, SECRET, 0.5),
    TurnFinished(SECRET, "answer", Usage(7, 3, 2), 0.5),
]
TURN: list[Event] = [EVERY[0], EVERY[1], EVERY[3], EVERY[-1]]


async def exported(log: DatabaseLog, *sessions: str) -> list[str]:
    return [line for session in sessions for line in [line async for line in export_session(log, session)]]


async def events_of(log: DatabaseLog, session: str) -> list[Event]:
    return [record.event for record in await log.read(session)]


def test_every_kind_of_event_is_tried_here() -> None:
    assert {kind_of(event) for event in EVERY} == {kind.__name__ for kind in get_args(Event)}


@pytest.mark.parametrize("event", EVERY, ids=kind_of)
def test_a_redacted_event_keeps_its_kind_and_names_and_loses_what_was_said(event: Event) -> None:
    bare = redacted(event)
    text = to_json(bare)
    assert kind_of(bare) == kind_of(event)
    assert SECRET not in text
    assert not any(str(id_) in text for id_ in IDS)
    assert redacted(bare) == bare
    assert [name in text for name in ("pay", "llama-guard", "S9", "report", "ToolError", "clerk")] == [
        name in to_json(event) for name in ("pay", "llama-guard", "S9", "report", "ToolError", "clerk")
    ]


async def test_a_session_goes_from_one_log_to_another_unchanged(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, EVERY[:8])
    await event_log.append("alice", "t2", 8, EVERY[8:])
    await event_log.append("bob", "t3", 0, TURN)
    lines = await exported(event_log, "alice", "bob")
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    other = SQLiteLog(":memory:")
    assert await import_sessions(other, lines) == ["alice", "bob"]
    assert await other.read("alice") == await event_log.read("alice")
    assert await exported(other, "alice", "bob") == lines
    assert await other.turns() == await event_log.turns()
    renamed = await import_sessions(event_log, lines, rename=lambda name: f"{name} again")
    assert renamed == ["alice again", "bob again"]
    assert await events_of(event_log, "alice again") == EVERY


async def test_a_session_that_exists_is_not_imported(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, TURN)
    await event_log.append("bob", "t1", 0, TURN)
    lines = await exported(event_log, "alice", "bob")
    await event_log.append("alice", "t2", len(TURN), TURN)
    with pytest.raises(LogConflict, match=r"'bob' exists already.*rename.*imported before: 'alice2'"):
        await import_sessions(event_log, lines, rename=lambda name: "alice2" if name == "alice" else name)
    assert await event_log.length("alice") == 2 * len(TURN)


async def test_long_sessions_are_imported_whole(event_log: DatabaseLog) -> None:
    log = SQLiteLog(":memory:")
    await log.append("alice", "t1", 0, TURN[:1])
    for start in range(1, 1000, 100):
        await log.append("alice", "t1", start, [PromptAppended(1, (number,)) for number in range(100)])
    await import_sessions(event_log, export_session(log, "alice"))
    assert await event_log.read("alice") == await log.read("alice")


NESTED: object = 1
for _ in range(300):
    NESTED = [NESTED]


def changed(line: str, **fields: object) -> str:
    return json.dumps({name: value for name, value in (json.loads(line) | fields).items() if value is not ...})


@pytest.mark.parametrize(
    ("number", "fields", "said"),
    [
        (0, {"format": "other"}, "begin a session"),
        (0, {"version": "1"}, "no version"),
        (0, {"events": 0}, "at least one event"),
        (0, {"events": True}, "'events' is bool"),
        (0, {"session": ...}, "no 'session'"),
        (0, {"redacted": 0}, "'redacted' is int"),
        (2, {"seq": 2}, "event 2 where event 1 should be"),
        (2, {"seq": "1"}, "'seq' is str"),
        (2, {"time": float("nan")}, "no time"),
        (2, {"time": 10**400}, "no time"),
        (0, {"session": "\ud800"}, "'session' has a lone surrogate"),
        (2, {"turn": "\ud800"}, "'turn' has a lone surrogate"),
        (2, {"event": {"v": 2, "kind": "LimitReached", "limit": "steps", "detail": "\ud800"}}, "no JSON can carry"),
        (2, {"event": {"v": 2, "kind": "WorkflowFinished", "output": NESTED, "error": "", "duration": 1}}, "no JSON"),
        (2, {"turn": 5}, "'turn' is int"),
        (2, {"event": []}, "'event' is list"),
        (2, {"event": {"v": 2, "kind": "Unheard"}}, "Unheard"),
        (2, {"event": {"v": 2, "kind": "LimitReached"}}, "does not have the fields"),
        (2, {"event": {"kind": "LimitReached"}}, "no version"),
    ],
)
async def test_a_line_that_is_wrong_is_named_and_nothing_of_its_session_is_written(
    event_log: DatabaseLog, number: int, fields: dict[str, object], said: str
) -> None:
    source = SQLiteLog(":memory:")
    await source.append("alice", "t1", 0, TURN)
    lines = await exported(source, "alice")
    lines[number] = changed(lines[number], **fields)
    with pytest.raises(InvalidExport, match=f"line {number + 1} of the export.*{said}"):
        await import_sessions(event_log, lines)
    assert await event_log.sessions() == []


@pytest.mark.parametrize("text", ["", "no json", "[]", "null", '"text"', '{"format": 1}', "\ud800", "[" * 100_000])
async def test_what_is_no_export_is_a_typed_error(text: str) -> None:
    with pytest.raises(InvalidExport, match="line 1 of the export"):
        await import_sessions(SQLiteLog(":memory:"), [text or "x"])
    assert await import_sessions(SQLiteLog(":memory:"), []) == []


async def test_an_export_that_was_cut_off_is_not_imported(event_log: DatabaseLog) -> None:
    source = SQLiteLog(":memory:")
    await source.append("alice", "t1", 0, TURN)
    lines = await exported(source, "alice")
    for kept in range(1, len(lines)):
        with pytest.raises(InvalidExport, match=f"{kept - 1} of {len(TURN)} events"):
            await import_sessions(event_log, lines[:kept])
    assert await event_log.sessions() == []


@pytest.mark.parametrize(("number", "fields"), [(0, {"version": 2}), (1, {"event": {"v": 99, "kind": "Unheard"}})])
async def test_an_export_of_a_later_release_says_so(number: int, fields: dict[str, object]) -> None:
    source = SQLiteLog(":memory:")
    await source.append("alice", "t1", 0, TURN)
    lines = await exported(source, "alice")
    lines[number] = changed(lines[number], **fields)
    with pytest.raises(NewerLog, match="use the release that wrote it"):
        await import_sessions(SQLiteLog(":memory:"), lines)


async def test_an_unknown_session_cannot_be_exported(event_log: DatabaseLog) -> None:
    with pytest.raises(UnknownSession):
        await exported(event_log, "nobody")


async def test_what_is_old_is_deleted_or_redacted(event_log: DatabaseLog, log_address: str) -> None:
    waiting: list[Event] = [EVERY[0], EVERY[9], EVERY[12]]
    for session, events in (("a", TURN), ("audit-1", TURN), ("waiting", waiting), ("running", TURN[:2])):
        await event_log.append(session, "t1", 0, events)
    await event_log.take("running")
    now = time.time()
    policy = Retention(delete_after=100.0, redact_after=10.0, keep=("audit-*",))
    nothing = await prune(event_log, policy, now=now + 5)
    assert (nothing.deleted, nothing.redacted, nothing.bytes) == ((), (), 0)

    planned = await prune(event_log, policy, now=now + 50, dry_run=True)
    assert await events_of(event_log, "a") == TURN
    done = await prune(event_log, policy, now=now + 50)
    assert done == planned
    assert (done.deleted, done.redacted, done.busy, done.events) == ((), ("a",), (), 0)
    assert await events_of(event_log, "a") == [redacted(event) for event in TURN]
    [turn] = await event_log.turns("a")
    assert (turn.redacted, turn.state, turn.agent, turn.usage) == (True, "finished", "clerk", Usage(7, 3, 2))
    assert (await prune(event_log, policy, now=now + 50)).redacted == ()

    planned = await prune(event_log, policy, now=now + 500, dry_run=True)
    done = await prune(event_log, policy, now=now + 500)
    assert done == planned
    assert (done.deleted, done.redacted, done.events) == (("a",), (), len(TURN))
    assert done.bytes == sum(len(to_json(redacted(event))) for event in TURN)
    assert await event_log.sessions() == ["audit-1", "running", "waiting"]
    await event_log.append("a", "t2", 0, TURN)
    await event_log.take("a")


async def test_redaction_says_how_many_bytes_it_saved(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, TURN)
    done = await prune(event_log, Retention(redact_after=0.0), now=time.time() + 1)
    assert done.bytes == sum(len(to_json(event)) - len(to_json(redacted(event))) for event in TURN)


async def test_a_redacted_session_cannot_go_on_but_can_be_exported(event_log: DatabaseLog, log_address: str) -> None:
    await event_log.append("alice", "t1", 0, TURN)
    await prune(event_log, Retention(redact_after=0.0), now=time.time() + 1)
    other = open_log(log_address)
    for log in (event_log, other):
        with pytest.raises(SessionRedacted, match="begin another session"):
            await log.take("alice")
        with pytest.raises(SessionRedacted):
            await log.fork("alice", 1, "bob")
    lines = await exported(event_log, "alice")
    await import_sessions(event_log, lines, rename=lambda _: "copy")
    with pytest.raises(SessionRedacted):
        await event_log.take("copy")
    assert [turn.redacted for turn in await event_log.turns("copy")] == [True]
    await other.aclose()


async def test_no_turn_begins_or_goes_on_in_a_redacted_session(event_log: DatabaseLog) -> None:
    stack = scripted_stack("Hi.<|eot_id|>", log=event_log)
    await run(stack, "Hello", session="alice")
    await prune(event_log, Retention(redact_after=0.0), now=time.time() + 1)
    length = await event_log.length("alice")
    with pytest.raises(SessionRedacted):
        await run(stack, "Hello again", session="alice")
    with pytest.raises(SessionRedacted):
        [event async for event in stack.resume("alice", Terms())]
    with pytest.raises(SessionRedacted):
        await stack.fork("alice")
    assert await event_log.length("alice") == length


async def test_a_session_that_somebody_takes_up_meanwhile_is_not_pruned(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, TURN)
    await event_log.take("alice")  # a turn that has logged nothing yet
    done = await prune(event_log, Retention(delete_after=0.0), now=time.time() + 1)
    assert (done.deleted, done.busy) == ((), ("alice",))
    await event_log.release("alice")
    with pytest.raises(SessionBusy, match="continued meanwhile"):
        await event_log.delete("alice", len(TURN) - 1)
    assert await events_of(event_log, "alice") == TURN
    await event_log.take("alice")


def on_disk(folder: Path) -> bool:
    return any(SECRET.encode() in file.read_bytes() for file in folder.iterdir())


async def test_nothing_that_was_removed_stays_in_the_file(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.sqlite")
    for session in "abc":
        await log.append(session, "t1", 0, [LimitReached("steps", f"{SECRET * 2000}")] * 3)
        await log.append(session, "t1", 3, TURN)
    assert on_disk(tmp_path)
    await prune(log, Retention(redact_after=0.0, keep=["c"]), now=time.time() + 1)
    await prune(log, Retention(delete_after=0.0), now=time.time() + 1)
    assert not on_disk(tmp_path)
    await log.aclose()


@pytest.mark.parametrize("age", [-1.0, float("nan")])
def test_an_age_below_nothing_is_refused(age: float) -> None:
    with pytest.raises(InvalidRetention, match="never"):
        Retention(delete_after=age)


def test_one_text_is_no_list_of_names_to_keep() -> None:
    with pytest.raises(InvalidRetention, match=r"give several, \['audit-\*'\]"):
        Retention(delete_after=1.0, keep="audit-*")


ages = st.none() | st.integers(0, 100)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sessions=st.lists(st.tuples(st.sampled_from(["done", "waits", "left"]), st.integers(0, 100)), max_size=5),
    delete_after=ages,
    redact_after=ages,
)
def test_pruning_does_what_it_plans_and_nothing_twice(
    log_address: str, sessions: Sequence[tuple[str, int]], delete_after: int | None, redact_after: int | None
) -> None:
    async def check() -> None:
        log, mark, now = open_log(log_address), secrets.token_hex(4), 1000.0
        kinds: dict[str, list[Event]] = {"done": TURN, "left": TURN[:3], "waits": [EVERY[0], EVERY[12]]}
        source = SQLiteLog(":memory:")
        for number, (kind, age) in enumerate(sessions):
            await source.append(f"{mark}{number}", "t", 0, kinds[kind])
            lines = await exported(source, f"{mark}{number}")
            aged = [lines[0], *(changed(line, time=now - age) for line in lines[1:])]
            await import_sessions(log, aged)
        policy = Retention(delete_after, redact_after)
        planned = await prune(log, policy, now=now, dry_run=True)
        assert await prune(log, policy, now=now) == planned
        assert (await prune(log, policy, now=now)).events == 0
        for number, (kind, age) in enumerate(sessions):
            deleted = kind != "waits" and delete_after is not None and age > delete_after
            bare = kind != "waits" and redact_after is not None and age > redact_after
            left = await events_of(log, f"{mark}{number}")
            assert left == ([] if deleted else [redacted(event) if bare else event for event in kinds[kind]])
        await log.aclose()

    anyio.run(check)


async def test_a_damaged_event_stops_redaction_and_not_deletion(event_log: DatabaseLog) -> None:
    await event_log.append("alice", "t1", 0, TURN)
    await event_log.rewrite("alice", len(TURN), [(0, '{"v": 1')], dry_run=False)
    with pytest.raises(LogError, match="damaged"):
        await event_log.read("alice")
    done = await prune(event_log, Retention(delete_after=0.0), now=time.time() + 1)
    assert done.deleted == ("alice",)
