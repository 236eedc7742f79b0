"""How many items or labels a question needs, before anything is run."""

import math
from collections.abc import Callable

from arriero.evals.errors import EvalError


def labels_for_width(
    width: float, *, rate: float, agreement: float = 0.0, judged: int | None = None, level: float = 0.95
) -> int:
    """Labels that a corrected rate needs for an interval of a wanted width.

    Args:
        width: Upper end less lower end, such as 0.1.
        rate: The rate that is expected.
        agreement: Correlation of the judge's scores with the labels: 0 without a judge, 1 for a perfect one.
        judged: Items that the judge scores without a label; None for as many as one likes.
        level: How often the interval is to hold the truth.

    Returns:
        The number of labels.

    Raises:
        EvalError: A share is not between 0 and 1, or the judged items are too few for any number of labels.

    Source: the variance of PPI++ (Angelopoulos et al. 2023) at its best weight: rate (1 - rate)
        (1 - agreement^2 judged / (labels + judged)) / labels.

    Example:
        >>> labels_for_width(0.1, rate=0.127), labels_for_width(0.1, rate=0.127, agreement=0.7)
        (171, 87)
    """
    _check(width=width, rate=rate, level=level)
    if not 0 <= agreement <= 1:
        raise EvalError(f"agreement is {agreement!r}: give a correlation between 0 and 1")
    wanted = (width / (2 * _quantile((1 + level) / 2))) ** 2 / (rate * (1 - rate))
    # labels n solves (1 - r2 N / (n + N)) / n = wanted; without a bound on N, (1 - r2) / n = wanted
    r2 = agreement**2
    if judged is None:
        return max(2, math.ceil((1 - r2) / wanted))
    linear = wanted * judged - 1
    root = math.sqrt(linear**2 + 4 * wanted * (1 - r2) * judged)
    return max(2, math.ceil((root - linear) / (2 * wanted)))


def width_of_labels(
    labels: int, *, rate: float, agreement: float = 0.0, judged: int | None = None, level: float = 0.95
) -> float:
    """Width of the interval of a corrected rate that a number of labels gives.

    Args:
        labels: The number of labels.
        rate: The rate that is expected.
        agreement: Correlation of the judge's scores with the labels: 0 without a judge, 1 for a perfect one.
        judged: Items that the judge scores without a label; None for as many as one likes.
        level: How often the interval is to hold the truth.

    Returns:
        Upper end less lower end.

    Raises:
        EvalError: A share is not between 0 and 1, or there are no labels.

    Source: as `labels_for_width`.

    Example:
        >>> round(width_of_labels(171, rate=0.127), 3)
        0.1
    """
    _check(rate=rate, level=level)
    if labels < 1:
        raise EvalError(f"labels is {labels!r}: give at least one")
    gained = agreement**2 * (1.0 if judged is None else judged / (labels + judged))
    return 2 * _quantile((1 + level) / 2) * math.sqrt(rate * (1 - rate) * (1 - gained) / labels)


def items_for_difference(difference: float, *, flipped: float, power: float = 0.8, level: float = 0.95) -> int:
    """Items on which two systems must be compared to find a difference of their rates.

    Args:
        difference: The smallest difference worth finding.
        flipped: Share of items on which the two differ, either way; at least the difference.
        power: How often a difference of that size is to be found.
        level: 1 less how often one is found that is none.

    Returns:
        The number of items.

    Raises:
        EvalError: A share is not between 0 and 1, or less flips than the difference needs.

    Source: Connor (1987), Biometrics 43, 207-211, for McNemar's test.

    Example:
        >>> items_for_difference(0.05, flipped=0.15)
        469
    """
    _check(difference=difference, flipped=flipped, power=power, level=level)
    if flipped < difference:
        raise EvalError(f"flipped is {flipped:g}, the difference {difference:g}: at least that many items must flip")
    alpha, beta = _quantile((1 + level) / 2), _quantile(power)
    return math.ceil(((alpha * math.sqrt(flipped) + beta * math.sqrt(flipped - difference**2)) / difference) ** 2)


def difference_for_items(items: float, *, flipped: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest difference of two systems' rates that a number of items shows.

    Args:
        items: Items that both answer; an effective number where they come in clusters.
        flipped: Share of items on which the two differ, either way.
        power: How often a difference of that size is to be found.
        level: 1 less how often one is found that is none.

    Returns:
        The difference. Where it would be larger than `flipped`, the one that shows if all flips go one way; at most 1.

    Raises:
        EvalError: A share is not between 0 and 1, or there are no items.

    Source: Connor (1987), as `items_for_difference`, solved for the difference.

    Example:
        >>> round(difference_for_items(469, flipped=0.15), 3)
        0.05
    """
    if not items > 0:
        raise EvalError(f"items is {items!r}: give at least one")
    _check(flipped=min(flipped, 0.5), power=power, level=level)
    alpha, beta = _quantile((1 + level) / 2), _quantile(power)
    # sqrt(items) d = alpha sqrt(f) + beta sqrt(f - d^2) is a quadratic in d: (sqrt(items) d - a)^2 = beta^2 (f - d^2)
    a, square = alpha * math.sqrt(flipped), items + beta**2
    inside = items * a**2 - square * (a**2 - beta**2 * flipped)
    if inside >= 0 and (found := (math.sqrt(items) * a + math.sqrt(inside)) / square) <= flipped:
        return found
    # With d = f the equation is items d = (alpha + beta sqrt(1 - d))^2
    return _root(lambda d: items * d - (alpha + beta * math.sqrt(1 - d)) ** 2)


def items_for_non_inferiority(margin: float, *, flipped: float, power: float = 0.8, level: float = 0.95) -> int:
    """Items on which a candidate as good as the baseline is found to be not worse.

    Args:
        margin: Largest increase of the rate that counts as not worse.
        flipped: Share of items on which the two differ, either way.
        power: How often such a candidate is to pass.
        level: Level of the two-sided interval whose upper end must stay below the margin.

    Returns:
        The number of items.

    Raises:
        EvalError: A share is not between 0 and 1.

    Source: Tango (1998), Statistics in Medicine 17, 891-908, section 5: his test at equal rates.

    Example:
        >>> items_for_non_inferiority(0.05, flipped=0.1)
        350
    """
    _check(margin=margin, flipped=flipped, power=power, level=level)
    return math.ceil(_needed(margin, flipped, power, level))


def margin_for_items(items: float, *, flipped: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest margin by which a number of items shows that a candidate as good as the baseline is not worse.

    Args:
        items: Items that both answer; an effective number where they come in clusters.
        flipped: Share of items on which the two differ, either way.
        power: How often such a candidate is to pass.
        level: Level of the two-sided interval whose upper end must stay below the margin.

    Returns:
        The margin; 1 where no margin passes.

    Raises:
        EvalError: A share is not between 0 and 1, or there are no items.

    Source: as `items_for_non_inferiority`, solved for the margin.

    Example:
        >>> round(margin_for_items(350, flipped=0.1), 3)
        0.05
    """
    if not items > 0:
        raise EvalError(f"items is {items!r}: give at least one")
    _check(flipped=flipped, power=power, level=level)
    return _root(lambda margin: items - _needed(margin, flipped, power, level))


def _root(rising: Callable[[float], float]) -> float:
    """Where a function is 0 between 0 and 1; 1 where it stays below."""
    from scipy import optimize

    low, high = 1e-9, 1 - 1e-9
    return float(optimize.brentq(rising, low, high)) if rising(low) < 0 < rising(high) else 1.0


def _needed(margin: float, flipped: float, power: float, level: float) -> float:
    # Variance of a flip, as the test estimates it: as if the candidate were worse by just the margin
    linear, product = 2 * margin - flipped, margin * (1 - margin)
    at_margin = (math.sqrt(linear**2 + 4 * flipped * product) - linear) / 2 + product
    wanted = _quantile((1 + level) / 2) * math.sqrt(at_margin) + _quantile(power) * math.sqrt(flipped)
    return float((wanted / margin) ** 2)


def _quantile(share: float) -> float:
    from scipy import special

    return float(special.ndtri(share))


def _check(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise EvalError(f"{name} is {share!r}: give a share between 0 and 1")
