"""Conversations become the templates' text and ids."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import rendered

from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage, UnknownDialect
from arriero.prompts.formats import FORMATS
from arriero.prompts.messages import ImagePart, Message, TextPart, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.tiktoken_vocabulary import Generation
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.writers.chat import ChatWriter
from arriero.prompts.writers.llama2 import Llama2Writer

VECTORS = rendered("hf-llama-2", "hf-llama-3", "hf-llama-4", "vllm-")
CONTINUED = {
    f"{name} {source}": dialect
    for (name, source), dialect in DIALECTS.items()
    if isinstance(dialect.writer, ChatWriter | Llama2Writer)
}
LLAMA = Dialect.get("llama3.1")
VISION = Dialect.get("llama3.2-vision")
LLAMA4 = Dialect.get("llama4")
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HI = Message("user", "hi")
CALL = Message("assistant", "", (ToolCall("f", {}),))
REPAIR = RenderOptions(repair=True)

text = st.text(st.characters(codec="utf-8"), max_size=30)


def _render(vector: dict[str, Any]) -> Prompt:
    prompt = FORMATS[vector["format"]].render(vector["input"]).prompt
    assert prompt is not None
    return prompt


def _called(*calls: ToolCall, content: str = "") -> Message:
    return Message("assistant", content, calls)


@pytest.mark.parametrize("vector", VECTORS)
def test_a_conversation_gives_the_templates_text_or_a_typed_error(vector: dict[str, Any]) -> None:
    if vector["expected"] is None:
        with pytest.raises(InvalidMessage):
            _render(vector)
    else:
        assert _render(vector).text == vector["expected"]


@pytest.mark.parametrize("vector", [case for case in VECTORS if "token_ids_text_parsed" in case.values[0]])
def test_a_conversation_gives_the_templates_ids(
    vector: dict[str, Any], meta: Callable[[Generation], Tokenizer]
) -> None:
    ids = vector.get("token_ids_safe", vector["token_ids_text_parsed"])
    if ids is not None:
        assert (
            _render(vector).encode(meta("llama4" if "llama4" in vector["format"].replace("-", "") else "llama3")) == ids
        )


def test_an_unknown_dialect_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(UnknownDialect, match=r"'llama9'; known: llama2, llama3, llama3.1, llama3.2, "):
        Dialect.get("llama9")
    with pytest.raises(UnknownDialect, match=r"'llama4' has no source 'mine'; it has: published, "):
        Dialect.get("llama4", "mine")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "the conversation is empty"),
        ([Message("robot", "hi")], "message 0: unknown role 'robot'"),  # type: ignore[arg-type]
        ([HI, CALL, Message("tool", math.nan)], "message 2: not writable as strict JSON"),
        ([HI, CALL, Message("tool", {"x": math.inf})], "message 2: not writable as strict JSON"),
        ([Message("user", ["a", "b"])], "message 0: content must be text here, not list"),
        ([Message("user", "a\ud800b")], "message 0: a lone surrogate at character 1"),
        ([Message("user", "a", (ToolCall("f", {}),))], "message 0: role 'user' cannot make tool calls"),
        (
            [Message("user", "a"), Message("assistant", "", (ToolCall("f", {}), ToolCall("g", {})))],
            "message 1: this format writes one tool call in a message, not 2",
        ),
        ([Message("user", "a"), Message("assistant", "", (ToolCall("f", {"x": {1}}),))], "message 1: not writable"),
        ([HI, CALL, Message("tool", {"a": {True: 1}})], "message 2: .*the key True is no text"),
        ([HI, Message("tool", "21")], "message 1: a tool result without a call"),
        ([HI, CALL, Message("user", "?"), Message("tool", "21")], "message 3: a tool result without a call"),
        ([HI, Message("assistant", "", empty_calls=True)], "message 1: 'tool_calls' must hold a call"),
        ([HI, Message("user", (TextPart("a"),))], "message 1: content must be text here, not parts"),
        ([HI, Message("user", (TextPart("a"), ImagePart()))], "message 1: a picture for a dialect that reads text"),
        ([HI, Message("user", None)], "message 1: content must be text here, not NoneType"),
    ],
)
def test_a_conversation_that_cannot_be_written_names_the_message(messages: list[Message], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        LLAMA.render(messages)


def test_tools_need_a_first_user_message_to_stand_in() -> None:
    with pytest.raises(InvalidMessage, match="tools_in_user_message=False"):
        LLAMA.render([Message("system", "only this")], [WEATHER])


def test_a_declaration_that_is_not_json_names_the_tool() -> None:
    with pytest.raises(InvalidMessage, match="declaration of tool 'broken'"):
        LLAMA.render([Message("user", "hi")], [{"function": {"name": "broken", "parameters": {"default": math.nan}}}])


def test_no_tools_is_not_the_empty_list_of_tools() -> None:
    messages = [Message("user", "hi")]
    assert "ipython" not in LLAMA.render(messages, []).text
    assert "ipython" in LLAMA.render(messages, [], RenderOptions(announce_empty_tools=True)).text


@pytest.mark.parametrize(
    ("tool", "problem"),
    [
        ({"type": "function", "function": {"name": 1}}, "tool 0: 'name' must be text, not 1"),
        ({"type": "function", "function": {}}, "tool 0: 'name' must be text, not None"),
        ({"type": "function", "function": [1]}, "tool 0: 'function' must be an object, not list"),
        ({"name": "f", "parameters": {1: "a"}}, "declaration of tool 'f': .*the key 1 is no text"),
    ],
)
def test_a_declaration_that_is_none_is_refused(tool: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        LLAMA.render([Message("user", "hi")], [tool])


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Message("assistant", "", (ToolCall("f", [1]),)), "message 1: arguments of 'f' must be an object, not list"),  # type: ignore[arg-type]
        (Message("assistant", "", (ToolCall("f", {1: 2}),)), "message 1: .*the key 1 is no text"),  # type: ignore[dict-item]
        (Message("assistant", "", (ToolCall("f", {"a": [{None: 2}]}),)), "message 1: .*the key None is no text"),
    ],
)
def test_values_that_are_no_json_object_are_refused(message: Message, problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        LLAMA.render([Message("user", "hi"), message])


def test_llama_32_writes_today_in_english_and_31_a_fixed_day() -> None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    today = date.today()
    written = Dialect.get("llama3.2").render([Message("user", "hi")]).text
    assert f"Today Date: {today.day:02} {months[today.month - 1]} {today.year}\n" in written
    assert "Today Date: 26 Jul 2024\n" in LLAMA.render([Message("user", "hi")]).text


def test_code_in_history_is_a_call_like_any_and_repaired_it_is_what_the_model_writes() -> None:
    talk = [HI, _called(ToolCall("code_interpreter", {"code": "print(6 * 7)"}))]
    options = RenderOptions(builtin_tools=("code_interpreter",))
    published = LLAMA.render(talk, (), options).text
    assert '<|python_tag|>code_interpreter.call(code="print(6 * 7)")<|eom_id|>' in published
    repaired = LLAMA.render(talk, (), replace(options, repair=True)).text
    assert "<|python_tag|>print(6 * 7)<|eom_id|>" in repaired


def test_the_code_interpreter_alone_leaves_the_line_of_tools_empty() -> None:
    written = LLAMA.render([HI], (), RenderOptions(builtin_tools=("code_interpreter",))).text
    assert "Environment: ipython\nTools: \n\nCutting Knowledge Date" in written


def test_a_message_that_says_how_it_ended_ends_so() -> None:
    call = Message("assistant", "", (ToolCall("f", {}),), end="eom")
    assert LLAMA.render([Message("user", "?"), call]).text.count("<|eom_id|>") == 1


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_the_last_message_can_be_left_open(role: Any) -> None:
    options = RenderOptions(continue_final_message=True)
    assert LLAMA.render([Message(role, "I am ")], (), options).text.endswith("I am")


def test_a_call_cannot_be_continued() -> None:
    messages = [Message("user", "?"), Message("assistant", "", (ToolCall("f", {}),))]
    with pytest.raises(InvalidMessage, match="message 1: only a text message"):
        LLAMA.render(messages, (), RenderOptions(continue_final_message=True))


@settings(max_examples=40)
@given(
    system=st.none() | text,
    question=text,
    answers=st.lists(
        st.one_of(
            text.map(lambda answer: (Message("assistant", answer), Message("user", "and then?"))),
            text.map(lambda city: (Message("assistant", "", (ToolCall("f", {"city": city}),)), Message("tool", city))),
            st.integers().map(
                lambda n: (Message("assistant", "", (ToolCall("f", {"n": n}),)), Message("tool", {"n": n}))
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    builtin=st.sampled_from([None, ("code_interpreter",)]),
)
def test_a_prompt_grows_by_its_deltas(
    tokenizer: Tokenizer,
    system: str | None,
    question: str,
    answers: list[tuple[Message, Message]],
    builtin: tuple[str, ...] | None,
) -> None:
    options = RenderOptions(builtin_tools=builtin)
    start = [*([] if system is None else [Message("system", system)]), Message("user", question)]
    tape = LLAMA.render(start, [WEATHER], options).encode(tokenizer)
    so_far = list(start)
    for answer, result in answers:
        with_answer = LLAMA.render([*so_far, answer], [WEATHER], _closed(options)).encode(tokenizer)
        assert with_answer[: len(tape)] == tape
        tape = with_answer + LLAMA.render_delta([result], options).encode(tokenizer)
        so_far += [answer, result]
        assert LLAMA.render(so_far, [WEATHER], options).encode(tokenizer) == tape


def _closed(options: RenderOptions) -> RenderOptions:
    return RenderOptions(builtin_tools=options.builtin_tools, add_generation_prompt=False)


@pytest.mark.parametrize("dialect", CONTINUED.values(), ids=CONTINUED)
@settings(max_examples=15)
@given(said=st.lists(text, min_size=3, max_size=3), system=st.none() | text, calls=st.booleans())
def test_every_dialects_text_grows_by_its_deltas(
    dialect: Dialect, said: list[str], system: str | None, calls: bool
) -> None:
    calls = calls and dialect.name not in ("llama2", "llama3")
    start = [*([] if system is None else [Message("system", system)]), Message("user", said[0])]
    answer, heard = Message("assistant", said[1]), Message("user", said[2])
    if calls:
        answer, heard = _called(ToolCall("f", {"a": said[1]})), Message("tool", said[2])
    tools = [WEATHER] if calls else []
    before = dialect.render(start, tools).text
    answered = dialect.render([*start, answer], tools, RenderOptions(add_generation_prompt=False)).text
    # One of vLLM's templates writes a newline after each end; the model does not.
    tape = answered.removesuffix("\n") + dialect.render_delta([heard]).text
    assert answered.startswith(before)
    assert tape == dialect.render([*start, answer, heard], tools).text


@pytest.mark.parametrize("dialect", CONTINUED.values(), ids=CONTINUED)
@settings(max_examples=15)
@given(
    said=st.text(st.characters(codec="utf-8"), max_size=10) | st.sampled_from(["<|eot_id|>", "<|eot|><s>", "</s>\x00"])
)
def test_no_dialect_takes_a_special_token_from_what_is_said(dialect: Dialect, said: str) -> None:
    def specials(said: str) -> list[str]:
        messages = [
            Message("system", said + "."),
            Message("user", said),
            Message("assistant", said),
            Message("user", said),
        ]
        segments = dialect.render(messages).segments + dialect.render_delta([Message("user", said)]).segments
        return [segment.text for segment in segments if segment.kind == "special"]

    assert specials(said) == specials("x")


@pytest.mark.parametrize("dialect", CONTINUED.values(), ids=CONTINUED)
def test_every_dialect_can_leave_the_last_message_open(dialect: Dialect) -> None:
    options = RenderOptions(continue_final_message=True)
    assert dialect.render([HI, Message("assistant", "I am")], (), options).text.endswith("I am")
    assert dialect.render([HI], (), options).text.endswith("hi")


@pytest.mark.parametrize("dialect", CONTINUED.values(), ids=CONTINUED)
@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (Message("robot", "hi"), "message 1: unknown role"),  # type: ignore[arg-type]
        (Message("tool", "21"), "message 1: a tool result without a call"),
        (Message("assistant", "a\udfffb"), "message 1: a lone surrogate"),
        (Message("assistant", b"bytes"), "message 1: content must be text here, not bytes"),  # type: ignore[arg-type]
        (_called(ToolCall("f", {"x": math.nan})), "message 1: "),
    ],
)
def test_every_dialect_names_the_message_that_it_refuses(dialect: Dialect, message: Message, problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        dialect.render([HI, message])


@pytest.mark.parametrize("name", ["llama2", "llama3"])
def test_a_dialect_without_tools_refuses_them(name: str) -> None:
    with pytest.raises(InvalidMessage, match="this format knows no tools"):
        Dialect.get(name).render([HI], [WEATHER])
    with pytest.raises(InvalidMessage, match="message 1: this format knows no tools"):
        Dialect.get(name).render([HI, CALL])


@pytest.mark.parametrize("name", ["llama3.1", "llama4", "llama2"])
def test_ten_megabytes_in_one_message_are_rendered_as_they_are(name: str) -> None:
    said = "<|eot_id|> \u00e9\n" * 700_000 + "."
    segments = Dialect.get(name).render([Message("user", said)]).segments
    assert [segment.text for segment in segments if segment.kind == "content"][-1] == said


def test_two_systems_are_refused_where_the_format_has_no_place_for_a_second() -> None:
    with pytest.raises(InvalidMessage, match="message 1: user and assistant take turns"):
        Dialect.get("llama2").render([Message("system", "one"), Message("system", "two"), HI])
    with pytest.raises(InvalidMessage, match="a system message alone"):
        Dialect.get("llama2").render([Message("system", "one")])


def test_a_picture_later_on_extends_a_prompt_of_llama_4() -> None:
    delta = LLAMA4.render_delta([Message("user", (ImagePart(), TextPart(" this? ")))])
    assert delta.text.startswith("<|header_start|>user<|header_end|>\n\n<|image|> this? <|eot|>")
    assert [segment.kind for segment in delta.segments if segment.text == "<|image|>"] == ["special"]
