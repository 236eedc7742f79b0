"""Messages are read from the OpenAI shape and from the bare one."""

from typing import Any

import pytest

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, ToolCall


def test_arguments_in_the_openai_shape_are_json_text() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert Message.from_dict({"role": "assistant", "content": None, "tool_calls": [call]}) == Message(
        "assistant", "", (ToolCall("f", {"a": 1}, "c1"),)
    )


@pytest.mark.parametrize("content", [0, False, None, [], {}, "", 1.5])
def test_a_tool_result_keeps_its_value(content: Any) -> None:
    read = Message.from_dict({"role": "tool", "content": content}).content
    assert (type(read), read) == (type(content), content)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({}, "unknown role None"),
        ({"role": "assistant", "tool_calls": []}, "must hold a call"),
        ({"role": "assistant", "tool_calls": [{}]}, "non-empty string 'name'"),
        ({"role": "assistant", "tool_calls": ["f"]}, "non-empty string 'name'"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "are not JSON"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]}, "a JSON object"),
        ({"role": "assistant", "end": "later"}, "unknown end 'later'"),
    ],
)
def test_another_shape_is_refused_with_its_place(raw: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=rf"message 4: .*{problem}"):
        Message.from_dict(raw, index=4)
