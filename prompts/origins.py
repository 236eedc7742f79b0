"""Where the content of a prompt came from, told by comparing it with the conversation."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, TextPart
from arriero.prompts.prompt import Prompt, Segment
from arriero.prompts.template import HEADERS, json_text

TEMPLATE = "template"
"""Origin of what the dialect's template wrote."""

OPTIONS = "options"
"""Origin of content that came from neither a message nor a tool: a date, names of built-in tools, categories."""

ROLES = {str(on_wire): role for role, on_wire in HEADERS.items()}
"""Roles by their names on the wire."""

_OBJECT = re.compile(r"^[ \t]*(\{)", re.MULTILINE)
_OBJECTS = 256
"""How many objects of JSON are looked at in one content, in search of declarations."""

_DECODER = json.JSONDecoder()


class Sources:
    """The texts that the messages and tools of a conversation may have in a prompt.

    Args:
        prompt: The prompt. One without its conversation has content of unknown origin only.

    Example:
        >>> from arriero.prompts.dialect import Dialect
        >>> sources = Sources(Dialect.get("llama3.1").render([Message("user", "hello")]))
        >>> sources.parts("hello", "user", 0), sources.parts("26 Jul 2024", "system", None)
        ([('hello', 'message 0')], [('26 Jul 2024', 'options')])
    """

    def __init__(self, prompt: Prompt) -> None:
        conversation = prompt.conversation
        self._messages = () if conversation is None else conversation.messages
        self._texts = [frozenset(text.strip() for text in _message_texts(message)) for message in self._messages]
        self._tools: dict[str, str] = {}
        for tool in () if conversation is None else conversation.tools:
            body = tool.get("function", tool)
            name = str(body.get("name"))
            self._tools |= {text.strip(): name for text in _tool_texts(tool, body) if text}

    def message(self, role: str, segments: Sequence[Segment], after: int) -> int | None:
        """The message that a block writes.

        Args:
            role: The role in the block's header.
            segments: What stands in it.
            after: The first message that it can be.

        Returns:
            The message's index; None when the template added the block, or it has no header.
        """
        contents = [segment.text.strip() for segment in segments if segment.kind == "content"] or [""]
        later = [at for at in range(after, len(self._messages)) if self._messages[at].role == ROLES.get(role)]
        found = next((at for at in later if self._texts[at].intersection(contents)), None)
        if found is None and role == "system":  # Meta's stack writes its own words and the message's as one content
            found = next((at for at in later if any(self._place(at, text) for text in contents)), None)
        # A call may be written as no text that is known here, as may a tool's result: then the order tells.
        by_order = later[0] if later and role in ("assistant", "ipython") else None
        return by_order if found is None else found

    def parts(self, text: str, role: str, message: int | None) -> list[tuple[str, str]]:
        """Where a content came from.

        Args:
            text: The content.
            role: The role in the header above it.
            message: The message that its block writes.

        Returns:
            The text with its origin; several where words of a template, of messages and of tools are one content.
        """
        whole = self._origin(text, role, message)
        if whole != OPTIONS or "\n" not in text:
            return [(text, whole)]
        said = [at for at, one in enumerate(self._messages) if one.role == ROLES.get(role)]
        places = [(place, f"message {at}") for at in said if (place := self._place(at, text)) is not None]
        parts, end = [], 0
        for (start, stop), origin in sorted(places + self._declarations(text)):
            if start >= end:
                parts += [(text[end:start], TEMPLATE), (text[start:stop], origin)]
                end = stop
        return [(part, origin) for part, origin in [*parts, (text[end:], TEMPLATE)] if part]

    def _origin(self, text: str, role: str, message: int | None) -> str:
        text = text.strip()
        matching = [at for at, texts in enumerate(self._texts) if text in texts]
        if message in matching or (message is not None and ROLES.get(role) in ("assistant", "tool")):
            return f"message {message}"
        if (tool := self._tools.get(text) or self._declared(text)) is not None:
            return f"tool {tool}"
        return f"message {matching[0]}" if matching else OPTIONS

    def _place(self, message: int, text: str) -> tuple[int, int] | None:
        content = self._messages[message].content
        said = content.strip() if isinstance(content, str) else ""
        start = text.rfind(said) if said else -1
        return (start, start + len(said)) if start >= 0 else None

    def _declarations(self, text: str) -> list[tuple[tuple[int, int], str]]:
        found, end = [], 0
        for opening in islice(_OBJECT.finditer(text), _OBJECTS):
            start = opening.start(1)
            try:
                value, stop = _DECODER.raw_decode(text, start)
            except (ValueError, RecursionError):
                continue
            if start >= end and (name := _declared_name(value)) in self._tools:
                found.append(((start, stop), f"tool {name}"))
                end = stop
        return found

    def _declared(self, text: str) -> str | None:
        # templates differ in how they write a declaration; its name is the same in all
        if not self._tools or text[:1] not in ("{", "["):
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        names = [_declared_name(one) for one in (value if isinstance(value, list) else [value])]
        known = [name for name in names if name in self._tools]
        return ", ".join(known) if known and len(known) == len(names) else None


def _message_texts(message: Message) -> Iterator[str]:
    content = message.content
    if isinstance(content, str):
        yield content
    if isinstance(content, tuple):
        yield from (part.text for part in content if isinstance(part, TextPart))
    elif message.role == "tool":
        yield from (_json(content), _json({"output": content}), str(content))
    for call in message.tool_calls:
        yield call.name


def _tool_texts(tool: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    yield from (_json(one, indent) for one in (tool, body) for indent in (None, 2, 4))
    yield from (str(body.get("name")), str(body.get("description") or ""))
    if parameters := body.get("parameters"):
        yield _json(parameters)


def _declared_name(value: Any) -> str:
    body = value.get("function", value) if isinstance(value, Mapping) else None
    return str(body.get("name")) if isinstance(body, Mapping) else ""


def _json(value: Any, indent: int | None = None) -> str:
    try:
        return json_text(value, indent)
    except InvalidMessage:
        return ""
