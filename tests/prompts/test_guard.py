"""Verdicts are asked for in the published words, and only clear ones count."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import parsed

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage, UnreadableVerdict
from arriero.prompts.guard import GuardVerdict, parse_guard, render_guard
from arriero.prompts.messages import Message


@pytest.mark.parametrize("vector", parsed("llama-guard") + parsed("llama-guard", level="lenient"))
def test_a_verdict_is_read_or_refused(vector: dict[str, Any]) -> None:
    expect = vector["expect"]
    if expect["verdict"] == "error":
        with pytest.raises(UnreadableVerdict, match="treat the message as unsafe"):
            parse_guard(vector["text"])
    else:
        assert parse_guard(vector["text"]) == GuardVerdict(expect["verdict"] == "safe", tuple(expect["categories"]))


@given(answer=st.text() | st.text(st.sampled_from("unsafeS12, \n<|")))
def test_only_safe_alone_is_safe(answer: str) -> None:
    try:
        verdict = parse_guard(answer)
    except UnreadableVerdict:
        return
    assert verdict.safe == (answer.strip().lower() == "safe")


def test_the_last_speaker_is_judged() -> None:
    question, answer = Message("user", "hi"), Message("assistant", "hello")
    assert "ONLY THE LAST User message" in render_guard([question]).text
    assert "ONLY THE LAST Agent message" in render_guard([question, answer]).text


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "conversation is empty"),
        ([Message("system", "be good"), Message("user", "hi")], "message 0: .* expected user, got system"),
        ([Message("user", "a"), Message("assistant", "b"), Message("tool", "c")], "message 2: .* got tool"),
        ([Message("user", ["parts"])], "message 0: content must be text"),
    ],
)
def test_a_conversation_that_cannot_be_judged_is_refused(messages: list[Message], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        render_guard(messages)


def test_a_guard_prompt_takes_no_tools_and_no_continuation() -> None:
    guard = Dialect.get("llama-guard-3-8b")
    with pytest.raises(InvalidMessage, match="no place for tools"):
        guard.render([Message("user", "hi")], [{"name": "f"}])
    with pytest.raises(InvalidMessage, match="not continued"):
        guard.render_delta([Message("user", "hi")])


def test_a_guard_model_makes_no_calls() -> None:
    got = Dialect.get("llama-guard-3-8b").parse('{"name": "f", "parameters": {}}<|eot_id|>')
    assert (got.content, got.tool_calls) == ('{"name": "f", "parameters": {}}', ())
