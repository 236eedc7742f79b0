"""Two systems on the same items: is the difference real, and is it small enough?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from arriero.evals.errors import EvalError
from arriero.evals.statistics.estimate import Clusters, Estimate, binary, check_level, group_ids, numbers
from arriero.evals.statistics.intervals import cluster_bootstrap, design_effect

Conclusion = Literal["worse", "better", "not worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a candidate does on the items of a baseline; an event is a hallucination, so less is better.

    Args:
        difference: Candidate's rate less the baseline's.
        flips: Items by (baseline, candidate): 0 or 1 each.
        p_value: Exact McNemar: how odd the flips would be if both were alike; over clusters, `sign_flip`.
        margin: Largest increase that still counts as not worse.
        conclusion: `worse` or `better` when the interval excludes 0 and the test says so too, `not worse` when the
            interval stays below the margin, else `undecided`. A wide interval around 0 is undecided, never equal.
        resampled: The difference with the interval of a paired cluster bootstrap, beside the one that decides; None
            for independent items. Too narrow where few clusters hold a flip.
    """

    difference: Estimate
    flips: Mapping[tuple[int, int], int]
    p_value: float
    margin: float
    conclusion: Conclusion
    resampled: Estimate | None = None


def compare(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    margin: float,
    clusters: Clusters = None,
    draws: int = 5_000,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two systems on the same items.

    Args:
        baseline: 1 where the baseline hallucinated, else 0.
        candidate: The same for the candidate, in the same order.
        margin: Largest increase of the rate that counts as not worse, such as 0.02; chosen before looking.
        clusters: The cluster (document, conversation) of each item; None for independent items.
        draws: How often to draw, where there are clusters.
        level: How often the interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        Difference, flips, test and conclusion.

    Raises:
        EvalError: The rows do not fit each other, or the margin is not positive.

    Example:
        >>> found = compare([0] * 90 + [1] * 10, [0] * 88 + [1] * 12, margin=0.1)
        >>> found.conclusion, found.flips[0, 1]
        ('not worse', 2)
    """
    before, after = binary("baseline", baseline), binary("candidate", candidate)
    if before.size != after.size:
        raise EvalError(f"{before.size} and {after.size} items: compare two systems on the same items, in one order")
    if not margin > 0:
        raise EvalError(f"margin is {margin!r}: give the largest increase that still counts as not worse, such as 0.02")
    flips = {(a, b): int(((before == a) & (after == b)).sum()) for a in (0, 1) for b in (0, 1)}
    lost, won = flips[0, 1], flips[1, 0]
    if clusters is None:
        difference = tango(lost, won, before.size, level=level)
        p_value = mcnemar(lost, won)
        return Comparison(difference, flips, p_value, margin, conclude(difference, margin, p_value))
    ids = group_ids(clusters, before.size)
    difference = cluster_tango(after - before, ids, level=level)
    resampled = cluster_bootstrap(after - before, ids, draws=draws, level=level, seed=seed)
    p_value = sign_flip(np.bincount(ids, after - before))
    return Comparison(difference, flips, p_value, margin, conclude(difference, margin, p_value), resampled)


def sign_flip(sums: ArrayLike) -> float:
    """Exact two-sided test that the systems are exchangeable within clusters: McNemar's where a cluster is one item.

    Args:
        sums: For each cluster, the items that only the candidate got wrong less those that only the baseline did.

    Returns:
        The p value: how often a sum as far from 0 arises where each cluster's sign is a coin's. 1 when none flipped.

    Raises:
        EvalError: A sum is not whole.

    Source: Fisher's randomisation test, Edgington and Onghena (2007), Randomization Tests, chapter 5; over clusters
        as Gail et al. (1996), Statistics in Medicine 15, 1069-1092. Exact by convolution.

    Example:
        >>> round(sign_flip([1] * 9 + [-1] + [0] * 90), 4), round(sign_flip([9, -1]), 4)
        (0.0215, 1.0)
    """
    row = numbers("sums", sums)
    if (row != np.round(row)).any():
        raise EvalError("sums: give a whole number for each cluster")
    steps = np.abs(row[row != 0]).astype(int)
    total, reached = int(steps.sum()), abs(int(row.sum()))
    chances = np.zeros(2 * total + 1)  # of each sum from -total to total
    chances[total] = 1.0
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # never wraps: all steps sum to total
    near = chances[total - reached + 1 : total + reached].sum() if reached else 0.0
    far = 1.0 - near if near < _NEARLY_ALL else chances[: total - reached + 1].sum() * 2
    return float(min(1.0, far))


def mcnemar(lost: int, won: int) -> float:
    """Exact two-sided McNemar test of independent items.

    Args:
        lost: Items that only the candidate got wrong.
        won: Items that only the baseline got wrong.

    Returns:
        The p value; 1 when no item flipped.

    Source: McNemar (1947), Psychometrika 12, 153-157; exact by the binomial distribution.

    Example:
        >>> round(mcnemar(9, 1), 4)
        0.0215
    """
    from scipy import stats

    return float(stats.binomtest(lost, lost + won, 0.5).pvalue) if lost + won else 1.0


def tango(lost: int, won: int, n: int, *, level: float = 0.95) -> Estimate:
    """Difference of two rates on the same independent items, with Tango's score interval.

    Args:
        lost: Items that only the candidate got wrong.
        won: Items that only the baseline got wrong.
        n: All items.
        level: How often the interval is to hold the truth.

    Returns:
        The candidate's rate less the baseline's.

    Raises:
        EvalError: The counts do not fit each other.

    Source: Tango (1998), Statistics in Medicine 17, 891-908, equations 9 to 11.

    Example:
        >>> print(tango(2, 0, 100))
        2.0 % [-1.8, 7.0]
    """
    from scipy import special

    check_level(level)
    if n < 1 or lost < 0 or won < 0 or lost + won > n:
        raise EvalError(f"{lost} and {won} flips of {n} items: give no more flips than items")
    low, high = _tango_ends(lost, won, n, float(special.ndtri((1 + level) / 2)))
    return Estimate((lost - won) / n, low, high, n, "Tango", level)


def cluster_tango(differences: ArrayLike, clusters: Clusters, *, level: float = 0.95) -> Estimate:
    """Difference of two rates on the same items in clusters, with Tango's interval.

    Tango's at the effective number of items: their number and the flips divided by the design effect, with the quantile
    of a t distribution for the number of clusters, as `cluster_wilson` does. Where few clusters hold a flip a
    bootstrap is too narrow: in simulations of 300 items in 60 documents, 3 % of them flipped, it covers 88 %,
    this 97 %.

    Args:
        differences: For each item 1 where only the candidate got it wrong, -1 where only the baseline did, else 0.
        clusters: The cluster of each item; None for independent items.
        level: How often the interval is to hold the truth.

    Returns:
        The candidate's rate less the baseline's.

    Raises:
        EvalError: A difference is not -1, 0 or 1, there is one cluster only, or the rows differ in length.

    Source: Tango (1998), as in `tango`; the effective size of Korn and Graubard (1998), Survey Methodology 24.

    Example:
        >>> print(cluster_tango([1, 0, 0, 0, 0] * 20, [item // 5 for item in range(100)]))
        20.0 % [13.0, 29.5]
    """
    from scipy import special

    check_level(level)
    row = numbers("differences", differences)
    if not np.isin(row, (-1, 0, 1)).all():
        raise EvalError("differences: give -1, 0 or 1 for each item")
    ids = group_ids(clusters, row.size)
    count = int(ids.max()) + 1
    if count < 2:
        raise EvalError("all items are of one cluster: an interval needs at least two documents")
    effect = design_effect(row, ids)
    lost, won = float((row == 1).sum()) / effect, float((row == -1).sum()) / effect
    low, high = _tango_ends(lost, won, row.size / effect, float(special.stdtrit(count - 1, (1 + level) / 2)))
    return Estimate(float(row.mean()), low, high, row.size, "cluster Tango", level)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted so that among several comparisons the chance of any false find stays below the level.

    Args:
        p_values: One for each comparison.

    Returns:
        The adjusted values, in the same order.

    Source: Holm (1979), Scandinavian J. Statistics 6, 65-70.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


_EDGE = 1e-9
_NEARLY_ALL = 0.999999
"""Chance from which 1 less it has too few digits left."""


def _tango_ends(lost: float, won: float, n: float, quantile: float) -> tuple[float, float]:
    from scipy import optimize

    value = (lost - won) / n

    def end(sign: int) -> float:
        """Where the data are `quantile` standard errors away; the edge itself where nothing is that far."""
        near, far = value + sign * _EDGE, sign * (1 - _EDGE)
        if (near - far) * sign >= 0 or abs(_score(lost, won, n, far)) < quantile:
            return float(sign)
        return float(optimize.brentq(lambda at: abs(_score(lost, won, n, at)) - quantile, near, far))

    return end(-1), end(1)


def _score(lost: float, won: float, n: float, difference: float) -> float:
    """How many standard errors the flips lie from a difference."""
    linear = -lost - won + (2 * n - lost + won) * difference
    constant = -won * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    distance = lost - won - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def conclude(difference: Estimate, margin: float, p_value: float) -> Conclusion:
    """What a difference says, given the largest increase that counts as not worse.

    The interval is a score interval, the test exact: at the edge they may disagree, and then nothing is concluded.
    """
    if p_value <= 1 - difference.level and excludes_none(difference):
        return "worse" if difference.low > 0 else "better"
    return "not worse" if difference.high < margin else "undecided"


def excludes_none(difference: Estimate) -> bool:
    """Whether an interval says that there is a difference."""
    return difference.low > 0 or difference.high < 0
