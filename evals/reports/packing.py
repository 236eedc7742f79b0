"""Items for a page: small, with each passage once, opened piece by piece."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arriero.evals.evaluation import Judged
from arriero.evals.items import Span
from arriero.evals.judgement import Claim

MOST_BYTES = 18_000_000
"""Most that items and passages take of a page, compressed and in base64: a page is to stay under 20 MB."""

Row = tuple[str, Sequence[Judged | None]]

_BLOCK_CHARS = 1_000_000
_ITEMS_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Packed:
    """Items and their passages, as gzip in base64.

    Args:
        items: JSON of the items; their passages are numbers.
        passages: JSON lists of passages, in the order of their numbers.
        starts: The number of the first passage of each list.
        shown: Items that are there.
        left_out: Items that are not, to keep the page small.
        without_passages: Items some of whose passages are not there, for the same reason.
    """

    items: str
    passages: tuple[str, ...]
    starts: tuple[int, ...]
    shown: int
    left_out: int
    without_passages: int


def pack(rows: Iterable[Row], *, most_bytes: int = MOST_BYTES) -> Packed:
    """Pack items.

    What a reader looks for comes first where not everything fits: items where judge and people or the runs disagree,
    failures, then from the highest score down.

    Args:
        rows: What names a row, and the item in each of the runs that are shown side by side; one run for a report.
        most_bytes: Most that it may take.

    Returns:
        The items.

    Example:
        >>> from arriero.evals.items import GroundingItem
        >>> from arriero.evals.judgement import Judgement
        >>> item = GroundingItem("a", ("Mules walk.",), "Mules fly.")
        >>> pack([("a", [Judged(item, Judgement("a", "mine", 0.9), True)])]).shown
        1
    """
    merged = list(rows)
    numbers: dict[str, int] = {}
    full = [_row(name, sides, numbers) for name, sides in merged]
    order = sorted(range(len(full)), key=lambda at: _urgency(merged[at][1]), reverse=True)
    kept, size = len(full), len(_squeezed(full))
    while size > most_bytes * _ITEMS_SHARE and kept:
        kept = int(kept * most_bytes * _ITEMS_SHARE / size * 0.95)
        size = len(_squeezed([full[at] for at in order[:kept]]))
    numbering: dict[int, int] = {}
    for at in order[:kept]:
        for number in _numbers_of(full[at]):
            numbering.setdefault(number, len(numbering))
    texts = list(numbers)
    blocks, starts, fitting = _blocks([texts[number] for number in numbering], most_bytes - size)
    chosen = [full[at] for at in sorted(order[:kept])]
    for row in chosen:
        _renumber(row, numbering, fitting)
    lacking = sum(any(number < 0 for number in _numbers_of(row)) for row in chosen)
    return Packed(_squeezed(chosen), tuple(blocks), tuple(starts), kept, len(full) - kept, lacking)


def _urgency(sides: Iterable[Judged | None]) -> tuple[int, float]:
    there = [side for side in sides if side is not None]
    changed = len({side.flagged for side in there}) > 1
    odd = any(side.flagged is None or (side.label is not None and side.flagged != bool(side.label)) for side in there)
    return int(changed or odd), max(side.judgement.score or 0.0 for side in there)


def _row(name: str, sides: Sequence[Judged | None], numbers: dict[str, int]) -> dict[str, Any]:
    item = next(side for side in sides if side is not None).item
    kind = item.extra.get("kind")
    return _full(
        id=name,
        question=item.question,
        kind=None if kind is None else str(kind),
        dataset=item.dataset,
        document=item.doc_id if item.doc_id != item.id else "",
        sides=[None if side is None else _side(side, numbers) for side in sides],
    )


def _side(judged: Judged, numbers: dict[str, int]) -> dict[str, Any]:
    item, said = judged.item, judged.judgement
    units = _units(item.response)
    answer = judged.answer
    passages = () if answer is None else answer.passages
    names = [" · ".join(filter(None, (passage.title, passage.id))) for passage in passages]
    return _full(
        response=item.response,
        score=None if said.score is None else round(said.score, 4),
        flagged=judged.flagged,
        label=judged.label,
        cause=judged.cause,
        model=item.model,
        passages=[numbers.setdefault(text, len(numbers)) for text in item.context],
        names=names if len(names) == len(item.context) else [],
        cited=[at for at, passage in enumerate(passages) if answer and passage.id in answer.cited],
        refused=answer.refused if answer is not None and answer.refused else None,
        spans=[_span(span, units) for span in said.spans],
        marked=[_span(span, units) for span in item.spans],
        claims=[_claim(claim, units) for claim in said.claims],
        reasons=list(said.reasons),
        caveat=said.caveat,
        failed=said.failed,
        others={name: round(score, 4) for name, score in item.detector_scores.items()},
    )


def _claim(claim: Claim, units: "Sequence[int] | None") -> dict[str, Any]:
    return _full(
        text=claim.text,
        verdict=claim.verdict,
        score=round(claim.score, 4),
        span=None if claim.span is None else _span(claim.span, units),
        reasons=list(claim.reasons),
    )


def _full(**fields: Any) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def _units(text: str) -> "Sequence[int] | None":
    """Where each character begins in UTF-16, as browsers count; None where the counts are the same."""
    if text.isascii() or max(text, default="") <= "\uffff":
        return None
    places = [0]
    for char in text:
        places.append(places[-1] + (2 if char > "\uffff" else 1))
    return places


def _span(span: Span, units: "Sequence[int] | None") -> list[Any]:
    if units is None:
        return [span.start, span.end, span.label]
    last = len(units) - 1
    return [units[min(max(span.start, 0), last)], units[min(max(span.end, 0), last)], span.label]


def _numbers_of(row: Mapping[str, Any]) -> list[int]:
    return [number for side in row["sides"] if side is not None for number in side.get("passages", ())]


def _renumber(row: dict[str, Any], numbering: Mapping[int, int], fitting: int) -> None:
    for side in row["sides"]:
        if side is not None and "passages" in side:
            new = (numbering[number] for number in side["passages"])
            side["passages"] = [number if number < fitting else -1 for number in new]


def _blocks(texts: Sequence[str], room: int) -> tuple[list[str], list[int], int]:
    """Passages in blocks that are opened one at a time, as many as there is room for."""
    blocks: list[str] = []
    starts: list[int] = []
    at = 0
    while at < len(texts):
        start, size = at, 0
        while at < len(texts) and (size == 0 or size + len(texts[at]) <= _BLOCK_CHARS):
            size += len(texts[at])
            at += 1
        block = _squeezed(texts[start:at])
        room -= len(block)
        if room < 0:
            return blocks, starts, start
        blocks.append(block)
        starts.append(start)
    return blocks, starts, len(texts)


def _squeezed(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate has no UTF-8: it becomes the escape that JSON has for it.
    data = text.encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")
