import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.prompts.messages import ImagePart, Message, Parts, TextPart, ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.engine import Usage
from arriero.stack.event_json import SCHEMA_VERSION, NewerEvent, UnreadableEvent, UnstorableEvent, from_json, to_json
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    HandedOff,
    Limit,
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
from arriero.stack.shields import Verdict
from arriero.tools import Artifact, ToolResult

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=0)
counts = st.integers(0, 2**40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
ids = st.lists(counts, max_size=5).map(tuple)
usages = st.builds(Usage, counts, counts, st.none() | counts)
calls = st.builds(ToolCall, texts, st.dictionaries(texts, json_values, max_size=3), texts)
parts = st.builds(TextPart, texts) | st.builds(ImagePart, texts, st.none() | counts, st.none() | counts)
ends = st.sampled_from(["eom", "eot", None])
messages = st.one_of(
    st.builds(Message, st.just("tool"), json_values, st.just(()), ends),
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant"]),
        texts | st.lists(parts, max_size=3).map(tuple),
        st.lists(calls, max_size=2).map(tuple),
        ends,
    ),
)
artifacts = st.lists(st.builds(Artifact, texts, texts, texts, counts), max_size=2).map(tuple)
results = st.builds(ToolResult, calls, json_values, st.none() | texts, numbers, st.none() | texts, artifacts)
verdicts = st.builds(Verdict, st.booleans(), st.lists(texts, max_size=3).map(tuple), st.none() | numbers, texts)
declarations = st.lists(st.dictionaries(texts, json_values, max_size=2), max_size=2).map(tuple)
asked = st.sampled_from(["approval", "interrupted", "answer"])
decisions = st.builds(Decision, st.sampled_from(["run", "deny", "answer"]), texts, by=texts) | st.builds(
    Decision.edit, st.dictionaries(texts, json_values, max_size=2)
)
some_messages = st.lists(messages, max_size=2).map(tuple)
reasons = st.sampled_from(["answer", "refused", "limit", "failed", "cancelled"])
by_kind: dict[type, st.SearchStrategy[Event]] = {
    TurnStarted: st.builds(TurnStarted, some_messages, texts, texts, declarations, st.just(("brave",)), texts, texts),
    PromptAppended: st.builds(PromptAppended, counts, ids),
    TextDelta: st.builds(TextDelta, counts, texts),
    StepFinished: st.builds(
        StepFinished, counts, ids, texts, st.lists(calls, max_size=2).map(tuple), texts, usages, numbers
    ),
    CallStarted: st.builds(CallStarted, counts, calls, counts),
    CallProgressed: st.builds(CallProgressed, counts, calls, texts, st.none() | numbers, st.none() | numbers),
    CallFinished: st.builds(CallFinished, counts, results, counts),
    VerdictGiven: st.builds(VerdictGiven, st.sampled_from(["input", "output"]), verdicts, numbers, texts),
    MessageAdded: st.builds(MessageAdded, counts, messages, st.sampled_from(["user", "output", "hook"])),
    DecisionAsked: st.builds(DecisionAsked, counts, counts, calls, asked, texts, texts),
    DecisionGiven: st.builds(DecisionGiven, counts, counts, decisions),
    TurnPaused: st.builds(TurnPaused, st.lists(texts, max_size=2).map(tuple), usages, numbers),
    TurnResumed: st.builds(TurnResumed, texts),
    TranscriptRewritten: st.builds(
        TranscriptRewritten,
        st.sampled_from(["compaction", "tools", "handoff"]),
        texts,
        some_messages,
        ids,
        declarations,
        st.just(("brave",)),
        counts,
    ),
    HandedOff: st.builds(HandedOff, counts, texts),
    SessionForked: st.builds(SessionForked, texts, counts),
    LimitReached: st.builds(LimitReached, st.sampled_from(get_args(Limit)), texts),
    TurnFailed: st.builds(TurnFailed, texts, texts),
    TurnFinished: st.builds(TurnFinished, texts, reasons, usages, numbers),
    WorkflowStarted: st.builds(WorkflowStarted, texts, texts, json_values, st.dictionaries(texts, texts, max_size=2)),
    NodeStarted: st.builds(NodeStarted, texts, texts, counts, counts),
    NodeFinished: st.builds(NodeFinished, texts, texts, json_values, numbers),
    NodeFailed: st.builds(NodeFailed, texts, texts, counts, texts, texts),
    WorkflowPaused: st.builds(WorkflowPaused, st.lists(texts, max_size=2).map(tuple), numbers),
    WorkflowFinished: st.builds(WorkflowFinished, json_values, texts, numbers),
}
events = st.one_of(*by_kind.values())


def test_every_kind_of_event_is_tried() -> None:
    assert by_kind.keys() == set(get_args(Event))


@settings(deadline=None)
@given(events)
def test_an_event_survives_storage_unchanged(event: Event) -> None:
    restored = from_json(to_json(event))
    assert restored == event
    assert to_json(restored) == to_json(event)


def test_numbers_keep_their_kind() -> None:
    stored = from_json(to_json(CallStarted(1, ToolCall("f", {"a": 1, "b": 1.0, "c": True}))))
    assert isinstance(stored, CallStarted)
    assert [type(value) for value in stored.call.arguments.values()] == [int, float, bool]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"v": 1, "kind": "LimitReached"}',
        '{"v": 1, "kind": "Unheard", "limit": "steps"}',
        '{"v": 99, "kind": "LimitReached", "limit": "steps", "detail": ""}',
        '{"v": 1, "kind": [], "limit": "steps", "detail": ""}',
        '{"v": 2, "kind": "MessageAdded", "step": 1, "message": {"role": "user", "content": [{"text": 5}]}}',
        '{"v": 2, "kind": "WorkflowFinished", "output": ' + "[" * 100_000,
    ],
)
def test_what_is_no_event_of_this_version_is_refused(line: str) -> None:
    with pytest.raises(UnreadableEvent):
        from_json(line)


@pytest.mark.parametrize("content", [(), (TextPart("Look"), ImagePart("https://example.org/mule.png", 2, 1))])
def test_a_message_in_parts_that_came_while_the_turn_ran_is_read_as_it_was(content: Parts) -> None:
    added = MessageAdded(1, Message("user", content))
    assert from_json(to_json(added)) == added


def test_an_event_of_a_later_release_says_so() -> None:
    with pytest.raises(NewerEvent, match="version 3: this release reads up to 2"):
        from_json('{"v": 3, "kind": "Unheard"}')


@pytest.mark.parametrize("detail", ["\ud800", object()])
def test_what_json_cannot_carry_is_a_typed_error(detail: Any) -> None:
    with pytest.raises(UnstorableEvent, match="a LimitReached that no JSON can carry"):
        to_json(LimitReached("steps", detail))


def test_a_turn_that_was_logged_without_its_vocabulary_is_still_read() -> None:
    started = TurnStarted((Message("user", "Hello"),), "scripted", "llama3.1")
    stored = json.loads(to_json(started))
    del stored["vocabulary"]
    assert from_json(json.dumps(stored)) == started


def test_stored_events_are_one_line_and_say_their_version() -> None:
    line = to_json(TurnFinished("two\nlines", "answer", Usage(), 0.5))
    assert "\n" not in line
    assert json.loads(line)["v"] == SCHEMA_VERSION
