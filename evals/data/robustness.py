"""Questions that try what a system makes of its passages, built from a set of ordinary ones.

The four trials are those of Chen et al., Benchmarking Large Language Models in Retrieval-Augmented Generation (AAAI
2024): noise, rejection, integration, and passages that contradict what a model learnt elsewhere.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Literal, TypeVar, get_args

from arriero.evals.data.contradiction import asked_for, contradicted
from arriero.evals.data.wording import Lookup, occurs, tells, tokens
from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question, QuestionSet
from arriero.tools.ranking import content_words

Trial = Literal["noise", "no-answer", "two-passages", "contradiction"]
"""noise: irrelevant passages beside the right ones; no-answer: passages that look right and do not answer;
two-passages: no single passage answers; contradiction: the passage says otherwise than the world."""

TRIALS: tuple[Trial, ...] = get_args(Trial)

_Value = TypeVar("_Value")
_NEEDED = 0.15
_LONG = 40


@dataclass(frozen=True, slots=True)
class _Source:
    questions: QuestionSet
    lookup: Lookup
    passages: int
    chance: random.Random

    def gold(self, question: Question) -> tuple[Passage, ...]:
        return tuple(self.questions.corpus[id_] for id_ in question.gold_ids if id_ in self.questions.corpus)

    def noise(self, taken: Sequence[Question], count: int) -> tuple[Passage, ...]:
        """Passages of other documents that tell none of the answers."""
        gold = {id_ for question in taken for id_ in (*question.gold_ids, *question.near_miss_ids)}
        titles = {self.questions.corpus[id_].title for id_ in gold if id_ in self.questions.corpus} - {""}
        answers = [answer for question in taken for answer in question.answers]
        found: list[Passage] = []
        everything = list(self.questions.corpus.values())
        for passage in self.chance.sample(everything, len(everything)):
            if len(found) == count:
                break
            if passage.id not in gold and passage.title not in titles and not _any_told(passage, answers):
                found.append(passage)
        return tuple(found)

    def shuffled(self, passages: Sequence[Passage]) -> tuple[Passage, ...]:
        return tuple(self.chance.sample(passages, len(passages)))


def robustness(
    questions: QuestionSet,
    trials: Sequence[Trial] = TRIALS,
    *,
    passages: int = 5,
    count: int | None = None,
    seed: int = 0,
) -> QuestionSet:
    """Build trials from questions whose right passages are known.

    Each question gets the passages that it is to be answered from, so that nothing but the answering is tried, and its
    trial as `kind`. `extra` names the question that it was made from. Whether no other passage answers is told by
    words alone: look at the questions before you rest a claim on them.

    Args:
        questions: The questions, with their corpus.
        trials: Which trials to build.
        passages: How many passages each question gets; `contradiction` has the changed one alone.
        count: Most questions of each trial; None for all that can be built.
        seed: Decides which questions and passages are taken, and their order.

    Returns:
        The questions, trial by trial. It has no corpus.

    Raises:
        EvalError: There is no such trial, fewer than two passages are asked for, or no question of one can be built.

    Example:
        >>> from arriero.evals.data import sample
        >>> asked = robustness(sample("handbook").questions(), ["noise"], passages=3, count=1)
        >>> [(one.kind, one.answerable, len(one.passages)) for one in asked.questions]
        [('noise', True, 3)]
    """
    if passages < 2:
        raise EvalError(f"passages is {passages}: give 2 or more, the right one and another")
    lookup = Lookup(questions.corpus)
    built: list[Question] = []
    for trial in dict.fromkeys(trials):
        if trial not in _BUILDERS:
            raise EvalError(f"there is no trial {trial!r}: use {', '.join(TRIALS)}")
        chance = random.Random(f"{seed}:{trial}")  # noqa: S311 - chance of an experiment, not of a secret
        source = _Source(questions, lookup, passages, chance)
        found = tuple(islice(_BUILDERS[trial](source), count))
        if not found:
            raise EvalError(f"no question of {questions.name} can be made a trial {trial!r}: {_WANTED[trial]}")
        built += found
    return QuestionSet(f"{questions.name}-robustness", tuple(built))


def _noise(source: _Source) -> Iterator[Question]:
    for question in _answered(source):
        gold = source.gold(question)
        noise = source.noise([question], max(1, source.passages - len(gold)))
        if noise and len(gold) < source.passages:
            yield _trial(question, "noise", source.shuffled([*gold, *noise]))


def _no_answer(source: _Source) -> Iterator[Question]:
    for question in _shuffled(source.questions.questions, source.chance):
        if question.answerable is None or not (question.answers or question.near_miss_ids):
            continue
        near = [source.questions.corpus[id_] for id_ in question.near_miss_ids if id_ in source.questions.corpus]
        taken = {*question.gold_ids, *question.near_miss_ids}
        answers = question.answers if question.answerable else ()
        others = (
            passage
            for passage in source.lookup.similar(question.question)
            if passage.id not in taken and not _any_told(passage, answers)
        )
        near += islice(others, max(0, source.passages - len(near)))
        if near:
            made = _trial(question, "no-answer", source.shuffled(near[: source.passages]))
            missed = tuple(passage.id for passage in made.passages)
            yield replace(made, answers=(), gold_ids=(), near_miss_ids=missed, answerable=False)


def _two_passages(source: _Source) -> Iterator[Question]:
    """Questions whose answer takes words from several passages; where there are none, two questions in one."""
    several = False
    for question in _answered(source):
        gold = _needed(source.gold(question), question.answers)
        if 2 <= len(gold) <= source.passages:
            several = True
            noise = source.noise([question], source.passages - len(gold))
            made = _trial(question, "two-passages", source.shuffled([*gold, *noise]))
            yield replace(made, gold_ids=tuple(passage.id for passage in gold))
    if not several:
        yield from _joined(source)


def _needed(gold: Sequence[Passage], answers: Sequence[str]) -> tuple[Passage, ...]:
    """The passages that each tell a part of the answer that no other one tells."""
    if len(gold) < 2 or not answers:
        return ()
    wanted = set(content_words(answers[0]))
    told = {passage.id: wanted & set(content_words(passage.text)) for passage in gold}
    taken: list[Passage] = []
    left = set().union(*told.values())
    while left:
        best = max(gold, key=lambda passage: len(told[passage.id] & left))
        taken.append(best)
        left -= told[best.id]
    kept = []
    for passage in taken:
        others = set().union(*(told[other.id] for other in taken if other.id != passage.id))
        if len(told[passage.id] - others) >= _NEEDED * len(wanted):
            kept.append(passage)
    return tuple(kept) if len(kept) == len(taken) else ()


def _joined(source: _Source) -> Iterator[Question]:
    # a question that goes on from earlier turns means nothing beside another one
    alone = [one for one in _answered(source) if len(one.gold_ids) == 1 and not one.history]
    short = [one for one in alone if len(tokens(one.question)) <= _LONG]
    by_document: dict[str, list[Question]] = {}
    for question in short:
        by_document.setdefault(question.doc_id, []).append(question)
    left: list[Question] = []
    for same in by_document.values():
        while len(same) > 1:
            first = same.pop()
            other = next((one for one in same if _apart(source, first, one)), None)
            if other is None:
                left.append(first)
            else:
                same.remove(other)
                yield _pair(source, first, other)
        left += same
    for first, other in zip(left[::2], left[1::2], strict=False):
        if _apart(source, first, other):
            yield _pair(source, first, other)


def _apart(source: _Source, one: Question, other: Question) -> bool:
    """Whether the passage of neither tells the answer of the other."""
    if one.gold_ids == other.gold_ids:
        return False
    sides = ((one, source.gold(other)), (other, source.gold(one)))
    return not any(_any_told(passage, asked.answers) for asked, gold in sides for passage in gold)


def _pair(source: _Source, one: Question, other: Question) -> Question:
    gold = (*source.gold(one), *source.gold(other))
    noise = source.noise([one, other], max(0, source.passages - len(gold)))
    made = _trial(one, "two-passages", source.shuffled([*gold, *noise]))
    return replace(
        made,
        id=f"{one.id}+{other.id}-two-passages",
        question=f"Answer both questions. First: {one.question.strip()} Second: {other.question.strip()}",
        answers=(f"{one.answers[0]} {other.answers[0]}",),
        gold_ids=tuple(passage.id for passage in gold),
        doc_id=one.doc_id if one.doc_id == other.doc_id else f"{one.doc_id} + {other.doc_id}",
        extra={**made.extra, "made_from": [one.id, other.id], "parts": [list(one.answers), list(other.answers)]},
    )


def _contradiction(source: _Source) -> Iterator[Question]:
    pool: dict[str, list[tuple[str, str]]] = {}
    for one in source.questions.questions:
        pool.setdefault(asked_for(one.question), []).extend((one.doc_id, answer) for answer in one.answers[:1])
    for question in _answered(source):
        gold = source.gold(question)
        if len(gold) != 1 or len({" ".join(tokens(answer)) for answer in question.answers}) != 1:
            continue
        wanted = asked_for(question.question)
        near = _shuffled(pool[wanted], source.chance) if wanted else []
        names = [answer for document, answer in near if document != question.doc_id]
        changed = contradicted(question.question, gold[0].text, question.answers[0], names, source.chance)
        if changed is None:
            continue
        passage = Passage(f"{gold[0].id}-changed", changed.text, gold[0].title)
        made = _trial(question, "contradiction", (passage,))
        extra = {**made.extra, "world_answer": question.answers[0]}
        yield replace(made, answers=(changed.answer,), gold_ids=(passage.id,), extra=extra)


_BUILDERS: Mapping[str, Callable[[_Source], Iterator[Question]]] = MappingProxyType(
    {"noise": _noise, "no-answer": _no_answer, "two-passages": _two_passages, "contradiction": _contradiction}
)
_WANTED = {
    "noise": "answerable questions and passages of other documents are wanted",
    "no-answer": "questions with answers, and other passages that share words with them, are wanted",
    "two-passages": "questions with two right passages, or several with one each, are wanted",
    "contradiction": "questions whose answer is a number or a name that their one right passage tells are wanted",
}


def _answered(source: _Source) -> Iterator[Question]:
    for question in _shuffled(source.questions.questions, source.chance):
        if question.answerable and question.answers and source.gold(question):
            yield question


def _trial(question: Question, trial: Trial, passages: tuple[Passage, ...]) -> Question:
    extra = {**question.extra, "made_from": question.id, "kind_before": question.kind}
    return replace(question, id=f"{question.id}-{trial}", kind=trial, passages=passages, extra=extra)


def _shuffled(values: Sequence[_Value], chance: random.Random) -> list[_Value]:
    return chance.sample(values, len(values))


def _any_told(passage: Passage, answers: Sequence[str]) -> bool:
    return any(tells(passage.text, answer) or occurs(answer, passage.title) for answer in answers)
