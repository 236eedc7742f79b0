"""A number with its interval."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arriero.evals.errors import EvalError

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]
Clusters = Sequence[Hashable] | NDArray[Any] | None
"""The cluster of each item; None for independent items."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Args:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        n: Items that it rests on.
        method: How the interval was made.
        level: How often such intervals hold the truth.

    Example:
        >>> print(Estimate(0.127, 0.09, 0.17, 300, "Wilson"))
        12.7 % [9.0, 17.0]
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95

    @property
    def width(self) -> float:
        """Upper end less lower end."""
        return self.high - self.low

    def __str__(self) -> str:
        return f"{self.value:.1%} [{100 * self.low:.1f}, {100 * self.high:.1f}]".replace("%", " %")


def numbers(name: str, values: ArrayLike) -> Floats:
    """Values as a row of finite numbers.

    Raises:
        EvalError: There are none, or one is not finite.
    """
    try:
        row = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EvalError(f"{name}: give one number for each item ({error})") from error
    if row.ndim != 1 or not row.size:
        raise EvalError(f"{name}: give a row of numbers, one for each item; it has the shape {row.shape}")
    odd = np.flatnonzero(~np.isfinite(row))
    if odd.size:
        raise EvalError(f"{name}[{odd[0]}] is {row[odd[0]]}: leave the item out, and count it")
    return row


def binary(name: str, values: ArrayLike) -> Floats:
    """Values as a row of 0 and 1.

    Raises:
        EvalError: One is neither.
    """
    row = numbers(name, values)
    odd = np.flatnonzero((row != 0) & (row != 1))
    if odd.size:
        raise EvalError(f"{name}[{odd[0]}] is {row[odd[0]]:g}: give 0 or 1")
    return row


def group_ids(clusters: Clusters, size: int) -> Integers:
    """A number from 0 for each item's cluster; every item its own cluster when none are given.

    Raises:
        EvalError: There are not as many clusters as items.
    """
    if clusters is None:
        return np.arange(size)
    if len(clusters) != size:
        raise EvalError(f"clusters: {len(clusters)} for {size} items; give one for each")
    if isinstance(clusters, np.ndarray) and clusters.dtype.kind in "iub":
        return np.unique(clusters, return_inverse=True)[1]
    numbered: dict[Hashable, int] = {}
    return np.fromiter((numbered.setdefault(cluster, len(numbered)) for cluster in clusters), np.intp, size)


def check_level(level: float) -> None:
    """Refuse a level that is no share.

    Raises:
        EvalError: It is not between 0 and 1.
    """
    if not (math.isfinite(level) and 0 < level < 1):
        raise EvalError(f"level is {level!r}: give a share between 0 and 1, such as 0.95")
