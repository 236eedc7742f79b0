"""How far a map is: for a person on stderr, or for a function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

_SECONDS_OF_A_LINE = 10.0


@dataclass(frozen=True, slots=True)
class MapProgress:
    """How far a map is.

    Args:
        total: Number of inputs, where it is known.
        done: Items that are over, whatever came of them.
        running: Items that run.
        failed: Items that failed.
        waiting: Items whose turns wait for decisions.
        known: Items that were finished before.
    """

    total: int | None
    done: int = 0
    running: int = 0
    failed: int = 0
    waiting: int = 0
    known: int = 0

    def __str__(self) -> str:
        counts = {"failed": self.failed, "waiting": self.waiting, "known": self.known}
        beside = "".join(f", {number} {what}" for what, number in counts.items() if number)
        return f"{self.done}{'' if self.total is None else f' of {self.total}'} done{beside}"


Progress = bool | Callable[[MapProgress], object]
"""Whether to show progress on stderr, or who hears of it."""


@contextmanager
def shown(progress: Progress, total: int | None) -> Iterator[Callable[[MapProgress], object]]:
    """Where progress is told while the block runs.

    Args:
        progress: Whether to show it, or who hears of it.
        total: Number of inputs, where it is known.

    Yields:
        Takes each progress.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        from rich.console import Console

        console = Console(stderr=True)
        with _bar(console, total) if console.is_terminal else _lines(console) as tell:
            yield tell


@contextmanager
def _bar(console: Any, total: int | None) -> Iterator[Callable[[MapProgress], object]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda now: bar.update(task, completed=now.done, description=str(now))


@contextmanager
def _lines(console: Any) -> Iterator[Callable[[MapProgress], object]]:
    said, now = monotonic(), MapProgress(None)

    def tell(progress: MapProgress) -> None:
        nonlocal said, now
        now = progress
        if monotonic() - said > _SECONDS_OF_A_LINE:
            said = monotonic()
            console.print(f"map: {now}", highlight=False)

    try:
        yield tell
    finally:
        console.print(f"map: {now}", highlight=False)
