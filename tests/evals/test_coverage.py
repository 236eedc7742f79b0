"""Simulated studies with a known truth: how often do 95 % intervals hold it?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from arriero.evals.errors import CorrectionRefused
from arriero.evals.statistics import (
    Estimate,
    cluster_bootstrap,
    cluster_wilson,
    prediction_powered,
    rogan_gladen,
    tango,
    wilson,
)

STUDIES = 2_000
JUDGED = 1_000


@dataclass(frozen=True)
class Study:
    """Labels and judgements of one simulated study; the first `n` items are the labelled ones."""

    truth: Any
    flags: Any
    clusters: Any
    n: int


def study(rng: np.random.Generator, rate: float, judge: tuple[float, float], n: int, size: int) -> Study:
    """Documents differ in their rates (intraclass correlation 0.2) where they have several items."""
    documents = (n + JUDGED) // size
    spread = 4.0  # of a beta distribution with that correlation: 1 / 0.2 - 1
    rates = rng.beta(rate * spread, (1 - rate) * spread, documents) if size > 1 else np.full(documents, rate)
    truth = (rng.random((documents, size)) < rates[:, None]).ravel()
    seen, passed = judge
    flags = np.where(truth, rng.random(truth.size) < seen, rng.random(truth.size) >= passed)
    return Study(truth.astype(float), flags.astype(float), np.repeat(np.arange(documents), size), n // size * size)


def coverage(rate: float, judge: tuple[float, float], n: int, size: int, method: Callable[[Study], Estimate]) -> float:
    rng = np.random.default_rng(n + size)
    held: list[bool] = []
    while len(held) < STUDIES:
        try:
            found = method(study(rng, rate, judge, n, size))
        except CorrectionRefused:  # no label of one kind: a study that gives no number, and says so
            continue
        held.append(found.low <= rate <= found.high)
    return 100 * float(np.mean(held))


def powered(data: Study) -> Estimate:
    clusters = data.clusters if data.clusters[0] == data.clusters[1] else None
    parts = (None, None) if clusters is None else (clusters[: data.n], clusters[data.n :])
    return prediction_powered(
        data.truth[: data.n],
        data.flags[: data.n],
        data.flags[data.n :],
        clusters=parts[0],
        unlabelled_clusters=parts[1],
    )


def rate_of_judge(data: Study) -> Estimate:
    return cluster_wilson(data.flags, data.clusters if data.clusters[0] == data.clusters[1] else None)


JUDGES = [(0.9, 0.95), (0.8, 0.8), (0.6, 0.7)]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(("n", "size"), [(100, 1), (200, 1), (100, 5), (200, 5), (200, 10)])
def test_a_prediction_powered_interval_holds_the_truth_as_often_as_it_says(
    judge: tuple[float, float], n: int, size: int
) -> None:
    assert 93 <= coverage(0.127, judge, n, size, powered) <= 97


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_it_does_so_at_other_rates(rate: float) -> None:
    assert 93 <= coverage(rate, (0.8, 0.8), 200, 5, powered) <= 97


@pytest.mark.parametrize("judge", [(0.9, 0.95), (0.8, 0.8), (0.85, 0.6)])
@pytest.mark.parametrize("n", [100, 200])
def test_rogan_and_gladens_interval_does_too(judge: tuple[float, float], n: int) -> None:
    def corrected(data: Study) -> Estimate:
        rest = data.flags[data.n :]
        return rogan_gladen(data.truth[: data.n], data.flags[: data.n], rest, elsewhere=True)

    assert 93 <= coverage(0.127, judge, n, 1, corrected) <= 97


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("size", [1, 5])
def test_the_judges_own_rate_does_not(judge: tuple[float, float], size: int) -> None:
    assert coverage(0.127, judge, 100, size, rate_of_judge) < 50


@pytest.mark.parametrize("rate", [0.05, 0.127, 0.3])
@pytest.mark.parametrize(("n", "size"), [(600, 1), (600, 5), (1_200, 20)])
def test_a_rate_of_labels_alone_covers_with_and_without_clusters(rate: float, n: int, size: int) -> None:
    def labels(data: Study) -> Estimate:
        part = slice(0, data.n)
        return cluster_wilson(data.truth[part], None if size == 1 else data.clusters[part])

    assert 93 <= coverage(rate, (1, 1), n, size, labels) <= 97


def test_wilson_on_items_of_the_same_documents_is_too_sure() -> None:
    def plain(data: Study) -> Estimate:
        return wilson(int(data.truth[: data.n].sum()), data.n)

    assert coverage(0.127, (1, 1), 600, 20, plain) < 80


@pytest.mark.parametrize("size", [1, 5])
def test_the_difference_of_two_systems_covers(size: int) -> None:
    """Both hallucinate where a document is hard; the candidate 3 points more often."""
    rng = np.random.default_rng(7)
    held = []
    for _ in range(STUDIES):
        hard = np.repeat(rng.beta(0.5, 3.5, 300 // size), size)
        before = (rng.random(300) < hard).astype(float)
        after = (rng.random(300) < np.minimum(hard + 0.03 * (1 - hard) / 0.875, 1)).astype(float)
        if size == 1:
            found = tango(int(((after == 1) & (before == 0)).sum()), int(((before == 1) & (after == 0)).sum()), 300)
        else:
            found = cluster_bootstrap(after - before, np.arange(300) // size, draws=500)
        held.append(found.low <= 0.03 <= found.high)
    assert 93 <= 100 * np.mean(held) <= 97
