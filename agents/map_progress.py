"""How far a map is: for a person on stderr, or for a function."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

_log = logging.getLogger(__name__)

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


class Tally:
    """Counts the items of one run of a map, and tells of each change.

    Args:
        total: Number of inputs, where it is known.
        tell: Hears of each change.
        known: Items that were finished before this run began.
    """

    def __init__(self, total: int | None, tell: Callable[[MapProgress], object], known: int = 0) -> None:
        self._now, self._tell = MapProgress(total, done=known, known=known), tell
        if known:
            self._change(self._now)

    def begun(self) -> None:
        """Count an item that begins."""
        self._change(replace(self._now, running=self._now.running + 1))

    def over(self, *, failed: bool, waiting: bool, known: bool) -> None:
        """Count an item that is over, and what came of it."""
        now = self._now
        self._change(
            replace(
                now,
                done=now.done + 1,
                running=now.running - 1,
                failed=now.failed + failed,
                waiting=now.waiting + waiting,
                known=now.known + known,
            )
        )

    def _change(self, now: MapProgress) -> None:
        self._now = now
        try:
            self._tell(now)
        except Exception:  # the boundary: a listener does no harm to the map
            _log.exception("the listener to the map's progress failed")


@contextmanager
def shown(progress: Progress, total: int | None, what: str = "map", known: int = 0) -> Iterator[Tally]:
    """Progress is told while the block runs.

    Args:
        progress: Whether to show it, or who hears of it.
        total: Number of inputs, where it is known.
        what: What lines of progress begin with.
        known: Items that were finished before; they say nothing about the speed.

    Yields:
        Counts items.
    """
    with _told(progress, total, what, known) as tell:
        yield Tally(total, tell, known)


@contextmanager
def _told(progress: Progress, total: int | None, what: str, known: int) -> Iterator[Callable[[MapProgress], object]]:
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda _: None
    else:
        from rich.console import Console

        console = Console(stderr=True)
        with _bar(console, total, known) if console.is_terminal else _lines(console, what) as tell:
            yield tell


@contextmanager
def _bar(console: Any, total: int | None, known: int) -> Iterator[Callable[[MapProgress], object]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total, completed=known)
        yield lambda now: bar.update(task, completed=now.done, description=str(now))


@contextmanager
def _lines(console: Any, what: str) -> Iterator[Callable[[MapProgress], object]]:
    said, now = monotonic(), MapProgress(None)

    def tell(progress: MapProgress) -> None:
        nonlocal said, now
        now = progress
        if monotonic() - said > _SECONDS_OF_A_LINE:
            said = monotonic()
            console.print(f"{what}: {now}", highlight=False)

    try:
        yield tell
    finally:
        console.print(f"{what}: {now}", highlight=False)
