"""Scores made into probabilities: what a calibration keeps, and when it is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.judges.calibration import (
    CalibratedJudge,
    Calibration,
    CalibrationRefused,
    InvalidCalibration,
    Method,
    crossfitted,
    digest,
)
from arriero.evals.statistics.estimate import Floats

METHODS: tuple[Method, ...] = ("platt", "isotonic")


def study(seed: int, n: int = 400, exponent: float = 3.0) -> tuple[Floats, Floats, list[int]]:
    """Labels whose true probability is the score to a power: scores that are far too high."""
    generator = np.random.default_rng(seed)
    scores = generator.uniform(size=n)
    labels = (generator.uniform(size=n) < scores**exponent).astype(float)
    return scores, labels, [int(i) // 4 for i in range(n)]


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_scores_say_how_often_it_happens(method: Method) -> None:
    scores, labels, documents = study(1, n=4000)
    found = Calibration.fit(scores, labels, documents, method=method)
    for score in (0.3, 0.5, 0.7, 0.9):
        assert found.apply(score) == pytest.approx(score**3, abs=0.08)
    assert found.brier_calibrated < found.brier - 0.05
    assert found.n == 4000
    assert found.rate == pytest.approx(labels.mean())


def test_scores_that_are_right_already_stay_as_they_are() -> None:
    scores, labels, documents = study(2, n=6000, exponent=1.0)
    found = Calibration.fit(scores, labels, documents)
    assert max(abs(found.apply(score) - score) for score in (0.05, 0.3, 0.6, 0.95)) < 0.03


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS), pair=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_calibration_never_reverses_the_order_of_scores(seed: int, method: Method, pair: tuple[float, float]) -> None:
    found = Calibration.fit(*study(seed, n=120), method=method)
    low, high = sorted(pair)
    assert 0 <= found.apply(low) <= found.apply(high) <= 1


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_calibration_gives_the_same_scores(tmp_path: Path, method: Method) -> None:
    found = Calibration.fit(*study(3), method=method, judge={"kind": "llama", "model": "a"})
    found.save(tmp_path / "calibration.json")
    assert Calibration.load(tmp_path / "calibration.json") == found


def test_an_item_is_calibrated_without_its_own_document() -> None:
    scores, labels, documents = study(4, n=80)
    before = crossfitted(scores, labels, documents)
    document = documents[0]
    own = [at for at, one in enumerate(documents) if one == document]
    turned = labels.copy()
    turned[own] = 1 - turned[own]
    after = crossfitted(scores, turned, documents)
    assert np.array_equal(before[own], after[own])
    assert not np.array_equal(before, after)


def test_isotonic_follows_what_a_line_cannot() -> None:
    generator = np.random.default_rng(5)
    scores = generator.uniform(size=4000)
    labels = (generator.uniform(size=4000) < np.where(scores < 0.9, 0.1, 0.8)).astype(float)
    steps, line = (Calibration.fit(scores, labels, method=method) for method in ("isotonic", "platt"))
    assert steps.brier_calibrated < line.brier_calibrated
    assert steps.apply(0.5) == pytest.approx(0.1, abs=0.05)
    assert steps.apply(0.97) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_separate_give_no_certainty(method: Method) -> None:
    found = Calibration.fit([0.0] * 15 + [1.0] * 15, [0] * 15 + [1] * 15, method=method)
    assert 0 < found.apply(0.0) < 0.1
    assert 0.9 < found.apply(1.0) < 1


@pytest.mark.parametrize(
    ("scores", "labels", "clusters", "said"),
    [
        ([0.5] * 10, [0, 1] * 5, None, "label at least 20"),
        (np.linspace(0, 1, 40), [1] * 40, None, "0 supported items"),
        (np.linspace(0, 1, 40), [0] * 36 + [1] * 4, None, "5 of each kind"),
        (np.linspace(0, 1, 40), [1] * 20 + [0] * 20, None, "cannot be calibrated"),
        ([0.5] * 40, [0, 1] * 20, None, "cannot be calibrated"),
        (np.linspace(0, 1, 40), [0] * 20 + [1] * 20, ["a"] * 40, "two of each"),
        (np.linspace(0, 1, 40), [0] * 20 + [1] * 20, ["a"] * 20 + ["b"] * 20, "all of one document"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_scores_that_cannot_be_calibrated_are_refused(
    scores: ArrayLike, labels: ArrayLike, clusters: list[str] | None, said: str, method: Method
) -> None:
    with pytest.raises(CalibrationRefused, match=said):
        Calibration.fit(scores, labels, clusters, method=method)


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [([1.5] * 40, [0, 1] * 20, "from 0 to 1"), ([0.5] * 40, [0, 1], "one label for each"), ([0.5], [3], "0 or 1")],
)
def test_misuse_says_what_is_wrong(scores: list[float], labels: list[int], said: str) -> None:
    with pytest.raises(EvalError, match=said):
        Calibration.fit(scores, labels)


@pytest.mark.parametrize(
    "damage",
    [
        {"shape": []},
        {"shape": [[-1.0, 0.0]]},
        {"shape": [[0.5, 0.9], [0.6, 0.1]], "method": "isotonic"},
        {"method": "magic"},
        {"n": "many"},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: dict[str, object]) -> None:
    file = tmp_path / "calibration.json"
    Calibration.fit(*study(6)).save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    with pytest.raises(InvalidCalibration, match=r"calibration\.json"):
        Calibration.load(file)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidCalibration, match="arriero eval calibrate"):
        Calibration.load(tmp_path / "none.json")


class Stored:
    """A judge whose scores are known."""

    name = "stored"
    threshold = 0.5

    def __init__(self, model: str = "a") -> None:
        self.fingerprint: Mapping[str, object] = {"judge": "stored", "model": model}

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        return [
            Judgement(one.id, self.name, None, failed="no answer")
            if not one.response
            else Judgement(one.id, self.name, float(one.response))
            for one in items
        ]


@pytest.mark.anyio
async def test_a_calibrated_judge_gives_probabilities_and_keeps_failures() -> None:
    judge = Stored()
    calibration = Calibration.fit(*study(7), judge=judge.fingerprint)
    calibrated = CalibratedJudge(judge, calibration)
    items = [GroundingItem("a", (), "0.8"), GroundingItem("b", (), "")]
    first, second = await calibrated.judge(items)
    assert first.score == calibration.apply(0.8)
    assert (second.score, second.failed) == (None, "no answer")
    assert digest(calibrated.fingerprint) != digest(judge.fingerprint)
    other = CalibratedJudge(judge, replace(calibration, shape=((1.0, 0.0),)))
    assert digest(calibrated.fingerprint) != digest(other.fingerprint)


def test_a_calibration_of_another_judge_is_refused() -> None:
    calibration = Calibration.fit(*study(8), judge=Stored("a").fingerprint)
    with pytest.raises(InvalidCalibration, match="another judge"):
        CalibratedJudge(Stored("b"), calibration)


def test_a_new_version_of_a_library_makes_no_other_judge() -> None:
    judge = Stored()
    calibration = Calibration.fit(*study(9), judge={**judge.fingerprint, "versions": {"torch": "1"}})
    judge.fingerprint = {**judge.fingerprint, "versions": {"torch": "2"}}
    assert CalibratedJudge(judge, calibration).threshold == 0.5
