"""How far people agree, against published examples and the formulas written out."""

from collections.abc import Hashable, Sequence
from fractions import Fraction

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


def ac1_by_hand(ratings: Sequence[Sequence[Hashable | None]]) -> Fraction:
    """Gwet (2014), chapter 5, equations for incomplete ratings: the agreement of the items with two ratings or more,
    and the chance of agreeing from the categories' mean shares over all items that have a rating."""
    rows = [[value for value in row if value is not None] for row in ratings]
    rated, paired = [row for row in rows if row], [row for row in rows if len(row) > 1]
    categories = {value for row in rows for value in row}
    alike = [
        sum(Fraction(row.count(k) * (row.count(k) - 1), len(row) * (len(row) - 1)) for k in categories)
        for row in paired
    ]
    shares = [sum(Fraction(row.count(k), len(row)) for row in rated) / len(rated) for k in categories]
    chance = sum(share * (1 - share) for share in shares) / (len(categories) - 1)
    return (sum(alike) / Fraction(len(paired)) - chance) / (1 - chance)


def test_four_raters_with_missing_ratings() -> None:
    """Alpha as Krippendorff (2011) publishes it, example C, nominal: 0.743. AC1 of the same data from its formula."""
    ratings = columns("123321412***", "1233224125*3", "*3332342251*", "12332441251*")
    found = coefficients(ratings, draws=200)
    assert found.kappa is None
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(0.743, abs=5e-4)
    assert ac1_by_hand(ratings) == Fraction(31825, 41041)
    assert found.ac1.value == pytest.approx(31825 / 41041)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from("ab") | st.none()] * 3), min_size=1, max_size=12))
def test_ac1_is_what_its_formula_says(ratings: list[tuple[str | None, ...]]) -> None:
    rows = [("a", "b", None), *ratings]
    assert coefficients(rows, categories="ab", draws=10).ac1.value == pytest.approx(float(ac1_by_hand(rows)))


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
    """118, 5, 2, 0 of 125. Alike: 118/125; chance by kappa (123 * 120 + 2 * 5) / 125^2, by AC1 2 * 243 * 7 / 250^2."""
    found = coefficients(pairs((118, 5), (2, 0)), draws=200)
    alike, kappas, ac1s = Fraction(118, 125), Fraction(123 * 120 + 2 * 5, 125**2), Fraction(2 * 243 * 7, 250**2)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(float((alike - kappas) / (1 - kappas)))
    assert found.ac1.value == pytest.approx(float((alike - ac1s) / (1 - ac1s)))
    assert found.kappa.value < 0 < 0.9 < found.ac1.value


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
    random, held, studies = np.random.default_rng(5), np.zeros(3), 200
    for study in range(studies):
        truth = random.random(100) < 0.15
        one, other = (np.where(truth, random.random(100) < 0.85, random.random(100) < 0.03) for _ in range(2))
        found = coefficients(list(zip(one.tolist(), other.tolist(), strict=True)), draws=200, seed=study)
        assert found.kappa is not None
        estimates = zip((found.raw, found.kappa, found.ac1), truths, strict=True)
        held += [estimate.low <= value <= estimate.high for estimate, value in estimates]
    assert (held / studies).min() >= 0.9
    assert (held / studies).max() <= 0.99


@pytest.mark.parametrize("documents", [2, 5, 20])
def test_intervals_hold_the_truth_where_documents_are_few_and_differ(documents: int) -> None:
    """Documents of which a quarter are hard: there people agree by chance alone, else always."""
    truths = {"kappa": 0.75, "ac1": 0.75}  # half of all are hallucinated, so chance agrees on half of the hard ones
    random, held, studies = np.random.default_rng(6), dict.fromkeys(truths, 0), 120
    size = 60 // documents
    for study in range(studies):
        one = random.random(documents * size) < 0.5
        hard = np.repeat(random.random(documents) < 0.25, size)
        other = np.where(hard, random.random(one.size) < 0.5, one)
        clusters = np.repeat(np.arange(documents), size).tolist()
        rows = list(zip(one.tolist(), other.tolist(), strict=True))
        found = coefficients(rows, categories=(False, True), clusters=clusters, draws=50, seed=study)
        for name, truth in truths.items():
            estimate = getattr(found, name)
            assert estimate is not None
            assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
            held[name] += estimate.low <= truth <= estimate.high
    assert min(held.values()) / studies >= 0.9


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
