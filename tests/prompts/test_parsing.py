"""What a model wrote is read as the format documents it, however it arrives."""

from collections.abc import Sequence
from typing import Any

import pytest
import tokenizers
import vocabularies
from call_writers import agree, read
from vectors import parsed

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.messages import ToolCall
from arriero.prompts.parser import (
    ArgumentsGrown,
    CallOpened,
    CallParsed,
    CallWithdrawn,
    MessageEnded,
    Parsed,
    Parser,
    TextParsed,
)
from arriero.prompts.tokens import Tokenizer

LLAMA = Dialect.get("llama3.1")
SYNTAXES = ("auto", "llama3-json", "llama3-builtin", "function-tag", "pythonic", "llama4")
CUTS = (1, 3, 17, 10**6)


def _tools(vector: dict[str, Any]) -> list[Any] | None:
    schemas = vector.get("schema") or {}
    names: list[str] | None = vector["tools"]
    if names is None:
        return None
    return [{"name": name, "parameters": schemas[name]} if name in schemas else name for name in names]


def _parser(vector: dict[str, Any], *, repair: bool) -> Parser:
    llama = Dialect.get("llama4") if vector["dialect"] == "llama4" else LLAMA
    return llama.parser(_tools(vector), syntax=vector["dialect"], repair=repair)


def _matches(vector: dict[str, Any], got: Parsed) -> None:
    expect = vector["expect"]
    assert [{"name": call.name, "arguments": call.arguments} for call in got.tool_calls] == expect["tool_calls"]
    assert (got.end, got.kind) == (expect["end"], expect["kind"])
    if expect["content"] != {"any": True}:
        assert got.content == expect["content"]


@pytest.mark.parametrize("vector", parsed(*SYNTAXES))
@pytest.mark.parametrize("repair", [True, False])
def test_a_message_means_what_it_must_with_and_without_repair(vector: dict[str, Any], repair: bool) -> None:
    for size in CUTS:
        text = vector["text"]
        got, events = read(_parser(vector, repair=repair), [text[at : at + size] for at in range(0, len(text), size)])
        _matches(vector, got)
        assert not got.repairs
        agree(got, events)


@pytest.mark.parametrize("vector", parsed(*SYNTAXES, level="lenient"))
def test_what_is_seen_in_practice_is_repaired(vector: dict[str, Any]) -> None:
    for size in CUTS:
        text = vector["text"]
        got, events = read(_parser(vector, repair=True), [text[at : at + size] for at in range(0, len(text), size)])
        _matches(vector, got)
        agree(got, events)


@pytest.mark.parametrize("vector", parsed(*SYNTAXES, level="lenient"))
def test_without_repair_nothing_is_repaired(vector: dict[str, Any]) -> None:
    strict = _parser(vector, repair=False)
    strict.feed(vector["text"])
    got = strict.finish()
    assert got.repairs == ()
    lenient = _parser(vector, repair=True)
    lenient.feed(vector["text"])
    if lenient.finish().repairs:
        assert got.tool_calls != lenient.finish().tool_calls or got.content != lenient.finish().content


@pytest.mark.parametrize("vector", parsed("token-ids", level="must") + parsed("token-ids", level="lenient"))
def test_only_special_ids_are_special_tokens(vector: dict[str, Any]) -> None:
    tokenizer = vocabularies.meta(vector["tokenizer"])
    llama = Dialect.get("llama4" if vector["tokenizer"] == "llama4" else "llama3.1")
    _matches(vector, llama.parse(vector["token_ids"], vector["tools"], tokenizer))
    parser = llama.parser(vector["tools"], tokenizer, repair=False)
    for id_ in vector["token_ids"]:
        parser.feed_ids([id_])
    _matches(vector, parser.finish())


def test_a_call_to_a_tool_that_was_not_offered_is_reported_as_unknown() -> None:
    got = LLAMA.parse('{"name": "delete", "parameters": {}}<|eot_id|>', ["weather"])
    assert got.tool_calls == got.unknown == (ToolCall("delete", {}),)


def test_text_is_shown_as_it_comes_and_a_possible_call_is_held_back() -> None:
    parser = LLAMA.parser()
    assert parser.feed("It is <|e") == [TextParsed("It is ")]
    assert parser.feed("m>sunny") == [TextParsed("<|em>sunny")]
    parser = LLAMA.parser()
    assert parser.feed('{"answer"') == []
    assert "".join(event.text for event in parser.feed(": 42} km") if isinstance(event, TextParsed)) == (
        '{"answer": 42} km'
    )


@pytest.mark.parametrize(
    "text", ["[1, 2]", "[docs](https://example.org)", "{x > 0}", "<b>", "`code`", "[[", "{{", "get_weathers", "a [b c"]
)
def test_text_that_can_be_no_call_is_shown_at_once(text: str) -> None:
    parser = LLAMA.parser(["get_weather"])
    assert "".join(event.text for event in parser.feed(text + " ") if isinstance(event, TextParsed)) == text + " "


def test_a_call_in_json_is_shown_while_it_is_written() -> None:
    parser = LLAMA.parser()
    assert parser.feed('{"name": "add", "parameters"') == []
    assert parser.feed(': {"a": 1') == [CallOpened(0, "add"), ArgumentsGrown(0, '{"a": 1')]
    assert parser.feed(', "b": 2}') == [ArgumentsGrown(0, ', "b": 2}')]
    assert parser.feed("}") == [CallParsed(ToolCall("add", {"a": 1, "b": 2}))]
    assert parser.feed("<|eot_id|>") == [MessageEnded("end_of_turn")]


def test_a_call_as_python_writes_it_is_shown_value_by_value_as_json() -> None:
    parser = Dialect.get("llama3.2").parser(["add"])
    assert parser.feed("[add(") == [CallOpened(0, "add")]
    assert parser.feed("a='x', b=Tr") == [ArgumentsGrown(0, '{"a": "x"')]
    assert parser.feed("ue)") == [ArgumentsGrown(0, ', "b": true'), ArgumentsGrown(0, "}")]
    assert parser.feed("]") == [CallParsed(ToolCall("add", {"a": "x", "b": True}))]


def test_what_is_no_call_after_all_is_withdrawn_before_its_text() -> None:
    parser = LLAMA.parser(repair=False)
    opened = parser.feed('{"name": "add", "parameters": {"a": 1}')
    assert opened == [CallOpened(0, "add"), ArgumentsGrown(0, '{"a": 1}')]
    assert parser.feed("}") == []
    assert parser.feed(" is a call") == [
        CallWithdrawn(0),
        TextParsed('{"name": "add", "parameters": {"a": 1}} is a call'),
    ]


def test_coerced_arguments_are_shown_as_they_are_dispatched() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    parser = LLAMA.parser([{"name": "f", "parameters": schema}])
    parser.feed('{"name": "f", "parameters": {"n": "10"')
    events = parser.feed("}}")
    assert events[-4:] == [
        CallWithdrawn(0),
        CallOpened(0, "f"),
        ArgumentsGrown(0, '{"n": 10}'),
        CallParsed(ToolCall("f", {"n": 10})),
    ]


@pytest.mark.parametrize(
    "cut",
    [
        '{"name": "f", "parameters": {"a": 1}',
        "<|python_tag|>print(",
        "<|python_tag|>print(1)",
        "[f(a=1)",
        "[f(a=1), g(",
        '<function=f>{"a": 1',
        '<|python_tag|>brave_search.call(query="x")',
        'brave_search.call(query="x")',
    ],
)
@pytest.mark.parametrize("tools", [None, ["f", "g"]])
def test_what_was_cut_short_is_never_called(cut: str, tools: Sequence[str] | None) -> None:
    parser = Dialect.get("llama3.2").parser(tools)
    parser.feed(cut)
    got = parser.finish()
    assert (got.tool_calls, got.kind) == ((), "length")
    assert got.content == cut.removeprefix("<|python_tag|>")


def test_nothing_after_the_end_counts() -> None:
    parser = LLAMA.parser()
    parser.feed("Sunny.<|eot_id|>")
    assert parser.feed('{"name": "f", "parameters": {}}<|eom_id|>') == []
    assert parser.finish() == Parsed("Sunny.", (), "end_of_turn", "stop")


@pytest.mark.parametrize(
    "arguments", ['{"x": NaN}', '{"x": 1e999}', '{"x": "\\ud800"}', "[1]", "3", "null", '{"x": ' + "9" * 5000 + "}"]
)
def test_arguments_that_no_tool_could_take_make_no_call(arguments: str) -> None:
    message = f'{{"name": "f", "parameters": {arguments}}}'
    got = LLAMA.parse(message + "<|eot_id|>")
    assert (got.content, got.tool_calls) == (message, ())


@pytest.mark.parametrize(
    ("dialect", "text"),
    [("llama2", "[f(a=1)]</s>"), ("llama3", '{"name": "f", "parameters": {}}<|eot_id|>')],
)
def test_llamas_that_know_no_tools_make_no_calls(dialect: str, text: str) -> None:
    got = Dialect.get(dialect).parse(text, ["f"])
    assert (got.tool_calls, got.end) == ((), "end_of_turn")


def test_a_list_after_the_python_tag_is_code_in_llama_31_and_calls_from_32_on() -> None:
    text = "<|python_tag|>[f(a=1)]<|eom_id|>"
    assert LLAMA.parse(text).tool_calls == (ToolCall("code_interpreter", {"code": "[f(a=1)]"}),)
    assert Dialect.get("llama3.3").parse(text).tool_calls == (ToolCall("f", {"a": 1}),)


def test_what_stands_in_python_tags_without_a_call_is_text_in_llama_4() -> None:
    got = Dialect.get("llama4").parse("<|python_start|>Let me see.<|python_end|><|eom|>")
    assert (got.content, got.tool_calls, got.end) == ("Let me see.", (), "end_of_message")


def test_reading_ids_needs_a_tokenizer() -> None:
    with pytest.raises(VocabularyMismatch, match="needs a tokenizer"):
        LLAMA.parse([1, 2])


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:
    words = Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(VocabularyMismatch, match="byte-level"):
        words.stream()


def test_an_unfinished_character_is_not_shown(tokenizer: Tokenizer) -> None:
    assert vocabularies.SPECIAL_TOKENS[9] == "<|eot_id|>"
    ids = tokenizer.encode("👩")
    assert len(ids) > 1
    assert LLAMA.parse(ids[:-1], None, tokenizer).content == ""
