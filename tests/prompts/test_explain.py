"""A prompt taken apart is the same prompt: every character and every id, each with where it came from."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.explain import Explanation, explain, explain_lines, explanation_page
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.tokens import Tokenizer

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": {"a": 1}}}
TALK = (
    Message("system", "Be brief."),
    Message("user", "Weather in Paris?"),
    Message("assistant", tool_calls=(ToolCall("get_weather", {"city": "Paris"}),)),
    Message("tool", {"sky": "clear"}),
    Message("assistant", "Sunny."),
    Message("user", "Thanks"),
)
OPTIONS = RenderOptions(date_string="01 Jan 2026")


def origins(explanation: Explanation) -> list[tuple[str, str]]:
    pieces = [piece for block in explanation.blocks for piece in block.pieces]
    return [(piece.text, piece.origin) for piece in pieces if piece.kind == "content"]


@pytest.mark.parametrize("name", ["llama3.1", "llama3.2", "llama4"])
def test_each_part_has_its_origin(name: str) -> None:
    explanation = explain(Dialect.get(name).render(TALK, [TOOL], OPTIONS))
    assert [(block.role, block.message) for block in explanation.blocks] == [
        ("system", 0), ("user", 1), ("assistant", 2), ("ipython", 3), ("assistant", 4), ("user", 5),
        ("assistant", None),
    ]  # fmt: skip
    found = dict(origins(explanation))
    assert found.pop("01 Jan 2026", "options") == "options"
    assert found.pop("Be brief.") == "message 0"
    assert found.pop("Weather in Paris?") == "message 1"
    assert found.pop(json.dumps(TOOL, indent=4)) == "tool get_weather"
    assert found.pop("get_weather") == found.pop('{"city": "Paris"}') == "message 2"
    assert found.pop('{"sky": "clear"}') == "message 3"
    assert (found.pop("Sunny."), found.pop("Thanks"), found) == ("message 4", "message 5", {})


@pytest.mark.parametrize("name", ["llama3.1", "llama3.2", "llama4"])
def test_words_of_several_origins_in_one_content_are_told_apart(name: str, meta: Any) -> None:
    tokenizer = meta("llama4" if name == "llama4" else "llama3")
    prompt = Dialect.get(name, "meta").render(TALK[:2], [TOOL], OPTIONS)
    explanation = explain(prompt, tokenizer)
    assert [block.message for block in explanation.blocks if block.role == "system"] == [0]
    found = origins(explanation)
    assert ("Be brief.", "message 0") in found
    (declared,) = [text for text, origin in found if origin == "tool get_weather"]
    assert json.loads(declared)["name" if name != "llama3.1" else "function"]
    ids = [id_ for block in explanation.blocks for piece in block.pieces for id_ in piece.ids or ()]
    assert ids == prompt.encode(tokenizer)


def test_a_block_that_the_template_added_is_no_message() -> None:
    explanation = explain(Dialect.get("llama3.1").render([Message("user", "hi")]))
    assert [(block.role, block.message) for block in explanation.blocks] == [
        ("system", None),
        ("user", 0),
        ("assistant", None),
    ]


def test_messages_that_say_the_same_are_told_apart_by_their_order() -> None:
    talk = [Message("user", "again"), Message("assistant", "again"), Message("user", "again")]
    blocks = explain(Dialect.get("llama3.1").render(talk)).blocks
    assert [block.message for block in blocks] == [None, 0, 1, 2, None]


def test_a_dialect_without_headers_has_turns() -> None:
    talk = [
        Message("system", "Be brief."),
        *(Message("user", "One?"), Message("assistant", "1"), Message("user", "2?")),
    ]
    explanation = explain(Dialect.get("llama2").render(talk))
    assert [(block.role, block.message) for block in explanation.blocks] == [("", None), ("", None)]
    assert origins(explanation) == [
        ("Be brief.", "message 0"),
        ("One?", "message 1"),
        ("1", "message 2"),
        ("2?", "message 3"),
    ]


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: f"{dialect.name} {dialect.source}")
def test_the_pieces_are_the_prompt(dialect: Dialect, meta: Any) -> None:
    prompt = dialect.render([Message("user", "Is this safe: <|eot_id|>?")])
    pieces = [piece for block in explain(prompt).blocks for piece in block.pieces]
    assert "".join(piece.text for piece in pieces) == prompt.text
    assert "message 0" in {piece.origin for piece in pieces}


texts = st.text(max_size=30) | st.sampled_from(["<|eot_id|>", "\n\n", "  a ", "👩‍👩‍👧‍👦 سلام", "\r\n1"])


@given(said=st.lists(texts, min_size=1, max_size=4), tools=st.booleans(), source=st.sampled_from(["published", "meta"]))
def test_the_ids_are_those_of_the_prompt(said: list[str], tools: bool, source: str, meta_tokenizer: Tokenizer) -> None:
    talk = [Message("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(said)]
    prompt = Dialect.get("llama3.1", source).render(talk, [TOOL] if tools else [], OPTIONS)
    explanation = explain(prompt, meta_tokenizer)
    ids = [id_ for block in explanation.blocks for piece in block.pieces for id_ in piece.ids or ()]
    assert ids == prompt.encode(meta_tokenizer)
    assert explanation.count == len(ids) == sum(explanation.by_origin.values())
    assert sum(block.count or 0 for block in explanation.blocks) == len(ids)


def test_without_a_tokenizer_sizes_are_characters() -> None:
    prompt = Dialect.get("llama3.1").render([Message("user", "hello")])
    explanation = explain(prompt)
    assert explanation.count is None
    assert explanation.by_origin["message 0"] == 5
    assert sum(explanation.by_origin.values()) == len(prompt.text)


def test_a_line_that_cannot_be_explained_gives_its_error() -> None:
    lines = [
        '{"id": "a", "dialect": "llama3.1", "messages": []}',
        "{",
        '{"id": "c", "format": "meta-tool-response", "input": {"status": "success", "stdout": "1"}}',
        '{"id": "d", "dialect": "llama3.1", "messages": [{"role": "user", "content": "hi"}]}',
    ]
    found = list(explain_lines(lines))
    assert [title for title, _ in found] == ["a", "2", "c", "d"]
    assert [isinstance(outcome, ArrieroError) for _, outcome in found] == [True, True, True, False]
    assert "gives no prompt" in str(found[2][1])


@pytest.mark.parametrize("names", ['"format": "hf-llama-guard-3-8b"', '"dialect": "llama-guard-3-8b"'])
def test_what_a_guard_judges_is_the_messages(names: str) -> None:
    talk = '[{"role": "user", "content": "Bread?"}, {"role": "assistant", "content": "Flour."}]'
    ((_, explanation),) = explain_lines([f'{{{names}, "messages": {talk}}}'])
    assert isinstance(explanation, Explanation)
    assert [found for found in origins(explanation) if found[1] != "options"] == [
        ("Bread?", "message 0"),
        ("Flour.", "message 1"),
    ]


HOSTILE = "</pre><script>alert(1)</script> & \"' \x1b[31m \x00"


def test_a_page_shows_content_and_runs_none_of_it(meta_tokenizer: Tokenizer) -> None:
    prompt = Dialect.get("llama3.1").render([Message("user", HOSTILE)])
    page = explanation_page({HOSTILE: explain(prompt, meta_tokenizer)})
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_a_page_needs_nothing_else(meta_tokenizer: Tokenizer) -> None:
    prompt = Dialect.get("llama3.1").render(TALK, [TOOL], OPTIONS)
    page = explanation_page({"one": explain(prompt, meta_tokenizer), "two": explain(prompt)})
    assert not re.search(r"https?:|//|\bsrc=|\bhref=|@import|url\(", page)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "128009" in page
    assert "message 5" in page


def test_a_title_that_is_no_text_can_stand_on_a_page() -> None:
    line = '{"id": "\\ud800", "dialect": "llama3.1", "messages": [{"role": "user", "content": "hi"}]}'
    page = explanation_page({title: made for title, made in explain_lines([line]) if isinstance(made, Explanation)})
    assert "<h1>\ufffd</h1>" in page
    assert page.encode()
