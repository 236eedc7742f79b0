"""What the model wrote, read piece by piece: text to show, calls to make.

The result is the same however the text or the ids are cut into pieces, takes linear time, and no input raises.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from arriero.prompts.calls import CallSyntax, SyntaxFactory
from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.messages import ToolCall
from arriero.prompts.tokens import Tokenizer

End = Literal["end_of_turn", "end_of_message", "end_of_text", "none"]
"""How a message ended; `none` when generation was cut."""

Kind = Literal["tool_calls", "stop", "length"]
"""What a message is: calls, an answer, or something cut short."""


@dataclass(frozen=True, slots=True)
class TextParsed:
    """Text that is part of the answer, and can be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class CallParsed:
    """A finished call."""

    call: ToolCall


ParseEvent = TextParsed | CallParsed


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole message.

    Args:
        content: Its text.
        tool_calls: Its calls, in the order written, those to unknown tools included.
        end: How it ended.
        kind: What it is.
        unknown: The calls among `tool_calls` whose tool was not offered: report them, never dispatch them.
        unshown: The end of `content` that no event has delivered, because generation was cut before it was clear
            whether it is a call.
    """

    content: str
    tool_calls: tuple[ToolCall, ...]
    end: End
    kind: Kind
    unknown: tuple[ToolCall, ...] = ()
    unshown: str = ""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a dialect writes calls.

    Args:
        ends: Special tokens that end a message, and what each means.
        tag: Special token that opens code and tool calls; None where there is none.
        tagged: What may stand after the tag, in order of precedence; anything else is code.
        untagged: What may stand without a tag; anything else is text.
    """

    ends: Mapping[str, End]
    tag: str | None = None
    tagged: tuple[SyntaxFactory, ...] = ()
    untagged: tuple[SyntaxFactory, ...] = ()


class Parser:
    """Reads one message. Make it with `Dialect.parser`.

    Args:
        calls: How the dialect writes calls.
        tools: Names of the offered tools; None when they are not known.
        tokenizer: Needed by `feed_ids`.

    Example:
        >>> from arriero.prompts.dialect import Dialect
        >>> parser = Dialect.get("llama3.1").parser()
        >>> parser.feed("Hel"), parser.feed("lo<|eot"), parser.feed("_id|>")
        ([TextParsed(text='Hel')], [TextParsed(text='lo')], [])
        >>> parser.finish().end
        'end_of_turn'
    """

    def __init__(
        self,
        calls: CallFormat,
        tools: Collection[str] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self._format = calls
        self._tools = tools
        self._tokenizer = tokenizer
        self._stream = tokenizer.stream() if tokenizer is not None else None
        self._specials = (*calls.ends, calls.tag) if calls.tag is not None else tuple(calls.ends)
        self._tokens = self._special_ids()
        self._pattern = re.compile("|".join(re.escape(token) for token in self._specials))
        self._partial = ""
        self._blank = True
        self._syntaxes: list[CallSyntax] = self._started(calls.untagged)
        self._tagged = False
        self._shown: list[str] = []
        self._held: list[str] = []
        self._end: End = "none"
        self._calls: tuple[ToolCall, ...] = ()

    def feed(self, text: str) -> list[ParseEvent]:
        """Read more text, in which special tokens are spelled out.

        Args:
            text: The next piece.

        Returns:
            What has become clear. After the first end token everything is ignored.
        """
        events: list[ParseEvent] = []
        text = self._partial + text
        at = 0
        for found in self._pattern.finditer(text):
            if self._end != "none":
                break
            self._ordinary(text[at : found.start()], events)
            self._special(found.group(), events)
            at = found.end()
        cut = len(text) - _partial_length(text, at, self._specials)
        self._partial = text[cut:]
        if self._end == "none":
            self._ordinary(text[at:cut], events)
        return events

    def feed_ids(self, ids: Sequence[int]) -> list[ParseEvent]:
        """Read more token ids. Only a special id is a special token; text that spells one is text.

        Args:
            ids: The next ids.

        Returns:
            What has become clear. After the first end token everything is ignored.

        Raises:
            VocabularyMismatch: The parser was made without a tokenizer.
        """
        if self._stream is None:
            raise VocabularyMismatch("reading token ids needs a tokenizer: give one to Dialect.parser")
        events: list[ParseEvent] = []
        run: list[str] = []
        for id_ in ids:
            if self._end != "none":
                break
            token = self._tokens.get(id_)
            if token is None:
                run.append(self._stream.feed(id_))
                continue
            self._ordinary("".join(run), events)
            run.clear()
            self._stream.reset()
            self._special(token, events)
        self._ordinary("".join(run), events)
        return events

    def finish(self) -> Parsed:
        """Close the message.

        Returns:
            All of it. Without an end token, unfinished calls and code are content, not calls.
        """
        if self._end == "none":
            self._read(self._partial)
            self._partial = ""
            self._calls = self._calls or self._finished_calls()
            if self._calls:
                self._held.clear()
        unshown = "".join(self._held)
        unknown = () if self._tools is None else tuple(call for call in self._calls if call.name not in self._tools)
        kind: Kind = "tool_calls" if self._calls else "length" if self._end == "none" else "stop"
        return Parsed("".join(self._shown) + unshown, self._calls, self._end, kind, unknown, unshown)

    def _ordinary(self, text: str, events: list[ParseEvent]) -> None:
        self._read(text)
        if not self._syntaxes and not self._tagged:
            self._show(events)

    def _read(self, text: str) -> None:
        if text:
            self._held.append(text)
            self._blank = self._blank and text.isspace()
            self._syntaxes = [syntax for syntax in self._syntaxes if syntax.feed(text)]

    def _special(self, token: str, events: list[ParseEvent]) -> None:
        if token != self._format.tag:
            self._close(self._format.ends[token], events)
        elif self._tagged or not self._blank:
            self._ordinary(token, events)
        else:
            self._tagged = True
            self._held.clear()
            self._syntaxes = self._started(self._format.tagged)

    def _close(self, end: End, events: list[ParseEvent]) -> None:
        self._calls = self._finished_calls()
        code = "".join(self._held)
        if not self._calls and self._tagged and code.strip():
            self._calls = (ToolCall("code_interpreter", {"code": code}),)
        self._end = end
        if self._calls:
            self._held.clear()
            events.extend(CallParsed(call) for call in self._calls)
        else:
            self._show(events)

    def _show(self, events: list[ParseEvent]) -> None:
        if text := "".join(self._held):
            self._shown.append(text)
            self._held.clear()
            events.append(TextParsed(text))

    def _finished_calls(self) -> tuple[ToolCall, ...]:
        return next((calls for syntax in self._syntaxes if (calls := syntax.finish())), ())

    def _started(self, syntaxes: tuple[SyntaxFactory, ...]) -> list[CallSyntax]:
        return [start(self._tools or ()) for start in syntaxes]

    def _special_ids(self) -> dict[int, str]:
        known = self._tokenizer.special_ids if self._tokenizer is not None else {}
        return {known[token]: token for token in self._specials if token in known}


def _partial_length(text: str, start: int, tokens: Sequence[str]) -> int:
    """Length of the end of `text[start:]` that a special token may begin with."""
    at = text.rfind("<", start)
    tail = text[at:] if at >= 0 else ""
    return len(tail) if tail and any(token.startswith(tail) for token in tokens) else 0
