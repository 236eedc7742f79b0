"""From items chosen at random to a judge's quality and the corrected rate."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.evals.calibrating import Plan, PlanDiffers, calibrate, choose, fit_scores, read_plan, write_plan
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.judges.calibration import Calibration, CalibrationRefused
from arriero.evals.labels import Label
from arriero.evals.runs import Judging, Subject


def items_of(count: int, per_document: int = 4) -> tuple[GroundingItem, ...]:
    return tuple(
        GroundingItem(f"item-{n}", ("Mules are patient.",), "Mules fly.", doc_id=f"doc-{n // per_document}")
        for n in range(count)
    )


def studied(
    folder: Path, *, rate: float = 0.15, catches: float = 0.8, passes: float = 0.85, seed: int = 0, count: int = 800
) -> tuple[Subject, Judging, dict[str, int]]:
    """Items of a known truth, and a judge of a known quality."""
    random, items = np.random.default_rng(seed), items_of(count)
    truth = {item.id: int(random.random() < rate) for item in items}

    def score(value: int) -> float:
        flagged = random.random() < (catches if value else 1 - passes)
        return float(0.5 + 0.5 * random.random() if flagged else 0.5 * random.random())

    said = {id_: Judgement(id_, "mine", score(value)) for id_, value in truth.items()}
    return Subject("mules", folder, items), Judging("mine", 0.5, {"kind": "made"}, said), truth


def labelled(subject: Subject, truth: dict[str, int], size: int = 150, **options: int) -> Subject:
    """With a random sample labelled."""
    plan = choose(subject.items, size, **options)
    write_plan(subject.path, plan)
    return replace(subject, labels=tuple(Label(id_, "ana", 1 if truth[id_] else 0) for id_ in plan.ids))


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 9))
def test_more_labels_go_on_with_the_same_order(size: int, more: int, seed: int) -> None:
    items = items_of(50)
    small = choose(items, size, seed=seed)
    large = choose(items, size + more, earlier=small)
    assert large.ids[: len(small.ids)] == small.ids
    assert len(large.ids) == min(50, size + more)
    assert choose(items[::-1], size, seed=seed) == small


@given(st.integers(1, 30), st.integers(1, 50))
def test_items_that_came_later_leave_nothing_out_that_was_chosen(size: int, later: int) -> None:
    items = items_of(100)
    before = choose(items[:-later], size)
    after = choose(items, size, earlier=before)
    order = choose(items, 100).ids
    assert set(before.ids) <= set(after.ids)
    assert after.ids == order[: len(after.ids)]


def test_a_smaller_number_takes_nothing_back() -> None:
    plan = choose(items_of(100), 60)
    assert choose(items_of(100), 20, earlier=plan) == plan


def test_every_item_is_chosen_equally_often_and_documents_in_proportion() -> None:
    items = [*items_of(40, 20), *(replace(item, id=f"own {item.id}", doc_id="") for item in items_of(10))]
    chosen = [choose(items, 10, seed=seed) for seed in range(1_000)]
    counts = np.bincount(
        [next(n for n, item in enumerate(items) if item.id == id_) for plan in chosen for id_ in plan.ids]
    )
    assert counts.min() > 150  # 200 expected, with a standard deviation of 12.6
    assert counts.max() < 250
    assert {plan.all_documents for plan in chosen} == {12}
    assert np.mean([plan.documents for plan in chosen]) > 3


def test_another_seed_is_another_sample_and_refused_where_one_was_begun() -> None:
    plan = choose(items_of(100), 20, seed=1)
    assert choose(items_of(100), 20, seed=2).ids != plan.ids
    assert choose(items_of(100), 20, earlier=plan) == plan
    with pytest.raises(PlanDiffers, match="seed 1"):
        choose(items_of(100), 20, seed=2, earlier=plan)


@pytest.mark.parametrize(("count", "size"), [(0, 10), (10, 0)])
def test_nothing_can_be_chosen_from_nothing(count: int, size: int) -> None:
    with pytest.raises(EvalError, match=f"{size} of {count}"):
        choose(items_of(count), size)


def test_a_plan_is_kept_in_a_runs_folder_or_beside_a_file(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text("")
    plan = choose(items_of(30), 20)
    for path, kept in ((tmp_path, "calibration.json"), (file, "answers.jsonl.calibration.json")):
        assert read_plan(path) is None
        write_plan(path, plan)
        assert read_plan(path) == plan
        assert (tmp_path / kept).is_file()


@pytest.mark.parametrize("damage", ["", "{}", '{"plan": {"seed": 0}}', '{"plan": null, "format": 1}', "\x00"])
def test_a_damaged_plan_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / "calibration.json").write_text(damage)
    with pytest.raises(EvalError, match=r"calibration\.json"):
        read_plan(tmp_path)


def test_a_plan_of_a_later_version_is_not_guessed_at(tmp_path: Path) -> None:
    write_plan(tmp_path, choose(items_of(30), 20))
    kept = json.loads((tmp_path / "calibration.json").read_text())
    (tmp_path / "calibration.json").write_text(json.dumps(kept | {"format": 2}))
    with pytest.raises(EvalError, match="format 2"):
        read_plan(tmp_path)


def test_the_judge_is_measured_and_the_rate_corrected(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    found = calibrate(labelled(subject, truth), judging)
    rate = found.rate
    assert rate.correction == "PPI++"
    assert rate.quality is not None
    assert rate.quality.sensitivity.low < 0.8 < rate.quality.sensitivity.high
    assert rate.quality.specificity.low < 0.85 < rate.quality.specificity.high
    assert rate.corrected is not None
    assert rate.corrected.low < np.mean(list(truth.values())) < rate.corrected.high
    assert rate.flagged is not None
    assert rate.flagged.low > 0.15
    assert (found.unlabelled, found.disputed, found.unsure, found.came_along) == ((), (), (), 0)


def test_the_corrected_rate_is_right_on_average_and_the_flagged_share_is_not(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    rates = []
    for seed in range(20):
        (tmp_path / "calibration.json").unlink(missing_ok=True)
        rates.append(calibrate(labelled(subject, truth, seed=seed), judging).rate)
    corrected = [rate.corrected for rate in rates if rate.corrected is not None]
    true = float(np.mean(list(truth.values())))
    assert len(corrected) == 20
    assert np.mean([one.value for one in corrected]) == pytest.approx(true, abs=0.015)
    assert sum(one.low <= true <= one.high for one in corrected) >= 17
    assert all(rate.flagged is not None and rate.flagged.value - true > 0.08 for rate in rates)


def test_labels_of_items_that_were_not_chosen_do_not_count(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    some = labelled(subject, truth)
    worst = [Label(item.id, "ana", 1) for item in subject.items if item.id not in {one.item_id for one in some.labels}]
    assert calibrate(replace(some, labels=(*some.labels, *worst[:200])), judging).rate == calibrate(some, judging).rate


def test_without_chosen_items_every_label_counts_and_they_are_no_random_sample(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    some = tuple(Label(item.id, "ana", 1 if truth[item.id] else 0) for item in subject.items[:200])
    found = calibrate(replace(subject, labels=some), judging)
    assert found.plan is None
    assert found.rate.correction == "Rogan-Gladen"
    assert found.forecast == ()


def test_items_that_are_not_settled_are_told_and_left_out(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    some = labelled(subject, truth)
    first, second, third, *rest = some.labels
    other = Label(second.item_id, "ben", 1 - (second.value or 0))  # type: ignore[arg-type]
    found = calibrate(replace(some, labels=(replace(first, value=None), second, other, *rest)), judging)
    assert found.unsure == (first.item_id,)
    assert found.disputed == (second.item_id,)
    assert found.unlabelled == (third.item_id,)
    assert found.rate.labelled == 147
    assert found.evaluation.caveats[0].startswith("3 of the 150 items that were chosen at random have no label")
    assert not any("have no label" in one for one in calibrate(some, judging).evaluation.caveats)


def test_labels_that_items_came_with_count_where_nobody_said_otherwise(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    carried = tuple(replace(item, label=1 if truth[item.id] else 0) for item in subject.items)
    write_plan(tmp_path, plan := choose(subject.items, 100))
    found = calibrate(replace(subject, items=carried, labels=(Label(plan.ids[0], "ana", None),)), judging)
    assert found.came_along == 99
    assert found.unsure == plan.ids[:1]
    assert found.rate.labelled == 99


def test_how_far_two_people_agree_comes_along(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    some = labelled(subject, truth)
    ben = [replace(label, annotator="ben") for label in some.labels[:40]]
    found = calibrate(replace(some, labels=(*some.labels, *ben)), judging)
    assert found.agreement is not None
    assert (found.agreement.items, found.agreement.raw.value) == (40, 1.0)
    assert calibrate(some, judging).agreement is None


def test_a_judge_no_better_than_a_coin_is_refused_and_the_labels_alone_speak(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path, catches=0.5, passes=0.55)
    rate = calibrate(labelled(subject, truth), judging).rate
    assert rate.refused is not None
    assert "too little" in rate.refused
    assert rate.correction == "labels only"


@pytest.mark.parametrize(("rate", "says"), [(0.0, "supported"), (1.0, "hallucinated")])
def test_labels_of_one_kind_are_refused(tmp_path: Path, rate: float, says: str) -> None:
    subject, judging, truth = studied(tmp_path, rate=rate)
    found = calibrate(labelled(subject, truth), judging)
    assert found.rate.refused is not None
    assert says in found.rate.refused
    assert found.rate.correction != "PPI++"


def test_without_labels_there_is_no_rate(tmp_path: Path) -> None:
    subject, judging, _ = studied(tmp_path)
    write_plan(tmp_path, choose(subject.items, 100))
    found = calibrate(subject, judging)
    assert found.rate.corrected is None
    assert found.rate.refused is not None
    assert len(found.unlabelled) == 100
    assert found.forecast == ()


def test_more_labels_are_foretold_to_bring_what_they_bring(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path, count=2_000)
    found = calibrate(labelled(subject, truth, 150), judging)
    widths = {one.labels: one.width for one in found.forecast}
    assert list(widths) == [200, 300, 500, 1_000]
    assert sorted(widths.values(), reverse=True) == list(widths.values())
    (tmp_path / "calibration.json").unlink()
    more = calibrate(labelled(subject, truth, 500), judging).rate.corrected
    assert more is not None
    assert widths[500] == pytest.approx(more.width, rel=0.25)


def test_scores_are_fitted_to_the_labels_and_kept(tmp_path: Path) -> None:
    subject, judging, truth = studied(tmp_path)
    fitted = fit_scores(labelled(subject, truth), judging)
    fitted.save(tmp_path / "fitted.json")
    assert Calibration.load(tmp_path / "fitted.json") == fitted
    assert fitted.n == 150
    assert fitted.apply(0.9) > fitted.apply(0.1)


@pytest.mark.parametrize("some", [lambda subject, truth: subject, lambda subject, truth: labelled(subject, truth, 10)])
def test_scores_are_not_fitted_to_too_few_labels(
    tmp_path: Path, some: Callable[[Subject, dict[str, int]], Subject]
) -> None:
    subject, judging, truth = studied(tmp_path)
    with pytest.raises(CalibrationRefused, match="label"):
        fit_scores(some(subject, truth), judging)


def test_a_plan_says_what_it_is() -> None:
    assert str(Plan(3, ("a", "b"), 40, 2, 9)) == (
        "2 of 40 judged items, a simple random sample (seed 3) over 2 of 9 documents"
    )
