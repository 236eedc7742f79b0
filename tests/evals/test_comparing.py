"""Systems side by side on the same items."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.comparing import compare_runs, paired
from arriero.evals.errors import EvalError
from arriero.evals.evaluate import evaluate
from arriero.evals.evaluation import Evaluation
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.planning import Plan
from arriero.evals.statistics import cluster_tango, mcnemar, prediction_powered_difference, sign_flip, tango

JUDGE = {"name": "made"}


def run(
    name: str,
    truth: Sequence[int],
    *,
    flags: Sequence[bool] | None = None,
    labelled: int | None = None,
    size: int = 1,
    judge: Mapping[str, object] = JUDGE,
    random_labels: bool = True,
) -> Evaluation:
    items = [
        GroundingItem(str(n), ("Mules walk.",), name, doc_id=f"d{n // size}", extra={"task": f"t{n}"})
        for n in range(len(truth))
    ]
    said = [Judgement(str(n), "made", 0.9 if flag else 0.1) for n, flag in enumerate(flags or map(bool, truth))]
    known: dict[str, Literal[0, 1]] = {str(n): 1 if one else 0 for n, one in enumerate(truth[:labelled])}
    return evaluate(items, said, judge=judge, threshold=0.5, name=name, labels=known, random_labels=random_labels)


def systems(seed: int = 0, more: float = 0.15, items: int = 1_200) -> tuple[Any, Any, Any, Any]:
    """What two systems do, and what a judge flags that misses much."""
    rng = np.random.default_rng(seed)
    before = rng.random(items) < 0.1
    after = before | (rng.random(items) < more)

    def flags(truth: Any) -> Any:
        return np.where(truth, rng.random(items) < 0.6, rng.random(items) < 0.2)

    return before, after, flags(before), flags(after)


def test_labels_decide_where_every_pair_has_them() -> None:
    (found,) = compare_runs(run("a", [0] * 380 + [1] * 20), [run("b", [0] * 340 + [1] * 60)])
    assert (found.by, found.conclusion, found.refused) == ("labels", "worse", None)
    assert found.corrected == found.found.difference
    assert found.found.flips == {(0, 0): 340, (0, 1): 40, (1, 0): 0, (1, 1): 20}
    assert (found.labelled, found.failed, found.unpaired) == (400, 0, (0, 0))
    assert found.judge == {}


def test_flags_are_called_flags_until_labelled_pairs_correct_them() -> None:
    before, after, flagged, flagged_after = systems()
    base = run("a", list(before), flags=list(flagged), labelled=0)
    (alone,) = compare_runs(base, [run("b", list(after), flags=list(flagged_after), labelled=0)])
    assert (alone.by, alone.corrected) == ("judge", None)
    assert "no pair has labels on both sides" in (alone.refused or "")
    assert any("of what the judge flags, not of hallucination" in caveat for caveat in alone.caveats)
    truth = float(after.mean() - before.mean())
    assert not alone.found.difference.low <= truth <= alone.found.difference.high
    base = run("a", list(before), flags=list(flagged), labelled=250)
    (found,) = compare_runs(base, [run("b", list(after), flags=list(flagged_after), labelled=250)])
    assert found.corrected is not None
    assert found.corrected.low <= truth <= found.corrected.high
    assert (found.labelled, found.refused, found.conclusion) == (250, None, "worse")


def test_labels_that_are_no_random_sample_correct_no_difference() -> None:
    before, after, flagged, flagged_after = systems()
    base = run("a", list(before), flags=list(flagged), labelled=250)
    other = run("b", list(after), flags=list(flagged_after), labelled=250, random_labels=False)
    (found,) = compare_runs(base, [other])
    assert found.corrected is None
    assert "no random sample" in (found.refused or "")
    nothing = run("a", list(before), flags=list(flagged), labelled=0, random_labels=False)
    (found,) = compare_runs(nothing, [other])
    assert "no pair has labels on both sides" in (found.refused or "")


def test_a_judge_adds_nothing_where_all_pairs_have_labels() -> None:
    before, after, *_ = systems()
    base, other = run("a", list(before)), run("b", list(after))
    (by_labels,), (by_judge,) = compare_runs(base, [other]), compare_runs(base, [other], by="judge")
    assert by_labels.corrected is not None
    assert by_judge.corrected is not None
    assert by_judge.corrected.value == by_labels.corrected.value
    assert by_judge.corrected.width == pytest.approx(by_labels.corrected.width, rel=0.02)


def test_a_judge_is_held_fixed() -> None:
    base = run("a", [0, 1] * 50, labelled=0)
    other = run("b", [0, 1] * 50, labelled=0, judge={"name": "made", "revision": "2"})
    with pytest.raises(EvalError, match=r"different judges \(revision\)"):
        compare_runs(base, [other])
    labelled = run("b", [0, 1] * 50, judge={"name": "other"})
    assert compare_runs(run("a", [0, 1] * 50), [labelled])[0].by == "labels"  # no judge decides there


def test_pairs_are_made_by_id_or_by_a_field() -> None:
    base, other = run("a", [0, 1] * 50), run("b", [0, 1] * 60)
    (found,) = compare_runs(base, [other])
    assert (len(found.pairs), found.unpaired) == (100, (0, 20))
    renamed = replace(
        other, items=tuple(replace(one, item=replace(one.item, id=f"b-{one.item.id}")) for one in other.items)
    )
    with pytest.raises(EvalError, match="no item of the baseline is among those of the candidate by 'id'"):
        compare_runs(base, [renamed])
    assert len(compare_runs(base, [renamed], pair="task")[0].pairs) == 100
    with pytest.raises(EvalError, match="has no field 'nothing'"):
        compare_runs(base, [renamed], pair="nothing")
    with pytest.raises(EvalError, match="are there twice, such as '0'"):
        paired([*base.items, base.items[0]], other.items)
    with pytest.raises(EvalError, match="nothing to compare"):
        compare_runs(base, [])


def test_pairs_that_the_judge_failed_are_left_out_and_counted() -> None:
    base, other = run("a", [0, 1] * 100, labelled=0), run("b", [0, 1] * 100, labelled=0)
    broken = tuple(replace(one, flagged=None) if n < 7 else one for n, one in enumerate(other.items))
    (found,) = compare_runs(base, [replace(other, items=broken)])
    assert (found.failed, len(found.pairs)) == (7, 193)
    assert any("7 of 200 pairs are left out: the judge failed" in caveat for caveat in found.caveats)
    (labels,) = compare_runs(run("a", [0, 1] * 100, labelled=150), [run("b", [0, 1] * 100)], by="labels")
    assert (labels.failed, len(labels.pairs)) == (50, 150)


def test_of_several_candidates_one_that_may_be_so_by_chance_is_taken_back() -> None:
    base = run("a", [0] * 200)
    lucky = [run(name, [0] * 193 + [1] * 7) for name in "bcdefgh"]  # p = 0.0156 each
    (alone,) = compare_runs(base, lucky[:1])
    assert alone.conclusion == "worse"
    assert alone.p_adjusted == alone.found.p_value
    several = compare_runs(base, lucky)
    assert {one.conclusion for one in several} == {"undecided"}
    assert several[0].p_adjusted == pytest.approx(7 * alone.p_adjusted)
    assert any("alone would count as worse" in caveat for caveat in several[0].caveats)


def test_an_interval_and_a_test_that_disagree_decide_nothing() -> None:
    (found,) = compare_runs(run("a", [0] * 85 + [1] * 11), [run("b", [0] * 62 + [1] * 23 + [0] * 11)])
    assert found.found.difference.low > 0
    assert found.p_adjusted > 0.05
    assert found.conclusion == "undecided"
    assert any("its interval tells the two apart, the test (p 0.058) does not" in one for one in found.caveats)


def test_the_p_value_is_that_of_the_difference_that_decides() -> None:
    """A judge that is harder on one system sees a difference for sure, and there is none."""
    rng = np.random.default_rng(4)
    truth = rng.random(1_000) < 0.1
    harder = truth | (rng.random(1_000) < 0.2)
    base = run("a", list(truth), labelled=200)
    (found,) = compare_runs(base, [run("b", list(truth), flags=list(harder), labelled=200)])
    assert found.found.p_value < 0.001
    assert found.p_adjusted > 0.05
    assert found.conclusion != "worse"
    assert not any("on the edge" in caveat for caveat in found.caveats)


def test_runs_that_are_alike_are_not_worse_only_with_enough_items() -> None:
    few = compare_runs(run("a", [0] * 45 + [1] * 5), [run("b", [0] * 45 + [1] * 5)])[0]
    many = compare_runs(run("a", [0] * 1_800 + [1] * 200), [run("b", [0] * 1_800 + [1] * 200)])[0]
    assert (few.conclusion, many.conclusion) == ("undecided", "not worse")
    assert few.found.difference.high > 0.02
    assert few.smallest is None  # nothing flipped, so nothing tells how much does
    by_document = compare_runs(run("a", [0, 1] * 25, size=5), [run("b", [0, 1] * 25, size=5)])[0]
    assert by_document.conclusion == "undecided"  # no flip in ten documents is no proof


def test_the_difference_that_is_told_to_be_visible_is_found_as_often_as_told() -> None:
    rng = np.random.default_rng(0)
    plan = Plan(rate=0.1, flipped=0.12)
    shown = plan.smallest(400)
    lost, won = (0.12 + shown) / 2, (0.12 - shown) / 2
    flips = rng.multinomial(400, [lost, won, 0.88], size=1_000)
    found = np.mean([tango(int(a), int(b), 400).low > 0 for a, b, _ in flips])
    assert found == pytest.approx(0.8, abs=0.04)


def test_a_plan_takes_clusters_and_candidates_for_what_they_cost() -> None:
    plain, clustered = Plan(rate=0.1), Plan(rate=0.1, per_document=5, alike=0.25)
    assert clustered.items(0.05) == pytest.approx(2 * plain.items(0.05), abs=1)
    assert Plan(rate=0.1, candidates=5).items(0.05) > plain.items(0.05)
    assert plain.labels(0.1, 0.9) < plain.labels(0.1, 0.5) < plain.labels(0.1)
    assert plain.width(plain.labels(0.1)) == pytest.approx(0.1, abs=0.001)
    assert plain.margin(plain.items_for_margin(0.05)) == pytest.approx(0.05, abs=0.001)
    assert plain.smallest(plain.items(0.05)) == pytest.approx(0.05, abs=0.001)
    with pytest.raises(EvalError, match=r"rate is 1\.2"):
        Plan(rate=1.2)


FLIPS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([-1, 0, 0, 0, 1])), min_size=6, max_size=80)


@settings(deadline=None)
@given(FLIPS)
def test_exchanging_systems_mirrors_every_difference(rows: list[tuple[int, int]]) -> None:
    clusters, differences = [row[0] for row in rows], np.array([row[1] for row in rows])
    sums = np.bincount(clusters, differences)
    assert sign_flip(sums) == pytest.approx(sign_flip(-sums))
    if len(set(clusters)) > 1:
        one, other = cluster_tango(differences, clusters), cluster_tango(-differences, clusters)
        assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-6)
        assert one.low <= one.value <= one.high
        assert one.low >= -1
        assert one.high <= 1


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_it_mirrors_the_corrected_difference_too(seed: int) -> None:
    before, after, flagged, flagged_after = systems(seed, items=150)
    truth, said = after.astype(int) - before, flagged_after.astype(int) - flagged
    one, p_value = prediction_powered_difference(truth[:60], said[:60], said[60:])
    other, mirrored = prediction_powered_difference(-truth[:60], -said[:60], -said[60:])
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert p_value == pytest.approx(mirrored)
    assert (p_value < 0.05) is (one.low > 0 or one.high < 0)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30))
def test_over_clusters_of_one_item_the_exact_test_is_mcnemars(lost: int, won: int) -> None:
    assert sign_flip([1] * lost + [-1] * won + [0] * 5) == pytest.approx(mcnemar(lost, won))


@settings(deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_exact_test_counts_all_signs(sums: list[int]) -> None:
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(sums))).reshape(len(sums), -1)
    reached = np.abs(np.abs(np.array(sums)) @ signs) >= abs(sum(sums))
    assert sign_flip(sums) == pytest.approx(reached.mean())


def test_a_document_that_flips_as_a_whole_is_one_flip() -> None:
    whole = [1] * 50 + [0] * 450
    one = compare_runs(run("a", [0] * 500, size=50), [run("b", whole, size=50)])[0]
    assert one.found.p_value == 1.0
    assert one.conclusion == "undecided"
    assert one.found.resampled is not None
    spread = [1 if n % 10 == 0 else 0 for n in range(500)]
    assert compare_runs(run("a", [0] * 500, size=50), [run("b", spread, size=50)])[0].conclusion == "worse"
