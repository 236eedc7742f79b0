"""Grammars of whole messages: calls to the offered tools, or text that no parser takes for a call."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching import takes

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.grammar import Grammar, GrammarNotExpressible, Limits, Named, Syntax, call_grammar
from arriero.prompts.messages import ToolCall

DATA = Path(__file__).parent.parent / "data"
VECTORS = [json.loads(line) for line in (DATA / "parse_vectors.jsonl").read_text(encoding="utf-8").splitlines()]
LLAMA = Dialect.get("llama3.1")
DIALECTS = {"pythonic": "llama3.2", "llama4": "llama4"}
END = re.compile(r"<\|(?:eot_id|eom_id|end_of_text|eot|eom)\|>")


def tool(name: str, properties: Mapping[str, Any] | None = None, *required: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties or {}, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = tool("get_weather", {"city": {"type": "string"}, "days": {"type": "integer"}}, "city")
CLOCK = tool("now")
OFFERED = [WEATHER, CLOCK]

WRITTEN = {
    ("llama3.1", "json"): (
        '{"name": "get_weather", "parameters": {"city": "Lagos", "days": 3}}',
        '{"type": "function", "name": "now", "parameters": {}}',
        '<|python_tag|>{"name": "now", "parameters": {}}',
        '{"name":"get_weather","parameters":{"city":""}}; {"name": "now", "parameters": {}}',
    ),
    ("llama3.2", "pythonic"): (
        "[get_weather(city='Lagos', days=3)]",
        '[get_weather(city="L\'Aquila"), now()]',
        "[now()]",
    ),
    ("llama3.1", "function-tag"): (
        '<function=get_weather>{"city": "Lagos"}</function>',
        "<function=now>{}</function>",
    ),
    ("llama4", "json"): (
        '{"name": "now", "parameters": {}}',
        '<|python_start|>{"name": "now", "parameters": {}}<|python_end|>',
    ),
    ("llama4", "pythonic"): ("[now()]", "<|python_start|>[now(), get_weather(city='x')]<|python_end|>"),
}
BROKEN = (
    '{"name": "get_weather", "parameters": {"days": 3}}',
    '{"name": "get_weather", "parameters": {"city": "Lagos", "days": "3"}}',
    '{"name": "get_weather", "parameters": {"city": "Lagos"}',
    '{"name": "other", "parameters": {}}',
    '{"name": "now", "parameters": {"x": 1}}',
    '{"name": "now"}',
    'I call {"name": "now", "parameters": {}}',
    '{"name": "now", "arguments": {}}',
    '{"n\\u0061me": "now", "p\\u0061rameters": {}}',
    "[get_weather(days=3)]",
    "[get_weather('Lagos')]",
    "[other(x=1)]",
    " [other (x=1)]",
    "now()",
    "So: now()",
    "[now(), 3]",
    "[now()",
    '<function=other>{"x": 1}</function>',
    "<function=now>{}",
    "<|python_tag|>print(1)",
    '<|python_tag|>brave_search.call(query="x")',
    'brave_search.call(query="x")',
    'photogen.call(query="x")',
)
TEXTS = (
    "",
    "\n",
    "It is 3 o'clock now.",
    "Now (at noon) the weather is fine; get_weather knows it.",
    "[1, 2, 3]",
    "[the source](https://example.org) says so",
    '{"temperature": 21, "unit": "celsius"}',
    "```python\nprint(6 * 7)\n```",
    "a < b and b > c",
    "شكرا 🐎",
)


@cache
def messages(policy: Any = "auto", way: tuple[str, Any] = ("llama3.1", "json"), most_calls: int = 2) -> Grammar:
    return call_grammar(Dialect.get(way[0]), OFFERED, policy=policy, syntax=way[1], most_calls=most_calls)


@pytest.mark.parametrize("way", WRITTEN)
def test_calls_are_taken_as_the_dialect_writes_and_reads_them(way: tuple[str, Any]) -> None:
    dialect = Dialect.get(way[0])
    for text in WRITTEN[way]:
        parsed = dialect.parse(text + dialect.end_of_turn, ["get_weather", "now"])
        assert parsed.tool_calls, text
        assert takes(messages("auto", way), text), text
        assert takes(messages("required", way), text), text
        assert not takes(messages("none", way), text), text


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize("text", BROKEN)
def test_nothing_between_text_and_a_valid_call_is_taken(way: tuple[str, Any], text: str) -> None:
    assert not takes(messages("required", way), text)
    assert not takes(messages("auto", way), text)
    assert not takes(messages("none", way), text)


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize("text", TEXTS)
def test_text_is_taken_where_no_call_is_required(way: tuple[str, Any], text: str) -> None:
    assert takes(messages("auto", way), text)
    assert takes(messages("none", way), text)
    assert not takes(messages("required", way), text)
    assert not Dialect.get(way[0]).parse(text + Dialect.get(way[0]).end_of_turn, ["get_weather", "now"]).tool_calls


def test_one_call_at_most_unless_more_are_allowed() -> None:
    two = '{"name": "now", "parameters": {}}; {"name": "now", "parameters": {}}'
    assert not takes(messages(most_calls=1), two)
    assert takes(messages(most_calls=2), two)
    assert not takes(messages(most_calls=2), f"{two}; {two}")


def test_a_named_tool_is_the_only_one_taken() -> None:
    grammar = messages(Named("now"))
    assert takes(grammar, '{"name": "now", "parameters": {}}')
    assert not takes(grammar, '{"name": "get_weather", "parameters": {"city": "x"}}')
    assert not takes(grammar, "text")


def builtin(policy: Any = "required", **options: Any) -> Grammar:
    return call_grammar(LLAMA, OFFERED, policy=policy, builtin_tools=("brave_search", "code_interpreter"), **options)


def test_builtin_tools_are_called_with_a_query_after_the_tag() -> None:
    written = '<|python_tag|>brave_search.call(query="who, when?")'
    assert takes(builtin(), written)
    assert LLAMA.parse(written + "<|eom_id|>").tool_calls == (ToolCall("brave_search", {"query": "who, when?"}),)
    assert not takes(builtin(limits=Limits(string=3)), written)
    assert not takes(builtin(), '<|python_tag|>wolfram_alpha.call(query="x")')


@pytest.mark.parametrize(
    "code",
    [
        "print(6 * 7)",
        "import math\nmath.sqrt(2)",
        "x = [f(x) for x in y]",
        "growth = {'a': 1}",
        "#include",
        "nowhere(1)",
        "a|b",
        '"docstring"\nget = 1',
        "w = get_weather(city='x')",
    ],
)
def test_code_is_taken_after_the_tag_and_read_as_code(code: str) -> None:
    written = f"<|python_tag|>{code}"
    assert takes(builtin(), written)
    assert LLAMA.parse(written + "<|eom_id|>", ["get_weather", "now"]).tool_calls == (
        ToolCall("code_interpreter", {"code": code}),
    )


@pytest.mark.parametrize(
    "code",
    ["", "now()", "[now()]", "{", '{"name": "x", "parameters": {}}', "<function=now>{}</function>", "<|eot_id|>"],
)
def test_what_is_no_code_or_reads_as_a_call_is_not_taken_as_code(code: str) -> None:
    assert not takes(builtin(), f"<|python_tag|>{code}")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_no_reference_call_passes_as_text(vector: Mapping[str, Any]) -> None:
    dialect = Dialect.get(DIALECTS.get(vector["dialect"], "llama3.1"))
    calls = vector["expect"].get("tool_calls") or []
    names = list(dict.fromkeys([*(vector.get("tools") or []), *(call["name"] for call in calls)]))
    if "text" not in vector or any(not name for name in names):
        assert "token_ids" in vector or vector["expect"]
        return
    grammar = call_grammar(dialect, [tool(name) for name in names], policy="none")
    body = END.split(vector["text"])[0]
    read = dialect.parse(vector["text"], names)
    assert not (read.tool_calls and takes(grammar, body))


PIECES = st.sampled_from(
    [
        *"{}[]()\"',:;<>=|\\ \n",
        "now",
        "get_weather",
        "city",
        '"name"',
        '"parameters"',
        "<function=",
        "x",
        "1",
        "_",
        "`",
        ".",
    ]
)


@given(
    st.sampled_from([(way, text) for way, texts in WRITTEN.items() for text in (*texts, *BROKEN, *TEXTS)]),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3), PIECES | st.just("")), min_size=1, max_size=4),
)
def test_whatever_is_taken_is_text_or_valid_calls(
    case: tuple[tuple[str, Any], str], changes: Sequence[tuple[int, int, str]]
) -> None:
    way, text = case
    for at, gone, put in changes:
        text = text[:at] + put + text[at + gone :]
    dialect = Dialect.get(way[0])
    if not takes(messages("auto", way), text):
        return
    parsed = dialect.parse(text + dialect.end_of_turn, ["get_weather", "now"])
    assert not parsed.unknown
    for call in parsed.tool_calls:
        assert not parsed.content
        assert (call.name == "now" and call.arguments == {}) or (
            isinstance(call.arguments["city"], str) and isinstance(call.arguments.get("days", 0), int)
        )
    assert bool(parsed.tool_calls) == takes(messages("required", way), text)


@pytest.mark.parametrize("name", ["weather.today", "a.b.c", "suchen_über", "погода", "straße9", "名前"])
def test_names_with_dots_and_beyond_ascii_can_be_called_and_not_called_in_text(name: str) -> None:
    calls = {
        "json": f'{{"name": "{name}", "parameters": {{}}}}',
        "function-tag": f"<function={name}>{{}}</function>",
        "pythonic": f"[{name}()]",
    }
    for syntax in get_args(Syntax):
        assert takes(call_grammar(LLAMA, [tool(name)], policy="required", syntax=syntax), calls[syntax])
        assert not any(takes(call_grammar(LLAMA, [tool(name)], policy="none"), text) for text in calls.values())


def test_text_cannot_call_a_tool_whose_name_xgrammar_would_misread() -> None:
    grammar = call_grammar(LLAMA, [tool("über")], policy="none")
    assert not takes(grammar, "über(x=1)")
    assert not takes(grammar, '{"name": "über"}')
    assert takes(grammar, "über alles")


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ([], {"policy": "required"}, "no tool is offered"),
        (OFFERED, {"policy": Named("then")}, "tool 'then' is not offered; offered: get_weather, now"),
        ([CLOCK, CLOCK], {}, "tool 'now' is offered twice"),
        (OFFERED, {"most_calls": 0}, "most_calls is 0"),
        (OFFERED, {"policy": "sometimes"}, "unknown policy 'sometimes'; use one of auto, required, none"),
        (OFFERED, {"syntax": "xml"}, "unknown syntax 'xml'; use one of json"),
        ([tool("")], {}, "tool 0: '' is no name"),
        ([tool("<|x|>")], {}, "no name that a call can carry"),
        ([{"name": "f", "parameters": []}], {}, None),
        ([{"name": "f", "parameters": 5}], {}, "must be a JSON schema"),
        ([{"name": "f", "parameters": {"type": "string"}}], {}, "f: parameters must be declared as one object"),
        ([tool("add-note")], {"syntax": "pythonic"}, "'add-note': no Python name"),
        ([tool("f", {"a b": {}})], {"syntax": "pythonic"}, "parameter 'a b' is no Python name"),
        ([tool("a b")], {"syntax": "function-tag"}, "a function tag cannot carry this name"),
        ([], {"builtin_tools": ["bing"]}, "unknown built-in tool 'bing'"),
        ([tool("f", {"x": {"type": "colour"}})], {}, "f.x: unknown type 'colour'"),
        ([tool("f", {"x": {"not": {}}})], {"strict": True}, "f.x: 'not' is not enforced"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_is_refused_by_name(
    arguments: Sequence[Mapping[str, Any]], options: dict[str, Any], said: str | None
) -> None:
    if said is None:
        assert takes(call_grammar(LLAMA, arguments, **options), '{"name": "f", "parameters": {}}')
        return
    with pytest.raises(GrammarNotExpressible, match=re.escape(said)):
        call_grammar(LLAMA, arguments, **options)


def test_a_dialect_without_builtin_tools_refuses_them() -> None:
    with pytest.raises(GrammarNotExpressible, match="llama4 has no built-in tools"):
        call_grammar(Dialect.get("llama4"), [], builtin_tools=["brave_search"])


def test_a_vocabulary_without_the_tag_is_refused() -> None:
    with pytest.raises(VocabularyMismatch, match=r"writes <\|python_tag\|>"):
        messages().text({})


def test_relaxed_parts_of_a_schema_are_noted_with_their_place() -> None:
    grammar = call_grammar(LLAMA, [tool("f", {"xs": {"type": "array", "items": {}, "uniqueItems": True}})])
    assert grammar.notes == ("f.xs: 'uniqueItems' is not enforced",)


def test_limits_are_no_negative_numbers() -> None:
    with pytest.raises(GrammarNotExpressible, match="string=-1"):
        Limits(string=-1)
