"""What happens in a turn, as a closed union of values. State is a fold over them (DESIGN: one event log)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import pydantic_core

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import JSON, ImagePart, Message, TextPart, ToolCall
from arriero.stack.engine import Usage
from arriero.stack.shields import Place, Verdict
from arriero.tools import ToolResult

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1
"""Version of the JSON form. It grows when a stored event could no longer be read as it was."""

Limit = Literal["steps", "calls", "tokens", "seconds", "context"]
Reason = Literal["answer", "refused", "limit", "failed"]


class UnreadableEvent(ArrieroError):
    """Stored JSON is not an event of a version that this release reads."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began.

    Args:
        messages: What the turn adds to the conversation before the model speaks.
        model: The engine's model.
        dialect: Name of the dialect that renders the session.
        tools: Declarations that the prompt offers, as rendered.
        builtins: Built-in tools that the prompt turns on.
        vocabulary: Fingerprint of the tokenizer that wrote the ids.
    """

    messages: tuple[Message, ...]
    model: str = ""
    dialect: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    builtins: tuple[str, ...] = ()
    vocabulary: str = ""


@dataclass(frozen=True, slots=True)
class PromptAppended:
    """Ids were appended to the transcript: the first prompt, or what follows the model's last message."""

    step: int
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer for the reader. Streamed, never logged: the step's ids are."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The model finished one message.

    Args:
        step: Number of the step, from 1.
        token_ids: What the model generated, end token included.
        content: The text of the message.
        tool_calls: The calls of the message, in the order written.
        end: How the message ended: `end_of_turn`, `end_of_message`, `end_of_text` or `none`.
        usage: Tokens of the request.
        duration: Seconds from the request to its last token.
    """

    step: int
    token_ids: tuple[int, ...]
    content: str
    tool_calls: tuple[ToolCall, ...]
    end: str
    usage: Usage
    duration: float


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A tool call is about to run. It is on disk before the tool is touched."""

    step: int
    call: ToolCall


@dataclass(frozen=True, slots=True)
class CallProgressed:
    """A running tool said how far it is. Streamed, never logged.

    Args:
        step: Number of the step that called it.
        call: The call.
        message: What it is doing, in the tool's words.
        done: How much is done, in the tool's own unit.
        total: How much there is to do.
    """

    step: int
    call: ToolCall
    message: str = ""
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A tool call has a result, which the model reads next."""

    step: int
    result: ToolResult


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """A shield judged the conversation.

    Args:
        where: The place that was gated.
        verdict: What the shield said.
        duration: Seconds it took.
        shield: The shield's name.
    """

    where: Place
    verdict: Verdict
    duration: float
    shield: str = ""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The turn ends because it used up what it was given."""

    limit: Limit
    detail: str


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn ends with an error, which is also raised to the caller.

    Args:
        error: Name of the error's class.
        message: The error's text.
    """

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is over.

    Args:
        text: What the user reads: the answer, or the refusal.
        reason: Why it is over.
        usage: Tokens of all steps together, shields not counted.
        duration: Seconds of the whole turn.
    """

    text: str
    reason: Reason
    usage: Usage
    duration: float


Event = (
    TurnStarted
    | PromptAppended
    | TextDelta
    | StepFinished
    | CallStarted
    | CallProgressed
    | CallFinished
    | VerdictGiven
    | LimitReached
    | TurnFailed
    | TurnFinished
)

_PARTS = {frozenset(part.__slots__): part for part in (TextPart, ImagePart)}
_KINDS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def kind_of(event: Event) -> str:
    """Name of an event's kind, as stored."""
    return type(event).__name__


def to_json(event: Event) -> str:
    """Encode an event for storage.

    Args:
        event: The event.

    Returns:
        One line of JSON with `v`, `kind` and the event's fields.

    Example:
        >>> to_json(LimitReached("steps", "2 of 2"))
        '{"v":1,"kind":"LimitReached","limit":"steps","detail":"2 of 2"}'
    """
    body = {"v": SCHEMA_VERSION, "kind": kind_of(event)} | {name: getattr(event, name) for name in event.__slots__}
    return pydantic_core.to_json(body, inf_nan_mode="constants").decode()


def from_json(line: str) -> Event:
    """Decode a stored event.

    Args:
        line: What `to_json` wrote.

    Returns:
        An event equal to the one written.

    Raises:
        UnreadableEvent: The JSON is damaged, or of a newer version or unknown kind.

    Example:
        >>> from_json(to_json(TextDelta(1, "hi")))
        TextDelta(step=1, text='hi')
    """
    try:
        raw: dict[str, JSON] = json.loads(line)
        version, kind = raw.pop("v"), raw.pop("kind")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UnreadableEvent(f"not a stored event: {line[:80]!r}; the log is damaged there") from error
    if version != SCHEMA_VERSION or str(kind) not in _KINDS:
        raise UnreadableEvent(
            f"event of kind {kind!r}, version {version!r}: this release reads version {SCHEMA_VERSION}; use a newer one"
        )
    try:
        messages = raw.get("messages")
        if isinstance(messages, list):
            raw["messages"] = [_with_parts(message) for message in messages]
        return _adapter(str(kind)).validate_python(raw)
    except ValueError as error:
        raise UnreadableEvent(f"a stored {kind} does not have the fields of one: {error}") from error


def _with_parts(message: JSON) -> Any:
    """A stored message whose list of parts is one again: only a tool's result may be any list."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or message.get("role") == "tool" or not isinstance(content, list):
        return message
    parts = [_PARTS[keys](**part) for part in content if isinstance(part, dict) and (keys := frozenset(part)) in _PARTS]
    return message | {"content": tuple(parts)} if len(parts) == len(content) else message


@cache
def _adapter(kind: str) -> "TypeAdapter[Event]":
    from pydantic import TypeAdapter

    return TypeAdapter(_KINDS[kind])
