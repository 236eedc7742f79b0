"""Laws of parsing: every cut gives the same, nothing raises, what was written is read back, time is linear."""

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from call_writers import WRITERS, agree, pieces, plain, read
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arriero.prompts.calls.literals import MAX_CALLS
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.parser import CallParsed, Parsed, ParseEvent, Parser
from arriero.prompts.tokens import Tokenizer

LLAMA = Dialect.get("llama3.1")
ENDS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|eot|>")

written = st.lists(
    st.sampled_from([
        *ENDS, "<|python_tag|>", "<|python_start|>", "<|python_end|>", "<|start_header_id|>", "<|end_header_id|>",
        '{"name": "f", "parameters": {"a": 1}}', '{"name": "f"', ', "parameters": {}}', "; ", ", ", " and ",
        '[{"name": "f", "parameters": {}}', "[f(a=1)", ", g(b='x')]", "f(a=", "'it's'", ")]", "[f(x=b'', y=1)",
        "<function=f>", '{"a": 1}', "</function>", "</function=f>", "<func", "```json\n", "```", "``", '"""', "'''",
        '{"', "\\", '"', "'", "{", "}", "[", "]", "(", ")", "=", ",", "None", "true", "f(", "f.call(",
        'brave_search.call(query="x")', "print(1)", "<|", "<|eot", "_id|>", "\n", "سلام", "\ud83d", "\x00",
    ])
    | st.text(max_size=6),
    max_size=14,
).map("".join)  # fmt: skip
offers = st.sampled_from([
    None,
    ["f"],
    ["g", {"name": "f", "parameters": {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}],
])  # fmt: skip
llamas = st.sampled_from(["llama2", "llama3", "llama3.1", "llama3.2", "llama4"])
cuts = st.lists(st.integers(0, 10_000), max_size=8)
value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
identifiers = st.from_regex(r"[a-z_][a-z0-9_]{0,8}(\.[a-z]{1,4})?", fullmatch=True)
parameters = st.sampled_from(["a", "city", "n_2", "_x", "parameters", "name"])
calls = st.lists(
    st.builds(ToolCall, identifiers, st.dictionaries(parameters, value, max_size=3)), min_size=1, max_size=3
)  # fmt: skip


def _in_pieces(parser: Parser, text: str, cut: Sequence[int]) -> tuple[Parsed, list[ParseEvent]]:
    edges = [0, *sorted(at % (len(text) + 1) for at in cut), len(text)]
    return read(parser, [text[a:b] for a, b in itertools.pairwise(edges)])


@settings(max_examples=400)
@given(text=written, cut=cuts, tools=offers, llama=llamas, repair=st.booleans())
def test_any_cut_gives_the_same_message_and_its_events_add_up(
    text: str, cut: list[int], tools: list[Any] | None, llama: str, repair: bool
) -> None:
    dialect = Dialect.get(llama)
    whole = dialect.parse(text, tools, repair=repair)
    got, events = _in_pieces(dialect.parser(tools, repair=repair), text, cut)
    assert got == whole
    agree(got, events)


@given(text=written, tools=offers, syntax=st.sampled_from(["llama3-json", "pythonic", "function-tag", "llama4"]))
@example('<|python_tag|>{"name": "f", "parameters": {"a": 1}}', None, "llama3-json")
def test_a_forced_syntax_reads_the_same_character_by_character(text: str, tools: list[Any] | None, syntax: Any) -> None:
    got, events = read(LLAMA.parser(tools, syntax=syntax), list(text))
    assert got == LLAMA.parse(text, tools, syntax=syntax)
    agree(got, events)


@given(data=st.data(), cut=cuts)
def test_any_cut_of_any_ids_gives_the_same_message(tokenizer: Tokenizer, data: st.DataObject, cut: list[int]) -> None:
    encodable = written.map(lambda text: text.encode("utf-8", "replace").decode())
    drawn = data.draw(st.lists(encodable.map(tokenizer.encode) | st.lists(st.integers(0, 700), max_size=6), max_size=5))
    ids = [id_ for piece in drawn for id_ in piece]
    edges = [0, *sorted(at % (len(ids) + 1) for at in cut), len(ids)]
    parser = LLAMA.parser(None, tokenizer)
    events = [event for start, stop in itertools.pairwise(edges) for event in parser.feed_ids(ids[start:stop])]
    got = parser.finish()
    assert got == LLAMA.parse(ids, None, tokenizer)
    agree(got, [*events, *got.last])


@given(data=st.data())
def test_text_that_spells_special_tokens_never_ends_a_message_that_comes_as_ids(
    tokenizer: Tokenizer, data: st.DataObject
) -> None:
    text = data.draw(written).encode("utf-8", "replace").decode()
    got = LLAMA.parse(tokenizer.encode(text), None, tokenizer)
    assert got.end == "none"


@given(noise=st.binary(max_size=60), llama=llamas)
def test_any_bytes_are_read_without_an_error(noise: bytes, llama: str) -> None:
    text = noise.decode("utf-8", "surrogateescape")
    agree(*read(Dialect.get(llama).parser(), pieces(text, 7)))


@pytest.mark.parametrize("syntax", WRITERS)
@given(wanted=calls, at=st.integers(1, 10_000))
def test_a_message_cut_anywhere_dispatches_only_whole_calls(syntax: str, wanted: list[ToolCall], at: int) -> None:
    llama, write = WRITERS[syntax]
    text = write(wanted)
    body = text[: text.rfind("<|")]
    names = [call.name for call in wanted]
    got = Dialect.get(llama).parse(body[: at % len(body)], names)
    assert plain(got.tool_calls) == plain(wanted)[: len(got.tool_calls)]
    assert not got.coercions


@pytest.mark.parametrize("syntax", WRITERS)
@given(wanted=calls, cut=cuts, repair=st.booleans())
def test_calls_that_were_written_are_read_back(
    syntax: str, wanted: list[ToolCall], cut: list[int], repair: bool
) -> None:
    llama, write = WRITERS[syntax]
    repair = repair or (syntax == "function tags" and len(wanted) > 1)  # which documents one tag in a message
    got, events = _in_pieces(Dialect.get(llama).parser(repair=repair), write(wanted), cut)
    assert (got.content, plain(got.tool_calls), got.kind) == ("", plain(wanted), "tool_calls")
    agree(got, events)


@given(text=st.text(st.characters(codec="utf-8")))
def test_ids_give_their_text_back(tokenizer: Tokenizer, text: str) -> None:
    stream = tokenizer.stream()
    assert "".join(stream.feed(id_) for id_ in tokenizer.encode(text)) == text


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="{[<`"), min_size=1))
def test_a_plain_answer_that_was_rendered_is_read_back(tokenizer: Tokenizer, text: str) -> None:
    assert _read_back(Message("assistant", text), tokenizer).content == text.strip()


# The published template writes names as they are, so that some could not be read back as JSON.
names = st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters='"\\'), min_size=1, max_size=8)


@given(name=names, arguments=value)
def test_a_call_that_was_rendered_is_read_back(tokenizer: Tokenizer, name: str, arguments: Any) -> None:
    call = ToolCall(name, {"value": arguments})
    assert _read_back(Message("assistant", "", (call,)), tokenizer).tool_calls == (call,)


@pytest.mark.parametrize(
    "call",
    [
        ToolCall("brave_search", {"query": "gold, price; today {x}"}),
        ToolCall("brave_search", {"query": 'who said "hi" and (x)?'}),
        ToolCall("brave_search", {"query": "C:\\"}),
        ToolCall("wolfram_alpha", {"query": "∫ x² dx"}),
        ToolCall("lookup", {"word": "mule", "language": "es"}),
        ToolCall("code_interpreter", {"code": "x = {'a': [1]}\nprint(x)\n"}),
    ],
)
def test_a_built_in_call_that_was_rendered_is_read_back(tokenizer: Tokenizer, call: ToolCall) -> None:
    options = RenderOptions(builtin_tools=(call.name,))
    got = _read_back(Message("assistant", "", (call,)), tokenizer, options)
    assert (got.tool_calls, got.end, got.unknown) == ((call,), "end_of_message", ())


def _read_back(message: Message, tokenizer: Tokenizer, options: RenderOptions | None = None) -> Parsed:
    builtin = options.builtin_tools if options else None
    start = LLAMA.render([Message("user", "?")], (), RenderOptions(builtin_tools=builtin)).encode(tokenizer)
    closed = RenderOptions(builtin_tools=builtin, add_generation_prompt=False)
    whole = LLAMA.render([Message("user", "?"), message], (), closed).encode(tokenizer)
    return LLAMA.parse(whole[len(start) :], [call.name for call in message.tool_calls], tokenizer)


HOSTILE: dict[str, Callable[[int], str]] = {
    "braces": lambda size: "{" * size,
    "brackets": lambda size: "[" * size,
    "brackets in code": lambda size: "<|python_tag|>" + "[" * size,
    "calls in calls": lambda size: "[f(" * (size // 3),
    "lists in an argument": lambda size: "[f(a=" + "[" * size,
    "closed lists in an argument": lambda size: f"[f(a={'[' * (size // 2)}{']' * (size // 2)})]<|eot_id|>",
    "deep lists": lambda size: ("[f(a=" + "[" * 250 + "]" * 250 + ")]\n") * (size // 507),
    "deep arguments": lambda size: '{"name": "f", "parameters": ' + '{"a": ' * (size // 6),
    "objects": lambda size: '{"a":' * (size // 5),
    "answers": lambda size: '{"a": 1};' * (size // 9),
    "calls": lambda size: '{"name": "f", "parameters": {}};' * (size // 32),
    "half a call": lambda size: '{"name": "f", "parameters": {"a": "' + "x" * size,
    "calls as Python writes them": lambda size: "[" + "f(a=1), " * (size // 8) + "]<|eot_id|>",
    "calls that cannot be read": lambda size: "[" + "".join(f"f{i}(a=b), " for i in range(size // 11)) + "]<|eot_id|>",
    "quotes": lambda size: '[f(a="' + '"' * size,
    "two kinds of quotes": lambda size: "[f(a=" + "\"'" * (size // 2) + ")]<|eot_id|>",
    "strings side by side": lambda size: "[f(a=" + "'x' " * (size // 4) + ")]<|eot_id|>",
    "quotes inside": lambda size: "[f(a='x" + "'      " * (size // 7) + ")]<|eot_id|>",
    "open built-in calls": lambda size: "<|python_tag|>" + 'brave_search.call(query="' * (size // 25),
    "built-in calls": lambda size: "<|python_tag|>" + 'brave_search.call(query="x");' * (size // 29) + "<|eom_id|>",
    "tags": lambda size: "<|python_tag|>" * (size // 14),
    "calls and tags": lambda size: '{"name": "f", "parameters": {}}<|python_tag|>' * (size // 45),
    "function tags": lambda size: "<function=f>" * (size // 12),
    "closing tags": lambda size: "<function=f>{}" + "</function>" * (size // 11),
    "fences": lambda size: "```json\n" * (size // 8),
    "backticks": lambda size: "`" * size,
    "backslashes": lambda size: '{"' + "\\" * size,
    "half tokens": lambda size: "<|" * (size // 2),
    "headers": lambda size: "<|start_header_id|>" * (size // 19),
    "blanks": lambda size: " " * size,
    "a word": lambda size: "x" * size,
    "digits": lambda size: "[f(a=" + "9" * size + ")]<|eot_id|>",
    "lists of lists": lambda size: "[[f(" * (size // 4),
    "comments": lambda size: "[f(a=1 " + "# '\n" * (size // 4) + ")]<|eot_id|>",
    "one long comment": lambda size: "[f(a=1 #" + "#" * size,
    "tagged calls and text": lambda size: (
        '<|python_tag|>{"name": "f", "parameters": {}} x' * (size // 47) + "<|eom_id|>"
    ),
    "commas": lambda size: '{"name": "f", "parameters": {}}' + "," * size,
}


@pytest.mark.parametrize("step", [7, 10**7])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_linear_time(hostile: Callable[[int], str], step: int) -> None:
    def once(text: str) -> float:
        started = time.process_time()
        parser = Dialect.get("llama3.2").parser(["f"])
        for piece in pieces(text, step):
            parser.feed(piece)
        parser.finish()
        return time.process_time() - started

    def seconds(size: int) -> float:
        text = hostile(size)
        gc.disable()  # whose share grows with what other tests have left in memory
        try:
            return min(once(text), once(text))
        finally:
            gc.enable()

    small, large = seconds(12_500), seconds(100_000)
    # Eight times the text; quadratic would be sixty-four times the time.
    assert large < max(0.3, 25 * small)
    assert large < 2


@pytest.mark.parametrize("step", [7, 10**7])
def test_a_message_has_no_more_than_so_many_calls_and_what_follows_is_text(step: int) -> None:
    call = '{"name": "f", "parameters": {}}'
    text = f"{call};" * (MAX_CALLS + 1)
    got, events = read(Dialect.get("llama3.2").parser(["f"]), pieces(f"{text}<|eot_id|>", step))
    assert len(got.tool_calls) == MAX_CALLS
    assert got.content == f";{call};"
    assert got.repairs
    agree(got, events)


@pytest.mark.parametrize(("call", "shape"), [("f(a=1), ", "[%s]"), ('{"name": "f", "parameters": {}},\n', "[%s{}]")])
def test_a_list_of_too_many_calls_is_text(call: str, shape: str) -> None:
    text = shape % (call * (MAX_CALLS + 1))
    got = Dialect.get("llama3.2").parse(text + "<|eot_id|>", ["f"])
    assert (got.content, got.tool_calls) == (text, ())


def test_a_call_is_never_told_twice() -> None:
    text = "[f(a=1), f(a=1)] and [f(a=1)]<|eot_id|>"
    _, events = read(Dialect.get("llama3.2").parser(["f"]), list(text))
    assert [event.index for event in events if isinstance(event, CallParsed)] == [0, 1, 2]
