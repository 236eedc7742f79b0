"""Labels that were made elsewhere: CSV and JSON lines."""

import math
import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Literal

from arriero.evals.labels import Label, latest

_WORDS: Mapping[object, Literal[0, 1] | None] = {
    "1": 1,
    "h": 1,
    "hallucinated": 1,
    "unsupported": 1,
    "0": 0,
    "s": 0,
    "supported": 0,
    "u": None,
    "?": None,
    "cannot say": None,
}
LONGEST_NAME = 64
LONGEST_NOTE = 10_000


def labels_from(path: str | Path, items: Container[str], *, annotator: str | None = None) -> tuple[Label, ...]:
    r"""Read labels that were made elsewhere, such as in a spreadsheet, or another person's `labels.jsonl`.

    A CSV has a header, JSON lines have an object each, both with `id` (or `item_id`) and `label` (or `value`), and
    may have `annotator`, `note` and `time`. A label is 1 or `hallucinated`, 0 or `supported`, `?` or null for "cannot
    say". Rows without a time must not say two things of one item; where there are times, the later row holds.

    Args:
        path: The file: `.csv` or `.jsonl`, plain or with `.gz` or `.xz`.
        items: Ids of the items.
        annotator: Whose they are where a row does not say.

    Returns:
        The labels.

    Raises:
        InvalidData: A row names no known item, no annotator or no label; all bad lines are named, none is read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "labels.csv"
        ...     _ = file.write_text("id,label,note\na,1,wrong date\nb,supported,\n")
        ...     [(label.item_id, label.value) for label in labels_from(file, {"a", "b"}, annotator="ana")]
        [('a', 1), ('b', 0)]
    """
    from arriero.evals.data.lines import Problems, read_rows

    path = Path(path)
    problems = Problems(path)
    found: list[Label] = []
    said: dict[tuple[str, str], tuple[int, Label]] = {}
    now = time.time()
    for line, row in read_rows(path, problems):
        label = _label(row, items, annotator, now)
        if isinstance(label, list):
            for field, what in label:
                problems.add(line, field, what)
            continue
        key = label.item_id, label.annotator
        if key in said and row.get("time") in (None, "") and said[key][1].value != label.value:
            problems.add(line, "label", f"says another thing of {label.item_id!r} than line {said[key][0]}: keep one")
        said[key] = line, label
        found.append(label)
    problems.check()
    return latest(found)


def name_problem(name: str) -> str | None:
    """What is wrong with an annotator's name; None where nothing is.

    Args:
        name: The name.

    Example:
        >>> name_problem("ana"), name_problem(" ")
        (None, 'is empty: give a name or initials')
    """
    if not name.strip():
        return "is empty: give a name or initials"
    if len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        return f"is {name[:LONGEST_NAME]!r}: give at most {LONGEST_NAME} letters, without line breaks or space around"
    return None


_Wrong = list[tuple[str, str]]


def _label(row: Mapping[str, object], items: Container[str], annotator: str | None, now: float) -> Label | _Wrong:
    """The label of a row, or the fields that are wrong with it."""
    wrong: _Wrong = []
    item = _first(row, "id", "item_id")
    if not isinstance(item, str) or not item:
        wrong.append(("id", "is missing: name the item"))
    elif item not in items:
        wrong.append(("id", f"{item[:80]!r} is no item here: label the items of this run or file"))
    name = row.get("annotator") or annotator
    problem = "is missing: add the column, or give --annotator" if name is None else name_problem(str(name))
    if problem:
        wrong.append(("annotator", problem))
    value = _first(row, "label", "value")
    word = value.strip().lower() if isinstance(value, str) else str(value) if type(value) is int else value
    if word is None and not {"label", "value"} & set(row):
        wrong.append(("label", "is missing: write 1 for hallucinated or 0 for supported"))
    elif word is not None and (not isinstance(word, str) or word not in _WORDS):
        problem = f"is {str(value)[:40]!r}: write 1 or hallucinated, 0 or supported, ? for cannot say"
        wrong.append(("label", problem))
    note = row.get("note") or ""
    if not isinstance(note, str) or len(note) > LONGEST_NOTE:
        wrong.append(("note", f"is no text of at most {LONGEST_NOTE:,} letters"))
    at = _seconds(row.get("time"), now)
    if at is None:
        wrong.append(("time", "is no number of seconds since 1970"))
    if wrong or at is None:
        return wrong
    return Label(str(item), str(name), _WORDS.get(word), str(note), at, row.get("withdrawn") is True)


def _first(row: Mapping[str, object], *names: str) -> object:
    return next((row[name] for name in names if name in row), None)


def _seconds(value: object, now: float) -> float | None:
    if value is None or value == "":
        return now
    try:
        seconds = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
