"""From items, judgements and labels to what they say together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Evaluation, Judged, Rate
from arriero.evals.items import GroundingItem, Question
from arriero.evals.judgement import Judgement
from arriero.evals.measures.answering import answering
from arriero.evals.measures.causes import cause
from arriero.evals.measures.caveats import caveats
from arriero.evals.measures.groups import documents, kinds
from arriero.evals.measures.rates import Row, answer_rows, claim_rows, rate
from arriero.evals.measures.reliability import reliability
from arriero.evals.measures.repeats import repeats
from arriero.evals.measures.retrieval import citations, retrieval
from arriero.evals.statistics.estimate import check_level
from arriero.evals.systems.system import Answer

Judgements = Mapping[str, Judgement] | Sequence[Judgement]


def evaluate(
    items: Sequence[GroundingItem],
    judgements: Judgements,
    *,
    judge: Mapping[str, object],
    threshold: float,
    name: str,
    labels: Mapping[str, Literal[0, 1]] | None = None,
    random_labels: bool = True,
    questions: Mapping[str, Question] | None = None,
    answers: Sequence[Answer] | None = None,
    system: Mapping[str, object] | None = None,
    k: int = 5,
    level: float = 0.95,
    seed: int = 0,
    about: Mapping[str, object] | None = None,
) -> Evaluation:
    """Say how often answers hallucinate, with an interval, corrected for the judge; and all else that is known.

    Args:
        items: The answers with their passages.
        judgements: What the judge said of them, by item or as a list. An item without one counts as failed.
        judge: The judge's fingerprint.
        threshold: Score from which an item is flagged.
        name: Name of the run or of the file.
        labels: What people said, by item: 1 for hallucinated. None for the labels that the items carry.
        random_labels: Whether the labelled items are a random sample of all: then PPI++ corrects, else Rogan-Gladen.
        questions: The questions by id, where the items are answers to them.
        answers: The answers that the items were made from, failed ones among them.
        system: What decided the answers.
        k: Passages that count for retrieval.
        level: How often each interval is to hold the truth.
        seed: Seed of what is drawn.
        about: What else the run recorded.

    Returns:
        The evaluation. What cannot be said is None, and its caveats say why.

    Raises:
        EvalError: There are no items, an id is there twice, or a threshold or level is no share.

    Example:
        >>> items = [GroundingItem(str(n), ("Mules are patient.",), "Mules fly.", label=n % 2) for n in range(200)]
        >>> said = [Judgement(item.id, "mine", 0.9 if item.label else 0.2) for item in items]
        >>> truth = {item.id: item.label for item in items[:100]}
        >>> found = evaluate(items, said, judge={"name": "mine"}, threshold=0.5, name="mules", labels=truth)
        >>> found.answers.correction, found.answers.labelled
        ('PPI++', 100)
    """
    check_level(level)
    if not 0 <= threshold <= 1:
        raise EvalError(f"threshold is {threshold!r}: give a score from 0 to 1")
    questions, answers, system = questions or {}, answers or (), system or {}
    _refuse_twice("answers", [_item_id(one) for one in answers])
    judged = _judged(items, judgements, threshold, labels)
    judged = [_traced(one, questions, answer) for one, answer in _with_answers(judged, answers)]

    def measured(part: Sequence[Judged]) -> Rate:
        found = rate(answer_rows(part), random_labels=random_labels, level=level)
        return replace(found, quality=None) if judge.get("kind") == "human" else found  # measured by their own labels

    of_answers = measured(judged)
    claims = claim_rows(judged) if any(one.judgement.claims for one in judged) else []
    present = {one.item.id for one in judged}
    return Evaluation(
        name=name,
        system=dict(system),
        judge={**judge, "threshold": threshold},
        level=level,
        answers=of_answers,
        claims=_of_claims(claims, of_answers, random_labels, level) if claims else None,
        kinds=kinds(judged, measured),
        documents=documents(judged, measured),
        answering=answering(questions, answers, level=level),
        retrieval=retrieval(questions, answers, k=k, level=level, seed=seed),
        citations=citations(questions, answers, level=level, seed=seed),
        causes=Counter(one.cause for one in judged if one.cause is not None),
        repeats=repeats(judged, level=level),
        reliability=reliability(judged, level=level),
        caveats=caveats(
            judged,
            of_answers,
            random_labels=random_labels,
            answers=answers,
            stray_labels=sum(name not in present for name in labels or ()),
            judge=judge,
            system=system,
        ),
        items=tuple(judged),
        about=dict(about or {}),
        random_labels=random_labels,
    )


def _of_claims(claims: Sequence[Row], of_answers: Rate, random_labels: bool, level: float) -> Rate:
    found = rate(claims, random_labels=random_labels, level=level)
    if found.judged and not found.labelled and of_answers.labelled:
        return replace(found, refused="people labelled answers, and did not mark what in them is unsupported")
    return found


def _judged(
    items: Sequence[GroundingItem],
    judgements: Judgements,
    threshold: float,
    labels: Mapping[str, Literal[0, 1]] | None,
) -> list[Judged]:
    if not items:
        raise EvalError("there are no items: give at least one answer with its passages")
    _refuse_twice("items", [item.id for item in items])
    if not isinstance(judgements, Mapping):
        _refuse_twice("judgements", [one.item_id for one in judgements])
        judgements = {one.item_id: one for one in judgements}
    found = []
    for item in items:
        said = _checked(judgements.get(item.id) or Judgement(item.id, "", None, failed="it was not judged"))
        flagged = None if said.score is None else said.score >= threshold
        found.append(Judged(item, said, flagged, item.label if labels is None else labels.get(item.id)))
    return found


def _checked(said: Judgement) -> Judgement:
    """A judgement whose score is one, or that says that it failed."""
    if said.failed is not None:
        return replace(said, score=None)
    if said.score is None:
        return replace(said, failed="the judge gave no score and no reason")
    if not 0 <= said.score <= 1:  # neither is "not a number"
        return replace(said, score=None, failed="the score is not from 0 to 1")
    return said


def _with_answers(judged: Sequence[Judged], answers: Sequence[Answer]) -> Iterator[tuple[Judged, Answer | None]]:
    by_item = {_item_id(one): one for one in answers if one.error is None}
    return ((one, by_item.get(one.item.id)) for one in judged)


def _item_id(answer: Answer) -> str:
    return answer.item(Question(answer.question_id, "")).id


def _traced(judged: Judged, questions: Mapping[str, Question], answer: Answer | None) -> Judged:
    """With its answer, and where its error came from: by what people said, else by the judge's flag.

    A flag on a refusal alone is none: judges find no passage that says "the documents do not tell".
    """
    if answer is None:
        return judged
    question = questions.get(answer.question_id)
    hallucinated = bool(judged.flagged and not answer.refused if judged.label is None else judged.label)
    found = None if question is None else cause(question, answer, hallucinated)
    return replace(judged, answer=answer, cause=found)


def _refuse_twice(what: str, ids: Sequence[str]) -> None:
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
        raise EvalError(f"{what}: {', '.join(map(repr, twice[:3]))}{more} are there twice: give every id once")
