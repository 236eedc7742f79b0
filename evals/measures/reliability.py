"""Scores against labels: does 0.8 mean that people agree in eight of ten cases?"""

from collections.abc import Sequence

from arriero.evals.evaluation import Bin, Judged
from arriero.evals.measures.rates import share

_BINS = 10


def reliability(items: Sequence[Judged], *, level: float = 0.95) -> tuple[Bin, ...]:
    """Bars of a reliability diagram, a tenth of the scores each.

    Args:
        items: The items; those with a score and a label count.
        level: How often each interval is to hold the truth.

    Returns:
        The bars that have items, lowest score first.

    Source: DeGroot and Fienberg (1983), The Statistician 32, 12-22; bars with their counts and intervals, as few labels
        say little of a bar.

    Example:
        >>> reliability([])
        ()
    """
    told = [one for one in items if one.label is not None and one.judgement.score is not None]
    parts: dict[int, list[tuple[float, int, str]]] = {}
    for one in told:
        score = one.judgement.score or 0.0
        row = (score, one.label or 0, one.item.doc_id or one.item.id)
        parts.setdefault(min(_BINS - 1, int(score * _BINS)), []).append(row)
    return tuple(
        Bin(
            low=at / _BINS,
            high=(at + 1) / _BINS,
            score=sum(score for score, _, _ in rows) / len(rows),
            rate=share([label for _, label, _ in rows], [document for _, _, document in rows], level=level),
        )
        for at, rows in sorted(parts.items())
    )
