"""What a conversation is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

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
class Message:
    """One message of a conversation.

    Args:
        role: Who speaks.
        content: Text, or for a tool result any JSON value.
        tool_calls: Calls the assistant made in this message, in the order written.
        end: `"eom"` when the message ended with end-of-message; None for the dialect's default.
    """

    role: Role
    content: JSON = ""
    tool_calls: tuple[ToolCall, ...] = field(default=())
    end: Literal["eom", "eot"] | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], *, index: int | None = None) -> "Message":
        """Read a message in the OpenAI shape, or with bare `{"name", "arguments"}` calls.

        Args:
            raw: `{"role", "content", "tool_calls"?, "end"?}`; role `ipython` is read as `tool`.
            index: Position in the conversation, for the error's text.

        Returns:
            The message.

        Raises:
            InvalidMessage: The role is not one of the closed list, or the calls have another shape.

        Example:
            >>> Message.from_dict({"role": "user", "content": "hello"}).content
            'hello'
        """
        role = "tool" if raw.get("role") == "ipython" else raw.get("role")
        if role not in get_args(Role):
            raise InvalidMessage(f"unknown role {role!r}; use one of {', '.join(get_args(Role))}", index=index)
        calls: Sequence[Mapping[str, Any]] = raw.get("tool_calls") or ()
        return cls(role, raw.get("content") or "", tuple(_call(c, index) for c in calls), raw.get("end"))


def _call(raw: Mapping[str, Any], index: int | None) -> ToolCall:
    body = raw.get("function", raw)
    if not isinstance(body.get("name"), str):
        raise InvalidMessage("a tool call needs a string 'name'", index=index)
    return ToolCall(body["name"], body.get("arguments") or {}, raw.get("id") or "")
