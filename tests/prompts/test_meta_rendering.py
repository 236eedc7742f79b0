"""Conversations become what Meta's reference code makes of them: text, ids, and tools among the messages."""

import math
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import vocabularies
from hypothesis import given
from hypothesis import strategies as st
from vectors import rendered

from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.formats import FORMATS
from arriero.prompts.messages import ImagePart, Message, TextPart, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.tiktoken_vocabulary import Generation
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.writers.meta import images_of, render_completion
from arriero.prompts.writers.meta_tools import date_block, declare, place_tools, read_definition, read_tool

CONVERSATIONS = rendered("meta-llama")
PLACED = rendered("meta-stack-messages")
DECLARED = rendered("meta-system-prompt")
META = {f"{name} {source}": dialect for (name, source), dialect in DIALECTS.items() if source.startswith("meta")}
LLAMA, LLAMA32, LLAMA4 = (Dialect.get(name, "meta") for name in ("llama3.1", "llama3.2", "llama4"))
HI = Message("user", "hi")
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number", "default": 0}, "b<": {"type": "number", "default": True}},
            "required": ["b<"],
        },
    },
}

hostile = st.lists(
    st.sampled_from([*vocabularies.SPECIAL_TOKENS, "{{ 7 * 7 }}", "\x00", "\n\n"])
    | st.text(st.characters(codec="utf-8"), max_size=8),
    max_size=4,
).map("".join)


def _rendered(vector: dict[str, Any]) -> Any:
    return FORMATS[vector["format"]].render({"generation": vector["generation"], **vector["input"]})


def _called(*calls: ToolCall) -> Message:
    return Message("assistant", "", calls)


@pytest.mark.parametrize("vector", [case for case in CONVERSATIONS if "expected" in case.values[0]])
def test_a_conversation_gives_metas_text_and_ids(
    vector: dict[str, Any], meta: Callable[[Generation], Tokenizer]
) -> None:
    prompt = _rendered(vector).prompt
    assert prompt.text == vector["expected"]
    assert prompt.encode(meta("llama4" if vector["generation"] == "4" else "llama3")) == vector["token_ids"]


@pytest.mark.parametrize("vector", PLACED)
def test_tools_stand_among_the_messages_where_metas_stack_puts_them(vector: dict[str, Any]) -> None:
    assert list(_rendered(vector).messages) == vector["expected_messages"]


@pytest.mark.parametrize("vector", DECLARED)
def test_tools_are_declared_in_metas_words(vector: dict[str, Any]) -> None:
    assert _rendered(vector).text == vector["expected"]


def test_ids_of_content_do_not_depend_on_what_stands_before_it(meta_tokenizer: Tokenizer) -> None:
    text = "\n\nnew lines first"
    ours = LLAMA.render([Message("user", text)]).encode(meta_tokenizer)
    assert meta_tokenizer.encode(text) == ours[5 : 5 + len(meta_tokenizer.encode(text))]
    assert ours != Prompt(
        tuple(type(segment)(segment.text, segment.kind) for segment in LLAMA.render([Message("user", text)]).segments)
    ).encode(meta_tokenizer)


def test_without_tools_meta_writes_no_system_block_and_with_them_the_generations_own() -> None:
    options = RenderOptions(date_string="21 September 2024")
    assert LLAMA.render([HI]).text.startswith("<|begin_of_text|><|start_header_id|>user")
    third = LLAMA.render([HI], [ADD], options).text
    assert "ipython\n\nCutting Knowledge Date: December 2023\nToday Date: 21 September 2024<|eot_id|>" in third
    assert "user<|end_header_id|>\n\nAnswer the user's question" in third
    assert "expert in composing functions" in LLAMA32.render([HI], [ADD], options).text
    assert "expert in function composition" in LLAMA4.render([HI], [ADD], options).text
    february = Dialect.get("llama3.3", "meta-2025-02").render([HI], [ADD], options).text
    assert "You SHOULD NOT include any other text in the response.\n\nHere" in february


def test_a_date_that_is_not_given_is_today_in_english() -> None:
    months = ["", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]
    months += ["November", "December"]
    today = date.today()
    written = LLAMA.render([HI], (), RenderOptions(builtin_tools=())).text
    assert f"Today Date: {today.day:02} {months[today.month]} {today.year}<|eot_id|>" in written


def test_built_in_tools_are_switched_on_in_the_system_block() -> None:
    options = RenderOptions(builtin_tools=("brave_search", "code_interpreter"), date_string="1 May 2025")
    assert "\n\nEnvironment: ipython\nTools: brave_search\nCutting" in LLAMA.render([HI], (), options).text
    system = Message("system", "Be brief.")
    assert "ipython\nTools: brave_search\nBe brief.<|eot" in LLAMA32.render([system, HI], (), options).text


def test_a_required_name_is_escaped_and_a_falsy_default_left_out() -> None:
    tool = read_tool(ADD)
    assert tool.required == '["b\\u003c"]'
    assert [parameter.default for parameter in tool.parameters] == ["", "True"]
    assert read_definition({"name": "f", "parameters": {"x": {"param_type": "int"}}}).shown == (
        '{"x": {"description": null, "param_type": "int", "required": true}}'
    )


def test_a_system_prompt_of_the_callers_own_is_no_template_but_for_one_placeholder() -> None:
    written = declare("python-list", [read_tool(ADD)], "{{ 7 * 7 }} {{function_description}}!\n")
    assert written.startswith("{{ 7 * 7 }} Here is a list")
    assert written.endswith("tool outputs.!")


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("auto", ""),
        ("none", ""),
        ("required", "\nYou MUST use one of the provided functions/tools to answer the user query."),
        ("add", "\nYou MUST use the tool `add` to answer the user query."),
    ],
)
def test_a_choice_of_tools_is_said_at_the_end_of_the_system_block(choice: str, text: str) -> None:
    placed = place_tools([HI], [ADD], placement="llama3.1", tool_choice=choice, date="1 May 2025")
    assert placed[0].content == f"Environment: ipython\n\n{date_block('1 May 2025')}{text}"


def test_calls_are_written_in_the_form_that_is_chosen() -> None:
    talk = [HI, _called(ToolCall("f", {"a": [1, None], "b": {"c": "é"}}))]

    def written(dialect: Dialect, **options: Any) -> str:
        return dialect.render(talk, (), RenderOptions(**options)).text.split("\n\n")[2].partition("<|e")[0]

    assert written(LLAMA) == '{"type": "function", "name": "f", "parameters": {"a": [1, null], "b": {"c": "\\u00e9"}}}'
    assert written(LLAMA32) == '[f(a=[1, None], b={c="é"})]'
    assert written(LLAMA32, repair=True) == '[f(a=[1, None], b={"c": "é"})]'
    assert (
        written(LLAMA4, tool_format="function_tag") == '<function=f>{"a": [1, null], "b": {"c": "\\u00e9"}}</function>'
    )


def test_repair_writes_calls_that_can_be_read_back() -> None:
    calls = _called(ToolCall("f", {"x": 'a "b"'}), ToolCall("g", {}))
    assert '[f(x="a "b"")][g()]' in LLAMA32.render([HI, calls]).text
    assert '[f(x="a \\"b\\""), g()]<|eot_id|>' in LLAMA32.render([HI, calls], (), RenderOptions(repair=True)).text
    search = _called(ToolCall("brave_search", {"query": 'a "b"'}))
    assert 'call(query="a "b"")' in LLAMA.render([HI, search]).text
    assert 'call(query="a \\"b\\"")' in LLAMA.render([HI, search], (), RenderOptions(repair=True)).text


def test_only_todays_code_keeps_the_python_tag_for_code() -> None:
    call, code = ToolCall("f", {}), ToolCall("code_interpreter", {"code": "1"})
    february = Dialect.get("llama3.1", "meta-2025-02")
    assert "<|python_tag|>" not in LLAMA.render([HI, _called(call, code)]).text
    assert "<|python_tag|>1{" in LLAMA.render([HI, _called(code, call)]).text
    assert "<|python_tag|>{" in february.render([HI, _called(call)]).text


def test_a_picture_of_llama_4_takes_as_many_tokens_as_its_tiles() -> None:
    shown = Message("user", (ImagePart(tiles_high=2, tiles_wide=2), TextPart("And this?"), ImagePart()))
    prompt = LLAMA4.render([shown])
    assert sum(segment.text == "<|patch|>" for segment in prompt.segments) == 5 * 144
    assert "<|image_end|>And this?<|image|><|eot|>" in prompt.text
    assert len(images_of([shown])) == 2


def test_a_completion_begins_with_its_picture(meta_tokenizer: Tokenizer) -> None:
    prompt = render_completion((ImagePart(), TextPart("If I had"), TextPart(" to")))
    assert prompt.text == "<|begin_of_text|><|image|>If I had to"
    assert prompt.encode(meta_tokenizer)[:2] == [128000, 128256]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_the_last_message_can_be_left_open_as_it_is(role: Any) -> None:
    options = RenderOptions(continue_final_message=True)
    assert LLAMA.render([Message(role, "I am ")], (), options).text.endswith("I am ")


def test_no_header_is_written_when_none_is_asked_for() -> None:
    assert LLAMA.render([HI], (), RenderOptions(add_generation_prompt=False)).text.endswith("hi<|eot_id|>")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "the conversation is empty"),
        ([Message("robot", "hi")], "message 0: unknown role 'robot'"),  # type: ignore[arg-type]
        ([HI, Message("user", {"a": 1})], "message 1: content must be text or parts here, not dict"),
        ([HI, Message("tool", math.nan)], "message 1: not writable as strict JSON"),
        ([Message("user", "a\ud800b")], "message 0: a lone surrogate"),
        ([Message("user", (ImagePart(),))], "message 0: this model sees no pictures"),
        ([Message("user", "a", (ToolCall("f", {}),))], "message 0: role 'user' cannot make tool calls"),
        ([HI, _called(ToolCall("brave_search", {"q": "x"}))], "message 1: .* 'brave_search' needs a text 'query'"),
        ([HI, _called(ToolCall("code_interpreter", {"code": 1}))], "message 1: .* needs a text 'code'"),
        ([HI, _called(ToolCall("f", {"x": math.inf}))], "message 1: not writable as strict JSON"),
    ],
)
def test_a_conversation_that_cannot_be_written_names_the_message(messages: list[Message], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        LLAMA.render(messages)


@pytest.mark.parametrize(
    ("dialect", "messages", "tools", "options", "problem"),
    [
        (LLAMA, [HI, HI], [ADD], {"tool_format": "python_list"}, "declares no python_list tools"),
        (LLAMA32, [HI], [ADD], {"tool_format": "json"}, "declares no json tools"),
        (LLAMA, [Message("system", "a"), Message("system", "b")], [ADD], {}, "message 1: a second system message"),
        (LLAMA, [Message("system", (ImagePart(),)), HI], [ADD], {}, "message 0: "),
        (LLAMA, [HI], [{"function": []}], {}, "no tool declaration"),
        (LLAMA, [HI], [{"name": "f", "parameters": []}], {}, "declaration of tool 'f': .* must be an object"),
        (LLAMA, [HI], [{"name": "f", "parameters": {"required": [math.nan]}}], {}, "not writable as strict JSON"),
        (LLAMA, [HI], [{"name": "f", "parameters": {"required": 1}}], {}, "declaration of tool 'f': 'required'"),
        (Dialect.get("llama3", "meta"), [HI], [ADD], {}, "not taught to call tools"),
        (LLAMA32, [HI, _called(ToolCall("f", "text"))], [], {}, "message 1: arguments of 'f' must be an object"),  # type: ignore[arg-type]
        (LLAMA, [HI, _called(ToolCall("f", {}))], [], {"continue_final_message": True}, "message 1: only a text"),
    ],
)
def test_tools_that_cannot_be_placed_are_refused(
    dialect: Dialect, messages: list[Message], tools: list[Any], options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidMessage, match=problem):
        dialect.render(messages, tools, RenderOptions(**options))


@given(said=hostile, name=st.sampled_from(sorted(META)))
def test_special_tokens_are_the_same_whatever_is_said(said: str, name: str) -> None:
    def special(text: str) -> list[str]:
        talk = [Message("system", text), Message("user", text), _called(ToolCall(text or "f", {"x": text}))]
        tools = [] if name == "llama3 meta" else [{"name": text, "description": text}]
        prompt = META[name].render([*talk, Message("tool", text)], tools)
        return [segment.text for segment in prompt.segments if segment.kind == "special"]

    assert special(said) == special("x")


@given(question=hostile, answer=hostile, result=hostile, name=st.sampled_from(sorted(META)))
def test_a_prompt_grows_by_its_deltas(question: str, answer: str, result: str, name: str) -> None:
    talk = [Message("user", question), _called(ToolCall("f", {"x": answer}))]
    start = META[name].render(talk, (), RenderOptions(add_generation_prompt=False))
    grown = start.segments + META[name].render_delta([Message("tool", result)]).segments
    assert grown == META[name].render([*talk, Message("tool", result)]).segments
