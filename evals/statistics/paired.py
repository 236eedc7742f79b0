"""Two systems on the same items: is the difference real, and is it small enough?"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike, NDArray

from arriero.evals.errors import EvalError
from arriero.evals.statistics.estimate import Estimate, binary, check_level
from arriero.evals.statistics.intervals import cluster_bootstrap

Conclusion = Literal["worse", "better", "not worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a candidate does on the items of a baseline; an event is a hallucination, so less is better.

    Args:
        difference: Candidate's rate less the baseline's.
        flips: Items by (baseline, candidate): 0 or 1 each.
        p_value: Exact McNemar: how odd the flips would be if both were alike. Clusters are not in it.
        margin: Largest increase that still counts as not worse.
        conclusion: From the interval alone: `worse` or `better` when it excludes 0, `not worse` when it stays below
            the margin, else `undecided`. A wide interval around 0 is undecided, never equal.
    """

    difference: Estimate
    flips: Mapping[tuple[int, int], int]
    p_value: float
    margin: float
    conclusion: Conclusion


def compare(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    margin: float,
    clusters: Sequence[Hashable] | NDArray[Any] | None = None,
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
    else:
        difference = cluster_bootstrap(after - before, clusters, draws=draws, level=level, seed=seed)
    return Comparison(difference, flips, mcnemar(lost, won), margin, _conclude(difference, margin))


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
    from scipy import optimize, stats

    check_level(level)
    if n < 1 or lost < 0 or won < 0 or lost + won > n:
        raise EvalError(f"{lost} and {won} flips of {n} items: give no more flips than items")
    quantile = float(stats.norm.ppf((1 + level) / 2))
    value = (lost - won) / n

    def end(sign: int) -> float:
        """Where the data are `quantile` standard errors away; the edge itself where nothing is that far."""
        near, far = value + sign * _EDGE, sign * (1 - _EDGE)
        if (near - far) * sign >= 0 or abs(_score(lost, won, n, far)) < quantile:
            return float(sign)
        return float(optimize.brentq(lambda at: abs(_score(lost, won, n, at)) - quantile, near, far))

    return Estimate(value, end(-1), end(1), n, "Tango", level)


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


def _score(lost: int, won: int, n: int, difference: float) -> float:
    """How many standard errors the flips lie from a difference."""
    linear = -lost - won + (2 * n - lost + won) * difference
    constant = -won * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    distance = lost - won - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)


def _conclude(difference: Estimate, margin: float) -> Conclusion:
    if difference.low > 0:
        return "worse"
    if difference.high < 0:
        return "better"
    return "not worse" if difference.high < margin else "undecided"
