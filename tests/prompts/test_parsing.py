"""What a model wrote is read the same however it arrives, and nothing it writes does harm."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tokenizers
import vocabularies
from hypothesis import given
from hypothesis import strategies as st
from vectors import parsed

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.parser import CallParsed, Parsed, ParseEvent, Parser, TextParsed
from arriero.prompts.tokens import Tokenizer

LLAMA = Dialect.get("llama3.1")
SEEN = ("auto", "llama3-json", "llama3-builtin")
ENDS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")

written = st.lists(
    st.sampled_from([
        *ENDS, "<|python_tag|>", '{"name": "f", "parameters": {"a": 1}}', '{"name": "f"', ', "parameters": {}}', "; ",
        '{"', "\\", '"', "{", "}", "[", "]",
        'brave_search.call(query="x")', "print(1)", "<|", "<|eot", "_id|>", "\n", "سلام",
    ])
    | st.text(st.characters(codec="utf-8"), max_size=6),
    max_size=12,
).map("".join)  # fmt: skip
value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _in_pieces(parser: Parser, text: str, cuts: Sequence[int]) -> tuple[Parsed, list[ParseEvent]]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    events = [event for a, b in itertools.pairwise(edges) for event in parser.feed(text[a:b])]
    return parser.finish(), events


def _matches(vector: dict[str, Any], got: Parsed) -> None:
    expect = vector["expect"]
    assert [{"name": call.name, "arguments": call.arguments} for call in got.tool_calls] == expect["tool_calls"]
    assert (got.end, got.kind) == (expect["end"], expect["kind"])
    if expect["content"] != {"any": True}:
        assert got.content == expect["content"]


@pytest.mark.parametrize("vector", parsed(*SEEN))
def test_a_message_means_what_it_must(vector: dict[str, Any]) -> None:
    _matches(vector, LLAMA.parse(vector["text"], vector["tools"]))


@pytest.mark.parametrize("vector", [case for case in parsed("token-ids") if case.values[0]["tokenizer"] == "llama3"])
def test_only_special_ids_are_special_tokens(vector: dict[str, Any], meta_tokenizer: Tokenizer) -> None:
    _matches(vector, LLAMA.parse(vector["token_ids"], vector["tools"], meta_tokenizer))
    parser = LLAMA.parser(vector["tools"], meta_tokenizer)
    for id_ in vector["token_ids"]:
        parser.feed_ids([id_])
    _matches(vector, parser.finish())


@pytest.mark.parametrize("vector", parsed(*SEEN, level="must") + parsed(*SEEN, level="lenient"))
def test_every_vector_is_read_the_same_character_by_character(vector: dict[str, Any]) -> None:
    parser = LLAMA.parser(vector["tools"])
    whole = LLAMA.parse(vector["text"], vector["tools"])
    pieces, _ = _in_pieces(parser, vector["text"], range(len(vector["text"])))
    assert pieces == whole


@given(text=written, cuts=st.lists(st.integers(0, 10_000), max_size=8), tools=st.none() | st.just(["f"]))
def test_any_cut_gives_the_same_message_and_shows_only_its_content(
    text: str, cuts: list[int], tools: list[str] | None
) -> None:
    whole = LLAMA.parse(text, tools)
    got, events = _in_pieces(LLAMA.parser(tools), text, cuts)
    assert got == whole
    shown = "".join(event.text for event in events if isinstance(event, TextParsed))
    assert shown + got.unshown == got.content
    called = tuple(event.call for event in events if isinstance(event, CallParsed))
    assert called == (got.tool_calls if got.end != "none" else ())


@given(data=st.data(), cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_any_cut_of_any_ids_gives_the_same_message(tokenizer: Tokenizer, data: st.DataObject, cuts: list[int]) -> None:
    pieces = data.draw(st.lists(written.map(tokenizer.encode) | st.lists(st.integers(0, 700), max_size=6), max_size=5))
    ids = [id_ for piece in pieces for id_ in piece]
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    parser = LLAMA.parser(None, tokenizer)
    for start, stop in itertools.pairwise(edges):
        parser.feed_ids(ids[start:stop])
    assert parser.finish() == LLAMA.parse(ids, None, tokenizer)


@given(text=st.text(st.characters(codec="utf-8")))
def test_ids_give_their_text_back(tokenizer: Tokenizer, text: str) -> None:
    stream = tokenizer.stream()
    assert "".join(stream.feed(id_) for id_ in tokenizer.encode(text)) == text


# The published template writes names as they are, so that some could not be read back as JSON.
names = st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters='"\\'), min_size=1, max_size=8)


@given(name=names, arguments=value)
def test_a_call_that_was_rendered_is_read_back(tokenizer: Tokenizer, name: str, arguments: Any) -> None:
    call = ToolCall(name, {"value": arguments})
    ids = _answered(call, RenderOptions(), tokenizer)
    assert LLAMA.parse(ids, [call.name], tokenizer).tool_calls == (call,)


@pytest.mark.parametrize(
    "call",
    [
        ToolCall("brave_search", {"query": "gold, price; today {x}"}),
        ToolCall("wolfram_alpha", {"query": "∫ x² dx"}),
        ToolCall("lookup", {"word": "mule", "language": "es"}),
        ToolCall("code_interpreter", {"code": "x = {'a': [1]}\nprint(x)\n"}),
    ],
)
def test_a_built_in_call_that_was_rendered_is_read_back(tokenizer: Tokenizer, call: ToolCall) -> None:
    ids = _answered(call, RenderOptions(builtin_tools=(call.name,)), tokenizer)
    got = LLAMA.parse(ids, [call.name], tokenizer)
    assert (got.tool_calls, got.end, got.unknown) == ((call,), "end_of_message", ())


def _answered(call: ToolCall, options: RenderOptions, tokenizer: Tokenizer) -> list[int]:
    start = LLAMA.render([Message("user", "?")], (), options).encode(tokenizer)
    closed = RenderOptions(builtin_tools=options.builtin_tools, add_generation_prompt=False)
    whole = LLAMA.render([Message("user", "?"), Message("assistant", "", (call,))], (), closed).encode(tokenizer)
    return whole[len(start) :]


def test_a_call_to_a_tool_that_was_not_offered_is_reported_as_unknown() -> None:
    got = LLAMA.parse('{"name": "delete", "parameters": {}}<|eot_id|>', ["weather"])
    assert got.tool_calls == got.unknown == (ToolCall("delete", {}),)


def test_text_is_shown_as_it_comes_and_a_possible_call_is_held_back() -> None:
    parser = LLAMA.parser()
    assert parser.feed("It is <|e") == [TextParsed("It is ")]
    assert parser.feed("m>sunny") == [TextParsed("<|em>sunny")]
    parser = LLAMA.parser()
    assert parser.feed('{"answer"') == []
    assert parser.feed(": 42} km") == [TextParsed('{"answer": 42} km')]


@pytest.mark.parametrize(
    "cut", ['{"name": "f", "parameters": {"a": 1}', "<|python_tag|>print(", "<|python_tag|>print(1)"]
)
def test_what_was_cut_short_is_never_called(cut: str) -> None:
    got = LLAMA.parse(cut)
    assert (got.tool_calls, got.kind) == ((), "length")
    assert got.unshown == got.content != ""


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


def test_reading_ids_needs_a_tokenizer() -> None:
    with pytest.raises(VocabularyMismatch, match="needs a tokenizer"):
        LLAMA.parse([1, 2])


HOSTILE: dict[str, Callable[[int], str]] = {
    "braces": lambda size: "{" * size,
    "brackets in code": lambda size: "<|python_tag|>" + "[" * size,
    "deep arguments": lambda size: '{"name": "f", "parameters": ' + '{"a": ' * (size // 6),
    "answers": lambda size: '{"a": 1};' * (size // 9),
    "calls": lambda size: '{"name": "f", "parameters": {}};' * (size // 32),
    "half a call": lambda size: '{"name": "f", "parameters": {"a": "' + "x" * size,
    "open built-in calls": lambda size: "<|python_tag|>" + 'brave_search.call(query="' * (size // 25),
    "tags": lambda size: "<|python_tag|>" * (size // 14),
    "calls and tags": lambda size: '{"name": "f", "parameters": {}}<|python_tag|>' * (size // 45),
    "backslashes": lambda size: '{"' + "\\" * size,
    "half tokens": lambda size: "<|" * (size // 2),
    "blanks": lambda size: " " * size,
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_megabyte_takes_linear_time(hostile: Callable[[int], str]) -> None:
    def seconds(size: int) -> float:
        text = hostile(size)
        started = time.process_time()
        parser = LLAMA.parser()
        for at in range(0, len(text), 997):
            parser.feed(text[at : at + 997])
        parser.finish()
        return time.process_time() - started

    small, large = seconds(125_000), seconds(1_000_000)
    # Eight times the text; quadratic would be sixty-four times the time.
    assert large < max(0.3, 25 * small)
    assert large < 5


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:

    words = Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(VocabularyMismatch, match="byte-level"):
        words.stream()


def test_an_unfinished_character_is_not_shown(tokenizer: Tokenizer) -> None:
    assert vocabularies.SPECIAL_TOKENS[9] == "<|eot_id|>"
    ids = tokenizer.encode("👩")
    assert len(ids) > 1
    assert LLAMA.parse(ids[:-1], None, tokenizer).content == ""
