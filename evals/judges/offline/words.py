"""Text as the offline judge reads it: words by their stems, numbers, names, negation; sentences and their words."""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from operator import add
from typing import TypeVar

from arriero.evals.judges.claims import claims_of, places_of

Of = TypeVar("Of")

FUNCTION_WORDS = frozenset(
    "a an the of in to on at for with by from as is are was were be been being am do does did done has have had having"
    " and or but if then than that this these those it its he she they him his her them their hers theirs we us our"
    " you your i me my mine who whom whose which what when where why how there here so such also too very can could"
    " may might must shall should will would about into over under between during after before up down out off again"
    " more most some any each other own same s t just d m ve re ll well really".split()
)
NEGATIONS = frozenset(
    "no not never none nobody nothing neither nor without cannot unable lack lacks lacked fails failed n't dont doesnt"
    " didnt wont isnt arent wasnt werent cant".split()
)
HEDGES = frozenset(
    "may might could possibly perhaps likely probably suggest suggests appear appears seem seems potentially often"
    " usually sometimes generally typically some".split()
)
FIRST_PERSON = frozenset("i i'm i've i'd me my mine we our you your".split())
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty"
)
NUMBER_WORDS = {word: str(value) for value, word in enumerate(_NUMBERS.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "seventy": "70",
    "eighty": "80",
    "ninety": "90",
    "hundred": "100",
    "thousand": "1000",
    "million": "1000000",
    "billion": "1000000000",
    "first": "1",
    "second": "2",
    "third": "3",
}
DATES = frozenset(
    "january february april june july august september october november december"
    " monday tuesday wednesday thursday friday saturday sunday".split()
)
# A word of more than 40 letters is taken in pieces: nothing here grows with what is no word.
WORD = re.compile(r"[^\W\d_]{1,40}+(?:['’][^\W\d_]{1,40}+)?+|\d{1,40}+(?:[.,:]\d{1,40}+){0,8}+")
CITATION = re.compile(r"\[\d{1,3}(?:[ ]?[,;–-][ ]?\d{1,3}){0,20}\]")
"""A marker such as `[1]` or `[2, 3]`: it names a passage and claims nothing."""

_POSTINGS = 64
_SUFFIXES = [  # longer ones before their own endings
    ending.split("=")
    for ending in (
        "ational=ate ization=ize iveness=ive fulness=ful ements=e ations=ate ement=e ation=ate ators=ate ities=ity"
        " ator=ate ingly= edly= ings= ies=y ied=y ing= ers= est= ed= ly= es= er= s="
    ).split()
]
_BY_LAST = {
    last: [(suffix, kept) for suffix, kept in _SUFFIXES if suffix.endswith(last)]
    for last in {suffix[-1] for suffix, _ in _SUFFIXES}
}


def stem(word: str) -> str:
    """A word without its ending, a number in one form.

    Rough on purpose: the same ending goes everywhere, so that forms of one word meet.

    Example:
        >>> stem("Breeders"), stem("bred"), stem("1,500"), stem("twelve")
        ('breed', 'bred', '1500', '12')
    """
    word = word.lower().replace("’", "'").removesuffix("'s")
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    if word[:1].isdigit():
        return word.replace(",", "").rstrip(".")
    if len(word) > 4:
        for suffix, kept in _BY_LAST.get(word[-1], ()):
            if word.endswith(suffix) and len(word) - len(suffix) >= 3:
                word = word[: len(word) - len(suffix)] + kept
                break
        if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
            word = word[:-1]
        return word[:-1] if word.endswith("e") and len(word) > 3 else word
    return word[:-1] if len(word) == 4 and word.endswith("s") and not word.endswith("ss") else word


class _Kept(dict[str, Of]):
    """What is known of words, each worked out once; threads may share it, for at worst two work out the same.

    Looking words up is most of the work, and a dictionary that fills itself takes half as long as a cached call.
    """

    def __init__(self, work_out: Callable[[str], Of]) -> None:
        super().__init__()
        self.work_out = work_out

    def __missing__(self, word: str) -> Of:
        if len(self) >= _KEPT:
            self.clear()
        self[word] = found = self.work_out(word)
        return found


def _lower(word: str) -> str:
    return word.lower().replace("’", "'")


def _negates(word: str) -> bool:
    lower = _lower(word)
    return lower in NEGATIONS or lower.endswith("n't")


def _says(word: str) -> str:
    """The stem of a word that says something by itself, and "" for others: "it's" says as little as "it"."""
    stemmed = stem(word)
    told = _lower(word).partition("'")[0] not in FUNCTION_WORDS and not _negates(word)
    return stemmed if stemmed[:1].isdigit() or (len(stemmed) > 1 and told) else ""


_KEPT = 100_000
_stem = _Kept(stem).__getitem__
_said = _Kept(_says).__getitem__
_lowered = _Kept(_lower).__getitem__
_negating = _Kept(_negates).__getitem__


def stems_of(text: str) -> list[str]:
    """Stems of all words of a text, in order."""
    return list(map(_stem, WORD.findall(text)))


class Words:
    """The words of a sentence.

    Args:
        text: The sentence; markers of citations are no words of it.

    Attributes:
        raw: The words as they stand.
        lower: In lower case.
        stems: Their stems.
        says: Whether each says something by itself: no function word, no negation.
        content: Stems of those that do, in order.
        negated: Whether it holds a negation.
    """

    __slots__ = ("content", "lower", "negated", "raw", "says", "stems")

    def __init__(self, text: str) -> None:
        self.raw: list[str] = WORD.findall(without_citations(text))
        self.stems = list(map(_stem, self.raw))
        self.lower = list(map(_lowered, self.raw))
        said = list(map(_said, self.raw))
        self.says = list(map(bool, said))
        self.content = list(filter(None, said))
        self.negated = any(map(_negating, self.raw))

    @property
    def numbers(self) -> list[str]:
        """Numbers, in one form."""
        return [one for one in self.stems if one[0].isdigit()]

    @property
    def names(self) -> list[str]:
        """Stems of capitalised words inside the sentence, and of days and months."""
        return [
            stemmed
            for place, (word, stemmed, lower, says) in enumerate(
                zip(self.raw, self.stems, self.lower, self.says, strict=True)
            )
            if lower in DATES or (place and says and word[0].isupper())
        ]

    @property
    def pairs(self) -> list[str]:
        """Each word with the next, by stems."""
        return _grouped(self.stems)[0]

    @property
    def triples(self) -> list[str]:
        """Each word with the next two, by stems."""
        return _grouped(self.stems)[1]


def _grouped(stems: list[str]) -> tuple[list[str], list[str]]:
    """Pairs and triples of neighbours, as text: sets of tuples would keep the garbage collector busy."""
    spaced = [f"{one} " for one in stems]
    pairs = list(map(add, spaced, stems[1:]))
    return pairs, list(map(add, spaced, pairs[1:]))


@dataclass(frozen=True, slots=True)
class Context:
    """The words of passages, and in which of their sentences they stand.

    Args:
        negated: Whether each sentence is negated, for the sentences of all passages in order.
        words: All stems.
        beginnings: First five letters of all longer stems.
        pairs: All pairs of neighbouring stems.
        triples: All triples.
        contents: Content words of each sentence.
        places: Sentences in which a content word stands: the first 64, for what stands in more tells nothing.
        passages: Content words of each passage.
        characters: Length of all passages.
        function_share: Share of words that say nothing by themselves: a quarter and more in English.
    """

    negated: list[bool]
    words: Set[str]
    beginnings: Set[str]
    pairs: Set[str]
    triples: Set[str]
    contents: list[frozenset[str]]
    places: dict[str, list[int]]
    passages: list[frozenset[str]]
    characters: int
    function_share: float

    def knows(self, stemmed: str) -> bool:
        """Whether a word or one that begins like it is in the passages."""
        return stemmed in self.words or (len(stemmed) > 5 and stemmed[:5] in self.beginnings)


@lru_cache(maxsize=32)
def read_context(passages: tuple[str, ...]) -> Context:
    """The words of passages. Kept for the last 32 contexts: answers about one document come together."""
    stems: list[str] = []  # of all sentences, "" after each: no pair and no triple of a response holds that
    negated: list[bool] = []
    contents: list[frozenset[str]] = []
    by_passage: list[frozenset[str]] = []
    said = 0
    for passage in passages:
        first = len(contents)
        for start, end in places_of(passage):
            raw = WORD.findall(passage, start, end)
            stems += map(_stem, raw)
            stems.append("")
            content = list(filter(None, map(_said, raw)))
            said += len(content)
            contents.append(frozenset(content))
            negated.append(any(map(_negating, raw)))
        by_passage.append(frozenset().union(*contents[first:]))
    every, words = len(stems) - len(contents), set(stems) - {""}
    pairs, triples = _grouped(stems)
    return Context(
        negated,
        words,
        {word[:5] for word in words},
        set(pairs),
        set(triples),
        contents,
        _places(contents),
        by_passage,
        sum(map(len, passages)),
        1 - said / every if every else 0.0,
    )


def _places(contents: list[frozenset[str]]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for number, content in enumerate(contents):
        for word in content:
            held = places.setdefault(word, [])
            if len(held) < _POSTINGS:
                held.append(number)
    return places


MOST_SENTENCES = 1_000
"""Sentences of a response that are looked at one by one."""


def sentences_of(response: str) -> Sequence[tuple[int, int, Words]]:
    """The sentences of a response that hold words, with their places: the first `MOST_SENTENCES`."""
    return [(one.start, one.end, Words(one.text)) for one in claims_of(response)[:MOST_SENTENCES]]


def without_citations(response: str) -> str:
    """A response with spaces for its markers of citations: all else stays in its place."""
    return CITATION.sub(lambda marker: " " * len(marker.group()), response)
