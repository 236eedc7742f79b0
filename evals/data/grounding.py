"""Files of grounding items."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from arriero.evals.data.lines import Problems, is_csv, quoted, read_rows, write_rows
from arriero.evals.data.values import Values, row_of
from arriero.evals.items import GroundingItem


def read_items(path: str | Path) -> tuple[GroundingItem, ...]:
    """Read grounding items from JSON lines or CSV.

    One object a line: `id`, `context` (a list of passages) and `response`, and where they are known `question`,
    `doc_id`, `dataset`, `model`, `label` (0 or 1), `spans` (`{"start", "end", "label"}`), `detector_scores`, `split`.
    Other fields are kept in `extra`. In a CSV, `context` is one passage or a JSON list of them, and the other lists
    and objects are JSON.

    Args:
        path: The file, `.jsonl` or `.csv` in UTF-8, also with `.gz` or `.xz` after that.

    Returns:
        The items, in order. One that names no document has its own id as `doc_id`.

    Raises:
        InvalidData: The file cannot be read or breaks these rules; all bad lines and fields are named, up to 20.

    Example:
        >>> import tempfile
        >>> from arriero.evals.items import GroundingItem
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_items(f"{folder}/a.jsonl", [GroundingItem("a", ("Mules are patient.",), "Mules fly.", label=1)])
        ...     [(item.doc_id, item.label) for item in read_items(f"{folder}/a.jsonl")]
        [('a', 1)]
    """
    path = Path(path)
    problems = Problems(path)
    values = Values(GroundingItem, problems, text=is_csv(path))
    items: dict[str, GroundingItem] = {}
    for line, row in read_rows(path, problems):
        item = values.read(line, row)
        if item is None:
            continue
        if item.id in items:
            problems.add(line, "id", f"{quoted(item.id)} was there before; ids are unique")
        _check(item, line, problems)
        items[item.id] = item if item.doc_id.strip() else replace(item, doc_id=item.id)
    problems.check()
    return tuple(items.values())


def _check(item: GroundingItem, line: int, problems: Problems) -> None:
    if not item.context:
        problems.add(line, "context", "holds no passage; give what the response must be grounded in")
    for number, passage in enumerate(item.context):
        if not passage.strip():
            problems.add(line, f"context[{number}]", "is blank")
    for number, span in enumerate(item.spans):
        if not 0 <= span.start < span.end <= len(item.response):
            where = f"{span.start} to {span.end}, outside of a response of {len(item.response)} characters"
            problems.add(line, f"spans[{number}]", f"reaches from {where}")


def write_items(path: str | Path, items: Iterable[GroundingItem]) -> None:
    """Write grounding items as JSON lines, as `read_items` reads them.

    Args:
        path: The file, `.jsonl`, also with `.gz` or `.xz` after that.
        items: The items.

    Raises:
        InvalidData: It cannot be written.
    """
    write_rows(Path(path), (row_of(item) for item in items))
