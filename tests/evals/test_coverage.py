"""Simulated studies with a known truth: how often do 95 % intervals hold it?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from arriero.evals.errors import CorrectionRefused
from arriero.evals.statistics import (
    Estimate,
    cluster_bootstrap,
    cluster_tango,
    cluster_wilson,
    compare,
    holm,
    prediction_powered,
    prediction_powered_difference,
    rogan_gladen,
    tango,
    wilson,
)

STUDIES = 2_000
JUDGED = 1_000
RATE = 0.127
"""What people found in multi-turn answers over documents."""


@dataclass(frozen=True)
class Study:
    """Labels and judgements of one simulated study; the first `n` items are the labelled ones."""

    truth: Any
    flags: Any
    clusters: Any
    n: int


Chosen = Literal["documents", "items"]


def study(
    rng: np.random.Generator, rate: float, judge: tuple[float, float], n: int, size: int, chosen: Chosen = "documents"
) -> Study:
    """Documents differ in their rates (intraclass correlation 0.2) and in how often the judge errs on them."""
    documents = (n + JUDGED) // size
    spread = 4.0  # of a beta distribution with that correlation: 1 / 0.2 - 1
    rates = rng.beta(rate * spread, (1 - rate) * spread, documents) if size > 1 else np.full(documents, rate)
    truth = (rng.random((documents, size)) < rates[:, None]).ravel()
    seen, passed = judge
    errs = np.minimum(1, (1 - passed) * (np.repeat(2 * rng.beta(2, 2, documents), size) if size > 1 else 1.0))
    flags = np.where(truth, rng.random(truth.size) < seen, rng.random(truth.size) < errs)
    order = rng.permutation(truth.size) if chosen == "items" else np.arange(truth.size)
    clusters = np.repeat(np.arange(documents), size)
    return Study(truth[order].astype(float), flags[order].astype(float), clusters[order], n // size * size)


def covered(
    results: Callable[[np.random.Generator], tuple[Estimate, float]], seed: int, most_refused: float = 0.05
) -> float:
    """Percentage of the studies that give an interval whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    held: list[bool] = []
    refused = 0
    while len(held) < STUDIES:
        try:
            found, truth = results(rng)
        except CorrectionRefused:  # no label of one kind, a useless judge: no number, and the study says so
            refused += 1
            continue
        held.append(found.low <= truth <= found.high)
    assert refused <= most_refused * STUDIES
    return 100 * float(np.mean(held))


def coverage(
    rate: float,
    judge: tuple[float, float],
    n: int,
    size: int,
    method: Callable[[Study], Estimate],
    chosen: Chosen = "documents",
) -> float:
    return covered(lambda rng: (method(study(rng, rate, judge, n, size, chosen)), rate), seed=n + size)


def clusters_of(data: Study) -> dict[str, Any]:
    if np.unique(data.clusters).size == data.clusters.size:
        return {}
    return {"clusters": data.clusters[: data.n], "unlabelled_clusters": data.clusters[data.n :]}


def powered(data: Study) -> Estimate:
    labels, flags, rest = data.truth[: data.n], data.flags[: data.n], data.flags[data.n :]
    return prediction_powered(labels, flags, rest, **clusters_of(data))


def rogan_and_gladen(data: Study) -> Estimate:
    labels, flags, rest = data.truth[: data.n], data.flags[: data.n], data.flags[data.n :]
    return rogan_gladen(labels, flags, rest, **clusters_of(data))


def rate_of_judge(data: Study) -> Estimate:
    return cluster_wilson(data.flags, data.clusters if clusters_of(data) else None)


TOLD_APART = ("worse", "better")
JUDGES = [(0.9, 0.95), (0.8, 0.8), (0.6, 0.7)]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(("n", "size"), [(100, 1), (200, 1), (100, 5), (300, 10)])
def test_a_prediction_powered_interval_holds_the_truth_as_often_as_it_says(
    judge: tuple[float, float], n: int, size: int
) -> None:
    assert 93 <= coverage(RATE, judge, n, size, powered) <= 97


@pytest.mark.parametrize(("judge", "n", "size"), [((0.9, 0.95), 100, 5), ((0.8, 0.8), 200, 10), ((0.6, 0.7), 200, 20)])
def test_it_does_so_where_labelled_and_other_items_share_documents(
    judge: tuple[float, float], n: int, size: int
) -> None:
    assert 93 <= coverage(RATE, judge, n, size, powered, "items") <= 97


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_it_does_so_at_other_rates(rate: float) -> None:
    assert 93 <= coverage(rate, (0.8, 0.8), 200, 5, powered) <= 97


@pytest.mark.parametrize("judge", JUDGES[1:])
def test_with_fifty_labels_it_is_wide_rather_than_wrong(judge: tuple[float, float]) -> None:
    assert 93 <= coverage(RATE, judge, 50, 1, powered) <= 98


@pytest.mark.parametrize("judge", [(0.9, 0.95), (0.8, 0.8), (0.85, 0.6)])
@pytest.mark.parametrize(("n", "size"), [(100, 1), (200, 5)])
def test_rogan_and_gladens_interval_does_too(judge: tuple[float, float], n: int, size: int) -> None:
    assert 93 <= coverage(RATE, judge, n, size, rogan_and_gladen) <= 97


def test_so_does_that_of_labels_made_elsewhere() -> None:
    def corrected(data: Study) -> Estimate:
        rest = data.flags[data.n :]
        return rogan_gladen(data.truth[: data.n], data.flags[: data.n], rest, elsewhere=True)

    assert 93 <= coverage(RATE, (0.8, 0.8), 200, 1, corrected) <= 97


def test_with_a_poor_judge_it_is_wide_rather_than_wrong() -> None:
    """Its lower end is 0 then, which cannot miss; only the upper one can. One study in six is refused."""

    def corrected(rng: np.random.Generator) -> tuple[Estimate, float]:
        return rogan_and_gladen(study(rng, RATE, (0.6, 0.7), 200, 1)), RATE

    assert 93 <= covered(corrected, seed=201, most_refused=0.25) <= 99


@pytest.mark.parametrize(("judge", "size"), [((0.9, 0.95), 1), ((0.8, 0.8), 1), ((0.8, 0.8), 5), ((0.6, 0.7), 5)])
def test_the_judges_own_rate_does_not(judge: tuple[float, float], size: int) -> None:
    assert coverage(RATE, judge, 100, size, rate_of_judge) < 50


@pytest.mark.parametrize(("rate", "n", "size"), [(0.05, 600, 1), (0.3, 600, 5), (0.05, 1_200, 20), (0.3, 1_200, 20)])
def test_a_rate_of_labels_alone_covers_with_and_without_clusters(rate: float, n: int, size: int) -> None:
    def labels(data: Study) -> Estimate:
        part = slice(0, data.n)
        return cluster_wilson(data.truth[part], None if size == 1 else data.clusters[part])

    assert 93 <= coverage(rate, (1, 1), n, size, labels) <= 97


def test_wilson_on_items_of_the_same_documents_is_too_sure() -> None:
    def plain(data: Study) -> Estimate:
        return wilson(int(data.truth[: data.n].sum()), data.n)

    assert coverage(RATE, (1, 1), 600, 20, plain) < 80


def test_the_bootstrap_of_a_mean_over_documents_covers() -> None:
    """Such as recall at 5, which is no yes or no."""

    def recall(rng: np.random.Generator) -> tuple[Estimate, float]:
        easy = np.repeat(rng.beta(4, 2, 60), 5)
        found = rng.binomial(4, easy) / 4
        return cluster_bootstrap(found, np.arange(300) // 5, draws=250), 4 / 6

    assert 93 <= covered(recall, seed=1) <= 97


@dataclass(frozen=True)
class Both:
    """Two systems on the same items, and one judge's flags of both."""

    differences: Any
    flagged: Any
    clusters: Any
    truth: float


def both(rng: np.random.Generator, items: int, size: int, judge: tuple[float, float], more: float = 0.03) -> Both:
    """Both hallucinate where a document is hard; the candidate more often. The judge errs alike on both."""
    documents = items // size
    hard = np.repeat(rng.beta(0.5, 3.5, documents), size)
    before = rng.random(items) < hard
    after = rng.random(items) < np.minimum(hard + more * (1 - hard) / 0.875, 1)
    errs = np.minimum(1, (1 - judge[1]) * np.repeat(2 * rng.beta(2, 2, documents), size))

    def flags(truth: Any) -> Any:
        return np.where(truth, rng.random(items) < judge[0], rng.random(items) < errs).astype(float)

    return Both(after.astype(float) - before, flags(after) - flags(before), np.arange(items) // size, more)


@pytest.mark.parametrize(("items", "size"), [(300, 1), (300, 5), (1_000, 20)])
def test_the_difference_of_two_systems_covers(items: int, size: int) -> None:
    def difference(rng: np.random.Generator) -> tuple[Estimate, float]:
        data = both(rng, items, size, (1, 1))
        if size > 1:
            return cluster_tango(data.differences, data.clusters), data.truth
        lost, won = int((data.differences == 1).sum()), int((data.differences == -1).sum())
        return tango(lost, won, items), data.truth

    assert 93 <= covered(difference, seed=7) <= 97


def test_so_does_its_bootstrap_where_many_documents_hold_a_flip() -> None:
    def difference(rng: np.random.Generator) -> tuple[Estimate, float]:
        data = both(rng, 600, 3, (1, 1))
        return cluster_bootstrap(data.differences, data.clusters, draws=300), data.truth

    assert 93 <= covered(difference, seed=8) <= 97


@pytest.mark.parametrize(("judge", "labelled", "size"), [(JUDGES[0], 200, 1), (JUDGES[1], 200, 5), (JUDGES[2], 200, 5)])
def test_the_difference_of_flags_corrected_by_labelled_pairs_covers(
    judge: tuple[float, float], labelled: int, size: int
) -> None:
    def difference(rng: np.random.Generator) -> tuple[Estimate, float]:
        data = both(rng, JUDGED + labelled, size, judge)
        known, rest = slice(0, labelled), slice(labelled, None)
        parts = {} if size == 1 else {"clusters": data.clusters[known], "unlabelled_clusters": data.clusters[rest]}
        rows = data.differences[known], data.flagged[known], data.flagged[rest]
        return prediction_powered_difference(*rows, **parts)[0], data.truth

    assert 93 <= covered(difference, seed=labelled + size) <= 97


def test_the_difference_of_flags_alone_does_not() -> None:
    """A judge that misses much sees a difference smaller than it is."""

    def difference(rng: np.random.Generator) -> tuple[Estimate, float]:
        data = both(rng, 2_000, 5, (0.6, 0.7), more=0.15)
        return cluster_tango(data.flagged, data.clusters), data.truth

    assert covered(difference, seed=3) < 50


@pytest.mark.parametrize(("items", "size"), [(60, 1), (300, 1), (300, 5), (1_000, 20)])
def test_systems_that_are_alike_are_seldom_told_apart(items: int, size: int) -> None:
    rng = np.random.default_rng(items + size)

    def told_apart() -> bool:
        data = both(rng, items, size, (1, 1), more=0.0)
        after = data.differences == 1
        clusters = None if size == 1 else data.clusters
        return compare(data.differences == -1, after, margin=0.05, clusters=clusters, draws=1).conclusion in TOLD_APART

    assert 100 * float(np.mean([told_apart() for _ in range(STUDIES)])) <= 5


def test_a_judge_that_is_harder_on_all_candidates_tells_none_of_them_apart_once_it_is_corrected() -> None:
    """Three candidates that are as good as the baseline: any of them is told apart in 1 of 20 studies at most."""
    rng = np.random.default_rng(11)

    def candidate(flagged: Any, truth: Any) -> float:
        after = np.where(rng.random(JUDGED) < 0.8, truth, rng.random(JUDGED) < RATE)
        said = np.where(after, 0.9, 0.35) > rng.random(JUDGED)
        labels, flags = after.astype(float) - truth, said.astype(float) - flagged
        return prediction_powered_difference(labels[:200], flags[:200], flags[200:])[1]

    def found_any() -> bool:
        truth = rng.random(JUDGED) < RATE
        flagged = np.where(truth, 0.7, 0.1) > rng.random(JUDGED)
        return min(holm([candidate(flagged, truth) for _ in range(3)])) <= 0.05

    assert 100 * float(np.mean([found_any() for _ in range(STUDIES)])) <= 6
