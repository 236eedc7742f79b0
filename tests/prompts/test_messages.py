"""Messages are read from the OpenAI shape and from the bare one."""

from typing import Any

import pytest

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart, Message, TextPart, ToolCall


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
        ({"role": "assistant", "tool_calls": {}}, "'tool_calls' must be a list"),
        ({"role": "user", "content": [{"type": "video"}]}, "no content part"),
        ({"role": "user", "content": ["text"]}, "no content part"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "no content part"),
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


def test_content_in_parts_is_read_from_both_shapes() -> None:
    parts = [
        {"type": "text", "text": "Which is older?"},
        {"type": "image", "tiles_wide": 2, "tiles_high": 1},
        {"type": "image_url", "image_url": {"url": "https://example.org/mule.png"}},
    ]
    assert Message.from_dict({"role": "user", "content": parts}).content == (
        TextPart("Which is older?"),
        ImagePart(tiles_wide=2, tiles_high=1),
        ImagePart("https://example.org/mule.png"),
    )


def test_a_list_of_calls_that_holds_none_is_remembered() -> None:
    assert Message.from_dict({"role": "assistant", "content": "hi", "tool_calls": []}).empty_calls
    assert not Message.from_dict({"role": "assistant", "content": "hi", "tool_calls": None}).empty_calls
