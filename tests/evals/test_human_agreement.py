"""How far people agree, against published examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.errors import EvalError
from arriero.evals.human.agreement import agreement, coefficients
from arriero.evals.labels import Label

TABLES = st.tuples(*[st.integers(0, 30)] * 4).filter(lambda table: sum(table) >= 2 and min(table[0], table[3]) > 0)


def pairs(*rows: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ratings of two raters from their table: one row for each category of the first."""
    return [(a, b) for a, row in enumerate(rows) for b, count in enumerate(row) for _ in range(count)]


def columns(*raters: str) -> list[list[str | None]]:
    """Ratings from one text for each rater, `*` for none."""
    return [[None if value == "*" else value for value in row] for row in zip(*raters, strict=True)]


def test_two_raters_and_three_categories_as_in_gwets_handbook() -> None:
    """The table `cont3x3abstractors` of the package irrCAC by K. L. Gwet, and the values of its vignette."""
    found = coefficients(pairs((13, 0, 0), (0, 20, 7), (0, 4, 56)), draws=200)
    assert found.raw.value == pytest.approx(0.89)
    assert found.kappa is not None
    assert found.alpha is not None
    assert found.kappa.value == pytest.approx(0.7964094)
    assert found.alpha.value == pytest.approx(0.7972585)
    assert found.ac1.value == pytest.approx(0.8493305)


def test_four_raters_with_missing_ratings_as_krippendorff_and_gwet_publish_it() -> None:
    """Krippendorff (2011), example C, nominal: 0.743; Gwet's AC1 of the same data (irrCAC, cac.raw4raters): 0.77544."""
    ratings = columns("123321412***", "1233224125*3", "*3332342251*", "12332441251*")
    found = coefficients(ratings, draws=200)
    assert found.kappa is None
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(0.743, abs=5e-4)
    assert found.ac1.value == pytest.approx(0.77544, abs=5e-6)


def test_two_raters_of_yes_or_no_as_krippendorff_publishes_it() -> None:
    """Krippendorff (2011), example A: 0.095."""
    found = coefficients(columns("0100000010", "1110010000"), draws=200)
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(0.095, abs=5e-4)


def test_cohens_kappa_of_fifty_proposals() -> None:
    """20 yes and 15 no of both, 5 and 10 of one: the example of most textbooks, 0.4."""
    found = coefficients(pairs((20, 5), (10, 15)), draws=200)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(0.4)


def test_where_nearly_all_items_are_alike_kappa_falls_and_ac1_does_not() -> None:
    """Gwet (2002), Kappa statistic is not satisfactory: 118, 5, 2, 0: kappa -0.023, AC1 0.941."""
    found = coefficients(pairs((118, 5), (2, 0)), draws=200)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(-0.0234, abs=5e-5)
    assert found.ac1.value == pytest.approx(0.9408, abs=5e-5)


@settings(deadline=None)  # the first example imports scipy
@given(TABLES)
def test_every_coefficient_is_inside_its_interval_and_at_most_one(table: tuple[int, int, int, int]) -> None:
    found = coefficients(pairs(table[:2], table[2:]), categories=(0, 1), draws=60)
    for one in (found.raw, found.kappa, found.alpha, found.ac1):
        assert one is not None
        assert one.low <= one.value <= one.high <= 1 + 1e-9


@given(TABLES)
def test_it_does_not_matter_who_is_first_or_what_the_categories_are_called(table: tuple[int, int, int, int]) -> None:
    rows = pairs(table[:2], table[2:])
    one = coefficients(rows, categories=(0, 1), draws=20)
    other = coefficients([("ab"[b], "ab"[a]) for a, b in rows], categories="ba", draws=20)
    for first, second in ((one.kappa, other.kappa), (one.alpha, other.alpha), (one.ac1, other.ac1)):
        assert first is not None
        assert second is not None
        assert first.value == pytest.approx(second.value)


def test_full_agreement_on_some_items_is_not_certain_agreement() -> None:
    few, many = coefficients(pairs((10, 0), (0, 10)), draws=50), coefficients(pairs((100, 0), (0, 100)), draws=50)
    for small, large in ((few.kappa, many.kappa), (few.alpha, many.alpha), (few.ac1, many.ac1)):
        assert small is not None
        assert large is not None
        assert small.value == large.value == 1
        assert small.low < large.low < 1


def test_clusters_widen_the_intervals() -> None:
    rows = pairs((30, 3), (3, 24)) * 3
    plain, clustered = coefficients(rows), coefficients(rows, clusters=[n % 60 // 3 for n in range(len(rows))])
    again = coefficients(rows, clusters=[n % 60 // 3 for n in range(len(rows))])
    assert plain.kappa is not None
    assert clustered.kappa is not None
    assert clustered.kappa.width > plain.kappa.width
    assert clustered.kappa.value == plain.kappa.value
    assert clustered == again


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Two people who each miss 15 % of the hallucinations and see 3 % too many, 100 items, 15 % hallucinated."""
    both = 0.15 * 0.85**2 + 0.85 * 0.03**2
    marked = 0.15 * 0.85 + 0.85 * 0.03
    observed, chance = 1 - 2 * (marked - both), marked**2 + (1 - marked) ** 2
    ac1_chance = 2 * marked * (1 - marked)
    truths = (observed, (observed - chance) / (1 - chance), (observed - ac1_chance) / (1 - ac1_chance))
    random, held, studies = np.random.default_rng(5), np.zeros(3), 250
    for study in range(studies):
        truth = random.random(100) < 0.15
        one, other = (np.where(truth, random.random(100) < 0.85, random.random(100) < 0.03) for _ in range(2))
        found = coefficients(list(zip(one.tolist(), other.tolist(), strict=True)), draws=400, seed=study)
        assert found.kappa is not None
        estimates = zip((found.raw, found.kappa, found.ac1), truths, strict=True)
        held += [estimate.low <= value <= estimate.high for estimate, value in estimates]
    assert (held / studies).min() >= 0.9
    assert (held / studies).max() <= 0.99


def test_whoever_only_settled_disputes_does_not_count() -> None:
    ana = [Label(str(n), "ana", n % 2) for n in range(20)]
    ben = [Label(str(n), "ben", n % 2 if n < 15 else 1 - n % 2) for n in range(20)]
    cara = [Label(str(n), "cara", 1) for n in range(15, 20)]
    found = agreement([*cara, *ana, *ben])
    assert found.annotators == ("ana", "ben")
    assert found.items == 20
    assert found.raw.value == 0.75
    assert found.disputed == ("15", "16", "17", "18", "19")
    assert agreement([*ana, *ben, *cara], annotators=("ana", "ben", "cara")).kappa is None


def test_items_of_which_one_could_not_say_do_not_count() -> None:
    ana = [Label(str(n), "ana", n % 2) for n in range(20)]
    ben = [Label(str(n), "ben", None if n < 5 else n % 2) for n in range(20)]
    assert agreement([*ana, *ben]).items == 15


@pytest.mark.parametrize("count", [0, 9])
def test_too_few_items_in_common_say_nothing(count: int) -> None:
    labels = [Label(str(n), name, n % 2) for n in range(count) for name in ("ana", "ben")]
    with pytest.raises(EvalError, match=f"{count} items in common"):
        agreement([*labels, *(Label(f"own {n}", "ana", 1) for n in range(30))])


@pytest.mark.parametrize(
    ("ratings", "categories", "says"),
    [
        ([(0, 1), (1,)], None, "differ in length"),
        ([(0, 2)], (0, 1), "2 is none of the categories"),
        ([(0, None), (None, 1)], None, "no item has two ratings"),
        ([], None, "no item has two ratings"),
        ([(1, 1), (1, 1)], None, "one category only"),
    ],
)
def test_ratings_that_say_nothing_are_refused(
    ratings: list[tuple[int | None, ...]], categories: object, says: str
) -> None:
    with pytest.raises(EvalError, match=says):
        coefficients(ratings, categories=categories)  # type: ignore[arg-type]


def test_where_all_labels_are_the_same_only_ac1_is_defined() -> None:
    found = coefficients(pairs((30, 0), (0, 0)), categories=(0, 1))
    assert found.kappa is None
    assert found.alpha is None
    assert found.ac1.value == 1
    assert found.ac1.low < 1
