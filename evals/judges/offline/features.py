"""What the offline judge counts in a response and its passages."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from itertools import groupby, pairwise
from typing import NamedTuple

from arriero.evals.items import GroundingItem
from arriero.evals.judges.offline.words import (
    FIRST_PERSON,
    HEDGES,
    Context,
    Words,
    read_context,
    sentences_of,
    stems_of,
)

Weight = Callable[[str], float]
"""How much a word tells: its inverse document frequency."""

_REFUSAL = re.compile(
    r"\b(?:do(?:es)? not|don't|cannot|can't|couldn't|could not|unable|no|not)\b[^.!?\n]{0,60}"
    r"\b(?:information|answer|mention|specif|documents?|context|passages?|details?)|sorry|unfortunately",
    re.IGNORECASE,
)


class Closest(NamedTuple):
    """Sentences of the passages that share the most with one of the response.

    Args:
        best: The closest; None where none shares a word.
        near: Content words of the three closest.
        window: Content words of the best three in a row.
        share_best: Weight of the words that the closest has, of all.
        share_near: Of those that the three closest have.
        share_window: Of those that the best three in a row have.
    """

    best: int | None
    near: frozenset[str]
    window: frozenset[str]
    share_best: float
    share_near: float
    share_window: float


class Counts(NamedTuple):
    """What is counted in a sentence, or in a whole response. Shares are from 0 to 1.

    Args:
        content: Different content words.
        missing: Share of them that the passages lack, beginnings of words counting as the word.
        missing_count: Their number, 5 at most.
        missing_exact: Share that the passages lack in this form.
        missing_weight: As `missing`, each word by its weight.
        missing_rarest: Weight of the rarest missing word.
        missing_unasked: As `missing_weight`, without words of the question.
        pairs: Share of neighbouring words that are not neighbours in the passages.
        triples: The same of three.
        names: Different names.
        names_missing: Those that the passages lack.
        names_share: Their share.
        numbers: Different numbers.
        numbers_missing: Those that the passages lack.
        numbers_share: Their share.
        best: Weight of the words in the closest sentence, of all.
        near: In the three closest.
        near_missing: Words that the three closest lack.
        window: Weight of the words in the best three sentences in a row.
        names_window: Share of names that those lack.
        numbers_window: Share of numbers that those lack.
        negated: Whether it is negated.
        negation_added: Negated, and the closest sentence is not.
        negation_dropped: The other way round.
        apart: Share of neighbouring content words that stand in no sentence together.
        run: Longest run of words that stands so in the passages, as a share.
        run_words: The same in words, 20 at most.
        asked: Share of content words that the question has.
        hedges: Share of words such as "may".
        first_person: Share of words such as "I".
        words: Words.
        passage: Weight of the words in the best single passage, of all.
        units: Share of numbers that the passages have, but not with the word after them.
    """

    content: float
    missing: float
    missing_count: float
    missing_exact: float
    missing_weight: float
    missing_rarest: float
    missing_unasked: float
    pairs: float
    triples: float
    names: float
    names_missing: float
    names_share: float
    numbers: float
    numbers_missing: float
    numbers_share: float
    best: float
    near: float
    near_missing: float
    window: float
    names_window: float
    numbers_window: float
    negated: float
    negation_added: float
    negation_dropped: float
    apart: float
    run: float
    run_words: float
    asked: float
    hedges: float
    first_person: float
    words: float
    passage: float
    units: float


WORST = (
    "missing missing_weight missing_rarest missing_unasked pairs triples names_share numbers_share best near window"
    " apart run names_window numbers_window negation_added negation_dropped passage units"
).split()
"""Counts whose worst and mean value over the sentences count too."""

STYLE = (
    "sentences characters context_characters passages context_sentences refusal question_mark asked question_words"
    " starts_small ends_with_stop exclamation length_ratio words_apart dialogue line_length"
).split()
"""What tells kinds of text from one another."""

_GOOD = frozenset(("best", "near", "window", "run", "passage"))
FEATURES = (
    *(f"all_{name}" for name in Counts._fields),
    *(f"worst_{name}" for name in WORST),
    *(f"mean_{name}" for name in WORST),
    *STYLE,
)
"""Names of an item's features, in order."""


class Reading(NamedTuple):
    """A response beside its passages.

    Args:
        context: The passages.
        sentences: The sentences of the response: first character, one after the last, words.
        counts: What is counted in each.
        closest: What is closest to each.
        features: What is counted in all, by `FEATURES`.
    """

    context: Context
    sentences: Sequence[tuple[int, int, Words]]
    counts: list[Counts]
    closest: list[Closest]
    features: list[float]


def read(item: GroundingItem, weight: Weight) -> Reading:
    """Count all that the judge goes by.

    Args:
        item: The item.
        weight: How much a word tells.

    Returns:
        The counts. For a response without words those of an empty sentence.
    """
    context = read_context(item.context)
    question = frozenset(stems_of((item.question or "")[:4000]))
    sentences = sentences_of(item.response)
    both = [_count(words, context, question, weight) for _, _, words in sentences]
    counts = [one for one, _ in both]
    whole = counts[0] if len(counts) == 1 else _count(Words(item.response), context, question, weight)[0]
    parts = counts or [whole]
    sizes = [max(1.0, one.content) for one in parts]
    total = sum(sizes)
    columns = [[getattr(one, name) for one in parts] for name in WORST]
    worst = [min(row) if name in _GOOD else max(row) for name, row in zip(WORST, columns, strict=True)]
    mean = [sum(value * size for value, size in zip(row, sizes, strict=True)) / total for row in columns]
    features = [*whole, *worst, *mean, *_style(item, context, question, len(parts))]
    return Reading(context, sentences, counts, [one for _, one in both], features)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _count(words: Words, context: Context, question: frozenset[str], weight: Weight) -> tuple[Counts, Closest]:
    weights = {word: weight(word) for word in words.content}
    total = math.fsum(weights.values())
    missing = [word for word in weights if not context.knows(word)]
    missing_weights = [weights[word] for word in missing]
    closest = _closest(weights, total, context)
    names, numbers = frozenset(words.names), frozenset(words.numbers)
    pairs, triples = words.pairs, words.triples
    in_order = [pair in context.pairs for pair in pairs]
    numbered = [
        known for word, known in zip(words.stems, in_order, strict=False) if word[0].isdigit() and word in context.words
    ]
    count = len(weights)
    longest = max((len(list(run)) for known, run in groupby(in_order) if known), default=0)
    names_missing, numbers_missing = len(names - context.words), len(numbers - context.words)
    opposite = closest.best is not None and words.negated != context.negated[closest.best]
    counts = Counts(
        content=count,
        missing=_share(len(missing), count),
        missing_count=min(len(missing), 5),
        missing_exact=_share(len(weights.keys() - context.words), count),
        missing_weight=_share(math.fsum(missing_weights), total),
        missing_rarest=max(missing_weights, default=0.0),
        missing_unasked=_share(math.fsum(weights[word] for word in missing if word not in question), total),
        pairs=_share(in_order.count(False), len(pairs)),
        triples=1 - _share(sum(map(context.triples.__contains__, triples)), len(triples)) if triples else 0.0,
        names=len(names),
        names_missing=names_missing,
        names_share=_share(names_missing, len(names)),
        numbers=len(numbers),
        numbers_missing=numbers_missing,
        numbers_share=_share(numbers_missing, len(numbers)),
        best=closest.share_best,
        near=closest.share_near,
        near_missing=len(weights.keys() - closest.near),
        window=closest.share_window,
        names_window=_share(len(names - closest.window), len(names)),
        numbers_window=_share(len(numbers - closest.window), len(numbers)),
        negated=words.negated,
        negation_added=opposite and words.negated,
        negation_dropped=opposite and not words.negated,
        apart=_apart(words.content, context),
        run=_share(longest, len(pairs)),
        run_words=min(longest, 20),
        asked=_share(len(weights.keys() & question), count),
        hedges=_share(sum(map(HEDGES.__contains__, words.lower)), len(words.lower)),
        first_person=_share(sum(map(FIRST_PERSON.__contains__, words.lower)), len(words.lower)),
        words=len(words.raw),
        passage=max((_held(weights, held, total) for held in context.passages), default=0.0),
        units=_share(numbered.count(False), len(numbered)),
    )
    return counts, closest


def _held(weights: Mapping[str, float], words: frozenset[str], total: float) -> float:
    """Share of the weight that stands on some words; the same whatever the order of a set."""
    return _share(math.fsum(map(weights.__getitem__, weights.keys() & words)), total)


def _closest(weights: Mapping[str, float], total: float, context: Context) -> Closest:
    scores: dict[int, float] = {}
    for word, one in weights.items():
        for place in context.places.get(word, ()):
            scores[place] = scores.get(place, 0.0) + one
    if not scores:
        return Closest(None, frozenset(), frozenset(), 0.0, 0.0, 0.0)
    top = nsmallest(3, scores, key=lambda place: (-scores[place], place))
    near = frozenset().union(*(context.contents[place] for place in top))
    best, window = -1.0, near
    for middle in dict.fromkeys(place + step for place in top for step in (-1, 0, 1)):
        row = frozenset().union(*context.contents[max(0, middle - 1) : middle + 2])
        if (held := _held(weights, row, total)) > best:
            best, window = held, row
    return Closest(top[0], near, window, _share(scores[top[0]], total), _held(weights, near, total), best)


def _apart(content: Sequence[str], context: Context) -> float:
    """Share of neighbouring content words that stand in no sentence of the passages together."""
    together = 0
    for one, after in pairwise(content):
        left, right = context.places.get(one), context.places.get(after)
        together += left is not None and right is not None and not set(left).isdisjoint(right)
    return 1 - together / (len(content) - 1) if len(content) > 1 else 0.0


def _style(item: GroundingItem, context: Context, question: frozenset[str], sentences: int) -> list[float]:
    text = item.response.strip()
    long, wide = math.log1p(len(text)), math.log1p(context.characters)
    first = item.context[0] if item.context else ""
    lines = first.count("\n") + 1
    return [
        min(sentences, 20),
        long,
        wide,
        min(len(item.context), 20),
        math.log1p(len(context.negated)),
        float(_REFUSAL.search(text) is not None),
        float("?" in text),
        float(bool(question)),
        min(len(question), 60),
        float(text[:1].islower()),
        float(text[-1:] in (".", "!", "?")),
        float("!" in text),
        long - wide,
        float(" ." in text or " ," in text),
        math.log1p(first.count(":") / lines),
        math.log1p(len(first) / lines),
    ]
