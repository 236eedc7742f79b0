"""How far people agree: raw agreement, and three ways to take chance out of it."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from arriero.evals.errors import EvalError
from arriero.evals.labels import Label, latest
from arriero.evals.measures.rates import clusters_of
from arriero.evals.statistics.estimate import Estimate, Floats, Integers, check_level, group_ids
from arriero.evals.statistics.intervals import cluster_bootstrap, cluster_wilson

LEAST_ITEMS = 10
"""Items labelled by two people below which nothing is said of how far they agree."""

_MANY_CLUSTERS = 30
"""Clusters from which draws of them are trusted; with two, their intervals hold the truth half of the time."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree on the same items.

    Args:
        annotators: Who.
        items: Items that at least two of them labelled 0 or 1.
        raw: Share of pairs of labels of an item that are alike.
        kappa: Cohen's kappa; None for more than two people, or where each gave everything the same label.
        alpha: Krippendorff's alpha; None where all labels are the same.
        ac1: Gwet's AC1. Where nearly all items are of one kind it stays near the raw agreement, whereas kappa and alpha
            fall towards 0.
        disputed: Items on which they differ.
    """

    annotators: tuple[str, ...]
    items: int
    raw: Estimate
    kappa: Estimate | None
    alpha: Estimate | None
    ac1: Estimate
    disputed: tuple[str, ...] = ()


def agreement(
    labels: Iterable[Label],
    *,
    annotators: Sequence[str] | None = None,
    documents: Mapping[str, Hashable] | None = None,
    draws: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """How far people agree. "Cannot say" counts as no label.

    Args:
        labels: Labels, oldest first.
        annotators: Whose; None for the two who labelled the most items in common, so that a third one who only
            settled what was disputed does not count.
        documents: Document of each item, the cluster of the intervals; None for independent items.
        draws: How often to draw for the intervals.
        level: How often each interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        The agreement.

    Raises:
        EvalError: There are not two people, or they have fewer than 10 items in common.

    Example:
        >>> ana = [Label(str(n), "ana", int(n < 12)) for n in range(60)]
        >>> ben = [Label(str(n), "ben", int(3 <= n < 12)) for n in range(60)]
        >>> found = agreement([*ana, *ben])
        >>> print(found.raw, found.disputed)
        95.0 % [86.3, 98.3] ('0', '1', '2')
        >>> round(found.kappa.value, 3), round(found.alpha.value, 3), round(found.ac1.value, 3)
        (0.828, 0.828, 0.93)
    """
    said: dict[str, dict[str, int]] = {}
    for label in latest(labels):
        if label.value is not None:
            said.setdefault(label.item_id, {})[label.annotator] = label.value
    chosen = tuple(annotators) if annotators is not None else _pair(said)
    rows = {item: [by.get(name) for name in chosen] for item, by in said.items()}
    ids = [item for item, row in rows.items() if sum(value is not None for value in row) >= 2]
    if len(ids) < LEAST_ITEMS:
        raise EvalError(
            f"{' and '.join(chosen) or 'nobody'} labelled {len(ids)} items in common: have two people label at least"
            f" {LEAST_ITEMS} of the same"
        )
    clusters = None if documents is None else [documents.get(item, item) for item in ids]
    found = coefficients(
        [rows[item] for item in ids], categories=(0, 1), clusters=clusters, draws=draws, level=level, seed=seed
    )
    disputed = tuple(item for item in ids if len({value for value in rows[item] if value is not None}) > 1)
    return Agreement(chosen, len(ids), found.raw, found.kappa, found.alpha, found.ac1, disputed)


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Agreement of raters; see `Agreement`.

    Args:
        raw: Share of pairs of ratings that are alike.
        kappa: Cohen's kappa.
        alpha: Krippendorff's alpha.
        ac1: Gwet's AC1.
    """

    raw: Estimate
    kappa: Estimate | None
    alpha: Estimate | None
    ac1: Estimate


def coefficients(
    ratings: Sequence[Sequence[Hashable | None]],
    *,
    categories: Sequence[Hashable] | None = None,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Coefficients:
    """Agreement of raters who put items into categories without an order.

    Intervals: raw agreement of yes-or-no pairs has Wilson's; the others are percentiles of draws of whole clusters.
    Where all agree, or clusters are fewer than 30, draws claim to know too much: there the ends follow from those of
    the raw agreement.

    Args:
        ratings: For each item the category that each rater gave it, in one order of raters; None for no rating.
        categories: What can be given; None for what was.
        clusters: The cluster of each item; None for independent items.
        draws: How often to draw.
        level: How often each interval is to hold the truth.
        seed: Seed of the draws.

    Returns:
        The coefficients.

    Raises:
        EvalError: The rows differ in length, hold an unknown category, or no item has two ratings.

    Source: Cohen (1960), Educational and Psychological Measurement 20, 37-46. Krippendorff (2011), Computing
        Krippendorff's Alpha-Reliability, University of Pennsylvania. Gwet (2008), British J. Mathematical and
        Statistical Psychology 61, 29-48; missing ratings: Gwet (2014), Handbook of Inter-Rater Reliability, chapter 5.

    Example:
        >>> table = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
        >>> found = coefficients(table, draws=500)
        >>> round(found.raw.value, 3), round(found.kappa.value, 3)
        (0.7, 0.4)
    """
    check_level(level)
    known = _known(ratings, categories)
    codes = np.array([[-1 if value is None else known[value] for value in row] for row in ratings])
    if not len(codes) or not ((codes >= 0).sum(axis=1) >= 2).any():
        raise EvalError("no item has two ratings: have two people label the same items")
    ids = group_ids(clusters, len(codes))
    raw = _raw(codes, ids, level)
    spread = _Spread(codes, ids, len(known), draws, seed, level)
    ac1 = spread.estimate(_ac1, raw)
    if ac1 is None or len(known) < 2:
        raise EvalError("there is one category only: name all that can be given as categories")
    kappa = spread.estimate(_kappa, raw) if codes.shape[1] == 2 else None
    return Coefficients(raw, kappa, spread.estimate(_alpha, raw), ac1)


def _known(ratings: Sequence[Sequence[Hashable | None]], categories: Sequence[Hashable] | None) -> dict[Hashable, int]:
    if len({len(row) for row in ratings}) > 1:
        raise EvalError("ratings: the rows differ in length; give None where a rater gave none")
    given = dict.fromkeys(value for row in ratings for value in row if value is not None)
    known = {category: code for code, category in enumerate(given if categories is None else categories)}
    strange = [value for value in given if value not in known]
    if strange:
        raise EvalError(f"ratings: {strange[0]!r} is none of the categories {', '.join(map(repr, known))}")
    return known


def _pair(said: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    """The two who labelled the most items in common; of equals, the first by name."""
    common: dict[tuple[str, str], int] = {}
    for by in said.values():
        for pair in combinations(sorted(by), 2):
            common[pair] = common.get(pair, 0) + 1
    if not common:
        return tuple(sorted({name for by in said.values() for name in by}))
    return min(common, key=lambda pair: (-common[pair], pair))


def _raw(codes: Integers, ids: Integers, level: float) -> Estimate:
    """Share of alike pairs: one pair an item where there are two raters, else the mean of the items' shares."""
    alike = np.array([np.mean([a == b for a, b in combinations(row, 2)]) for row in _rated(codes)])
    clusters = clusters_of(ids[(codes >= 0).sum(axis=1) >= 2].tolist())
    if np.isin(alike, (0, 1)).all():
        return cluster_wilson(alike, clusters, level=level)
    return cluster_bootstrap(alike, clusters, level=level)


def _rated(codes: Integers) -> list[Integers]:
    return [row[row >= 0] for row in codes if (row >= 0).sum() >= 2]


_Disagreements = Callable[[Floats, int], tuple[Floats, Floats]]
"""From sums over items, one row a draw, to the disagreement that was observed and the one that chance would give."""


class _Spread:
    """Coefficients of all items, and of draws of their clusters: each is a function of sums over items."""

    def __init__(self, codes: Integers, ids: Integers, categories: int, draws: int, seed: int, level: float) -> None:
        sums = np.zeros((int(ids.max()) + 1, 0))
        for column in _features(codes, categories).T:
            sums = np.column_stack([sums, np.bincount(ids, column)])
        shares = np.full(len(sums), 1 / len(sums))
        self._drawn = np.random.default_rng(seed).multinomial(len(sums), shares, size=draws).astype(np.float64) @ sums
        self._all, self._categories, self._level, self._items = sums.sum(axis=0)[None], categories, level, len(codes)
        self._clusters = len(sums)
        self._method = "bootstrap" if len(sums) == len(codes) else "cluster bootstrap"

    def estimate(self, disagreements: _Disagreements, raw: Estimate) -> Estimate | None:
        """1 less observed over expected disagreement; None where chance alone would always agree."""
        (observed,), (expected,) = disagreements(self._all, self._categories)
        if not expected > 0:
            return None
        value = float(1 - observed / expected)
        if raw.value == 1 or self._clusters < _MANY_CLUSTERS:
            low, high = (max(-1.0, float(1 - (1 - end) / expected)) for end in (raw.low, raw.high))
        else:
            seen, chance = disagreements(self._drawn, self._categories)
            drawn = 1 - seen[chance > 0] / chance[chance > 0]
            low, high = np.quantile(drawn, [(1 - self._level) / 2, (1 + self._level) / 2]).tolist()
        return Estimate(value, min(low, value), max(high, value), self._items, self._method, self._level)


def _features(codes: Integers, categories: int) -> Floats:
    """What the coefficients sum over items."""
    counts = np.stack([(codes == code).sum(axis=1) for code in range(categories)], axis=1).astype(np.float64)
    ratings = counts.sum(axis=1)
    paired = ratings >= 2
    pairs = np.where(paired, (counts * (counts - 1)).sum(axis=1), 0)
    others = np.where(paired, ratings - 1, 1)
    alike, share = pairs / others, pairs / others / np.maximum(ratings, 1)
    given = counts / np.maximum(ratings, 1)[:, None]
    cells = [(codes[:, 0] == a) & (codes[:, -1] == b) for a in range(categories) for b in range(categories)]
    columns = [paired, ratings > 0, share, alike, *given.T, *(counts * paired[:, None]).T, *cells]
    return np.stack(columns, axis=1).astype(np.float64)


def _ac1(sums: Floats, categories: int) -> tuple[Floats, Floats]:
    observed = 1 - sums[:, 2] / np.maximum(sums[:, 0], 1)
    given = sums[:, 4 : 4 + categories] / sums[:, 1:2]
    chance = (given * (1 - given)).sum(axis=1) / max(1, categories - 1)
    return observed, 1 - chance


def _alpha(sums: Floats, categories: int) -> tuple[Floats, Floats]:
    values = sums[:, 4 + categories : 4 + 2 * categories]
    total = np.maximum(values.sum(axis=1), 2)
    expected = (values * (total[:, None] - values)).sum(axis=1) / (total * (total - 1))
    return 1 - sums[:, 3] / total, expected


def _kappa(sums: Floats, categories: int) -> tuple[Floats, Floats]:
    table = sums[:, 4 + 2 * categories :].reshape(len(sums), categories, categories)
    table = table / np.maximum(table.sum(axis=(1, 2)), 1)[:, None, None]
    chance = (table.sum(axis=1) * table.sum(axis=2)).sum(axis=1)
    return 1 - np.trace(table, axis1=1, axis2=2), 1 - chance
