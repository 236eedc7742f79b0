"""Laws and refusals of the statistics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.errors import CorrectionRefused, EvalError
from arriero.evals.statistics import (
    cluster_bootstrap,
    cluster_wilson,
    compare,
    holm,
    items_for_difference,
    items_for_non_inferiority,
    judge_quality,
    labels_for_width,
    mcnemar,
    prediction_powered,
    rogan_gladen,
    tango,
    wilson,
)

FLIPS = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400)).map(lambda t: (t[0], t[1], sum(t)))


@settings(deadline=None)  # the first example imports scipy
@given(FLIPS)
def test_tangos_interval_excludes_no_difference_where_mcnemars_statistic_does(counts: tuple[int, int, int]) -> None:
    lost, won, n = counts
    found = tango(lost, won, n)
    z = (lost - won) / math.sqrt(lost + won) if lost + won else 0.0
    assert found.low <= found.value <= found.high
    if abs(abs(z) - 1.959964) > 1e-6:
        assert (found.low > 0 or found.high < 0) == (abs(z) > 1.959964)


@settings(deadline=None)
@given(FLIPS)
def test_exchanging_the_systems_mirrors_the_difference(counts: tuple[int, int, int]) -> None:
    lost, won, n = counts
    one, other = tango(lost, won, n), tango(won, lost, n)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-6)
    assert mcnemar(lost, won) == pytest.approx(mcnemar(won, lost))


@given(st.lists(st.integers(0, 1), min_size=2, max_size=60))
def test_clusters_of_one_item_are_no_clusters(events: list[int]) -> None:
    alone, plain = cluster_wilson(events, range(len(events))), wilson(sum(events), len(events))
    assert alone.value == plain.value
    assert alone.low <= plain.low + 1e-12
    assert alone.high >= plain.high - 1e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_never_makes_a_value_smaller(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(after >= before and after <= 1 for before, after in zip(values, adjusted, strict=True))
    ranked = [after for _, after in sorted(zip(values, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_the_bootstrap_is_the_same_for_the_same_seed_and_any_memory() -> None:
    values, clusters = np.random.default_rng(0).random(3_000), np.arange(3_000) // 2
    assert cluster_bootstrap(values, clusters, draws=3_000) == cluster_bootstrap(values, clusters, draws=3_000)
    assert cluster_bootstrap(values, clusters, draws=300, seed=1) != cluster_bootstrap(values, clusters, draws=300)


def test_answers_of_one_document_that_are_all_alike_count_as_one() -> None:
    events = [0, 1, 0, 0] * 10
    once, tenfold = cluster_wilson(events, range(40)), cluster_wilson(np.repeat(events, 10), np.repeat(range(40), 10))
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_a_perfect_judge_makes_the_labels_count_for_all_items() -> None:
    truth = np.random.default_rng(0).random(4_000) < 0.1
    found = prediction_powered(truth[:100], truth[:100], truth[100:])
    assert found.value == pytest.approx(truth.mean(), abs=0.005)
    assert found.width < wilson(int(truth[:100].sum()), 100).width / 2


def test_a_judge_that_says_the_same_of_everything_changes_nothing() -> None:
    truth = np.arange(100) < 13
    found = prediction_powered(truth, np.ones(100), np.ones(900))
    assert found.value == 0.13
    assert found.width == pytest.approx(wilson(13, 100).width, rel=0.1)


def test_a_handful_of_other_items_moves_nothing() -> None:
    truth = np.arange(300) < 40
    found = prediction_powered(truth, truth, [1, 1, 1])
    assert found.value == pytest.approx(40 / 300)
    assert found.width >= wilson(40, 300).width


def test_a_judge_that_errs_on_purpose_is_not_believed() -> None:
    truth = np.arange(100) < 13
    assert prediction_powered(truth, 1 - truth, np.ones(900)).value == pytest.approx(0.13)


@pytest.mark.parametrize(
    ("labels", "flags", "words"),
    [
        ([0] * 50, [0] * 50, "all 50 labels are 'supported'"),
        ([1] * 50, [1] * 50, "all 50 labels are 'hallucinated'"),
        ([0, 1] * 50, [0, 0, 1, 1] * 25, "says too little to be corrected"),
    ],
)
def test_a_correction_that_would_mean_nothing_is_refused(labels: list[int], flags: list[int], words: str) -> None:
    with pytest.raises(CorrectionRefused, match=words):
        rogan_gladen(labels, flags, [1] * 100 + [0] * 900)


def test_too_few_labels_are_refused_with_what_to_do() -> None:
    with pytest.raises(CorrectionRefused, match="10 labels: label at least 20 items, 100 to 200"):
        prediction_powered([0, 1] * 5, [0, 1] * 5, [0, 1] * 50)


def test_labels_of_two_documents_are_refused() -> None:
    with pytest.raises(CorrectionRefused, match="of 2 documents"):
        prediction_powered(
            [0, 1] * 15, [0, 1] * 15, [0, 1] * 50, clusters=["a", "b"] * 15, unlabelled_clusters=["c", "d"] * 50
        )


def test_bad_input_says_what_and_where() -> None:
    with pytest.raises(EvalError, match=r"labels\[2\] is 0.5: give 0 or 1"):
        judge_quality([0, 1, 0.5], [0, 1, 1])
    with pytest.raises(EvalError, match=r"values\[1\] is nan"):
        cluster_bootstrap([0.1, math.nan])
    with pytest.raises(EvalError, match="2 for 3 items"):
        cluster_bootstrap([0.1, 0.2, 0.3], ["a", "b"])
    with pytest.raises(EvalError, match="one cluster"):
        cluster_wilson([0, 1], ["a", "a"])
    with pytest.raises(EvalError, match="no more events than items"):
        wilson(3, 2)
    with pytest.raises(EvalError, match="the same items"):
        compare([0, 1], [0], margin=0.1)
    with pytest.raises(EvalError, match="clusters for the labelled and for the other"):
        prediction_powered([0, 1] * 15, [0, 1] * 15, [0, 1], clusters=range(30))
    with pytest.raises(EvalError, match="level is 95"):
        wilson(1, 2, level=95)


def test_no_visible_difference_on_few_items_is_undecided_not_equal() -> None:
    few = compare([0, 0, 0, 1] * 10, [0, 0, 1, 0] * 10, margin=0.02)
    assert few.difference.value == 0
    assert few.conclusion == "undecided"
    many = compare([0] * 3_990 + [1] * 10, [0] * 3_988 + [1] * 12, margin=0.02)
    assert many.conclusion == "not worse"


def test_a_clear_difference_is_told_by_its_side() -> None:
    base, worse = [0] * 100, [0] * 80 + [1] * 20
    assert compare(base, worse, margin=0.02).conclusion == "worse"
    assert compare(worse, base, margin=0.02).conclusion == "better"
    by_document = compare(base, worse, margin=0.02, clusters=[item % 20 for item in range(100)])
    assert by_document.difference.method == "cluster Tango"
    assert by_document.flips == {(0, 0): 80, (0, 1): 20, (1, 0): 0, (1, 1): 0}


def test_the_planned_number_of_items_finds_the_difference_as_often_as_planned() -> None:
    rng, n = np.random.default_rng(0), items_for_difference(0.05, flipped=0.15)
    flips = rng.multinomial(n, [0.1, 0.05, 0.85], size=2_000)
    found = np.mean([abs(lost - won) / math.sqrt(lost + won) > 1.96 for lost, won, _ in flips])
    assert found == pytest.approx(0.8, abs=0.03)


def test_the_planned_number_of_items_passes_an_equal_candidate_as_often_as_planned() -> None:
    rng, n = np.random.default_rng(0), items_for_non_inferiority(0.05, flipped=0.1)
    flips = rng.multinomial(n, [0.05, 0.05, 0.9], size=1_000)
    assert np.mean([tango(int(a), int(b), n).high < 0.05 for a, b, _ in flips]) == pytest.approx(0.8, abs=0.04)


def test_the_planned_number_of_labels_gives_the_wanted_width() -> None:
    rng, n = np.random.default_rng(0), labels_for_width(0.1, rate=0.127, agreement=0.7, judged=2_000)
    widths = []
    for _ in range(200):
        truth = rng.random(n + 2_000) < 0.127
        noise = rng.random(n + 2_000) < 0.127
        flags = np.where(rng.random(n + 2_000) < 0.7, truth, noise)  # correlated by 0.7 with the truth
        widths.append(prediction_powered(truth[:n], flags[:n], flags[n:]).width)
    assert np.median(widths) == pytest.approx(0.1, rel=0.15)
