"""The body of a message, told apart into text and calls as it comes.

A body whose parts are all calls has no text. With repair, calls may also stand in prose and in code fences; without,
anything else beside the calls makes the whole body text (FORMATS.md section 10, rule 4).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

from arriero.prompts.calls.builtin import builtin_calls
from arriero.prompts.calls.function_tag import tagged_call
from arriero.prompts.calls.json_calls import json_calls
from arriero.prompts.calls.literals import MAX_CALLS
from arriero.prompts.calls.openings import Openings
from arriero.prompts.calls.preview import Preview
from arriero.prompts.calls.pythonic import bare_call, pythonic_calls
from arriero.prompts.calls.regions import Kind, Region
from arriero.prompts.calls.repair import NotACall, Repair, Repairs
from arriero.prompts.messages import ToolCall

_BETWEEN = re.compile(r"(?:[\s;,]|</function(?:=[^<>]{0,200})?>|```\w{0,20}(?=[^\w`]))*")
_PARTIAL_BETWEEN = re.compile(r"(?:<(?:/f?u?n?c?t?i?o?n?(?:=[^<>]{0,200})?)?|`{1,2}|```\w{0,20})\Z")
_UNFINISHED_BETWEEN = re.compile(r"(?:</f?u?n?c?t?i?o?n?|```\w{0,20})\Z")
_CLOSING_MARK = re.compile(r"\A\s{0,40}(?:</function(?:=[^<>]{0,200})?>|```(?!\w))")
_TRIGGER = re.compile(r"(?<![(\[{<`\"'])(?:[{\[`]|<(?=f|\Z))")  # not after what `_MENTIONED` holds
_MARK = re.compile(r"[{\[<`]")
_BLANK = re.compile(r"\s*")
_MENTIONED = frozenset("([{<`\"'=")  # a call right after one of these is spoken of, not made


@dataclass(frozen=True, slots=True)
class Found:
    """Calls that were found in a body.

    Args:
        calls: The calls.
        source: What they were read from, with what stands before it.
        firm: Whether they are calls even beside text.
        repairs: What was repaired to read them.
    """

    calls: tuple[ToolCall, ...]
    source: str
    firm: bool
    repairs: tuple[Repair, ...]


Item = str | Found | Preview
"""Text, calls, or what is seen of a call before it is sure."""

_READERS: Mapping[Kind, Callable[[str, Repairs], tuple[ToolCall, ...]]] = {
    "object": json_calls,
    "array": json_calls,
    "list": pythonic_calls,
    "tag": tagged_call,
    "bare": bare_call,
    "builtin": builtin_calls,
}


class Body:
    """Reads a body piece by piece.

    Args:
        openings: Tells where a call may begin.
        repairs: Makes an empty record of repairs.
        prose: Whether calls may stand beside text.

    Example:
        >>> body = Body(Openings(("object",), (), False), lambda: Repairs(False, None), prose=False)
        >>> body.feed('{"name": "now", '), body.feed('"parameters": {')
        ([], [Preview(name='now', text=''), Preview(name='', text='{')])
        >>> body.feed("}}")
        [Preview(name='', text='}')]
        >>> [item.calls for item in body.finish(ended=True)]
        [(ToolCall(name='now', arguments={}, id=''),)]
    """

    def __init__(self, openings: Openings, repairs: Callable[[], Repairs], *, prose: bool) -> None:
        self._openings = openings
        self._repairs = repairs
        self._prose_allowed = prose
        self._plain = not openings.kinds
        self._pure = True  # nothing but calls so far
        self._quiet = True  # at the beginning, or after a call: blanks and separators are not text yet
        self._count = 0  # of calls
        self._released = False  # whether calls were told that text after them does not undo
        self._before = ""
        self._gap: list[str] = []
        self._head = ""
        self._region: Region | None = None
        self._held: list[str | Found] = []
        self._certain: list[Item] = []
        self.cut = False
        """Whether the body ended inside a region."""

    @property
    def _called(self) -> bool:
        return self._count > 0

    @property
    def pure(self) -> bool:
        """Whether there is nothing but calls and blanks so far."""
        return self._pure

    @property
    def empty(self) -> bool:
        """Whether there is nothing but blanks so far."""
        return self._pure and not self._called and self._region is None and not self._head

    def passes(self, text: str) -> bool:
        """Read on, if this is in the middle of text and no call can begin in it, as in most pieces of an answer.

        Args:
            text: What has come.

        Returns:
            Whether it was read, and is certain; else it is to be fed.
        """
        if self._quiet or self._region is not None or self._head or _MARK.search(text):
            return False
        self._before = text[-1]
        return True

    def feed(self, text: str) -> list[Item]:
        """Read on.

        Args:
            text: What has come.

        Returns:
            What has become certain.
        """
        text, self._head = self._head + text, ""
        at = 0
        while at < len(text):
            if self._plain:
                self._say(text[at:])
                break
            at = self._grow(text, at) if self._region is not None else self._between(text, at)
        return self._take()

    def pause(self) -> list[Item]:
        """Note that a special token stands here, over which no call extends.

        Returns:
            What has become certain.
        """
        self._settle(ended=True)
        return self._take()

    def finish(self, *, ended: bool) -> list[Item]:
        """Close the body.

        Args:
            ended: Whether the model ended it; else it was cut.

        Returns:
            What was not certain before. Calls that were not finished are text.
        """
        self._settle(ended=ended)
        gap = "".join(self._gap)
        if not self._called:
            self._reject("")
        elif "```" in gap or "</function=" in gap:
            self._end_repaired(gap)
        self._certain += self._held
        self._held, self._gap = [], []
        return self._take()

    def _end_repaired(self, gap: str) -> None:
        repairs = self._repairs()
        try:
            self._note_between(gap, repairs)
            self._held.append(Found((), gap, True, repairs.made_for(())))
        except NotACall:
            self._reject("")

    def _take(self) -> list[Item]:
        certain, self._certain = self._certain, []
        taken: list[Item] = []
        for is_text, items in groupby(certain, lambda item: isinstance(item, str)):
            if not is_text:
                taken += items
            elif text := "".join(item for item in items if isinstance(item, str)):
                taken.append(text)
        return taken

    def _settle(self, *, ended: bool) -> None:
        """Decide on what is open."""
        if self._head:
            head, self._head = self._head, ""
            if self._quiet and self._called and _UNFINISHED_BETWEEN.match(head):
                self._gap.append(head)
            else:
                self._reject(head)
        if self._region is not None:
            self.cut = not ended
            region, self._region = self._region, None
            if not self._judged(region, ended=ended):
                self._reject(region.text)

    def _between(self, text: str, at: int) -> int:
        """Read text that no call holds, up to where one may begin."""
        if self._quiet:
            found = (_BETWEEN if self._called else _BLANK).match(text, at)
            end = found.end() if found else at
            self._gap.append(text[at:end])
            at = end
            if at == len(text):
                return at
            if self._called and _PARTIAL_BETWEEN.match(text, at):
                self._head = text[at:]
                return len(text)
        else:
            found = _TRIGGER.search(text, at)
            end = found.start() if found else len(text)
            self._say(text[at:end])
            at = end
            if at == len(text):
                return at
        opening = None if self._mentions else self._openings.at(text, at, first=self._pure)
        if opening is None:
            self._reject(text[at])
            return at + 1
        if opening.kind is None:
            self._head = text[at:]
            return len(text)
        if self._count >= MAX_CALLS:
            self._reject(text[at])
            self._plain = True
            return at + 1
        self._gap.append(text[at : opening.at])
        self._region = Region(opening.kind, text[opening.at : opening.head])
        if opening.kind == "tag" and text[opening.head] == "<":
            self._region.state = "closed"  # a tag without arguments: nothing opens a bracket
            self._close()
        return opening.head

    @property
    def _mentions(self) -> bool:
        """Whether the text so far speaks of what follows, or gives it a name."""
        before = self._before
        return not self._quiet and (before[-1:] in _MENTIONED or before.rstrip(" ").endswith("="))

    def _grow(self, text: str, at: int) -> int:
        region = self._region
        if region is None:
            return at
        at = region.feed(text, at)
        self._certain += region.seen()
        if region.state == "closed":
            self._close()
        elif region.state == "failed":
            self._region = None
            self._reject(region.text)
        return at

    def _close(self) -> None:
        region, self._region = self._region, None
        if region is not None and not self._judged(region, ended=True):
            self._reject(region.text)

    def _judged(self, region: Region, *, ended: bool) -> bool:
        """Take a region for calls, if it is one or more."""
        repairs = self._repairs()
        source = region.text
        try:
            if region.state == "open" and region.kind != "builtin":
                source += _completion(region, repairs, ended=ended)
            calls = _READERS[region.kind](source, repairs)
            if not ended and region.kind == "builtin":
                raise NotACall("cut")
            gap = "".join(self._gap)
            self._note_gap(gap, region.kind, repairs)
            made = repairs.made_for(calls)
        except NotACall:
            return False
        knows = repairs.offers if region.kind == "list" else repairs.knows
        firm = region.kind not in ("bare", "builtin") and all(knows(call.name) for call in calls)
        if not (firm or self._pure):
            return False
        self._accept(Found(calls, gap + region.text, firm, made))
        return True

    def _note_gap(self, gap: str, kind: Kind, repairs: Repairs) -> None:
        if not self._pure:
            repairs.fix("read a call beside text")
        if self._called and "," in gap:
            repairs.fix("read calls with commas between them")
        if self._called and kind == "tag":
            repairs.fix("read several function tags")
        if kind == "builtin":
            repairs.fix("read a built-in call without its tag")
        if gap[:1].isspace() and not self._called and kind == "list":
            repairs.fix("read a list after blanks")
        self._note_between(gap, repairs)

    def _note_between(self, gap: str, repairs: Repairs) -> None:
        if "```" in gap:
            repairs.fix("took a call out of a code fence")
        if "</function=" in gap:
            repairs.fix("read a closing tag with a name")

    def _accept(self, found: Found) -> None:
        self._count += len(found.calls)
        self._quiet = True
        self._gap = []
        self._held.append(found)
        if self._prose_allowed:
            while self._held and isinstance(self._held[0], Found) and self._held[0].firm:
                self._released = True
                self._certain.append(self._held.pop(0))

    def _reject(self, text: str) -> None:
        """Say what is no call. It ends the time in which there was nothing but calls."""
        if self._pure:
            self._pure = False
            self._plain = not self._prose_allowed
            held, self._held = self._held, []
            for item in held:
                kept = isinstance(item, Found) and item.firm and self._prose_allowed
                self._released |= kept
                self._certain.append(item if kept or isinstance(item, str) else item.source)
            if self._released:
                self._certain.append(Found((), "", True, (Repair("kept calls beside text"),)))
        gap, self._gap = "".join(self._gap), []
        self._quiet = False
        if self._released:  # the marks around calls that are told already are no text
            gap = _CLOSING_MARK.sub("", gap, count=1)
        self._say(gap + text)

    def _say(self, text: str) -> None:
        if text:
            self._before = (self._before + text[-3:])[-3:]
            self._certain.append(text)


def _completion(region: Region, repairs: Repairs, *, ended: bool) -> str:
    """What an unfinished region lacks, if that is one bracket and the model ended its turn."""
    if not ended or not repairs.allowed:
        raise NotACall("cut")
    if region.in_string:
        return ""
    if len(region.missing) != 1:
        raise NotACall("more than a bracket is missing")
    repairs.fix(f"added the missing {region.missing[0]}")
    return region.missing[0]
