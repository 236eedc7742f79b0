"""What a conversation is made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from arriero.prompts.errors import InvalidMessage

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks. On the wire a `tool` message stands under the header `ipython` (FORMATS.md section 2)."""

JSON = None | bool | int | float | str | list[Any] | dict[str, Any]
"""Any value that strict JSON can carry."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call the model wrote.

    Args:
        name: The tool's name, as written.
        arguments: Argument values by name; strict JSON values only.
        id: Identifier for clients that need one. It never appears on the wire of a Llama.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of text in a message of several parts.

    Args:
        text: The text.
    """

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture in a message. Prompts hold its place; who runs the model finds the picture by its address.

    Args:
        url: Where the picture is, when the conversation says so.
        tiles_wide: Columns of tiles that the model's picture processor cuts it into; None when not known.
        tiles_high: Rows of tiles.
    """

    url: str = ""
    tiles_wide: int | None = None
    tiles_high: int | None = None


Parts = tuple[TextPart | ImagePart, ...]
"""Content of several pieces, in order."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Args:
        role: Who speaks.
        content: Text, or parts, or for a tool result any JSON value.
        tool_calls: Calls the assistant made in this message, in the order written.
        end: `"eom"` when the message ended with end-of-message; None for the dialect's default.
        empty_calls: Whether it came with a list of calls that holds none, which published templates refuse or drop.
    """

    role: Role
    content: JSON | Parts = ""
    tool_calls: tuple[ToolCall, ...] = field(default=())
    end: Literal["eom", "eot"] | None = None
    empty_calls: bool = field(default=False, repr=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], *, index: int | None = None) -> "Message":
        """Read a message in the OpenAI shape, or with bare `{"name", "arguments"}` calls.

        Args:
            raw: `{"role", "content", "tool_calls"?, "end"?}`; a list of content parts becomes a tuple of `TextPart` and
                `ImagePart`; role `ipython` is read as `tool`. Arguments in
                the OpenAI shape are JSON text and are decoded; bare calls give them as an object.
            index: Position in the conversation, for the error's text.

        Returns:
            The message.

        Raises:
            InvalidMessage: The role is not one of the closed list, or parts or calls have another shape.

        Example:
            >>> Message.from_dict({"role": "user", "content": "hello"}).content
            'hello'
        """
        role = "tool" if raw.get("role") == "ipython" else raw.get("role")
        if role not in get_args(Role):
            raise InvalidMessage(f"unknown role {role!r}; use one of {', '.join(get_args(Role))}", index=index)
        end = raw.get("end")
        if end not in (None, "eom", "eot"):
            raise InvalidMessage(f"unknown end {end!r}; use 'eom', 'eot' or leave it out", index=index)
        calls = raw.get("tool_calls")
        if calls is not None and not isinstance(calls, list | tuple):
            raise InvalidMessage(f"'tool_calls' must be a list, not {type(calls).__name__}", index=index)
        content = raw.get("content")
        if content is None and (role != "tool" or "content" not in raw):
            content = ""
        if role != "tool" and isinstance(content, list):
            content = tuple(_part(part, index) for part in content)
        read = tuple(_call(call, index) for call in calls or ())
        return cls(cast("Role", role), content, read, end, empty_calls=calls is not None and not calls)


def _part(raw: Any, index: int | None) -> TextPart | ImagePart:
    kind = raw.get("type") if isinstance(raw, Mapping) else None
    if kind == "text" and isinstance(raw.get("text"), str):
        return TextPart(raw["text"])
    if kind == "image":
        return ImagePart(_url(raw), raw.get("tiles_wide"), raw.get("tiles_high"))
    if kind == "image_url":
        return ImagePart(_url(raw.get("image_url")))
    raise InvalidMessage(
        f"no content part: {str(raw)[:80]!r}; use {{'type': 'text', 'text': ...}} or {{'type': 'image'}}", index=index
    )


def _url(raw: Any) -> str:
    url = raw.get("url", "") if isinstance(raw, Mapping) else raw
    return url if isinstance(url, str) else ""


def _call(raw: Any, index: int | None) -> ToolCall:
    body = raw.get("function", raw) if isinstance(raw, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(body.get("name"), str) or not body["name"]:
        raise InvalidMessage("a tool call needs a non-empty string 'name'", index=index)
    arguments = body.get("arguments")
    if isinstance(arguments, str) and body is not raw:
        # The OpenAI shape carries JSON text here; in the bare shape a string is the value itself.
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidMessage(f"arguments of {body['name']!r} are not JSON: {error}", index=index) from None
        if not isinstance(arguments, dict):
            raise InvalidMessage(f"arguments of {body['name']!r} must be a JSON object", index=index)
    return ToolCall(body["name"], {} if arguments is None else arguments, str(raw.get("id") or ""))
