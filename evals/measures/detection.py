"""How well scores tell hallucinated responses from supported ones, and spans the wrong words from the right ones."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arriero.evals.errors import EvalError
from arriero.evals.items import Span
from arriero.evals.statistics.estimate import Estimate, Floats, Integers, binary, check_level, group_ids, numbers


@dataclass(frozen=True, slots=True)
class Detection:
    """How well scores tell hallucinated items from supported ones.

    Args:
        auroc: Chance that a hallucinated item has a higher score than a supported one; 0.5 for a coin.
        balanced_accuracy: Mean of the shares of both classes that the threshold puts on the right side.
        f1: Harmonic mean of precision and recall of what is flagged; the hallucinated items are the positives.
        items: Items with label and score.
        hallucinated: Those of them that are labelled 1.
        threshold: Score from which an item is flagged.
    """

    auroc: Estimate
    balanced_accuracy: Estimate
    f1: Estimate
    items: int
    hallucinated: int
    threshold: float


def detection(
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    threshold: float = 0.5,
    draws: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Detection:
    """How well scores tell hallucinated items from supported ones, with intervals by drawing whole clusters again.

    Args:
        labels: 1 for hallucinated, 0 for supported.
        scores: Higher for more likely hallucinated, in the same order.
        clusters: The document of each item; None for independent items.
        threshold: Score from which an item is flagged.
        draws: How often to draw.
        level: How often each interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        The measures. Draws that hold one class only are left out of the intervals.

    Raises:
        EvalError: All labels are of one class, there is one cluster only, or the rows differ in length.

    Source: AUROC is the Mann-Whitney statistic, ties counting half: Hanley and McNeil (1982), Radiology 143, 29-36;
        percentile intervals over clusters: Efron and Tibshirani (1993), chapter 13.

    Example:
        >>> found = detection([1, 1, 0, 0, 0, 1], [0.9, 0.8, 0.3, 0.2, 0.6, 0.7], list("aabbcc"))
        >>> found.auroc.value, found.balanced_accuracy.value
        (1.0, 0.8333333333333333)
    """
    check_level(level)
    truth, row = _both_classes(labels, scores)
    ids = group_ids(clusters, row.size)
    count = int(ids.max()) + 1
    if count < 2:
        raise EvalError("all items are of one document: an interval needs at least two")
    flags = (row >= threshold).astype(np.float64)
    cells = np.stack([np.bincount(ids, part, count) for part in _cells(truth, flags)]).astype(np.float64)
    ranks = np.unique(row, return_inverse=True)[1]
    order = np.argsort(ranks, kind="stable")
    starts = np.flatnonzero(np.diff(ranks[order], prepend=-1))
    all_once = np.ones((1, count))
    best = _measures(all_once, cells, truth, ids, order, starts)[:, 0]
    generator = np.random.default_rng(seed)
    shares = np.full(count, 1 / count)
    rows = max(1, 2_000_000 // row.size)
    parts = []
    for start in range(0, draws, rows):
        drawn = generator.multinomial(count, shares, size=min(rows, draws - start)).astype(np.float64)
        parts.append(_measures(drawn, cells, truth, ids, order, starts))
    found = np.concatenate(parts, axis=1)
    ends = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2], axis=1)
    method = "bootstrap" if clusters is None else "cluster bootstrap"
    auroc, accuracy, f1 = (
        Estimate(float(value), float(low), float(high), row.size, method, level)
        for value, low, high in zip(best, ends[0], ends[1], strict=True)
    )
    return Detection(auroc, accuracy, f1, row.size, int(truth.sum()), threshold)


def _both_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    truth, row = binary("labels", labels), numbers("scores", scores)
    if truth.size != row.size:
        raise EvalError(f"{truth.size} labels for {row.size} scores; give one for each item")
    positives = int(truth.sum())
    if positives in (0, truth.size):
        raise EvalError(f"all {truth.size} labels are {int(truth[0])}: detection needs items of both classes")
    return truth, row


def _cells(truth: Floats, flags: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Hits, misses, false alarms, right passes, item by item."""
    return truth * flags, truth * (1 - flags), (1 - truth) * flags, (1 - truth) * (1 - flags)


def _measures(drawn: Floats, cells: Floats, truth: Floats, ids: Integers, order: Integers, starts: Integers) -> Floats:
    """AUROC, balanced accuracy and F1 for each draw of clusters; NaN where a draw holds one class only."""
    hits, misses, alarms, passes = cells @ drawn.T
    weights = drawn[:, ids[order]]
    above = np.add.reduceat(weights * truth[order], starts, axis=1)
    below = np.add.reduceat(weights * (1 - truth[order]), starts, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        auroc = wins / (above.sum(axis=1) * below.sum(axis=1))
        accuracy = (hits / (hits + misses) + passes / (passes + alarms)) / 2
        f1 = 2 * hits / (2 * hits + misses + alarms)
    return np.stack([auroc, accuracy, f1])


def span_f1(
    truth: Sequence[Sequence[Span]],
    found: Sequence[Sequence[Span]],
    clusters: Sequence[Hashable] | None = None,
    *,
    draws: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """How well spans fit those that people marked: F1 over the characters of all items together.

    Args:
        truth: The marked spans of each item.
        found: The judge's, in the same order.
        clusters: The document of each item; None for independent items.
        draws: How often to draw.
        level: How often the interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        F1 from 0 to 1.

    Raises:
        EvalError: The rows differ in length, nothing is marked, or there is one cluster only.

    Example:
        >>> print(span_f1([[Span(0, 4)], [Span(0, 4)]], [[Span(0, 4)], [Span(2, 6)]], draws=50).value)
        0.75
    """
    check_level(level)
    if len(truth) != len(found):
        raise EvalError(f"{len(truth)} items with marks, {len(found)} with found spans; give one for each item")
    rows = [_overlap(_places(marked), _places(said)) for marked, said in zip(truth, found, strict=True)]
    values = np.array(rows, dtype=np.float64).reshape(-1, 2)
    if not values.size or not values[:, 1].any():
        raise EvalError("no item has a span: there is nothing to compare")
    ids = group_ids(clusters, len(rows))
    count = int(ids.max()) + 1
    if count < 2:
        raise EvalError("all items are of one document: an interval needs at least two")
    sums: NDArray[Any] = np.stack([np.bincount(ids, values[:, column], count) for column in (0, 1)])
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    shared, all_of_both = sums @ drawn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanquantile(2 * shared / all_of_both, [(1 - level) / 2, (1 + level) / 2])
    method = "bootstrap" if clusters is None else "cluster bootstrap"
    best = 2 * values[:, 0].sum() / values[:, 1].sum()
    return Estimate(float(best), float(low), float(high), len(rows), method, level)


def _places(spans: Sequence[Span]) -> set[int]:
    return {place for span in spans for place in range(span.start, span.end)}


def _overlap(marked: set[int], said: set[int]) -> tuple[int, int]:
    return len(marked & said), len(marked) + len(said)
