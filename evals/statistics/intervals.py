"""Intervals for a rate."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from arriero.evals.errors import EvalError
from arriero.evals.statistics.estimate import (
    Clusters,
    Estimate,
    Floats,
    Integers,
    binary,
    check_level,
    group_ids,
    numbers,
)


def wilson(events: int, n: int, *, level: float = 0.95) -> Estimate:
    """Rate of independent yes-or-no items, with Wilson's score interval.

    Args:
        events: Items that are a yes.
        n: All items.
        level: How often the interval is to hold the truth.

    Returns:
        The rate.

    Raises:
        EvalError: The counts do not fit each other.

    Source: Wilson (1927), JASA 22, 209-212.

    Example:
        >>> print(wilson(10, 100))
        10.0 % [5.5, 17.4]
    """
    from scipy import special

    check_level(level)
    if n < 1 or not 0 <= events <= n:
        raise EvalError(f"{events} of {n}: give at least one item, and no more events than items")
    low, high = score_interval(events / n, n, float(special.ndtri((1 + level) / 2)))
    return Estimate(events / n, low, high, n, "Wilson", level)


def cluster_wilson(events: ArrayLike, clusters: Clusters, *, level: float = 0.95) -> Estimate:
    """Rate of yes-or-no items that come in clusters, such as all answers about one document.

    Wilson's interval at the effective number of items: their number divided by the design effect, with the quantile of
    a t distribution for the number of clusters. It holds up where a bootstrap does not: few clusters, rare events.
    In simulations it covers 93 to 97 % from some 60 documents on; with 30 documents of 20 items each and a rate of
    5 %, 92 %.

    Args:
        events: 0 or 1 for each item.
        clusters: The cluster of each item; None for independent items.
        level: How often the interval is to hold the truth.

    Returns:
        The rate.

    Raises:
        EvalError: An event is neither 0 nor 1, there is one cluster only, or the rows differ in length.

    Source: Korn and Graubard (1998), Survey Methodology 24, 193-201, for the effective size; Dean and Pagano (2015),
        J. Survey Statistics and Methodology 3, 484-503, for Wilson's form.

    Example:
        >>> print(cluster_wilson([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], list("aaabbbcccddd")))
        25.0 % [1.8, 86.0]
    """
    check_level(level)
    row = binary("events", events)
    return wilson(int(row.sum()), row.size, level=level) if clusters is None else score_mean(row, clusters, level=level)


def score_mean(values: ArrayLike, clusters: Clusters = None, *, level: float = 0.95) -> Estimate:
    """Mean of values from 0 to 1 with Wilson's interval at the effective number of items; wide rather than narrow.

    For values that are not 0 or 1 it takes their variance for that of 0 and 1 with the same mean, the largest possible.

    Args:
        values: A number from 0 to 1 for each item.
        clusters: The cluster of each item; None for independent items.
        level: How often the interval is to hold the truth.

    Returns:
        The mean.

    Raises:
        EvalError: A value is not from 0 to 1, there is one cluster only, or the rows differ in length.

    Source: as `cluster_wilson`.

    Example:
        >>> print(score_mean([1.0, 0.5, 1.0, 1.0] * 5))
        87.5 % [66.9, 96.0]
    """
    from scipy import special

    check_level(level)
    row = numbers("values", values)
    if row.min() < 0 or row.max() > 1:
        raise EvalError("values: give a number from 0 to 1 for each item")
    rate = float(row.mean())
    if clusters is None:
        low, high = score_interval(rate, row.size, float(special.ndtri((1 + level) / 2)))
        return Estimate(rate, low, high, row.size, "Wilson", level)
    ids = group_ids(clusters, row.size)
    count = int(ids.max()) + 1
    if count < 2:
        raise EvalError("all items are of one cluster: an interval needs at least two documents")
    quantile = float(special.stdtrit(count - 1, (1 + level) / 2))
    low, high = score_interval(rate, row.size / design_effect(row, ids), quantile)
    return Estimate(rate, low, high, row.size, "cluster Wilson", level)


def score_interval(rate: float, size: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for any number of items, whole or not, and any quantile."""
    centre = (rate + quantile**2 / (2 * size)) / (1 + quantile**2 / size)
    half = quantile / (1 + quantile**2 / size) * math.sqrt(rate * (1 - rate) / size + quantile**2 / (4 * size**2))
    # At the edges the two are equal; what rounding leaves of their difference would be an end that is none
    return max(0.0, centre - half) if rate > 0 else 0.0, min(1.0, centre + half) if rate < 1 else 1.0


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Clusters = None,
    *,
    draws: int = 5_000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Mean of items that come in clusters, by drawing whole clusters again; for any values, rates among them.

    The draws are studentised: each one's distance from the mean is taken in its own standard errors. With some dozens
    of clusters the plain percentiles are too narrow.

    Args:
        values: A number for each item.
        clusters: The cluster of each item; None for independent items.
        draws: How often to draw.
        level: How often the interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        The mean.

    Raises:
        EvalError: A value is not finite, there is one cluster only, or the rows differ in length.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5; clusters: Cameron, Gelbach
        and Miller (2008), Review of Economics and Statistics 90, 414-427.

    Example:
        >>> print(cluster_bootstrap([0.1, 0.2, 0.3, 0.2, 0.1, 0.3] * 10, list("aabbcc") * 10, draws=500).method)
        cluster bootstrap
    """
    check_level(level)
    row = numbers("values", values)
    ids = group_ids(clusters, row.size)
    sums, sizes = np.bincount(ids, row).astype(np.float64), np.bincount(ids).astype(np.float64)
    if sizes.size < 2:
        raise EvalError("all items are of one cluster: an interval needs at least two documents")
    mean, error = float(row.mean()), float(np.sqrt(mean_variance(row, ids)))
    method = "bootstrap" if clusters is None else "cluster bootstrap"
    if error == 0:
        return Estimate(mean, mean, mean, row.size, method, level)
    distances = np.concatenate([_distances(sums, sizes, mean, part) for part in _draws(sizes.size, draws, seed)])
    low, high = np.quantile(distances[np.isfinite(distances)], [(1 + level) / 2, (1 - level) / 2])
    return Estimate(mean, mean - float(low) * error, mean - float(high) * error, row.size, method, level)


def mean_variance(row: Floats, ids: Integers) -> float:
    """Variance of a mean over items in clusters, by linearisation: the clusters are a sample, whatever is in them.

    Source: Cochran (1977), Sampling Techniques, section 9A; a ratio of cluster sums.
    """
    sums, sizes = np.bincount(ids, row).astype(np.float64), np.bincount(ids).astype(np.float64)
    count = sizes.size
    residuals = sums - row.mean() * sizes
    return float(count / (count - 1) * (residuals**2).sum() / row.size**2)


def design_effect(row: Floats, ids: Integers) -> float:
    """How many times fewer items would say as much, were they independent; 1 or more.

    Where all values are alike the sample says nothing of it: then as if clusters decided everything, their mean size,
    weighted. Clusters never make a sample worth more than its items here; a sample says too little about that.

    Source: Kish (1965), Survey Sampling, section 8.2.
    """
    sizes = np.bincount(ids).astype(np.float64)
    if sizes.size < 2:
        return 1.0
    plain = float(row.var()) / (row.size - 1)
    return max(1.0, mean_variance(row, ids) / plain) if plain else float((sizes**2).sum() / sizes.sum())


_CELLS = 1_000_000


def _draws(count: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn, some rows at a time, in bounded memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // count)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        drawn = generator.integers(0, count, size=(size, count), dtype=np.intp) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _distances(sums: Floats, sizes: Floats, mean: float, drawn: Floats) -> Floats:
    count = sizes.size
    totals = drawn @ sizes
    means = (drawn @ sums) / totals
    # sum over clusters of times drawn x (sum - mean x size)^2, without a matrix for each draw
    squares = drawn @ sums**2 - 2 * means * (drawn @ (sums * sizes)) + means**2 * (drawn @ sizes**2)
    errors = np.sqrt(np.maximum(count / (count - 1) * squares, 0)) / totals
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((means - mean) / errors)
