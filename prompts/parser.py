"""What the model wrote, read piece by piece: text to show, calls to make.

The result is the same however the text or the ids are cut into pieces, takes linear time, and no input raises.
"""

import json
import re
from collections import deque
from collections.abc import Sequence
from typing import assert_never

from arriero.prompts.calls.body import Body, Found, Item
from arriero.prompts.calls.builtin import builtin_calls
from arriero.prompts.calls.coercion import Coercion
from arriero.prompts.calls.forms import CallFormat, End
from arriero.prompts.calls.literals import MAX_CALLS
from arriero.prompts.calls.offers import Offers, Tool
from arriero.prompts.calls.openings import Openings
from arriero.prompts.calls.preview import Preview
from arriero.prompts.calls.regions import Kind as RegionKind
from arriero.prompts.calls.repair import NotACall, Repair, Repairs
from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.events import (
    ArgumentsGrown,
    CallOpened,
    CallParsed,
    CallWithdrawn,
    Kind,
    MessageEnded,
    Parsed,
    ParseEvent,
    TextParsed,
)
from arriero.prompts.messages import ToolCall
from arriero.prompts.tokens import Tokenizer

__all__ = [
    "ArgumentsGrown",
    "CallFormat",
    "CallOpened",
    "CallParsed",
    "CallWithdrawn",
    "MessageEnded",
    "ParseEvent",
    "Parsed",
    "Parser",
    "TextParsed",
]

_CONTINUED = frozenset(",;:([{<-+=*/")
_SEVERAL_TAGS = "read calls with tags between them"
_BUILTIN_KINDS = frozenset({"bare", "builtin"})


class Parser:
    """Reads one message. Make it with `Dialect.parser`.

    Args:
        calls: How the dialect writes calls.
        tools: The offered tools, as names or declarations; None when they are not known.
        tokenizer: Needed by `feed_ids`.
        repair: Whether to read what is not written as documented, where it has one meaning.

    Example:
        >>> from arriero.prompts.dialect import Dialect
        >>> parser = Dialect.get("llama3.1").parser()
        >>> parser.feed("Hel"), parser.feed("lo<|eot"), parser.feed("_id|>")
        ([TextParsed(text='Hel')], [TextParsed(text='lo')], [MessageEnded(end='end_of_turn')])
        >>> parser.finish().content
        'Hello'
    """

    def __init__(
        self,
        calls: CallFormat,
        tools: Sequence[Tool] | None = None,
        tokenizer: Tokenizer | None = None,
        *,
        repair: bool = True,
    ) -> None:
        self._format = calls
        self._offers = Offers.of(tools)
        self._repair = repair
        self._tokenizer = tokenizer
        self._stream = tokenizer.stream() if tokenizer is not None else None
        header = calls.header if calls.header is not None and repair else ()
        self._specials = tuple(token for token in (*calls.ends, calls.tag, *calls.wraps, *header) if token)
        self._tokens = self._special_ids()
        self._pattern = re.compile("|".join(re.escape(token) for token in self._specials))
        self._partial = ""
        self._header: list[str] | None = None
        self._newlines = 0  # how many may still follow a header
        self._untouched = True
        self._body = self._started(calls.untagged, prose=repair)
        self._tagged: list[tuple[Body, list[str]]] = []
        self._shown: list[str] = []
        self._calls: list[ToolCall] = []
        self._open: deque[tuple[str, list[str]]] = deque()  # name and arguments of calls that are seen and not yet sure
        self._repairs: list[Repair] = []
        self._coercions: list[Coercion] = []
        self._end: End = "none"
        self._parsed: Parsed | None = None

    def feed(self, text: str) -> list[ParseEvent]:
        """Read more text, in which special tokens are spelled out.

        Args:
            text: The next piece.

        Returns:
            What has become clear. After the first end token everything is ignored.
        """
        events: list[ParseEvent] = []
        if self._over:
            return events
        if not self._partial and "<" not in text:  # with which every special token begins
            self._ordinary(text, events)
            return events
        text = self._partial + text
        at = 0
        for found in self._pattern.finditer(text):
            self._ordinary(text[at : found.start()], events)
            self._special(found.group(), events)
            at = found.end()
            if self._over:
                return events
        cut = len(text) - _partial_length(text, at, self._specials)
        self._partial = text[cut:]
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
            if self._over:
                return events
            token = self._tokens.get(id_)
            if token is None:
                run.append(self._stream.feed(id_))
                continue
            self._ordinary("".join(run), events)
            run.clear()
            self._stream.reset()
            self._special(token, events)
        if not self._over:
            self._ordinary("".join(run), events)
        return events

    def finish(self) -> Parsed:
        """Close the message.

        Returns:
            All of it. Without an end token, unfinished calls and code are content, not calls.
        """
        if self._parsed is None:
            last: list[ParseEvent] = []
            if not self._over:
                partial, self._partial = self._partial, ""
                self._ordinary(partial, last)
                self._close("none", last)
            content = "".join(self._shown)
            unknown = tuple(call for call in self._calls if not self._offers.knows(call.name))
            self._parsed = Parsed(
                content=content,
                tool_calls=tuple(self._calls),
                end=self._end,
                kind=self._kind(content),
                unknown=unknown,
                repairs=tuple(self._repairs),
                coercions=tuple(self._coercions),
                last=tuple(last),
            )
        return self._parsed

    @property
    def _over(self) -> bool:
        return self._end != "none" or self._parsed is not None

    def _kind(self, content: str) -> Kind:
        if self._calls:
            return "tool_calls"
        if self._end != "none":
            return "stop"
        if self._tagged or self._body.cut:
            return "length"
        # A server may have taken the end token off. Text that stops in a word or after a comma was cut.
        last = content.rstrip()[-1:]
        whole = last != "" and not last.isalnum() and last not in _CONTINUED
        return "stop" if whole or self._format.trimmed else "length"

    def _ordinary(self, text: str, events: list[ParseEvent]) -> None:
        if not text:
            return
        if self._header is not None:
            self._header.append(text)
            return
        if self._newlines:
            dropped = min(len(text) - len(text.lstrip("\n")), self._newlines)
            text = text[dropped:]
            self._newlines = 0 if text else self._newlines - dropped
        if not text:
            return
        self._untouched = False
        if not self._tagged and self._body.passes(text):
            self._shown.append(text)
            events.append(TextParsed(text))
            return
        if self._tagged:
            body, raw = self._tagged[-1]
            raw.append(text)
            self._tell([item for item in body.feed(text) if isinstance(item, Preview)], events)
        else:
            self._tell(self._body.feed(text), events)

    def _special(self, token: str, events: list[ParseEvent]) -> None:
        form = self._format
        if token in form.ends:
            self._close(form.ends[token], events)
        elif form.header is not None and token in form.header:
            self._header_token(token, events)
        elif self._header is not None:
            self._header.append(token)
        elif token in form.wraps:
            self._untouched = False
            if not self._tagged:
                self._tell(self._body.pause(), events)
        elif len(self._tagged) < MAX_CALLS and (self._tagged or self._body.empty or self._repair):
            self._open_tag(events)
        else:
            self._ordinary(token, events)

    def _header_token(self, token: str, events: list[ParseEvent]) -> None:
        start, end = self._format.header or ("", "")
        if token == start and self._untouched and self._header is None:
            self._header = [token]
        elif token == end and self._header is not None:
            self._header, self._newlines, self._untouched = None, 2, False
            self._repairs.append(Repair("dropped the header of the message"))
        else:
            self._ordinary(token, events)

    def _open_tag(self, events: list[ParseEvent]) -> None:
        self._untouched = False
        if not self._tagged:
            self._tell(self._body.finish(ended=True), events)
        self._tagged.append((self._started(self._format.tagged, prose=False), []))

    def _close(self, end: End, events: list[ParseEvent]) -> None:
        if self._header is not None:
            header, self._header = "".join(self._header), None
            self._ordinary(header, events)
        if self._tagged:
            self._close_tagged(end, events)
        else:
            self._tell(self._body.finish(ended=end != "none"), events)
        self._withdraw(events)
        self._end = end
        events.append(MessageEnded(end))

    def _close_tagged(self, end: End, events: list[ParseEvent]) -> None:
        found = self._tagged_calls(end)
        if not found and end != "none" and self._repair:
            found = self._calls_before_text()
        tag = self._format.tag or ""
        code = tag.join("".join(raw) for _, raw in self._tagged)
        beside_text = bool("".join(self._shown).strip())
        if found:
            if beside_text or self._calls:
                self._repairs.append(Repair("read a call beside text" if beside_text else _SEVERAL_TAGS))
            self._tell(found, events)
        elif end != "none" and code.replace(tag, "").strip() and (not beside_text or end == "end_of_message"):
            call = ToolCall("code_interpreter", {"code": code})
            repairs = (Repair("read a call beside text", (call.name,)),) if beside_text else ()
            self._tell([Found((call,), code, True, repairs)], events)
        else:
            text = tag + code if beside_text else code
            self._tell([text] if text else [], events)

    def _tagged_calls(self, end: End) -> list[Item]:
        """The calls after tags, when there is nothing else."""
        items: list[Item] = []
        for body, raw in self._tagged:
            ended = end != "none" or body is not self._tagged[-1][0]
            empty = body.empty
            found = body.finish(ended=ended)
            if (ended or self._format.trimmed) and (builtin := self._builtin("".join(raw), ended=ended)):
                items.append(builtin)
            elif body.pure:
                items += [item for item in found if isinstance(item, Found)]
            elif not empty:
                return []
        if len(items) > 1 and len(self._tagged) > 1:
            if not self._repair:
                return []
            self._repairs.append(Repair(_SEVERAL_TAGS))
        return items

    def _calls_before_text(self) -> list[Item]:
        """What stands after tags, if that is a call first and then text: no code begins so."""
        kinds = tuple(kind for kind in self._format.tagged if kind in ("object", "array", "tag"))
        body = self._started(kinds, prose=True)
        items = [item for _, raw in self._tagged for item in (*body.feed("".join(raw)), *body.pause())]
        items = [item for item in (*items, *body.finish(ended=True)) if not isinstance(item, Preview)]
        return items if items and isinstance(items[0], Found) and items[0].firm else []

    def _builtin(self, text: str, *, ended: bool) -> Found | None:
        if "builtin" not in self._format.tagged:
            return None
        repairs = self._new_repairs() if ended else Repairs(False, None)
        try:
            calls = builtin_calls(text, repairs)
            return Found(calls, text, True, repairs.made_for(calls))
        except NotACall:
            return None

    def _tell(self, items: Sequence[Item], events: list[ParseEvent]) -> None:
        for item in items:
            match item:
                case Preview():
                    self._preview(item, events)
                case Found():
                    self._repairs += item.repairs
                    self._call(item.calls, events)
                case str():
                    self._withdraw(events)
                    self._shown.append(item)
                    events.append(TextParsed(item))
                case _:
                    assert_never(item)

    def _preview(self, seen: Preview, events: list[ParseEvent]) -> None:
        if seen.name:
            events.append(CallOpened(len(self._calls) + len(self._open), seen.name))
            self._open.append((seen.name, []))
        elif seen.text:
            events.append(ArgumentsGrown(len(self._calls) + len(self._open) - 1, seen.text))
            self._open[-1][1].append(seen.text)

    def _withdraw(self, events: list[ParseEvent]) -> None:
        while self._open:
            self._open.pop()
            events.append(CallWithdrawn(len(self._calls) + len(self._open)))

    def _call(self, calls: Sequence[ToolCall], events: list[ParseEvent]) -> None:
        for written in calls:
            call, coercions = self._offers.coerced(written)
            self._coercions += coercions
            text = json.dumps(call.arguments, ensure_ascii=False)
            if self._open and not _is_as_seen(self._open[0], call.name, text):
                self._withdraw(events)
            index = len(self._calls)
            if self._open:
                self._open.popleft()
            else:
                events += [CallOpened(index, call.name), ArgumentsGrown(index, text)]
            events.append(CallParsed(call, index))
            self._calls.append(call)

    def _started(self, kinds: tuple[RegionKind, ...], *, prose: bool) -> Body:
        if not prose:
            # After a tag built-in calls are read as a whole; without one, only repair knows names alone.
            kinds = tuple(kind for kind in kinds if kind not in _BUILTIN_KINDS or (self._repair and kind == "bare"))
        openings = Openings(kinds, self._offers.names or (), self._repair)
        return Body(openings, self._new_repairs, prose=prose)

    def _new_repairs(self) -> Repairs:
        return Repairs(self._repair, self._offers.names, self._offers.schemas)

    def _special_ids(self) -> dict[int, str]:
        known = self._tokenizer.special_ids if self._tokenizer is not None else {}
        return {known[token]: token for token in self._specials if token in known}


def _is_as_seen(seen: tuple[str, list[str]], name: str, arguments: str) -> bool:
    """Whether what was told of a call while it was written is what it turned out to be."""
    try:
        return seen[0] == name and json.dumps(json.loads("".join(seen[1])), ensure_ascii=False) == arguments
    except (ValueError, RecursionError):
        return False


def _partial_length(text: str, start: int, tokens: Sequence[str]) -> int:
    """Length of the end of `text[start:]` that a special token may begin with."""
    at = text.rfind("<", start)
    tail = text[at:] if at >= 0 else ""
    return len(tail) if tail and any(token.startswith(tail) for token in tokens) else 0
