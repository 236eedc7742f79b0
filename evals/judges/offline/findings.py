"""What the offline judge shows people: the words that are not found, and why a sentence is doubted."""

from collections.abc import Iterator

from arriero.evals.items import Span
from arriero.evals.judgement import Support
from arriero.evals.judges.offline.features import Closest, Counts
from arriero.evals.judges.offline.words import DATES, WORD, Context, Words

_JOINED = 2
"""Function words between two missing words that belong to the span of both."""

_SHOWN = 5
"""Words that a reason names."""


def spans_of(response: str, start: int, end: int, words: Words, closest: Closest, label: str) -> list[Span]:
    """Ranges of a sentence that its three closest sentences lack.

    A missing word takes the function word before it along, and the ones between it and the next missing word.

    Args:
        response: The response, without markers of citations.
        start: First character of the sentence.
        end: The one after its last.
        words: Its words.
        closest: What is closest to it.
        label: What the spans are.

    Returns:
        The spans, in order.
    """
    places = [mark.span() for mark in WORD.finditer(response, start, end)]
    says = words.says
    missing = [own and stemmed not in closest.near for stemmed, own in zip(words.stems, says, strict=True)]
    ranges: list[list[int]] = []
    last = -1
    for place, there in enumerate(missing):
        if not there:
            continue
        first = place - 1 if place and not says[place - 1] else place
        if ranges and not any(says[last + 1 : place]) and place - last - 1 <= _JOINED:
            first = last + 1
        if ranges and first <= last + 1:
            ranges[-1][1] = places[place][1]
        else:
            ranges.append([places[first][0], places[place][1]])
        last = place
    return [Span(begin, stop, label) for begin, stop in ranges]


def reasons_of(words: Words, counts: Counts, closest: Closest, context: Context) -> tuple[str, ...]:
    """Why a sentence is doubted, the plainest reasons first; empty where all its words stand together.

    Args:
        words: Its words.
        counts: What was counted in it.
        closest: What is closest to it.
        context: The passages.
    """
    return tuple(_reasons(words, counts, closest, context))


def _reasons(words: Words, counts: Counts, closest: Closest, context: Context) -> Iterator[str]:
    written = dict(zip(reversed(words.stems), reversed(words.raw), strict=True))
    dates = {stemmed for stemmed, lower in zip(words.stems, words.lower, strict=True) if lower in DATES}
    numbers = [one for one in dict.fromkeys(words.numbers) if one not in context.words]
    names = [one for one in dict.fromkeys(words.names) if not context.knows(one)]
    if numbers:
        yield f"numbers that the passages lack: {_listed(numbers, written)}"
    if held := [one for one in names if one in dates]:
        yield f"dates that the passages lack: {_listed(held, written)}"
    if held := [one for one in names if one not in dates and one not in numbers]:
        yield f"names that the passages lack: {_listed(held, written)}"
    if units := _units(words, context):
        yield f"numbers that stand with other words in the passages: {', '.join(units[:_SHOWN])}"
    if counts.negation_added:
        yield "negated, where the closest sentence of the passages is not"
    if counts.negation_dropped:
        yield "not negated, where the closest sentence of the passages is"
    named = {*numbers, *names}
    lacking = [one for one in dict.fromkeys(words.content) if one not in named and not context.knows(one)]
    if lacking:
        yield f"words that the passages lack: {_listed(lacking, written)}"
    far = [one for one in dict.fromkeys(words.content) if context.knows(one) and one not in closest.near]
    if far and closest.best is not None:
        yield f"words that the closest sentences lack: {_listed(far, written)}"


def _units(words: Words, context: Context) -> list[str]:
    known = context.pairs
    return [
        f"{words.raw[place]} {words.raw[place + 1]}"
        for place, pair in enumerate(words.pairs)
        if words.stems[place][0].isdigit() and words.stems[place] in context.words and pair not in known
    ]


def _listed(stems: list[str], written: dict[str, str]) -> str:
    shown = ", ".join(f'"{written[one]}"' for one in stems[:_SHOWN])
    return shown if len(stems) <= _SHOWN else f"{shown} and {len(stems) - _SHOWN} more"


def verdict_of(score: float, threshold: float, counts: Counts, closest: Closest) -> Support:
    """What the passages seem to say of a sentence, for people to check.

    Contradicted: they come close, with another number or the opposite negation.

    Args:
        score: The sentence's score.
        threshold: Score from which it is flagged.
        counts: What was counted in it.
        closest: What is closest to it.
    """
    if score < threshold:
        return "supported"
    other = counts.numbers_missing or counts.negation_added or counts.negation_dropped
    return "contradicted" if other and closest.share_best >= 0.5 else "not_mentioned"
