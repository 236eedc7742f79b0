"""Grammars of one message that is a call or an answer of a type."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching import takes

from arriero.prompts.dialect import Dialect
from arriero.prompts.grammar import GrammarNotExpressible, Policy, answer_schema, call_grammar

NOW = {"name": "now", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}}
ANSWER = {
    "type": "object",
    "properties": {"town": {"type": "string"}, "mules": {"type": "integer"}},
    "required": ["town", "mules"],
}
CALLS = {
    ("llama3.1", "json"): '{"name": "now", "parameters": {"zone": "utc"}}',
    ("llama3.2", "pythonic"): "[now(zone='utc')]",
    ("llama4", "json"): '<|python_start|>{"name": "now", "parameters": {}}<|python_end|>',
}
SAID = '{"town": "Salta", "mules": 42}'


@pytest.mark.parametrize("way", CALLS, ids=" ".join)
@pytest.mark.parametrize(
    ("policy", "calls", "answers"), [("auto", True, True), ("none", False, True), ("required", True, False)]
)
def test_a_message_is_a_call_or_an_answer_as_the_policy_has_it(
    way: tuple[str, Any],
    policy: Policy,
    calls: bool,
    answers: bool,
) -> None:
    grammar = call_grammar(Dialect.get(way[0]), [NOW], policy=policy, syntax=way[1], answer=ANSWER)
    assert takes(grammar, CALLS[way]) == calls
    assert takes(grammar, SAID) == answers
    for text in ("It is noon.", "", '{"town": "Salta"}', SAID + CALLS[way], CALLS[way] + SAID):
        assert not takes(grammar, text), text


def test_without_tools_the_answer_is_all_there_is() -> None:
    grammar = call_grammar(Dialect.get("llama3.1"), answer=ANSWER)
    assert takes(grammar, SAID)
    assert not takes(grammar, CALLS["llama3.1", "json"])


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), st.integers(-999, 999))
def test_every_value_of_the_type_can_be_written(town: str, mules: int) -> None:
    grammar = call_grammar(Dialect.get("llama3.1"), [NOW], answer=ANSWER)
    assert takes(grammar, json.dumps({"town": town, "mules": mules}).replace("<|", "\\u003c|"))


def test_references_of_the_answer_and_of_tools_do_not_mix() -> None:
    def referring(kind: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"value": {"$ref": "#/$defs/Value"}},
            "required": ["value"],
            "$defs": {"Value": {"type": kind}},
        }

    tool = {"name": "keep", "parameters": referring("integer")}
    grammar = call_grammar(Dialect.get("llama3.1"), [tool], answer=referring("boolean"))
    assert takes(grammar, '{"name": "keep", "parameters": {"value": 1}}')
    assert takes(grammar, '{"value": true}')
    assert not takes(grammar, '{"value": 1}')
    assert not takes(grammar, '{"name": "keep", "parameters": {"value": true}}')


def test_an_answer_that_cannot_be_expressed_is_noted_or_refused() -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    assert "uniqueItems" in call_grammar(Dialect.get("llama3.1"), [NOW], answer=schema).notes[0]
    with pytest.raises(GrammarNotExpressible, match="the answer"):
        call_grammar(Dialect.get("llama3.1"), [NOW], answer=schema, strict=True)


def test_the_schema_of_a_type_is_that_of_what_is_read() -> None:
    assert answer_schema(dict[str, int]) == {"additionalProperties": {"type": "integer"}, "type": "object"}
