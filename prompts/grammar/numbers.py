"""Numbers between bounds, digit by digit."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from arriero.prompts.grammar.ebnf import either, literal

_DIGITS = 15
"""Significant digits that every double keeps apart, so that a bound holds after reading too."""

INTEGER = f'"-"? ("0" | [1-9] [0-9]{{0,{_DIGITS - 1}}})'
"""Any integer that a double holds exactly."""

NUMBER = f'{INTEGER} ("." [0-9]{{1,{_DIGITS}}})? ([eE] [+\\-]? [0-9]{{1,2}})?'
"""Any number; the exponent is short, because infinity is no strict JSON."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a number must lie.

    Args:
        low: Lower bound; None for none.
        high: Upper bound; None for none.
        above: Whether `low` itself is left out.
        below: Whether `high` itself is left out.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    above: bool = False
    below: bool = False

    @property
    def open(self) -> bool:
        """Whether there is no bound at all."""
        return self.low is None and self.high is None


def integer_between(bounds: Bounds) -> str | None:
    """An integer within bounds; None when there is none. A missing bound becomes a far one.

    Example:
        >>> integer_between(Bounds(Decimal(8), Decimal(12)))
        '([8-9] | "1" [0-2])'
    """
    if bounds.open:
        return INTEGER
    low, high = whole_bounds(bounds)
    if low > high:
        return None
    choices = []
    if low < 0:
        choices += ['"-" ' + part for part in _integers(max(1, -high), -low)]
    if high >= 0:
        choices += _integers(max(0, low), high)
    return either(choices)


def whole_bounds(bounds: Bounds) -> tuple[int, int]:
    """The least and the greatest integer within bounds."""
    far = 10 ** _far(bounds, _DIGITS)
    low, high = 1 - far, far - 1
    if bounds.low is not None:
        low = int(bounds.low.to_integral_value(ROUND_CEILING))
        low += bounds.above and low == bounds.low
    if bounds.high is not None:
        high = int(bounds.high.to_integral_value(ROUND_FLOOR))
        high -= bounds.below and high == bounds.high
    return low, high


def number_between(bounds: Bounds) -> str | None:
    """A number within bounds, written without exponent; None when there is none.

    Example:
        >>> number_between(Bounds(Decimal(2), Decimal(1))) is None
        True
    """
    if bounds.open:
        return NUMBER
    far = Decimal(10) ** _far(bounds, 9)
    low = -far if bounds.low is None else bounds.low
    high = far if bounds.high is None else bounds.high
    choices = []
    if low < 0:
        least = max(Decimal(0), -high)
        choices += ['"-" ' + part for part in _numbers(least, -low, bounds.below and least == -high, bounds.above)]
    if high >= 0:
        least = max(Decimal(0), low)
        choices += _numbers(least, high, bounds.above and least == low, bounds.below)
    return either(choices) if choices else None


def _far(bounds: Bounds, least: int) -> int:
    """Digits of a bound that stands for a missing one."""
    given = (bound for bound in (bounds.low, bounds.high) if bound is not None)
    return max(least, *(len(str(abs(int(bound)))) + 2 for bound in given))


def _integers(low: int, high: int) -> list[str]:
    found = []
    for length in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (length - 1) if length > 1 else 0)
        most = min(high, 10**length - 1)
        found += _same_length(str(least), str(most))
    return found


def _same_length(low: str, high: str) -> list[str]:
    if not low:
        return ['""']
    rest = len(low) - 1
    if low == "0" + "0" * rest and high == "9" * len(high):
        return [_digits(len(low))]
    if low[0] == high[0]:
        return [_join(literal(low[0]), part) for part in _same_length(low[1:], high[1:])]
    first, last = int(low[0]), int(high[0])
    found = []
    if low[1:] != "0" * rest:
        found += [_join(literal(low[0]), part) for part in _same_length(low[1:], "9" * rest)]
        first += 1
    tail = []
    if high[1:] != "9" * rest:
        tail = [_join(literal(high[0]), part) for part in _same_length("0" * rest, high[1:])]
        last -= 1
    if first <= last:
        found.append(_join(_class(range(first, last + 1)), _digits(rest)))
    return found + tail


def _numbers(low: Decimal, high: Decimal, above: bool, below: bool) -> list[str]:
    if low > high:
        return []
    first, last = int(low), int(high)
    least, most = _fraction(low), _fraction(high)
    places = max(_DIGITS - len(str(last)), len(least), len(most), 1)
    if first == last:
        return _with_fraction(literal(str(first)), least, most, above, below, places)
    found = _with_fraction(literal(str(first)), least, None, above, False, places)
    if first + 1 < last:
        found += _with_fraction(either(_integers(first + 1, last - 1)), None, None, False, False, places)
    return found + _with_fraction(literal(str(last)), None, most, False, below, places)


def _with_fraction(whole: str, low: str | None, high: str | None, above: bool, below: bool, places: int) -> list[str]:
    digits = _places(low, high, above, below, places, at_least_one=True)
    bare = _may_stop(low, high, above, below)
    if digits is None:
        return [whole] if bare else []
    return [f'{whole} ("." {digits})?' if bare else f'{whole} "." {digits}']


def _may_stop(low: str | None, high: str | None, above: bool, below: bool) -> bool:
    """Whether the digits so far, with nothing but zeros after them, lie within what is left of the bounds."""
    reached = low is None or (not low.strip("0") and not above)
    return reached and (high is None or bool(high.strip("0")) or not below)


def _places(
    low: str | None, high: str | None, above: bool, below: bool, left: int, *, at_least_one: bool = False
) -> str | None:
    """Digits after the point that stay within bounds; None for a bound that is met whatever follows."""
    if low is None and high is None:
        return f"[0-9]{{{int(at_least_one)},{left}}}"
    following: dict[tuple[str | None, str | None], list[int]] = {}
    for digit in range(10) if left else ():
        least = int(low[:1] or "0") if low is not None else -1
        most = int(high[:1] or "0") if high is not None else 10
        if least <= digit <= most:
            lower = low[1:] if low is not None and digit == least else None
            upper = high[1:] if high is not None and digit == most else None
            following.setdefault((lower, upper), []).append(digit)
    choices = []
    for (lower, upper), digits in following.items():
        rest = _places(lower, upper, above, below, left - 1)
        if rest is not None:
            choices.append(_join(_class(digits), rest))
    if not at_least_one and _may_stop(low, high, above, below):
        choices.append('""')
    return either(choices) if choices else None


def _fraction(value: Decimal) -> str:
    return f"{value:f}".partition(".")[2].rstrip("0")


def _class(digits: Iterable[int]) -> str:
    found = sorted(digits)
    return literal(str(found[0])) if len(found) == 1 else f"[{found[0]}-{found[-1]}]"


def _digits(count: int) -> str:
    return f"[0-9]{{{count}}}" if count else '""'


def _join(first: str, rest: str) -> str:
    return first if rest == '""' else f"{first} {rest}"
