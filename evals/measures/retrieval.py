"""How well the right passages are found, and how well answers name their sources."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Citations, Retrieval
from arriero.evals.items import Question
from arriero.evals.measures.rates import clusters_of
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.statistics.intervals import cluster_bootstrap, score_mean
from arriero.evals.systems.system import Answer

_FEW = 20
"""Documents below which a bootstrap is too narrow."""


def retrieval(
    questions: Mapping[str, Question], answers: Sequence[Answer], *, k: int = 5, level: float = 0.95, seed: int = 0
) -> Retrieval | None:
    """How well the right passages are found, over the questions that name them.

    Args:
        questions: The questions by id.
        answers: The answers; failed ones are left out.
        k: Passages that count.
        level: How often each interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        Recall, nDCG and MRR of the first k; None where no question that was answered names a passage.

    Raises:
        EvalError: k is below 1.

    Example:
        >>> from arriero.evals.items import Passage
        >>> asked = {n: Question(n, "?", gold_ids=("a",)) for n in "xyz"}
        >>> found = [Answer(n, "", passages=(Passage("b", ""), Passage("a", ""))) for n in "xyz"]
        >>> retrieval(asked, found).mrr.value
        0.5
    """
    if k < 1:
        raise EvalError(f"k is {k}: let at least one passage count")
    rows = [row for row in _told(questions, answers) if row[0].gold_ids]
    if not rows:
        return None
    documents = [question.doc_id or question.id for question, _ in rows]
    ranks = np.array([ranking(question.gold_ids, [one.id for one in answer.passages], k) for question, answer in rows])
    recall, ndcg, mrr = (mean_of_shares(column, documents, level=level, seed=seed) for column in ranks.T)
    return Retrieval(k, recall, ndcg, mrr)


def ranking(gold: Sequence[str], found: Sequence[str], k: int) -> tuple[float, float, float]:
    """Recall, nDCG and reciprocal rank of the first k passages. A passage that is there twice counts once.

    Args:
        gold: Ids of the right passages, at least one.
        found: Ids of what was found, best first.
        k: Passages that count.

    Returns:
        The three, each from 0 to 1.

    Source: nDCG: Jarvelin and Kekalainen (2002), ACM TOIS 20, 422-446, gains of 1; MRR: Voorhees (1999), TREC-8.

    Example:
        >>> ranking(["a", "b"], ["x", "a", "b"], 2)
        (0.5, 0.38685280723454163, 0.5)
    """
    right, first = set(gold), list(dict.fromkeys(found))[:k]
    hits = [rank for rank, name in enumerate(first, 1) if name in right]
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(right), k) + 1))
    return len(hits) / len(right), sum(1 / math.log2(rank + 1) for rank in hits) / best, 1 / hits[0] if hits else 0.0


def citations(
    questions: Mapping[str, Question], answers: Sequence[Answer], *, level: float = 0.95, seed: int = 0
) -> Citations | None:
    """How well answers name their sources, over the questions that name the right ones.

    Precision is the mean over answers that name any; recall is over all answers that are no refusals: one that names
    nothing has named none of the right ones.

    Args:
        questions: The questions by id.
        answers: The answers; failed ones and refusals are left out.
        level: How often each interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        Precision and recall; None where no answer names a passage.

    Source: the mean over answers as in Gao et al. (2023), arXiv 2305.14627, but by the passages that are known to be
        right instead of a model's word.

    Example:
        >>> asked = {"x": Question("x", "?", gold_ids=("a", "b")), "y": Question("y", "?", gold_ids=("a",))}
        >>> found = citations(asked, [Answer("x", "", cited=("a",)), Answer("y", "", cited=("a", "c"))])
        >>> found.precision.value, found.recall.value
        (0.75, 0.75)
    """
    rows = [row for row in _told(questions, answers) if row[0].gold_ids and not row[1].refused]
    naming = [(question, answer) for question, answer in rows if answer.cited]
    if not naming:
        return None

    def mean(part: Sequence[tuple[Question, Answer]], of: str) -> Estimate:
        values = []
        for question, answer in part:
            right, named = set(question.gold_ids), set(answer.cited)
            values.append(len(right & named) / len(named if of == "named" else right))
        documents = [question.doc_id or question.id for question, _ in part]
        return mean_of_shares(values, documents, level=level, seed=seed)

    return Citations(mean(naming, "named"), mean(rows, "right"))


def mean_of_shares(
    values: Sequence[float] | np.typing.NDArray[np.float64],
    documents: Sequence[Hashable],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean of values from 0 to 1, by documents where they repeat.

    A bootstrap; where it has too little to draw from, few documents or values that are all alike, a score interval.
    """
    clusters = clusters_of(documents)
    row = np.asarray(values, dtype=np.float64)
    if len(set(documents if clusters is not None else range(row.size))) < _FEW or row.min() == row.max():
        return score_mean(row, clusters, level=level)
    found = cluster_bootstrap(row, clusters, level=level, seed=seed, draws=2_000)
    return Estimate(found.value, max(0.0, found.low), min(1.0, found.high), found.n, found.method, level)


def _told(questions: Mapping[str, Question], answers: Sequence[Answer]) -> list[tuple[Question, Answer]]:
    return [(questions[one.question_id], one) for one in answers if one.question_id in questions and one.error is None]
