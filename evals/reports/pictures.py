"""Where things stand in the pictures of a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arriero.evals.evaluation import Bin, Rate
from arriero.evals.reports.figures import interval, percent
from arriero.evals.statistics.estimate import Estimate

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_TICKS = 6
_LEFT, _WIDTH = 3.0, 94.0
"""Percent of a picture's width that lie left of its axis, and that its axis takes: ticks at its ends need room."""

SIDE, EDGE = 300, 36
"""Pixels of a side of the reliability diagram, and of its margin."""


@dataclass(frozen=True, slots=True)
class Whisker:
    """An estimate with its interval, in percent of a picture's width.

    Args:
        name: What it is.
        text: It in figures.
        kind: How it is drawn: `corrected`, `labels` or `flagged`.
        value: Where the estimate stands.
        low: Where its interval begins.
        high: Where it ends.
    """

    name: str
    text: str
    kind: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """Estimates one above the other, over one axis.

    Args:
        rows: The estimates.
        ticks: Places on the axis in percent of the width, with what stands there.
        zero: Where no difference lies, in percent of the width; None where that is the axis' left end.
    """

    rows: tuple[Whisker, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a reliability diagram, in pixels.

    Args:
        x: Mean score.
        y: Rate that people found.
        low: Lower end of the rate's interval.
        high: Upper end.
        radius: How many items it rests on.
        text: It in words.
    """

    x: float
    y: float
    low: float
    high: float
    radius: float
    text: str


def rate_picture(rate: Rate) -> Intervals:
    """A rate before and after the judge's errors are taken out.

    Args:
        rate: The rate.

    Returns:
        The picture; without rows where nothing is known.

    Example:
        >>> from arriero.evals.statistics import wilson
        >>> picture = rate_picture(Rate(wilson(5, 50), "labels only", None, None, None, None, 50, 50, 0))
        >>> [label for _, label in picture.ticks]
        ['0 %', '5 %', '10 %', '15 %', '20 %', '25 %']
    """
    alone = rate.correction == "labels only"
    before = "" if alone or rate.corrected is None else ", before correction"
    named = (
        ("flagged", f"Flagged by the judge{before}", rate.flagged),
        ("labels", "The labels alone", rate.labels_only if rate.labels_only != rate.corrected else None),
        ("corrected", "Hallucinated, by the labels" if alone else "Hallucinated, after correction", rate.corrected),
    )
    rows = [(kind, name, found) for kind, name, found in named if found is not None]
    return intervals(rows, 0.0, max((found.high for *_, found in rows), default=0.0))


def intervals(rows: Sequence[tuple[str, str, Estimate]], low: float, high: float, *, signed: bool = False) -> Intervals:
    """Estimates over one axis.

    Args:
        rows: How each is drawn, what it is, and it.
        low: Least share that the axis must hold.
        high: Greatest share that it must hold.
        signed: Whether they are differences, whose ticks have a sign.

    Returns:
        The picture.
    """
    reach = max(high - low, 0.02)
    step = next((step for step in _STEPS if reach / step <= _MOST_TICKS - 1), 0.25 if reach <= 1 else 0.5)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step) + 1)
    start, reach = first * step, (last - first) * step

    def place(share: float) -> float:
        return round(_LEFT + _WIDTH * (share - start) / reach, 2)

    def label(share: float) -> str:
        return f"{100 * share:.0f} %" if not signed else f"{100 * share:+.0f}" if share else "0"

    ticks = tuple((place(at * step), label(at * step)) for at in range(first, last + 1))
    return Intervals(
        tuple(
            Whisker(name, _told(found, signed), kind, place(found.value), place(found.low), place(found.high))
            for kind, name, found in rows
        ),
        ticks,
        place(0.0) if signed else None,
    )


def reliability(bins: Sequence[Bin]) -> tuple[Dot, ...]:
    """The points of a reliability diagram.

    Args:
        bins: Scores against labels.

    Returns:
        A point for each bin, in a square of `SIDE` pixels with a margin of `EDGE` on the left and below.
    """
    most = max((found.rate.n for found in bins), default=1)

    def across(share: float) -> float:
        return round(EDGE + share * (SIDE - EDGE - 8), 1)

    def up(share: float) -> float:
        return round(SIDE - across(share), 1)

    return tuple(
        Dot(
            across(found.score),
            up(found.rate.value),
            up(found.rate.low),
            up(found.rate.high),
            round(3 + 5 * math.sqrt(found.rate.n / most), 1),
            f"scores {found.low:.2f} to {found.high:.2f}: {percent(found.rate.value)} hallucinated"
            f" ({interval(found.rate)}), {found.rate.n} labels",
        )
        for found in bins
    )


def _told(found: Estimate, signed: bool) -> str:
    if not signed:
        return f"{percent(found.value)}, {interval(found)}"
    return f"{100 * found.value:+.1f} points, {100 * found.low:+.1f} to {100 * found.high:+.1f}"
