"""Events as stored: one line of JSON each."""

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast, get_args

import pydantic_core

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import JSON, ImagePart, TextPart
from arriero.stack.events import Event

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 2
"""Version of the JSON form. Version 1 had fewer kinds and fewer fields, all with a default now: it is read as it is."""

_READ = (1, SCHEMA_VERSION)


class UnreadableEvent(ArrieroError):
    """Stored JSON is not an event of a version that this release reads."""


class NewerEvent(UnreadableEvent):
    """A later release stored the event."""


class UnstorableEvent(ArrieroError, ValueError):
    """An event holds what JSON or UTF-8 cannot carry."""


_PARTS: Mapping[frozenset[str], type] = {frozenset(part.__slots__): part for part in (TextPart, ImagePart)}
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(Event)}


def kind_of(event: Event) -> str:
    """Name of an event's kind, as stored."""
    return type(event).__name__


def to_json(event: Event) -> str:
    """Encode an event for storage.

    Args:
        event: The event.

    Returns:
        One line of JSON with `v`, `kind` and the event's fields.

    Raises:
        UnstorableEvent: JSON or UTF-8 cannot carry what it holds.

    Example:
        >>> from arriero.stack.events import LimitReached
        >>> to_json(LimitReached("steps", "2 of 2"))
        '{"v":2,"kind":"LimitReached","limit":"steps","detail":"2 of 2"}'
    """
    body = {"v": SCHEMA_VERSION, "kind": kind_of(event)} | {name: getattr(event, name) for name in event.__slots__}
    try:
        return pydantic_core.to_json(body, inf_nan_mode="constants").decode()
    except ValueError as error:
        raise UnstorableEvent(f"a {kind_of(event)} that no JSON can carry: {error}") from error


def from_json(line: str) -> Event:
    """Decode a stored event.

    Args:
        line: What `to_json` wrote.

    Returns:
        An event equal to the one written.

    Raises:
        NewerEvent: A later release stored it.
        UnreadableEvent: The JSON is damaged, or of an unknown kind.

    Example:
        >>> from arriero.stack.events import TextDelta
        >>> from_json(to_json(TextDelta(1, "hi")))
        TextDelta(step=1, text='hi')
    """
    try:
        raw: dict[str, JSON] = json.loads(line)
        version, kind = raw.pop("v"), raw.pop("kind")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UnreadableEvent(f"not a stored event: {line[:80]!r}; the log is damaged there") from error
    if version not in _READ or str(kind) not in _KINDS:
        unreadable = NewerEvent if isinstance(version, int) and version > SCHEMA_VERSION else UnreadableEvent
        raise unreadable(
            f"event of kind {kind!r}, version {version!r}: this release reads up to {SCHEMA_VERSION}; use a newer one"
        )
    try:
        if isinstance(messages := raw.get("messages"), list):
            raw["messages"] = [_with_parts(message) for message in messages]
        if "message" in raw:
            raw["message"] = _with_parts(raw["message"])
        return cast("Event", _adapter(_KINDS[str(kind)]).validate_python(raw))
    except ValueError as error:
        raise UnreadableEvent(f"a stored {kind} does not have the fields of one: {error}") from error


def _with_parts(message: JSON) -> Any:
    """A stored message whose list of parts is one again: only a tool's result may be any list."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or message.get("role") == "tool" or not isinstance(content, list):
        return message
    kinds = [_PARTS.get(frozenset(part)) if isinstance(part, dict) else None for part in content]
    if None in kinds:
        return message
    parts = (_adapter(kind).validate_python(part) for kind, part in zip(kinds, content, strict=True))
    return message | {"content": tuple(parts)}


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
