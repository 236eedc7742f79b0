"""Text that may be a call, from the bracket that opens it to the one that closes it, read piece by piece."""

import re
from typing import Literal

from arriero.prompts.calls.literals import MAX_DEPTH
from arriero.prompts.calls.preview import ListWatch, ObjectWatch, Preview, Watch

Kind = Literal["object", "array", "list", "tag", "bare", "builtin"]
"""What a region may be: JSON, JSON objects in an array, calls in a list, a function tag, a call without its list, a
built-in call."""

State = Literal["open", "closed", "failed"]
"""Whether a region is still read, ended where its bracket closes, or cannot be a call."""

CLOSERS = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(CLOSERS.values())

_PLAIN = r"\"[^\"\\]+\"|'[^'\\]+'"  # a string that is whole in the piece, and in which nothing is escaped
_OUTSIDE = re.compile(rf"[\[\](){{}}]|{_PLAIN}|[\"']")
_OUTSIDE_IN_PYTHON = re.compile(rf"[\[\](){{}},#]|{_PLAIN}|[\"']")
_INSIDE = {**{quote: re.compile(rf"[\\{quote}]") for quote in "\"'"}, "#": re.compile("\n")}


class Region:
    """Text from an opening bracket to the closing one, strings left aside.

    Args:
        kind: What it may be.
        head: What of it was read already: a head in which brackets and quotes do not count.

    Example:
        >>> region = Region("object")
        >>> region.feed('{"a": "}', 0), region.feed('"} and', 0), region.state
        (8, 2, 'closed')
    """

    __slots__ = (
        "_begins",
        "_escaped",
        "_marks",
        "_pieces",
        "_quote",
        "_run",
        "_told",
        "_triple",
        "_watch",
        "_watched",
        "kind",
        "missing",
        "state",
    )

    def __init__(self, kind: Kind, head: str = "") -> None:
        self.kind = kind
        self.state: State = "open"
        self.missing: list[str] = []
        self._pieces = [head]
        self._watch = _watch(kind, head)
        self._watched = self._watch.depth + 1
        self._marks = _OUTSIDE_IN_PYTHON if kind in ("list", "bare") else _OUTSIDE
        self._quote = ""
        self._triple = False
        self._run = 0  # quotes in a row: up to three where a string begins, or where a triple one may end
        self._begins = False
        self._escaped = False
        self._told = False

    @property
    def text(self) -> str:
        """All that was read."""
        return "".join(self._pieces)

    @property
    def in_string(self) -> bool:
        """Whether a string is open."""
        return bool(self._quote) and not (self._begins and self._run == 2)

    def seen(self) -> list[Preview]:
        """What was seen of calls since the last time; nothing if all came at once, and will be told as a whole."""
        if self.state != "open" and not self._told:
            return []
        seen = self._watch.take()
        self._told |= bool(seen)
        return seen

    def feed(self, text: str, at: int) -> int:
        """Read on.

        Args:
            text: What has come.
            at: Where to begin in it.

        Returns:
            Up to where it was read; less than all when the region closed or failed.
        """
        start = at
        self._watch.begins(at)
        if self.kind == "builtin":
            at = len(text)  # its quotes are not escaped: only the end of the message tells where it ends
        while at < len(text) and self.state == "open":
            at = self._inside(text, at) if self._quote else self._outside(text, at)
        self._pieces.append(text[start:at])
        self._watch.ends(text, at)
        return at

    def _outside(self, text: str, at: int) -> int:
        missing, watched = self.missing, self._watched
        for found in self._marks.finditer(text, at):
            mark = found.group()
            if mark in CLOSERS:
                missing.append(CLOSERS[mark])
                if len(missing) <= watched:
                    self._watch.opened(text, found.end(), len(missing))
                elif len(missing) > MAX_DEPTH:
                    self.state = "failed"
                    return found.end()
            elif mark in _CLOSING:
                if not missing or missing.pop() != mark:
                    self.state = "failed"
                    return found.start()
                if len(missing) < watched:
                    self._watch.closed(text, found.end(), len(missing))
                    if not missing:
                        self.state = "closed"
                        return found.end()
            elif len(mark) > 1:
                continue
            elif mark in "\"'":
                self._quote, self._run, self._begins, self._triple = mark, 1, True, False
                return found.end()
            elif mark == "#":  # a comment, up to the end of its line, is left aside as a string is
                self._quote, self._run, self._begins, self._triple = mark, 0, False, False
                return found.end()
            elif len(missing) == watched:  # a comma
                self._watch.comma(text, found.end())
        return len(text)

    def _inside(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        if self._begins:
            return self._beginning(text, at)
        found = _INSIDE[self._quote].search(text, at)
        if found is None:
            self._run = 0
            return len(text)
        if found.group() == "\\":
            self._escaped, self._run = True, 0
        elif not self._triple:
            self._quote = ""
        else:
            self._run = self._run + 1 if found.start() == at else 1
            if self._run == 3:
                self._quote = ""
        return found.end()

    def _beginning(self, text: str, at: int) -> int:
        # One quote opens a string, two are an empty one, three open a string that three close.
        if text[at] == self._quote:
            self._run += 1
            if self._run == 3:
                self._triple, self._begins, self._run = True, False, 0
            return at + 1
        self._begins = False
        if self._run == 2:
            self._quote = ""
        return at


def _watch(kind: Kind, head: str) -> Watch:
    if kind == "list":
        return ListWatch()
    depths = {"object": 1, "array": 2, "tag": 0}
    return ObjectWatch(depths[kind], head) if kind in depths else Watch(0)
