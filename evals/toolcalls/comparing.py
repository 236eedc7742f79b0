"""Variants on the same items: which of them is worse, and what can be said at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from arriero.evals.errors import EvalError
from arriero.evals.measures.rates import clusters_of, share
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.statistics.paired import Comparison, Conclusion, compare, conclude, holm
from arriero.evals.statistics.power import difference_for_items, items_for_non_inferiority

EXPECTED_FLIPS = 0.1
"""Share of items on which two variants are taken to differ while nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of items in one variant.

    Args:
        name: The variant.
        bad: By item, whether it went wrong; items without an answer are not in it.
    """

    name: str
    bad: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """What a variant does on the items of the baseline.

    Args:
        measure: What is compared, such as `tool calls right`.
        base: Name of the baseline.
        candidate: Name of the variant.
        base_rate: Share of the compared items that go right in the baseline.
        candidate_rate: The same of the variant.
        found: Difference of the shares that go wrong, with flips and test.
        p_adjusted: The p value, adjusted for several variants by Holm's method.
        conclusion: `worse`, `better`, `not worse` by more than the margin, or `undecided`, which is not equal. Among
            several variants `worse` and `better` need an adjusted p value that says so too.
        items: Items that both answered.
        left_out: Items that one of them did not.
    """

    measure: str
    base: str
    candidate: str
    base_rate: Estimate
    candidate_rate: Estimate
    found: Comparison
    p_adjusted: float
    conclusion: Conclusion
    items: int
    left_out: int


def compare_variants(
    measure: str,
    base: Outcomes,
    candidates: Sequence[Outcomes],
    *,
    clusters: Mapping[str, str],
    margin: float = 0.05,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[VariantComparison, ...]:
    """Compare variants with a baseline, item by item.

    Args:
        measure: What is compared.
        base: The baseline.
        candidates: The variants.
        clusters: The document of each item; items that are alone in theirs count as independent.
        margin: Largest loss that still counts as not worse; chosen before looking.
        level: How often each interval is to hold the truth.
        seed: Seed of the bootstrap's draws.

    Returns:
        A comparison for each variant that shares items with the baseline.

    Raises:
        EvalError: The margin is not above 0.

    Example:
        >>> base = Outcomes("bf16", {str(n): n < 5 for n in range(100)})
        >>> int4 = Outcomes("int4", {str(n): n < 25 for n in range(100)})
        >>> (found,) = compare_variants("tool calls right", base, [int4], clusters={})
        >>> found.conclusion, found.found.flips[0, 1]
        ('worse', 20)
    """
    if not margin > 0:
        raise EvalError(f"margin is {margin!r}: give the largest loss that still counts as not worse, such as 0.05")
    pairs = [(one, [item for item in base.bad if item in one.bad]) for one in candidates]
    found = [(one, items, _compared(base, one, items, clusters, margin, level, seed)) for one, items in pairs if items]
    adjusted = holm([comparison.p_value for *_, comparison in found])
    return tuple(
        VariantComparison(
            measure=measure,
            base=base.name,
            candidate=one.name,
            base_rate=_right(base, items, clusters, level),
            candidate_rate=_right(one, items, clusters, level),
            found=comparison,
            p_adjusted=p_value,
            conclusion=conclude(comparison.difference, margin, p_value),
            items=len(items),
            left_out=len({*base.bad, *one.bad}) - len(items),
        )
        for (one, items, comparison), p_value in zip(found, adjusted, strict=True)
    )


def planned(items: int, *, margin: float = 0.05, flipped: float = EXPECTED_FLIPS, level: float = 0.95) -> str:
    """What so many items can show, to be said before they are asked.

    Args:
        items: The items.
        margin: Largest loss that still counts as not worse.
        flipped: Share of items on which two variants are expected to differ.
        level: Level of the intervals.

    Returns:
        A sentence or two.

    Example:
        >>> planned(1_000)
        '1000 items show differences from 2.8 points on, if 10 % of them flip. To show ... about 350: these are enough.'
    """
    needed = items_for_non_inferiority(margin, flipped=flipped, level=level)
    smallest = difference_for_items(items, flipped=flipped, level=level)
    enough = "these are enough" if items >= needed else f"{needed - items} more than these"
    shows = f"show differences from {100 * smallest:.1f} points on"
    if smallest >= flipped:
        shows = "are too few to show any difference"
    return (
        f"{items} items {shows}, if {100 * flipped:g} % of them flip. To show that a variant is not worse by more than"
        f" {100 * margin:g} points takes about {needed}: {enough}."
    )


def _compared(
    base: Outcomes,
    one: Outcomes,
    items: Sequence[str],
    clusters: Mapping[str, str],
    margin: float,
    level: float,
    seed: int,
) -> Comparison:
    documents = clusters_of([clusters.get(item, item) for item in items])
    before, after = ([float(side.bad[item]) for item in items] for side in (base, one))
    return compare(before, after, margin=margin, clusters=documents, level=level, seed=seed)


def _right(side: Outcomes, items: Sequence[str], clusters: Mapping[str, str], level: float) -> Estimate:
    documents = [clusters.get(item, item) for item in items]
    return share([1.0 - side.bad[item] for item in items], documents, level=level)
