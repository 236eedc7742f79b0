"""Where a call may begin: told from as few characters as possible, and from no more than a few hundred."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from arriero.prompts.calls.json_calls import BUILTIN_TOOLS
from arriero.prompts.calls.pythonic import NAME
from arriero.prompts.calls.regions import Kind

_FENCE = re.compile(r"```[\w+\-]{0,20}\s{0,40}")
_PARTIAL_FENCE = re.compile(r"`{1,2}\Z")
_OBJECT = re.compile(r"\{\s{0,99}(?:[\"']|\w[\w\-]{0,99}\s{0,9}:)")
_PARTIAL_OBJECT = re.compile(r"\{\s{0,99}(?:\w[\w\-]{0,99}\s{0,9})?\Z")
_ARRAY = re.compile(r"\[\s{0,99}\{")
_LIST = re.compile(rf"\[(?:\[|\s{{0,99}}){NAME}\s{{0,9}}\(")  # a list in a list is no call, as a whole
_PARTIAL_ARRAY = re.compile(r"\[\s{0,99}\Z")
_PARTIAL_LIST = re.compile(rf"\[(?:\[|\s{{0,99}})(?:{NAME}\s{{0,9}})?\Z")
_TAG = re.compile(r"<function=[^<>{}\s]{1,200}>\s{0,99}(?=\{|</function)")
_PARTIAL_TAG = re.compile(r"<function=(?:[^<>{}\s]{0,200}|[^<>{}\s]{1,200}>\s{0,99}(?:</?[a-z]{0,8})?)\Z")
_BARE = re.compile(rf"({NAME})\(")
_BUILTIN = re.compile(r"([A-Za-z_][\w\-]{0,199})\.call\(")
_WORD = re.compile(r"\w[\w.\-]{0,199}\(?\Z")


@dataclass(frozen=True, slots=True)
class Opening:
    """A place where a call may begin.

    Args:
        kind: What it may be; None when too little has come to tell.
        at: Where it begins, a code fence before it left aside.
        head: Where its head ends: what follows is read as a region.
    """

    kind: Kind | None
    at: int
    head: int = 0


@dataclass(frozen=True, slots=True)
class Openings:
    """Tells where a call may begin.

    Args:
        kinds: What to look for.
        offered: Names of the offered tools, for calls that are known by their names alone.
        fences: Whether a call may stand in a code fence.
    """

    kinds: Collection[Kind]
    offered: Collection[str]
    fences: bool

    def at(self, text: str, at: int, *, first: bool) -> Opening | None:
        """What may begin here.

        Args:
            text: The text as far as it has come.
            at: The place.
            first: Whether nothing but calls stands before it, so that a name alone may begin one.

        Returns:
            The opening; None when no call can begin here.
        """
        mark = text[at]
        if mark == "{":
            return self._matched("object", _OBJECT, _PARTIAL_OBJECT, text, at)
        if mark == "[":
            array = self._matched("array", _ARRAY, _PARTIAL_ARRAY, text, at)
            return array or self._matched("list", _LIST, _PARTIAL_LIST, text, at)
        if mark == "<":
            if "<function=".startswith(text[at : at + 10]) and at + 10 > len(text) and "tag" in self.kinds:
                return Opening(None, at)
            return self._matched("tag", _TAG, _PARTIAL_TAG, text, at)
        if mark == "`" and self.fences:
            return self._fenced(text, at, first)
        return self._named(text, at) if first else None

    def _matched(
        self, kind: Kind, whole: "re.Pattern[str]", partial: "re.Pattern[str]", text: str, at: int
    ) -> Opening | None:
        if kind not in self.kinds:
            return None
        if found := whole.match(text, at):
            return Opening(kind, at, found.end() if kind == "tag" else at)
        return Opening(None, at) if partial.match(text, at) else None

    def _fenced(self, text: str, at: int, first: bool) -> Opening | None:
        found = _FENCE.match(text, at)
        if found is None:
            return Opening(None, at) if _PARTIAL_FENCE.match(text, at) else None
        if found.end() == len(text):
            return Opening(None, at)
        return None if text[found.end()] == "`" else self.at(text, found.end(), first=first)

    def _named(self, text: str, at: int) -> Opening | None:
        if (found := _BUILTIN.match(text, at)) and "builtin" in self.kinds:
            return Opening("builtin", at, at) if found.group(1) in self._names() else None
        if (found := _BARE.match(text, at)) and "bare" in self.kinds:
            return Opening("bare", at, at) if found.group(1) in self.offered else None
        found = _WORD.match(text, at)
        if found is None:
            return None
        word = found.group()
        wanted = [f"{name}.call(" for name in self._names() if "builtin" in self.kinds]
        wanted += [f"{name}(" for name in self.offered if "bare" in self.kinds]
        return Opening(None, at) if any(name.startswith(word) for name in wanted) else None

    def _names(self) -> frozenset[str]:
        return BUILTIN_TOOLS.union(self.offered)
