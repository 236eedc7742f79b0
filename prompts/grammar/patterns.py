"""Regular expressions of schemas, and the formats that can be written as one, as grammars."""

from dataclasses import dataclass

from arriero.prompts.grammar.ebnf import EVERY, CharSet, charset, either, repeated, without
from arriero.prompts.grammar.notation import Notation

_MOST_REPEATS = 10_000
_DIGIT = charset("0123456789")
_WORD = charset((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A), "_")
_SPACE = charset(" \t\n\r\x0b\x0c")
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}

_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"
_ZONE = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_HOURS = "[0-9]{1,2}H(?:[0-9]{1,2}M)?"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

FORMATS = {
    "date": f"^{_DATE}$",
    "time": f"^{_CLOCK}{_ZONE}$",
    "date-time": f"^{_DATE}T{_CLOCK}{_ZONE}$",
    "uuid": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "ipv4": f"^{_BYTE}\\.{_BYTE}\\.{_BYTE}\\.{_BYTE}$",
    "duration": f"^P(?:[0-9]{{1,4}}D(?:T{_HOURS})?|T(?:{_HOURS}|[0-9]{{1,2}}M(?:[0-9]{{1,2}}S)?|[0-9]{{1,2}}S))$",
    "email": "^[a-z0-9]+(?:[._-][a-z0-9]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\\.)+[a-z]{2,6}$",
}
"""Formats of texts that a grammar holds a model to: for dates, times and addresses, the common part of the format."""


class PatternNotExpressible(Exception):
    """A regular expression that is no regular language, or not written in the common part of the dialects."""


@dataclass(frozen=True, slots=True)
class Written:
    """A pattern as a grammar.

    Args:
        expression: What stands between the quotes.
        least: Fewest characters.
        most: Most characters; None for no bound.
    """

    expression: str
    least: int
    most: int | None


def pattern(text: str, notation: Notation, longest: int | None) -> Written:
    r"""A regular expression, found anywhere in the text as schemas have it, written in a notation.

    Args:
        text: The expression: literals, classes, groups, alternatives, repetition, anchors at the ends.
        notation: How the text is written.
        longest: Most repetitions where the expression sets no bound.

    Returns:
        The expression between the quotes, and how long the text can be.

    Raises:
        PatternNotExpressible: It holds something else, for instance a look-around or a back reference.

    Example:
        >>> from arriero.prompts.grammar.notation import JSON_TEXT
        >>> pattern("^a[bc]{2}$", JSON_TEXT, None).most
        3
    """
    reader = _Reader(text, notation, longest)
    written = reader.alternatives(top=True)
    if reader.at < len(text):
        raise PatternNotExpressible(f"a bracket too many at {reader.at}")
    return written


class _Reader:
    """Recursive descent over one expression."""

    def __init__(self, text: str, notation: Notation, longest: int | None) -> None:
        self._text = text
        self._notation = notation
        self._longest = longest
        self.at = 0

    def alternatives(self, *, top: bool = False) -> Written:
        parts = [self._sequence(top)]
        while self._next() == "|":
            self.at += 1
            parts.append(self._sequence(top))
        most = [part.most for part in parts]
        return Written(
            either(part.expression for part in parts),
            min(part.least for part in parts),
            None if None in most else max(length for length in most if length is not None),
        )

    def _sequence(self, top: bool) -> Written:
        started = top and self._next() == "^"
        self.at += started
        ended = False
        parts: list[Written] = [] if started or not top else [self._anything()]
        while (character := self._next()) not in ("", "|", ")"):
            if ended or character == "^":
                raise PatternNotExpressible("an anchor in the middle")
            if character == "$":
                self.at += 1
                ended = True
                continue
            parts.append(self._quantified())
        if ended and not top:
            raise PatternNotExpressible("an anchor inside of a group")
        if top and not ended:
            parts.append(self._anything())
        lengths = [part.most for part in parts]
        return Written(
            " ".join(part.expression for part in parts) or '""',
            sum(part.least for part in parts),
            None if None in lengths else sum(length for length in lengths if length is not None),
        )

    def _quantified(self) -> Written:
        atom = self._atom()
        least, most = self._quantifier()
        if (least, most) == (1, 1):
            return atom
        if most is None and self._longest is not None:
            most = max(least, self._longest)
        longest = None if most is None or atom.most is None else atom.most * most
        return Written(repeated(atom.expression, least, most), atom.least * least, longest)

    def _quantifier(self) -> tuple[int, int | None]:
        character = self._next()
        found: tuple[int, int | None] | None = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(character)
        if found is not None:
            self.at += 1
        elif character == "{":
            end = self._text.find("}", self.at)
            least, comma, most = self._text[self.at + 1 : end].partition(",") if end > 0 else ("", "", "")
            if not least.isdecimal() or not (most.isdecimal() or not most):
                raise PatternNotExpressible(f"no repetition at {self.at}")
            found = (int(least), (int(most) if most else None) if comma else int(least))
            if max(number or 0 for number in found) > _MOST_REPEATS or (found[1] is not None and found[1] < found[0]):
                raise PatternNotExpressible(f"a repetition of {least}{comma}{most}")
            self.at = end + 1
        else:
            return 1, 1
        if self._next() == "?":  # lazy: the same language
            self.at += 1
        elif self._next() in ("+", "*"):
            raise PatternNotExpressible("a possessive repetition")
        return found

    def _atom(self) -> Written:
        character = self._next()
        self.at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return self._one(self._bracket())
        if character == "\\":
            return self._one(self._escaped(in_bracket=False))
        if character == ".":
            return self._one(without(EVERY, charset("\n\r\u2028\u2029")))
        if character in "*+?{":
            raise PatternNotExpressible(f"nothing to repeat at {self.at - 1}")
        return self._one(charset(character))

    def _group(self) -> Written:
        if self._next() == "?":
            if not self._text.startswith("?:", self.at):
                raise PatternNotExpressible("a group with options or a look-around")
            self.at += 2
        inner = self.alternatives()
        if self._next() != ")":
            raise PatternNotExpressible("a bracket is missing")
        self.at += 1
        return Written(f"({inner.expression})", inner.least, inner.most)

    def _bracket(self) -> CharSet:
        negated = self._next() == "^"
        self.at += negated
        found: list[tuple[int, int]] = []
        while self._next() != "]":
            low = self._member()
            if self._text.startswith("-", self.at) and self._text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or low[0][0] > high[0][1]:
                    raise PatternNotExpressible(f"no range before {self.at}")
                found.append((low[0][0], high[0][1]))
            else:
                found += low
        self.at += 1
        members = charset(*found)
        return without(EVERY, members) if negated else members

    def _member(self) -> CharSet:
        character = self._next()
        if not character or self._text.startswith("[:", self.at):
            raise PatternNotExpressible("a class that does not end, or one by name")
        self.at += 1
        return self._escaped(in_bracket=True) if character == "\\" else charset(character)

    def _escaped(self, *, in_bracket: bool) -> CharSet:
        character = self._next()
        self.at += 1
        if character.lower() in _CLASSES:
            members = _CLASSES[character.lower()]
            return without(EVERY, members) if character.isupper() else members
        if character in _CONTROLS:
            return charset(_CONTROLS[character])
        if length := {"x": 2, "u": 4}.get(character):
            digits = self._text[self.at : self.at + length]
            self.at += length
            try:
                return charset(chr(int(digits, 16)))
            except ValueError as error:
                raise PatternNotExpressible(f"no character at {self.at}") from error
        if not character or (character.isalnum() and not (in_bracket and character == "b")):
            raise PatternNotExpressible(f"\\{character}")
        return charset("\b" if character == "b" else character)

    def _one(self, members: CharSet) -> Written:
        expression = self._notation.characters(members)
        if expression is None:
            raise PatternNotExpressible("a class without a character that can be written")
        return Written(expression, 1, 1)

    def _anything(self) -> Written:
        expression = self._notation.characters(EVERY) or '""'
        return Written(repeated(expression, 0, self._longest), 0, self._longest)

    def _next(self) -> str:
        return self._text[self.at : self.at + 1]
