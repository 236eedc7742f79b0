"""A response taken apart into the sentences that make claims, each with its place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text: `text` is what stands at `start` to `end`.

    Args:
        start: First character, from 0.
        end: The one after the last.
        text: The sentence, without list marker and space around it.
    """

    start: int
    end: int
    text: str


def claims_of(response: str) -> list[Sentence]:
    r"""The sentences of a response, in order; those without a letter or digit are left out.

    For text of any script, in time that grows with its length alone: paragraphs, lists, headings, tables, quotations,
    citations such as `[1]`, abbreviations, text with spaces before its full stops. A fenced block of code is one
    sentence. Sentences are found by rules, not by grammar: where a rule is in doubt, it does not split.

    Args:
        response: The text.

    Returns:
        The sentences. They do not overlap, and all letters and digits but list markers are in one of them.

    Example:
        >>> [one.text for one in claims_of("Dr. Gray bred mules. They ate 2.5 kg:\n- hay\n- oats [1]. Not meat!")]
        ['Dr. Gray bred mules.', 'They ate 2.5 kg:', 'hay', 'oats [1].', 'Not meat!']
    """
    return [Sentence(start, end, response[start:end]) for start, end in places_of(response)]


def places_of(response: str) -> Iterator[tuple[int, int]]:
    """First character of each of those sentences, and the one after its last."""
    for start, end, code in _blocks(response):
        for first, last in [(start, end)] if code else _split(response, start, end):
            piece = response[first:last]
            first += len(piece) - len(piece.lstrip())
            last -= len(piece) - len(piece.rstrip())
            if _WORD.search(response, first, last):
                yield first, last


_WORD = re.compile(r"[^\W_]")
_LINE = re.compile(r"[^\n\r\v\f\x85\u2028\u2029]+")
_MARKER = re.compile(r"\s*+(?:(?:[-*+•‣◦▪·–—>]|#{1,6}|\(?\d{1,3}[.)]|\(?[a-z]\))[ \t]++)++")
_FENCE = re.compile(r"[ \t]*+(?:```|~~~)[^`\n]*+")
# Matches are taken one after the other and never tried again from their middle, hence the linear time. One set of
# characters comes first: where there is no punctuation, the search passes at once.
_END = re.compile(
    r"""[.!?…。！？｡۔؟।॥](?:(?<=[.!?…])[.!?…]*+["'”’»)\]*]*+(?:[ ]?\[\d{1,3}(?:,[ ]?\d{1,3})*+\])*+[.]?+"""
    r"""|(?<=[。！？｡۔؟।॥])[。！？｡۔؟।॥]*+["'”’»」』）)\]]*+)"""
)
_OPENING = re.compile(r"""\s*+["'“‘«(\[*_¿¡「『（]*+""")
_NEXT = re.compile(r"[^\W\d_]*+")
_NEVER = frozenset(
    "mr mrs ms dr prof gen col lt sgt capt rev hon gov sen rep st mt ft e.g i.e eg ie vs cf ca approx no nos fig figs"
    " eq sec ch vol pp p al viz resp".split()
)
_SOMETIMES = frozenset(
    "inc ltd co corp jr sr etc jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun"
    " ave blvd rd dept univ est bros ph.d".split()
)
_STARTERS = frozenset(
    "the a an it its he she they we i you this that these those there his her their our your my in on at for from by"
    " with as if when while since after before during although however but and or so also then thus not no yes is are"
    " was were to what who which why how one some many most all each both another other such".split()
)


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Lines, joined where a line goes on in the next; whether they are code."""
    start = end = 0
    open_code: int | None = None
    for line in _LINE.finditer(text):
        if _FENCE.fullmatch(text, line.start(), line.end()):
            if open_code is None:
                yield start, end, False
                open_code = line.end()
            else:
                yield open_code, line.start(), True
                open_code = None
            start = end = line.end()
        elif open_code is None:
            if end > start and _goes_on(text, end, line.start(), line.end()):
                end = line.end()
                continue
            yield start, end, False
            marker = _MARKER.match(text, line.start(), line.end())
            start, end = marker.end() if marker else line.start(), line.end()
    if open_code is None:
        yield start, end, False
    else:
        yield open_code, len(text), True


def _goes_on(text: str, end: int, start: int, stop: int) -> bool:
    """Whether the line at `start` goes on with the sentence before `end`: a line that was broken to fit."""
    if text[end:start] not in ("\n", "\r\n") or text[end - 1] in ".!?:;。！？":
        return False
    return text[start].islower() and not _MARKER.match(text, start, stop)


def _split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for mark in _END.finditer(text, start, end):
        if mark.end() < end and _ends(text, start, mark, end):
            yield start, mark.end()
            start = mark.end()
    yield start, end


def _ends(text: str, start: int, mark: re.Match[str], end: int) -> bool:
    """Whether a sentence ends at this punctuation."""
    if text[mark.start()] in "。！？｡۔؟।॥":
        return True
    if not text[mark.end()].isspace():
        return False
    if mark.start() > start and text[mark.start() - 1] == " ":
        return True  # "it is . it was": words and signs set apart, as old corpora have them
    opening = _OPENING.match(text, mark.end(), end)
    after = opening.end() if opening else mark.end()
    if after < end and text[after].islower():
        return False
    if mark.group()[0] != ".":
        return True
    before = text[max(start, mark.start() - 12) : mark.start()].rpartition(" ")[2].strip("\"'“‘(*_").lower()
    if before in _NEVER:
        return False
    if before in _SOMETIMES or (len(before) == 1 and before.isalpha()) or re.fullmatch(r"(?:[^\W\d_]\.)+\w", before):
        word = _NEXT.match(text, after, end)
        return word is not None and word.group().lower() in _STARTERS
    return True
