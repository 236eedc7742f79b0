"""Lines in, lines out; a bad line gives its error and the next is read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import parsed, rendered

from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.dialect import Dialect
from arriero.prompts.formats import FORMATS
from arriero.prompts.jsonl import parse_lines, render_lines
from arriero.prompts.tokens import Tokenizer

LLAMA = Dialect.get("llama3.1")


def _one(line: str, tokenizer: Tokenizer | None = None) -> dict[str, Any]:
    (answer,) = render_lines([line], LLAMA, tokenizer)
    return answer


@pytest.mark.parametrize("vector", rendered("hf-llama-3.1"))
def test_a_line_gives_the_published_text(vector: dict[str, Any]) -> None:
    answer = _one(json.dumps({"id": vector["id"], **vector["input"]}))
    assert answer["id"] == vector["id"]
    if vector["expected"] is None:
        assert set(answer) == {"id", "error"}
    else:
        assert answer["text"] == vector["expected"]


@pytest.mark.parametrize("vector", parsed("auto", "llama3-json", "llama3-builtin"))
def test_a_line_gives_what_the_message_means(vector: dict[str, Any]) -> None:
    (answer,) = parse_lines([json.dumps({key: vector[key] for key in ("id", "text", "tools")})], LLAMA)
    expect = vector["expect"]
    content = answer["content"] if expect["content"] == {"any": True} else expect["content"]
    assert answer == {"id": vector["id"], **expect, "content": content}


def test_token_ids_come_with_a_tokenizer_and_are_read_back(tokenizer: Tokenizer) -> None:
    answer = _one('{"id": 1, "messages": [{"role": "user", "content": "hi"}]}', tokenizer)
    assert tokenizer.decode(answer["token_ids"]) == answer["text"]
    ids = [*tokenizer.encode("Hello"), tokenizer.special_id("<|eot_id|>")]
    (read,) = parse_lines([json.dumps({"id": 2, "token_ids": ids})], LLAMA, tokenizer)
    assert (read["id"], read["content"], read["end"]) == (2, "Hello", "end_of_turn")


@pytest.mark.parametrize("id_", [10**6, 2**32, 99999999999999, 10**30])
def test_an_id_beyond_the_vocabulary_stands_for_nothing(tokenizer: Tokenizer, id_: int) -> None:
    ids = [*tokenizer.encode("Hel"), id_, *tokenizer.encode("lo")]
    lines = [json.dumps({"id": 1, "token_ids": ids}), '{"id": 2, "token_ids": [-1]}', '{"id": 3, "text": "Hello"}']
    first, second, third = parse_lines(lines, LLAMA, tokenizer)
    assert (first["content"], third["content"]) == ("Hello", "Hello")
    assert "'token_ids' must be a list of ids" in second["error"]
    assert tokenizer.decode([*ids, -1]) == "Hello"
    assert tokenizer.token_bytes(-1) == b""


@pytest.mark.parametrize(
    ("line", "id_", "problem"),
    [
        ("{", None, "line 1 is not JSON"),
        ("[1]", None, "line 1 must be a JSON object, not list"),
        ("[" * 100_000, None, "line 1 is not JSON"),
        ('{"id": NaN, "messages": []}', None, "line 1: 'id' must be text or a number"),
        ('{"id": [1], "messages": []}', None, "line 1: 'id' must be text or a number"),
        ('{"id": "a"}', "a", "'messages' must be a list of messages"),
        ('{"messages": "hi"}', None, "'messages' must be a list of messages"),
        ('{"id": 1, "messages": []}', 1, "the conversation is empty"),
        ('{"id": 1, "messages": ["hi"]}', 1, "message 0: it must be an object"),
        ('{"id": 1, "messages": [{"role": "robot"}]}', 1, "message 0: unknown role 'robot'"),
        ('{"id": 1, "messages": [{"role": ["user"]}]}', 1, "message 0: unknown role"),
        ('{"id": 1, "messages": [{"role": "user", "content": {}}]}', 1, "message 0: content must be text"),
        ('{"id": 1, "messages": [{"role": "user", "content": "\\ud800"}]}', 1, "message 0: a lone surrogate"),
        (
            '{"id": 1, "messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": NaN}}]}]}',
            1,
            "message 0: not writable as strict JSON",
        ),
        ('{"id": 1, "messages": [{"role": "user", "tool_calls": 3}]}', 1, "message 0: 'tool_calls'"),
        ('{"id": 1, "messages": [{"role": "user", "content": "hi"}], "tools": {}}', 1, "'tools' must be a list"),
        ('{"id": 1, "messages": [{"role": "user", "content": "hi"}], "tools": ["f"]}', 1, "tool 0 must be an object"),
        ('{"id": 1, "messages": [{"role": "user", "content": "hi"}], "options": {"x": 1}}', 1, "unknown option 'x'"),
        (
            '{"id": 1, "messages": [{"role": "user", "content": "hi"}], "options": {"date_string": 5}}',
            1,
            "option 'date_string' must be a str, not int",
        ),
        (
            '{"id": 1, "messages": [{"role": "user", "content": "hi"}], "options": {"builtin_tools": ["f", 1]}}',
            1,
            "option 'builtin_tools' must be a list of texts",
        ),
    ],
)
def test_a_bad_line_gives_its_error(line: str, id_: Any, problem: str) -> None:
    answers = list(render_lines([line, "", '{"id": "next", "messages": [{"role": "user", "content": "hi"}]}'], LLAMA))
    assert answers[0]["id"] == id_
    assert problem in answers[0]["error"]
    assert answers[1]["id"] == "next"
    assert "text" in answers[1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": 1}', "give either 'text' or 'token_ids'"),
        ('{"id": 1, "text": "a", "token_ids": [1]}', "give either 'text' or 'token_ids'"),
        ('{"id": 1, "text": 5}', "'text' must be a str, not int"),
        ('{"id": 1, "token_ids": ["a"]}', "'token_ids' must be a list of ids"),
        ('{"id": 1, "token_ids": [1]}', "needs a tokenizer"),
        ('{"id": 1, "text": "a", "tools": [5]}', "'tools' must be a list of names or declarations"),
        ('{"id": 1, "text": "a", "tools": "f"}', "'tools' must be a list, not str"),
    ],
)
def test_a_bad_message_line_gives_its_error(line: str, problem: str) -> None:
    (answer,) = parse_lines([line], LLAMA)
    assert answer["id"] == 1
    assert problem in answer["error"]


HI = '"messages": [{"role": "user", "content": "hi"}]'


@pytest.mark.parametrize(
    "names",
    [
        '"dialect": "llama3.2"',
        '"dialect": "llama3.2", "source": "published"',
        '"format": "hf-llama-3.2"',
    ],
)
def test_a_line_may_name_its_own_dialect_or_format(names: str) -> None:
    line = f'{{"id": 1, {names}, {HI}, "options": {{"date_string": "01 Jan 2026"}}}}'
    (named,) = render_lines([line], LLAMA)
    (given,) = render_lines([line.replace(names, '"x": 0')], Dialect.get("llama3.2"))
    assert named == given
    assert "Today Date: 01 Jan 2026" in named["text"]


def test_a_vector_is_rendered_as_it_is() -> None:
    (answer,) = render_lines([f'{{"id": 1, "format": "hf-llama-3.1", "source": "own", "input": {{{HI}}}}}'])
    assert answer["text"].endswith("hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")


@pytest.mark.parametrize("dialect", ["llama3.1", "llama3-json", "auto"])
def test_a_message_may_name_its_own_dialect(dialect: str) -> None:
    line = {"id": 1, "dialect": dialect, "source": "own", "text": '{"name": "f", "parameters": {}}<|eot_id|>'}
    (answer,) = parse_lines([json.dumps(line)])
    assert answer["tool_calls"] == [{"name": "f", "arguments": {}}]


def test_what_was_repaired_coerced_or_not_offered_is_told() -> None:
    text = '{"name": "f", "arguments": {"n": "10"}} {"name": "g", "parameters": {}}<|eot_id|>'
    schema = {"f": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    line = {"id": 1, "dialect": "llama3.1", "text": text, "tools": ["f"], "schema": schema}
    (answer,) = parse_lines([json.dumps(line)])
    assert [call["arguments"] for call in answer["tool_calls"]] == [{"n": 10}, {}]
    assert answer["unknown"] == ["g"]
    assert answer["coercions"] == [{"call": "f", "path": ("n",), "before": "10", "after": 10}]


def test_a_strict_reading_repairs_nothing() -> None:
    line = json.dumps({"id": 1, "text": '```json\n{"name": "f", "parameters": {}}\n```<|eot_id|>', "tools": ["f"]})
    (repaired,) = parse_lines([line], LLAMA)
    (strict,) = parse_lines([line], LLAMA, repair=False)
    assert repaired["tool_calls"] == [{"name": "f", "arguments": {}}]
    assert repaired["repairs"][0]["calls"] == ("f",)
    assert strict["tool_calls"] == []
    assert strict["content"].startswith("```json")


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("llama4", "<|python_start|>[f()]<|python_end|><|eot|>"),
        ("auto", "[f()]<|eot|>"),
        ("auto", "[f()]<|eot_id|>"),
        ("pythonic", "[f()]<|eot|>"),
        ("function-tag", "<function=f>{}</function><|eot_id|>"),
    ],
)
def test_a_line_may_name_the_syntax_of_its_calls(dialect: str, text: str) -> None:
    (answer,) = parse_lines([json.dumps({"id": 1, "dialect": dialect, "text": text})])
    assert (answer["tool_calls"], answer["end"]) == ([{"name": "f", "arguments": {}}], "end_of_turn")


@pytest.mark.parametrize("dialect", ["llama-guard", "llama-guard-3-8b"])
def test_a_verdict_is_read_and_what_is_none_is_an_error(dialect: str) -> None:
    lines = [json.dumps({"id": 1, "dialect": dialect, "text": text}) for text in ("unsafe\nS2", "safe", "Sure!")]
    answers = list(parse_lines(lines))
    assert answers[:2] == [
        {"id": 1, "verdict": "unsafe", "categories": ["S2"]},
        {"id": 1, "verdict": "safe", "categories": []},
    ]
    assert answers[2]["verdict"] == "error"
    assert "no verdict in 'Sure!'" in answers[2]["error"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("", "no dialect: give the line a 'format' or a 'dialect'"),
        ('"format": "hf-llama-9",', "unknown format 'hf-llama-9'; known: "),
        ('"format": 5,', "the field 'format' must be a str, not int"),
        ('"dialect": "llama9",', "unknown dialect 'llama9'; known: llama"),
        ('"dialect": "llama3.1", "source": "mine",', "dialect 'llama3.1' has no source 'mine'"),
        ('"format": "hf-llama-3.1", "input": 5,', "the field 'input' must be a dict, not int"),
        ('"format": "meta-stack-messages", "input": {"messages": []},', "the conversation is empty"),
        ('"format": "hf-llama-guard-3-1b", "options": true,', "'options' must be an object, not bool"),
        ('"format": "hf-llama-guard-3-1b", "options": {"categories": 5},', "'categories' must be an object, not int"),
        (
            '"format": "meta-guard-stack-usermessage", "options": {"excluded": [[]]},',
            "'excluded' must be a list of codes",
        ),
    ],
)
def test_a_line_that_names_nothing_known_gives_its_error(names: str, problem: str) -> None:
    (answer,) = render_lines([f'{{"id": 1, {names} {HI}}}'])
    assert answer["id"] == 1
    assert problem in answer["error"]


def test_a_message_without_a_dialect_gives_its_error() -> None:
    (answer,) = parse_lines(['{"id": 1, "text": "hi"}'])
    assert "no dialect" in answer["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "ipython"]) | json_values},
        optional={
            "content": st.text() | json_values,
            "end": json_values,
            "tool_calls": st.lists(
                st.fixed_dictionaries({}, optional={"name": st.just("f") | json_values, "arguments": json_values})
            )
            | json_values,
        },
    ),
    max_size=3,
)


@given(
    line=st.text()
    | json_values.map(json.dumps)
    | st.fixed_dictionaries(
        {"messages": messages | json_values},
        optional={
            "id": json_values,
            "tools": st.lists(st.dictionaries(st.sampled_from(["name", "function"]), json_values), max_size=2),
            "options": st.dictionaries(st.sampled_from(["builtin_tools", "date_string", "x"]), json_values, max_size=2),
            "text": st.text() | json_values,
        },
    ).map(json.dumps)
)
def test_no_line_raises(line: str) -> None:
    for answer in [*render_lines([line], LLAMA), *parse_lines([line], LLAMA)]:
        assert "id" in answer
        assert ("error" in answer) != ("text" in answer or "content" in answer)


def mangled(value: Any, draw: st.DrawFn) -> Any:
    """The value with something in it replaced or left out."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        rest = {other: inner for other, inner in value.items() if other != key}
        return rest if draw(st.integers(0, 4)) == 0 else value | {key: mangled(value[key], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], mangled(value[at], draw), *value[at + 1 :]]
    return draw(json_values)


@st.composite
def mangled_vectors(draw: st.DrawFn) -> dict[str, Any]:
    vector = draw(st.sampled_from([parameter.values[0] for parameter in rendered(*FORMATS)]))
    name, source = draw(st.sampled_from(sorted(DIALECTS)))
    given = mangled(vector["input"], draw)
    if draw(st.booleans()):
        return {"id": 1, "format": vector["format"], "input": given}
    return {"id": 1, "dialect": name, "source": source, **(given if isinstance(given, dict) else {})}


@given(vector=mangled_vectors())
def test_no_mangled_conversation_raises(vector: dict[str, Any]) -> None:
    (answer,) = render_lines([json.dumps(vector)])
    assert "id" in answer
