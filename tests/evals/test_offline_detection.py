"""How well scores fit labels, and spans the marked ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from arriero.evals.errors import EvalError
from arriero.evals.items import Span
from arriero.evals.measures.detection import detection, span_f1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=4, max_size=60), st.integers(0, 9))
def test_the_measures_are_those_of_scikit_learn(rows: list[tuple[int, int]], cut: int) -> None:
    labels, scores = [0, 1, *(label for label, _ in rows)], [3 / 8, 5 / 8, *(score / 8 for _, score in rows)]
    found = detection(labels, scores, threshold=cut / 8, draws=20)
    flags = [score >= cut / 8 for score in scores]
    assert found.auroc.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(labels, flags))
    assert found.f1.value == pytest.approx(f1_score(labels, flags))


def test_items_of_one_document_widen_the_interval() -> None:
    generator = np.random.default_rng(1)
    bias = np.repeat(generator.normal(size=20), 10)
    labels = (np.arange(200) % 2).astype(int)
    labels[:40] = 1
    scores = bias + labels + generator.normal(size=200)
    alone = detection(labels, scores)
    together = detection(labels, scores, np.repeat(np.arange(20), 10).tolist())
    assert alone.auroc.value == together.auroc.value
    assert together.auroc.low < together.auroc.value < together.auroc.high
    assert alone.auroc.width < together.auroc.width


def test_the_interval_of_the_auroc_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    held = 0
    for study in range(200):
        labels = np.repeat([0, 1], 60)
        scores = generator.normal(size=120) + labels  # AUROC of two normals one apart: Phi(1 / sqrt 2)
        found = detection(labels, scores, draws=300, seed=study).auroc
        held += found.low <= 0.7602 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_spans_are_measured_by_their_characters() -> None:
    truth = [[Span(0, 10)], [], [Span(5, 10)]]
    found = [[Span(0, 5), Span(3, 8)], [Span(0, 2)], []]
    one = span_f1(truth, found, ["a", "b", "c"])
    assert one.value == pytest.approx(2 * 8 / (15 + 10))
    assert one.low <= one.value <= one.high
    assert span_f1(truth, truth).value == 1


@pytest.mark.parametrize(
    ("labels", "scores", "clusters", "what"),
    [
        ([1, 1], [0.1, 0.2], None, "all 2 labels are 1"),
        ([0, 1], [0.1], None, "2 labels for 1 scores"),
        ([0, 1], [0.1, float("nan")], None, "leave the item out"),
        ([0, 1], [0.1, 0.2], ["a", "a"], "one document"),
        ([0, 1], [0.1, 0.2], ["a"], "give one for each"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    labels: list[int], scores: list[float], clusters: list[str] | None, what: str
) -> None:
    with pytest.raises(EvalError, match=what):
        detection(labels, scores, clusters)


def test_spans_without_any_mark_or_of_other_items_are_refused() -> None:
    with pytest.raises(EvalError, match="nothing to compare"):
        span_f1([[], []], [[], []])
    with pytest.raises(EvalError, match="give one for each item"):
        span_f1([[Span(0, 1)]], [])
