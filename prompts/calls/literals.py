"""A reader of literals: numbers, strings, lists, dicts, as Python or JSON writes them, and as models do.

Nothing is evaluated. Linear: every character is looked at a bounded number of times.
"""

import re
import unicodedata
from typing import Any

from arriero.prompts.calls.repair import NotACall, Repairs

MAX_DEPTH = 256
"""Deepest nesting of a call; more is not read as one."""

MAX_CALLS = 1000
"""Most calls of one message: a list of more is not read as calls, and after so many the rest of a message is text."""

_BLANK = re.compile(r"\s*")
_PYTHON_BLANK = re.compile(r"(?:\s|#[^\n]*|\\\r?\n)*")  # comments and joined lines are blanks between brackets

_SOLID = frozenset("[](){},'\"-0123456789")  # the frequent marks that are no blanks
_NUMBER = re.compile(
    r"(?:[+-]\s{0,9})?(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+"
    r"|(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][+-]?[0-9](?:_?[0-9])*)?)(?!\w)"
)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FLOAT = re.compile(r"[.eE]")
_LEADING_ZEROS = re.compile(r"[+-]?0[0-9_]*[1-9]")
_WORD = re.compile(r"[^\W\d]\w*")
_STRING = re.compile(r"([A-Za-z]{0,2})(\"\"\"|'''|\"|')")
_ENTRY = re.compile(r"([^\W\d][\w-]*)\s*=(?!=)")
_BARE_KEY = re.compile(r"([^\W\d][\w-]*)\s*(?=:)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PYTHON_WORDS = {"True": True, "False": False, "None": None}
_JSON_WORDS = {"true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\"}
_PYTHON_ESCAPES = {**_ESCAPES, "'": "'", "a": "\a", "v": "\v", "\n": ""}
_CODES = {"x": 2, "u": 4, "U": 8}
_HEX = re.compile(r"[0-9a-fA-F]*")
_OCTAL = re.compile(r"[0-7]{1,3}")
_QUOTES = ('"', "'", '"""', "'''")
_PYTHON_STOPS = {quote: re.compile(rf"[\\\r\n]|{quote}") for quote in _QUOTES}
_JSON_STOPS = {quote: re.compile(rf"[\\\x00-\x1f]|{quote}") for quote in _QUOTES}


class Literals:
    """Reads literals out of a text.

    Args:
        text: The text.
        repairs: Where what is not documented is noted.
        python: Whether the text is Python's; else JSON's.

    Example:
        >>> Literals("{'a': [1, True]}", Repairs(False, None), python=True).value(0)
        ({'a': [1, True]}, 16)
    """

    def __init__(self, text: str, repairs: Repairs, *, python: bool) -> None:
        self.text = text
        self._repairs = repairs
        self._python = python

    def skip(self, at: int) -> int:
        """Where the blanks from here end."""
        mark = self.text[at : at + 1]
        if not (mark.isspace() or (self._python and mark in ("#", "\\"))):
            return at
        found = (_PYTHON_BLANK if self._python else _BLANK).match(self.text, at)
        return found.end() if found else at

    def value(self, at: int, depth: int = 0) -> tuple[Any, int]:
        """The literal that begins here, and where it ends.

        Args:
            at: Where it begins.
            depth: How many brackets are open around it.

        Returns:
            The value and the position after it.

        Raises:
            NotACall: There is none.
        """
        mark = self.text[at : at + 1]
        if depth > MAX_DEPTH:
            raise NotACall("nested too deep")
        if mark == "{":
            return self._braces(at + 1, depth + 1)
        if mark == "[":
            return self._items(at + 1, "]", depth + 1)[:2]
        if mark == "(" and self._python:
            values, at, comma = self._items(at + 1, ")", depth + 1)
            if len(values) == 1 and not comma:
                return values[0], at
            self._repairs.fix("read a tuple as a list")
            return values, at
        if found := _STRING.match(self.text, at):
            return self._strings(found)
        if found := _NUMBER.match(self.text, at):
            return self._number(found.group()), found.end()
        return self._constant(at)

    def expect(self, at: int, mark: str) -> int:
        """The position after a mark that has to stand here, blanks before it left aside.

        Raises:
            NotACall: Something else stands there.
        """
        at = self.skip(at)
        if not self.text.startswith(mark, at):
            raise NotACall(f"no {mark} at {at}")
        return at + len(mark)

    def _constant(self, at: int) -> tuple[Any, int]:
        found = _WORD.match(self.text, at)
        word = found.group() if found else ""
        own, other = (_PYTHON_WORDS, _JSON_WORDS) if self._python else (_JSON_WORDS, _PYTHON_WORDS)
        if word in other:
            self._repairs.fix(f"read {word} as {'Python' if self._python else 'JSON'} writes it")
        elif word not in own:
            raise NotACall(f"no literal at {at}")
        return {**own, **other}[word], at + len(word)

    def _number(self, written: str) -> int | float:
        written = "".join(written.split())
        if not self._python and not _JSON_NUMBER.fullmatch(written):
            self._repairs.fix(f"read the number {written[:40]}")
        try:
            if written.lstrip("+-")[:2].lower() in ("0x", "0o", "0b"):
                return int(written, 0)
            if _FLOAT.search(written):
                return float(written)
            if _LEADING_ZEROS.match(written):
                self._repairs.fix("read a number with leading zeros as decimal")
            return int(written)
        except ValueError:
            raise NotACall("a number too long") from None

    def _items(self, at: int, closer: str, depth: int) -> tuple[list[Any], int, bool]:
        text = self.text
        values: list[Any] = []
        comma = False
        while True:
            if text[at : at + 1] not in _SOLID:
                at = self.skip(at)
            if text[at : at + 1] == closer:
                if comma and not self._python:
                    self._repairs.fix("dropped a comma before a closing bracket")
                return values, at + 1, comma
            if values and not comma:
                raise NotACall(f"no comma at {at}")
            value, at = self.value(at, depth)
            values.append(value)
            if text[at : at + 1] not in _SOLID:
                at = self.skip(at)
            comma = text[at : at + 1] == ","
            at += comma

    def _braces(self, at: int, depth: int) -> tuple[Any, int]:
        at = self.skip(at)
        if self._python and (found := _ENTRY.match(self.text, at)):
            return self._entries(found, depth)
        entries: dict[str, Any] = {}
        comma = True
        while not self.text.startswith("}", at):
            if not comma:
                raise NotACall(f"no comma at {at}")
            start = at
            key, at = self._key(at, depth)
            at = self.skip(at)
            if self._python and not entries and not self.text.startswith(":", at):
                values, at, _ = self._items(start, "}", depth)
                self._repairs.fix("read a set as a list")
                return values, at
            at = self.skip(self.expect(at, ":"))
            if not isinstance(key, str):
                raise NotACall("a key that is no text")
            if key in entries:
                self._repairs.fix("kept the last of a repeated key")
            entries[key], at = self.value(at, depth)
            at = self.skip(at)
            comma = self.text.startswith(",", at)
            at = self.skip(at + 1) if comma else at
        if comma and entries and not self._python:
            self._repairs.fix("dropped a comma before a closing bracket")
        return entries, at + 1

    def _key(self, at: int, depth: int) -> tuple[Any, int]:
        if not self._python and (found := _BARE_KEY.match(self.text, at)):
            self._repairs.fix("read a key without quotes")
            return found.group(1), found.end()
        key, at = self.value(at, depth)
        if isinstance(key, int) and not isinstance(key, bool) and self.text.startswith(":", self.skip(at)):
            self._repairs.fix("wrote a number that is a key as text")
            key = str(key)
        return key, at

    def _entries(self, found: "re.Match[str]", depth: int) -> tuple[dict[str, Any], int]:
        # {k="v"}: how Meta's code writes a dict into the history (FORMATS.md section 5)
        self._repairs.fix("read {key=value} as a dict")
        entries: dict[str, Any] = {}
        following: re.Match[str] | None = found
        while following is not None:
            if following.group(1) in entries:
                raise NotACall("a key given twice")
            entries[following.group(1)], at = self.value(self.skip(following.end()), depth)
            at = self.skip(at)
            if not self.text.startswith(",", at):
                break
            at = self.skip(at + 1)
            following = _ENTRY.match(self.text, at)
        return entries, self.expect(at, "}")

    def _strings(self, found: "re.Match[str]") -> tuple[str, int]:
        text, at = self._string(found)
        parts = [text]
        while self._python and (following := _STRING.match(self.text, self.skip(at))):
            self._repairs.fix("joined strings that stand side by side")
            text, at = self._string(following)
            parts.append(text)
        whole = "".join(parts)
        if self._python and _SURROGATE.search(whole):
            try:
                whole = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            except UnicodeDecodeError:
                raise NotACall("half a surrogate pair") from None
            self._repairs.fix("joined a surrogate pair")
        return whole, at

    def _string(self, found: "re.Match[str]") -> tuple[str, int]:
        prefix, quote = found.group(1).lower(), found.group(2)
        if not self._python and (prefix or quote != '"'):
            if prefix or len(quote) > 1:
                raise NotACall("no JSON string")
            self._repairs.fix("read a string in single quotes")
        if prefix not in ("", "r", "u", "f", "fr", "rf"):
            raise NotACall(f"a {prefix} string is no text")
        if prefix:
            self._repairs.fix(f"read a string with the prefix {prefix}")
        text, at = self._characters(found.end(), quote, raw="r" in prefix)
        if "f" in prefix and ("{" in text or "}" in text):
            raise NotACall("an f-string that is no literal")
        return text, at

    def _characters(self, at: int, quote: str, *, raw: bool) -> tuple[str, int]:
        parts: list[str] = []
        stops = (_PYTHON_STOPS if self._python else _JSON_STOPS)[quote]
        while found := stops.search(self.text, at):
            parts.append(self.text[at : found.start()])
            at = found.end()
            mark = found.group()
            if mark == quote:
                return "".join(parts), at
            if mark != "\\":
                if len(quote) == 1:
                    self._repairs.fix("kept a raw line break or tab in a string")
                parts.append(mark)
            elif raw:
                parts.append(self.text[at - 1 : at + 1])
                at += 1
            else:
                part, at = self._escape(at)
                parts.append(part)
        raise NotACall("a string without end")

    def _escape(self, at: int) -> tuple[str, int]:
        mark = self.text[at : at + 1]
        known = _PYTHON_ESCAPES if self._python else _ESCAPES
        if mark in known:
            return known[mark], at + 1
        if mark in _CODES and (self._python or mark == "u"):
            return self._code(at + 1, _CODES[mark])
        if self._python and mark == "N":
            return self._named(at)
        if self._python and (octal := _OCTAL.match(self.text, at)):
            return chr(int(octal.group(), 8)), octal.end()
        if mark == "/" and not self._python:
            return mark, at + 1
        if mark == "'":
            self._repairs.fix("read an escaped single quote")
            return mark, at + 1
        if not mark:
            raise NotACall("a string without end")
        if not self._python:
            self._repairs.fix("kept a backslash that escapes nothing")
        return "\\" + mark, at + 1

    def _code(self, at: int, length: int) -> tuple[str, int]:
        digits = self.text[at : at + length]
        found = _HEX.fullmatch(digits)
        if found is None or len(digits) < length or int(digits, 16) > 0x10FFFF:
            raise NotACall("a broken escape")
        return chr(int(digits, 16)), at + length

    def _named(self, at: int) -> tuple[str, int]:
        end = self.text.find("}", at, at + 100)
        try:
            return unicodedata.lookup(self.text[at + 2 : end]), end + 1
        except KeyError:
            raise NotACall("no character of that name") from None
