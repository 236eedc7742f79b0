"""A vector that comes out as expected passes; one that does not is told apart where it begins to differ."""

import json
from typing import Any

import pytest

from arriero.prompts.check import Checked, Vocabularies, check_parses, check_renders, tally
from arriero.prompts.dialect import Dialect
from arriero.prompts.formats import read_conversation
from arriero.prompts.tokens import Tokenizer

INPUT = {"messages": [{"role": "user", "content": "What is 12 times 7?"}], "options": {"date_string": "26 Jul 2024"}}
PROMPT = Dialect.get("llama3.1").render(*read_conversation(INPUT))
RENDER = {"id": 1, "format": "hf-llama-3.1", "generation": "3.1", "input": INPUT, "tags": ["basic"]}
CALL = '{"name": "f", "parameters": {"n": 1}}<|eot_id|>'
EXPECT = {
    "content": "",
    "tool_calls": [{"name": "f", "arguments": {"n": 1}}],
    "end": "end_of_turn",
    "kind": "tool_calls",
}
PARSE = {"id": 2, "dialect": "llama3-json", "text": CALL, "tools": None, "level": "must", "tags": ["json"]}


def rendered(**fields: Any) -> Checked:
    (checked,) = check_renders([json.dumps(RENDER | fields)], Vocabularies())
    return checked


def parsed(**fields: Any) -> Checked:
    (checked,) = check_parses([json.dumps(PARSE | fields)], Vocabularies())
    return checked


def test_a_render_that_comes_out_as_expected_passes(meta_tokenizer: Tokenizer) -> None:
    checked = rendered(expected=PROMPT.text, token_ids=PROMPT.encode(meta_tokenizer))
    assert checked == Checked(1, "hf-llama-3.1", ("basic",), ())


def test_a_text_that_differs_is_shown_from_where_it_does() -> None:
    (difference,) = rendered(expected=PROMPT.text.replace("times", "plus")).differences
    at = PROMPT.text.index("times")
    assert difference.field == f"expected, from character {at}"
    assert "What is 12 plus 7?" in difference.expected
    assert "What is 12 times 7?" in difference.got


def test_ids_that_differ_are_shown_from_where_they_do(meta_tokenizer: Tokenizer) -> None:
    ids = PROMPT.encode(meta_tokenizer)
    (difference,) = rendered(expected=PROMPT.text, token_ids_text_parsed=[*ids[:5], 7, *ids[6:]]).differences
    assert difference.field == "token_ids_text_parsed, from item 5"
    assert json.loads(difference.expected)[2] == 7
    assert json.loads(difference.got)[2] == ids[5]


def test_safe_ids_count_where_a_vector_has_both(meta_tokenizer: Tokenizer) -> None:
    ids = PROMPT.encode(meta_tokenizer)
    assert not rendered(expected=PROMPT.text, token_ids_text_parsed=[1], token_ids_safe=ids).differences


def test_ids_of_a_vocabulary_that_is_not_there_are_not_compared() -> None:
    assert rendered(expected=PROMPT.text, generation="2", token_ids=[1]).not_compared == ("token_ids",)


def test_a_vision_mask_is_compared(meta_tokenizer: Tokenizer) -> None:
    given = {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]}
    prompt = Dialect.get("llama3.2-vision", "meta").render(*read_conversation(given))
    vector = {"format": "meta-llama3", "input": given, "expected": prompt.text}
    assert not rendered(**vector, vision_mask=[[5, -1]]).differences
    (difference,) = rendered(**vector, vision_mask=[[5, 9]]).differences
    assert (difference.field, difference.got) == ("vision_mask, from item 0", "[[5, -1]]")
    assert rendered(**vector, generation="2", vision_mask=[[5, -1]]).not_compared == ("vision_mask",)


def test_a_given_tokenizer_is_used_where_it_fits(tokenizer: Tokenizer) -> None:
    line = json.dumps(RENDER | {"expected": PROMPT.text, "token_ids": PROMPT.encode(tokenizer)})
    (checked,) = check_renders([line], Vocabularies(tokenizer))
    assert not checked.differences
    assert Vocabularies(tokenizer).find("llama3") is tokenizer
    assert Vocabularies(tokenizer).find("llama4") is not tokenizer


def test_a_refusal_is_expected_where_the_text_is_null() -> None:
    empty = {"input": {"messages": []}}
    assert not rendered(**empty, expected=None).differences
    assert rendered(**empty, expected="x").differences[0].field == "error"
    assert rendered(expected=None).differences[0].expected == "a refusal"


def test_a_format_that_does_not_exist_refuses_nothing() -> None:
    (difference,) = rendered(format="hf-llama-9", expected=None).differences
    assert "unknown format" in difference.got


def test_a_parse_that_comes_out_as_expected_passes() -> None:
    assert parsed(expect=EXPECT) == Checked(2, "llama3-json", ("json",), ())


def test_any_content_may_come_where_it_does_not_matter() -> None:
    assert not parsed(expect=EXPECT | {"content": {"any": True}}).differences


@pytest.mark.parametrize("number", [1.0, True, "1"])
def test_values_of_different_kinds_differ(number: Any) -> None:
    calls = [{"name": "f", "arguments": {"n": number}}]
    (difference,) = parsed(expect=EXPECT | {"tool_calls": calls}).differences
    assert difference.field == "tool_calls, from item 0"


def test_a_call_too_many_differs() -> None:
    (difference,) = parsed(expect=EXPECT | {"tool_calls": []}).differences
    assert '"name": "f"' in difference.got


@pytest.mark.parametrize(("text", "verdict"), [("unsafe\nS1", "unsafe"), ("safe", "safe"), ("Sure!", "error")])
def test_verdicts_are_compared(text: str, verdict: str) -> None:
    expect = {"verdict": verdict, "categories": ["S1"] if verdict == "unsafe" else []}
    assert not parsed(dialect="llama-guard", text=text, expect=expect).differences
    assert parsed(dialect="llama-guard", text=text, expect=expect | {"verdict": "x"}).differences


def test_ids_are_read_with_the_vocabulary_that_the_vector_names(meta_tokenizer: Tokenizer) -> None:
    ids = [*meta_tokenizer.encode(CALL.removesuffix("<|eot_id|>")), 128009]
    vector = {"id": 3, "dialect": "token-ids", "tokenizer": "llama3", "token_ids": ids, "expect": EXPECT}
    (checked,) = check_parses([json.dumps(vector)], Vocabularies())
    assert not checked.differences


def test_lenient_vectors_are_counted_apart() -> None:
    checked = [parsed(expect=EXPECT), parsed(expect={}), parsed(expect=EXPECT, level="lenient")]
    scores = tally(checked, lambda one: [one.format])
    assert {name: (score.passed, score.total) for name, score in scores.items()} == {
        "llama3-json": (1, 2),
        "llama3-json (lenient)": (1, 1),
    }


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "line 1 must be a JSON object"),
        ('{"id": 1}', "nothing to compare with"),
        ('{"id": 1, "format": "hf-llama-3.1", "dialect": "llama3.1", "expected": "x", "expect": {"end": "x"}}', "'"),
    ],
)
def test_a_line_that_is_no_vector_is_a_finding(line: str, got: str) -> None:
    for check in (check_renders, check_parses):
        (checked,) = check([line], Vocabularies())
        assert got in checked.differences[0].got


def test_a_vector_that_breaks_the_check_is_a_finding_and_the_next_is_run() -> None:
    lines = [json.dumps(RENDER | {"expected": "x", "token_ids": ["not", 1]}), json.dumps(RENDER | {"expected": None})]
    first, second = check_renders(lines, Vocabularies())
    assert first.differences[0].got.startswith("TypeError: ")
    assert second.differences[0].field == "error"
