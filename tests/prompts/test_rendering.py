"""Conversations become the published templates' text and ids."""

import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import conversation, rendered

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage, UnknownDialect
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.tokens import Tokenizer

CHAT = ("hf-llama-3.1", "hf-llama-3.2", "hf-llama-3.3")
NAMES = {format_: format_.replace("hf-llama-", "llama") for format_ in CHAT} | {
    "hf-llama-guard-3-8b": "llama-guard-3-8b"
}
LLAMA = Dialect.get("llama3.1")
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}

text = st.text(st.characters(codec="utf-8"), max_size=30)


def _render(vector: dict[str, Any]) -> Any:
    messages, tools, options = (
        conversation(vector) if vector["format"] in CHAT else (*_guarded(vector), RenderOptions())
    )
    return Dialect.get(NAMES[vector["format"]]).render(messages, tools, options)


def _guarded(vector: dict[str, Any]) -> tuple[list[Message], list[dict[str, Any]]]:
    return [Message.from_dict(message) for message in vector["input"]["messages"]], []


@pytest.mark.parametrize("vector", rendered(*NAMES))
def test_a_conversation_gives_the_published_text_or_a_typed_error(vector: dict[str, Any]) -> None:
    if vector["expected"] is None:
        with pytest.raises(InvalidMessage):
            _render(vector)
    else:
        assert _render(vector).text == vector["expected"]


@pytest.mark.parametrize("vector", [case for case in rendered(*NAMES) if case.values[0]["expected"] is not None])
def test_a_conversation_gives_the_published_ids(vector: dict[str, Any], meta_tokenizer: Tokenizer) -> None:
    ids = vector.get("token_ids_safe", vector["token_ids_text_parsed"])
    assert _render(vector).encode(meta_tokenizer) == ids


def test_an_unknown_dialect_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(UnknownDialect, match=r"'llama9'; known: llama3.1, llama3.2, llama3.3"):
        Dialect.get("llama9")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "the conversation is empty"),
        ([Message("robot", "hi")], "message 0: unknown role 'robot'"),  # type: ignore[arg-type]
        ([Message("user", "hi"), Message("tool", math.nan)], "message 1: not writable as strict JSON"),
        ([Message("user", "hi"), Message("tool", {"x": math.inf})], "message 1: not writable as strict JSON"),
        ([Message("user", ["a", "b"])], "message 0: content must be text here, not list"),
        ([Message("user", "a\ud800b")], "message 0: a lone surrogate at character 1"),
        ([Message("user", "a", (ToolCall("f", {}),))], "message 0: role 'user' cannot make tool calls"),
        (
            [Message("user", "a"), Message("assistant", "", (ToolCall("f", {}), ToolCall("g", {})))],
            "message 1: this format writes one tool call in a message, not 2",
        ),
        ([Message("user", "a"), Message("assistant", "", (ToolCall("f", {"x": {1}}),))], "message 1: not writable"),
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
        (Message("tool", {"a": {True: 1}}), "message 1: .*the key True is no text"),
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


def test_code_in_history_is_written_as_the_model_writes_it() -> None:
    call = Message("assistant", "", (ToolCall("code_interpreter", {"code": "print(6 * 7)"}),))
    options = RenderOptions(builtin_tools=("code_interpreter",))
    assert "<|python_tag|>print(6 * 7)<|eom_id|>" in LLAMA.render([Message("user", "?"), call], (), options).text


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
