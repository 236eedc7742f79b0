"""What a parser tells while it reads, and what it made of a whole message."""

from dataclasses import dataclass, field
from typing import Literal

from arriero.prompts.calls.coercion import Coercion
from arriero.prompts.calls.forms import End
from arriero.prompts.calls.repair import Repair
from arriero.prompts.messages import ToolCall

Kind = Literal["tool_calls", "stop", "length"]
"""What a message is: calls, an answer, or something cut short."""


@dataclass(frozen=True, slots=True)
class TextParsed:
    """Text that is part of the answer, and can be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class CallOpened:
    """The name of what looks like a call is known. It may still turn out to be none: see `CallWithdrawn`.

    Args:
        index: Which call of the message it is.
        name: Its tool.
    """

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsGrown:
    """More of an open call's arguments has come.

    When a call is parsed, its texts since it was opened, joined, are the JSON of its arguments, always: if those were
    repaired or coerced, the call is withdrawn and opened again first. A call that comes whole in one piece is told when
    it is sure.

    Args:
        index: Which call of the message it is.
        text: The next piece of JSON. JSON comes as the model writes it, other syntaxes value by value.
    """

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallWithdrawn:
    """What was opened is no call after all, or not the one it looked like. If it is text, the text follows.

    Args:
        index: Which call of the message it was; the next one to open has this index again.
    """

    index: int


@dataclass(frozen=True, slots=True)
class CallParsed:
    """A finished call. It is never withdrawn: only this may be dispatched.

    Args:
        call: The call.
        index: Which call of the message it is.
    """

    call: ToolCall
    index: int = 0


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """The message is over. Always the last event.

    Args:
        end: How it ended.
    """

    end: End


ParseEvent = TextParsed | CallOpened | ArgumentsGrown | CallWithdrawn | CallParsed | MessageEnded


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole message.

    Args:
        content: Its text.
        tool_calls: Its calls, in the order written, those to unknown tools included.
        end: How it ended.
        kind: What it is.
        unknown: The calls among `tool_calls` whose tool was not offered: report them, never dispatch them.
        repairs: What was read in spite of how it was written.
        coercions: Arguments that were changed to the types their tools declare.
        last: The events that no feed delivered, because only the end of the message decided them. Which these are
            depends on how the message was cut, so they do not count when two messages are compared.
    """

    content: str
    tool_calls: tuple[ToolCall, ...]
    end: End
    kind: Kind
    unknown: tuple[ToolCall, ...] = ()
    repairs: tuple[Repair, ...] = ()
    coercions: tuple[Coercion, ...] = ()
    last: tuple[ParseEvent, ...] = field(default=(), compare=False)
