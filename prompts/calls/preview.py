"""Names and arguments of calls while they are written, before it is sure that they are calls."""

import json
import re
from dataclasses import dataclass

from arriero.prompts.calls.literals import MAX_CALLS, Literals
from arriero.prompts.calls.pythonic import NAME
from arriero.prompts.calls.repair import NotACall, Repairs

_DOCUMENTED_HEAD = re.compile(
    r'\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*("(?:[^"\\]|\\.)+")\s*,\s*"(?:parameters|arguments)"\s*:\s*\{'
)
_NAME = re.compile(rf"[\s,]*({NAME})\s*")
_TAG_NAME = re.compile(r"<function=([^<>\"'\s]+)>\s*")
_PARAMETER = re.compile(r"\s*([^\W\d]\w*)\s*=\s*")
_LONGEST_HEAD = 1000


@dataclass(frozen=True, slots=True)
class Preview:
    """Something that is seen of a call.

    Args:
        name: Its tool, when the call opens.
        text: The next piece of its arguments as JSON, when they grow.
    """

    name: str = ""
    text: str = ""


class Watch:
    """Watches the brackets of a region, and says what they show.

    Args:
        depth: How many brackets are open inside a call's own.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._parts: list[str] = []
        self._size = 0
        self._since: int | None = None
        self._seen: list[Preview] = []

    def take(self) -> list[Preview]:
        """What was seen since the last time."""
        seen, self._seen = self._seen, []
        return seen

    def begins(self, at: int) -> None:
        """A new piece of text is read from here on."""
        if self._since is not None:
            self._since = at

    def ends(self, text: str, at: int) -> None:
        """The piece of text is read up to here."""
        if self._since is not None and at > self._since:
            self._keep(text[self._since : at])

    def opened(self, text: str, at: int, depth: int) -> None:
        """A bracket before `at` opened, and with it so many are open."""

    def closed(self, text: str, at: int, depth: int) -> None:
        """A bracket before `at` closed, and so many are left open."""

    def comma(self, text: str, at: int) -> None:
        """A comma stands before `at`, between arguments."""

    def _keep(self, piece: str) -> None:
        self._parts.append(piece)

    def _start(self, at: int) -> None:
        self._parts.clear()
        self._since = at

    def _stop(self, text: str, at: int) -> str:
        since, self._since = self._since, None
        return "".join(self._parts) + ("" if since is None else text[since:at])


class ObjectWatch(Watch):
    """Watches JSON: the name when the arguments begin, and these as they are written.

    Args:
        depth: How many brackets are open inside a call's own.
        head: What stands before, for function tags: they name their tool in it.

    Example:
        >>> watch = ObjectWatch(0, "<function=now>")
        >>> watch.opened("{", 1, 1)
        >>> watch.take()
        [Preview(name='now', text='')]
    """

    def __init__(self, depth: int, head: str = "") -> None:
        super().__init__(depth)
        found = _TAG_NAME.fullmatch(head)
        self._name = found.group(1) if found else ""
        self._growing = False

    def ends(self, text: str, at: int) -> None:
        """The piece of text is read up to here."""
        super().ends(text, at)
        if not self._growing and self._since is not None:
            self._size += at - self._since
            if self._size > _LONGEST_HEAD:
                self._since = None

    def opened(self, text: str, at: int, depth: int) -> None:
        """A bracket before `at` opened, and with it so many are open."""
        if depth == self.depth and not self._name:
            self._size = 0
            self._start(at - 1)
        elif depth == self.depth + 1 and not self._growing and (self._name or self._since is not None):
            name = self._name or _named(self._stop(text, at))
            self._since = None
            if name:
                self._growing = True
                self._seen.append(Preview(name=name))
                self._start(at - 1)

    def closed(self, text: str, at: int, depth: int) -> None:
        """A bracket before `at` closed, and so many are left open."""
        if self._growing and depth == self.depth:
            self._growing = False
            self._seen.append(Preview(text=self._stop(text, at)))

    def _keep(self, piece: str) -> None:
        if self._growing:
            self._seen.append(Preview(text=piece))
        else:
            super()._keep(piece)


class ListWatch(Watch):
    """Watches calls as Python writes them: the name at its bracket, and the arguments one by one."""

    def __init__(self) -> None:
        super().__init__(1)
        self._before = "{"
        self._lost = False
        self._calls = 0
        self._waiting: list[tuple[str, str]] = []  # what was read up to a bracket or comma: looked at when asked for

    def take(self) -> list[Preview]:
        """What was seen since the last time."""
        for mark, text in self._waiting:
            if mark == "(" and not self._lost:
                self._named(text)
            elif not self._lost:
                self._argument(text)
                if mark == ")" and not self._lost:
                    self._seen.append(Preview(text="{}" if self._before == "{" else "}"))
        self._waiting.clear()
        return super().take()

    def opened(self, text: str, at: int, depth: int) -> None:
        """A bracket before `at` opened, and with it so many are open."""
        if depth == self.depth:
            self._start(at)
        elif depth == self.depth + 1:
            self._wait("(", text, at)

    def closed(self, text: str, at: int, depth: int) -> None:
        """A bracket before `at` closed, and so many are left open."""
        if depth == self.depth:
            self._wait(")", text, at)

    def comma(self, text: str, at: int) -> None:
        """A comma stands before `at`, between arguments."""
        self._wait(",", text, at)

    def _wait(self, mark: str, text: str, at: int) -> None:
        self._waiting.append((mark, self._stop(text, at - 1)))
        self._start(at)

    def _named(self, text: str) -> None:
        found = _NAME.fullmatch(text)
        self._calls += 1
        self._lost = found is None or self._calls > MAX_CALLS
        if found is not None:
            self._seen.append(Preview(name=found.group(1)))
            self._before = "{"

    def _argument(self, text: str) -> None:
        if not text.strip():
            return
        try:
            found = _PARAMETER.match(text)
            if found is None:
                raise NotACall("no argument")
            literals = Literals(text, Repairs(False, None), python=True)
            value, at = literals.value(found.end())
            if literals.skip(at) < len(text):
                raise NotACall("no literal")
            written = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (NotACall, ValueError, RecursionError):
            self._lost = True
            return
        self._seen.append(Preview(text=f"{self._before}{json.dumps(found.group(1), ensure_ascii=False)}: {written}"))
        self._before = ", "


def _named(head: str) -> str:
    found = _DOCUMENTED_HEAD.fullmatch(head) if len(head) <= _LONGEST_HEAD else None
    try:
        return str(json.loads(found.group(1))) if found else ""
    except ValueError:
        return ""
