"""What a template refuses or loses is written all the same when repair is asked for."""

from typing import Any

import pytest

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart, Message, TextPart, ToolCall
from arriero.prompts.options import RenderOptions

REPAIR = RenderOptions(repair=True)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
HI = Message("user", "hi")
PICTURE = Message("user", (ImagePart(), TextPart("this?")))
TWO_CALLS = Message("assistant", "", (ToolCall("f", {"a": 1}), ToolCall("g", {})))
RESULTS = [Message("tool", "1"), Message("tool", "2")]

VISION = Dialect.get("llama3.2-vision")
FIRST_VISION = Dialect.get("llama3.2-vision", "first-release")
VLLM_32 = Dialect.get("llama3.2", "llama3.2_json")
LLAMA4 = Dialect.get("llama4")
LLAMA2 = Dialect.get("llama2")
DROPPING = [LLAMA4, Dialect.get("llama4", "llama4_json")]
ONE_CALL = [
    Dialect.get("llama3.1"),
    Dialect.get("llama3.2"),
    Dialect.get("llama3.3"),
    VISION,
    Dialect.get("llama3.1", "llama3.1_json"),
    VLLM_32,
]


def _options(**chosen: Any) -> RenderOptions:
    return RenderOptions(repair=True, **chosen)


@pytest.mark.parametrize("dialect", ONE_CALL, ids=lambda dialect: f"{dialect.name} {dialect.source}")
def test_several_calls_in_one_message_follow_one_another(dialect: Dialect) -> None:
    talk = [HI, TWO_CALLS, *RESULTS]
    with pytest.raises(InvalidMessage, match="message 1: this format writes one tool call in a message, not 2"):
        dialect.render(talk)
    written = dialect.render(talk, (), REPAIR).text
    assert '{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}<|eot_id|>' in written


def test_several_built_in_calls_follow_one_another_after_one_tag() -> None:
    calls = (ToolCall("brave_search", {"query": "mules"}), ToolCall("brave_search", {"query": "passes"}))
    options = _options(builtin_tools=("brave_search", "code_interpreter"))
    written = Dialect.get("llama3.1").render([HI, Message("assistant", "", calls)], (), options).text
    assert '<|python_tag|>brave_search.call(query="mules"); brave_search.call(query="passes")<|eom_id|>' in written


@pytest.mark.parametrize("beside", [ToolCall("f", {}), ToolCall("brave_search", {"query": "x"})])
def test_code_shares_its_message_with_no_other_call(beside: ToolCall) -> None:
    code = ToolCall("code_interpreter", {"code": "print(1)"})
    options = _options(builtin_tools=("brave_search", "code_interpreter"))
    with pytest.raises(InvalidMessage, match="message 1: code, and built-in tools beside others"):
        Dialect.get("llama3.1").render([HI, Message("assistant", "", (code, beside))], (), options)


@pytest.mark.parametrize("source", ["published", "llama4_json"])
def test_calls_of_llama_4_stand_apart(source: str) -> None:
    dialect = Dialect.get("llama4", source)
    assert '}}{"name": "g"' in dialect.render([HI, TWO_CALLS, *RESULTS]).text
    assert '}}; {"name": "g"' in dialect.render([HI, TWO_CALLS, *RESULTS], (), REPAIR).text


@pytest.mark.parametrize("dialect", [*ONE_CALL, *DROPPING], ids=lambda dialect: f"{dialect.name} {dialect.source}")
def test_a_message_with_an_empty_list_of_calls_is_text(dialect: Dialect) -> None:
    talk = [HI, Message("assistant", "hello", empty_calls=True), Message("user", "again")]
    if dialect in DROPPING:
        assert "hello" not in dialect.render(talk).text
    else:
        with pytest.raises(InvalidMessage, match="message 1: 'tool_calls' must hold a call"):
            dialect.render(talk)
    assert dialect.render(talk, (), REPAIR) == dialect.render([HI, Message("assistant", "hello"), talk[2]], (), REPAIR)


def test_an_empty_list_of_calls_is_no_matter_to_one_of_vllms_templates() -> None:
    dialect = Dialect.get("llama4", "llama4_pythonic")
    assert "hello<|eot|>" in dialect.render([HI, Message("assistant", "hello", empty_calls=True)]).text


@pytest.mark.parametrize("dialect", ONE_CALL, ids=lambda dialect: f"{dialect.name} {dialect.source}")
def test_text_beside_a_call_is_kept(dialect: Dialect) -> None:
    talk = [HI, Message("assistant", "Let me see.", (ToolCall("f", {}),))]
    assert "Let me see." not in dialect.render(talk).text
    assert 'Let me see.{"name": "f"' in dialect.render(talk, (), REPAIR).text


@pytest.mark.parametrize("dialect", [*ONE_CALL, LLAMA4], ids=lambda dialect: f"{dialect.name} {dialect.source}")
def test_arguments_that_are_json_text_are_written_once(dialect: Dialect) -> None:
    talk: list[Message] = [HI, Message("assistant", "", (ToolCall("f", '{"a": 1}'),))]  # type: ignore[arg-type]
    assert r'"parameters": "{\"a\": 1}"}' in dialect.render(talk).text
    assert '"parameters": {"a": 1}}' in dialect.render(talk, (), REPAIR).text
    with pytest.raises(InvalidMessage, match="message 1: arguments of 'f' must be an object, not str"):
        dialect.render([HI, Message("assistant", "", (ToolCall("f", "none"),))], (), REPAIR)  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", [Dialect.get("llama3.1"), Dialect.get("llama3.2"), VISION, LLAMA4])
def test_tools_without_a_first_user_message_stand_in_the_system_block(dialect: Dialect) -> None:
    talk = [Message("assistant", "Welcome."), HI]
    with pytest.raises(InvalidMessage, match="repair=True"):
        dialect.render(talk, [TOOL])
    written = dialect.render(talk, [TOOL], REPAIR).text
    assert written.index("You have access to the following functions.") < written.index("Welcome.")


@pytest.mark.parametrize(("dialect", "message"), [(LLAMA4, HI), (VISION, PICTURE)])
def test_tools_get_the_system_block_that_they_need(dialect: Dialect, message: Message) -> None:
    lost = dialect.render([message], [TOOL], RenderOptions(tools_in_user_message=False))
    assert '"name": "f"' not in lost.text
    written = dialect.render([message], [TOOL], _options(tools_in_user_message=False)).text
    assert written.index("system") < written.index("Environment: ipython\n") < written.index('"name": "f"')


@pytest.mark.parametrize("dialect", [VISION, LLAMA4], ids=lambda dialect: dialect.name)
def test_a_picture_beside_tools_stays_a_picture(dialect: Dialect) -> None:
    assert "[{'type': 'image'}, {'type': 'text', 'text': 'this?'}]" in dialect.render([PICTURE], [TOOL]).text
    prompt = dialect.render([PICTURE], [TOOL], REPAIR)
    assert "}\n\n<|image|>this?<|eot" in prompt.text
    assert "<|image|>" in [segment.text for segment in prompt.segments if segment.kind == "special"]


@pytest.mark.parametrize("dialect", [LLAMA2, Dialect.get("llama3"), Dialect.get("llama3.1"), Dialect.get("llama3.2")])
def test_text_in_parts_is_joined_for_a_model_that_reads_text_only(dialect: Dialect) -> None:
    talk = [Message("user", (TextPart("one "), TextPart("two")))]
    with pytest.raises(InvalidMessage, match="message 0: content must be text here, not parts"):
        dialect.render(talk)
    assert dialect.render(talk, (), REPAIR) == dialect.render([Message("user", "one two")])
    with pytest.raises(InvalidMessage, match="message 0: a picture for a dialect that reads text only"):
        dialect.render([PICTURE], (), REPAIR)


@pytest.mark.parametrize("dialect", [VISION, LLAMA4, VLLM_32], ids=lambda dialect: dialect.source)
def test_a_system_message_in_parts_is_joined(dialect: Dialect) -> None:
    one, two = Message("system", (TextPart("Be brief."),)), Message("system", (TextPart("Be "), TextPart("brief.")))
    expected = dialect.render([Message("system", "Be brief."), HI])
    for refused in [two, *([one] if dialect is VISION else [])]:
        with pytest.raises(InvalidMessage, match="message 0: content must be text here, not parts"):
            dialect.render([refused, HI])
        assert dialect.render([refused, HI], (), REPAIR) == expected
    with pytest.raises(InvalidMessage, match="message 0: a picture in a system message"):
        dialect.render([Message("system", (ImagePart(),)), HI], (), REPAIR)


@pytest.mark.parametrize("dialect", [LLAMA4, VLLM_32], ids=lambda dialect: dialect.source)
def test_a_system_message_of_one_part_needs_no_repair(dialect: Dialect) -> None:
    one = Message("system", (TextPart("Be brief."),))
    assert dialect.render([one, HI]) == dialect.render([Message("system", "Be brief."), HI])


def test_parts_are_json_to_one_of_vllms_templates() -> None:
    dialect = Dialect.get("llama4", "llama4_json")
    assert '\n\n[{"type": "image"}, {"type": "text", "text": "this?"}]\n<|eot|>' in dialect.render([PICTURE]).text
    assert "\n\n<|image|>this?\n<|eot|>" in dialect.render([PICTURE], (), REPAIR).text


@pytest.mark.parametrize("dialect", [FIRST_VISION, VLLM_32], ids=lambda dialect: dialect.source)
def test_a_picture_and_a_system_message_are_both_written(dialect: Dialect) -> None:
    talk = [Message("system", "Be brief."), PICTURE]
    with pytest.raises(InvalidMessage, match=r"message 0: .* no system message beside a picture"):
        dialect.render(talk)
    assert dialect.render(talk, (), REPAIR).text == VISION.render(talk).text


def test_a_picture_and_tools_are_both_written_by_vllms_template() -> None:
    with pytest.raises(InvalidMessage, match="no tools beside a picture"):
        VLLM_32.render([PICTURE], [TOOL])
    written = VLLM_32.render([PICTURE], [TOOL], REPAIR).text
    assert '"name": "f"' in written
    assert "<|image|>this?" in written


def test_a_later_system_message_of_llama_2_stands_before_what_the_user_says_next() -> None:
    talk = [HI, Message("system", "new rule"), Message("user", "go")]
    assert LLAMA2.render(talk).text == "<s>[INST] hi [/INST]<s>[INST] go [/INST]"
    assert LLAMA2.render(talk, (), REPAIR).text == "<s>[INST] hi\n\n<<SYS>>\nnew rule\n<</SYS>>\n\ngo [/INST]"


@pytest.mark.parametrize(
    ("talk", "written"),
    [
        ([HI, Message("user", "go")], "<s>[INST] hi\n\ngo [/INST]"),
        (
            [Message("system", "one"), Message("system", "two"), HI],
            "<s>[INST] <<SYS>>\none\n\ntwo\n<</SYS>>\n\nhi [/INST]",
        ),
    ],
)
def test_neighbours_of_one_role_are_one_turn_of_llama_2(talk: list[Message], written: str) -> None:
    with pytest.raises(InvalidMessage, match="take turns"):
        LLAMA2.render(talk)
    assert LLAMA2.render(talk, (), REPAIR).text == written


@pytest.mark.parametrize(
    ("dialect", "lost"),
    [
        (Dialect.get("llama3.2", "llama3.2_pythonic"), "[f(city=Paris, n=1, ok=True)]"),
        (Dialect.get("llama4", "llama4_pythonic"), '[f(city="Paris", n="1", ok="True")]'),
    ],
)
def test_values_in_pythonic_calls_are_python_literals(dialect: Dialect, lost: str) -> None:
    talk = [HI, Message("assistant", "", (ToolCall("f", {"city": "Paris", "n": 1, "ok": True}),))]
    assert lost in dialect.render(talk).text
    assert "[f(city='Paris', n=1, ok=True)]" in dialect.render(talk, (), REPAIR).text


@pytest.mark.parametrize(
    ("dialect", "written"),
    [
        (Dialect.get("llama3.1", "llama3.1_json"), '{"output": {"a": [1]}}'),
        (VLLM_32, '{"output": {"a": [1]}}'),
        (Dialect.get("llama4", "llama4_pythonic"), '{"a": [1]}'),
    ],
    ids=lambda value: getattr(value, "source", ""),
)
def test_a_result_that_is_no_text_is_written_as_json(dialect: Dialect, written: str) -> None:
    talk = [HI, Message("assistant", "", (ToolCall("f", {}),)), Message("tool", {"a": [1]})]
    with pytest.raises(InvalidMessage, match="message 2: this template writes results that are text, not dict"):
        dialect.render(talk)
    assert f"\n\n{written}<|eot" in dialect.render(talk, (), REPAIR).text


def test_a_conversation_that_needs_no_repair_is_written_the_same() -> None:
    talk = [Message("system", "Be brief."), HI, Message("assistant", "", (ToolCall("f", {"a": 1}),)), RESULTS[0]]
    for dialect in [*ONE_CALL, LLAMA4]:
        assert dialect.render(talk, [TOOL], REPAIR).text == dialect.render(talk, [TOOL]).text
