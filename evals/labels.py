"""What people said of items: the file it is kept in, and what several people say together."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_PATIENCE = 5.0
"""Seconds to wait for another process that writes to the same file; each is at it for some milliseconds."""


@dataclass(frozen=True, slots=True)
class Label:
    """One person's word on one item; a later one of the same person replaces it.

    Args:
        item_id: The item.
        annotator: Who said so.
        value: 1 for hallucinated, 0 for supported, None for "cannot say".
        note: Why.
        time: Seconds since 1970.
        withdrawn: Takes the person's earlier word back, as if nothing had been said.
    """

    item_id: str
    annotator: str
    value: Literal[0, 1] | None
    note: str = ""
    time: float = 0.0
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Consensus:
    """What people say of items together: the word of most; "cannot say" counts for nobody.

    Args:
        labels: 1 for hallucinated, 0 for supported, by item.
        disputed: Items on which as many say one as the other: another person has to settle them.
        unsure: Items of which nobody could say either.
        annotators: Items that each person labelled, "cannot say" among them.
    """

    labels: Mapping[str, Literal[0, 1]]
    disputed: tuple[str, ...]
    unsure: tuple[str, ...]
    annotators: Mapping[str, int]


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """Read a file of labels: the last word of each person on each item.

    Args:
        path: A file that `append_label` wrote, `labels.jsonl` in the folder of a run.

    Returns:
        The labels; none where there is no such file. A last line that was only begun is passed over.

    Raises:
        DamagedRun: The file cannot be read, or a line of it is no label.
    """
    from arriero.evals.runs.lines import Lines

    return latest(Lines(Path(path), Label).read())


def append_label(path: str | Path, *labels: Label) -> None:
    """Add labels to a file of labels. When this returns they are on disk.

    A last line that somebody only began to write is taken away first.

    Args:
        path: The file, made if absent.
        labels: The labels, all or none of which are written.

    Raises:
        RunBusy: Another process has been writing to it for some seconds.
        DamagedRun: The file cannot be written, such as on a full disk.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels.jsonl"
        ...     append_label(path, Label("a", "ana", 0), Label("b", "ana", 1))
        ...     append_label(path, Label("a", "ana", 1, note="the date is wrong"))
        ...     [(label.item_id, label.value) for label in read_labels(path)]
        [('a', 1), ('b', 1)]
    """
    from arriero.evals.runs.lines import DamagedRun, Lines, RunBusy

    lines = Lines(Path(path), Label)
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with lines.appending() as append:
                append(*labels)
            return
        except RunBusy:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        except OSError as error:
            raise DamagedRun(
                f"{path} cannot be written: {error.strerror}; nothing is lost but the last word"
            ) from error


def latest(labels: Iterable[Label]) -> tuple[Label, ...]:
    """The last word of each person on each item, what was withdrawn left out.

    Args:
        labels: Labels, oldest first.

    Returns:
        The labels, in the order in which items were first labelled.

    Example:
        >>> said = [Label("a", "ana", 0), Label("a", "ben", 0), Label("a", "ana", None, withdrawn=True)]
        >>> [label.annotator for label in latest(said)]
        ['ben']
    """
    found = {(label.item_id, label.annotator): label for label in labels}
    return tuple(label for label in found.values() if not label.withdrawn)


def consensus(labels: Iterable[Label]) -> Consensus:
    """What people say of items together.

    Args:
        labels: Labels, oldest first.

    Returns:
        The word of most on each item, and the items where there is none.

    Example:
        >>> found = consensus([Label("a", "ana", 1), Label("a", "ben", 1), Label("b", "ana", 1), Label("b", "ben", 0)])
        >>> found.labels, found.disputed
        ({'a': 1}, ('b',))
        >>> consensus([Label("b", "ana", 1), Label("b", "ben", 0), Label("b", "cara", 0)]).labels
        {'b': 0}
    """
    said: dict[str, list[Literal[0, 1] | None]] = defaultdict(list)
    annotators: Counter[str] = Counter()
    for label in latest(labels):
        said[label.item_id].append(label.value)
        annotators[label.annotator] += 1
    settled = {item: word for item, values in said.items() if (word := _word_of_most(values)) is not None}
    undecided = [item for item in said if item not in settled]
    disputed = tuple(item for item in undecided if any(value is not None for value in said[item]))
    unsure = tuple(item for item in undecided if item not in set(disputed))
    return Consensus(settled, disputed, unsure, dict(annotators))


def _word_of_most(values: Sequence[Literal[0, 1] | None]) -> Literal[0, 1] | None:
    hallucinated, supported = values.count(1), values.count(0)
    if hallucinated == supported:
        return None
    return 1 if hallucinated > supported else 0
