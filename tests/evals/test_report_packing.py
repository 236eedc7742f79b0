"""Items as a page keeps them: nothing lost, nothing twice, and never too large."""

import base64
import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from reported import many

from arriero.evals.evaluation import Judged
from arriero.evals.items import GroundingItem, Span
from arriero.evals.judgement import Judgement
from arriero.evals.reports.packing import Packed, Row, pack

TEXTS = st.text(st.sampled_from("ab \n<é中🐪𝒇\ud83d"), max_size=12)
RANGES = st.tuples(st.integers(0, 14), st.integers(0, 14)).map(sorted)
MANY: list[Row] = [(one.item.id, [one]) for one in many(150).items]


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def passages_of(packed: Packed) -> list[str]:
    return [text for block in packed.passages for text in unpacked(block)]


def in_units(text: str, start: int, end: int) -> str:
    """What a browser finds there: it counts in units of UTF-16."""
    whole = text.encode("utf-16-le", "surrogatepass")
    return whole[2 * start : 2 * end].decode("utf-16-le", "surrogatepass")


def rows_of(contents: list[tuple[str, list[str], list[int]]]) -> list[Row]:
    found: list[Row] = []
    for at, (response, context, (start, end)) in enumerate(contents):
        item = GroundingItem(str(at), tuple(context), response)
        said = Judgement(item.id, "mine", 0.5, spans=(Span(start, end),))
        found.append((item.id, [Judged(item, said, True)]))
    return found


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=3), RANGES), max_size=6))
def test_every_text_comes_back_and_each_passage_is_kept_once(contents: list[tuple[str, list[str], list[int]]]) -> None:
    packed = pack(rows_of(contents))
    passages = passages_of(packed)
    assert len(passages) == len(set(passages))
    for row, (response, context, (start, end)) in zip(unpacked(packed.items), contents, strict=True):
        side = row["sides"][0]
        assert side.get("response", "") == response
        assert [passages[number] for number in side.get("passages", [])] == context
        assert in_units(response, *side["spans"][0][:2]) == response[start:end]
    assert (packed.shown, packed.left_out, packed.without_passages) == (len(contents), 0, 0)


@settings(deadline=None, max_examples=10)
@given(st.integers(1_000, 200_000))
def test_it_takes_no_more_than_it_may(most: int) -> None:
    packed = pack(MANY, most_bytes=most)
    assert len(packed.items) + sum(map(len, packed.passages)) <= most
    assert packed.shown + packed.left_out == len(MANY)
    kept = unpacked(packed.items)
    passages = passages_of(packed)
    numbers = {number for row in kept for side in row["sides"] for number in side.get("passages", [])}
    assert max(numbers, default=-1) < len(passages)
    assert sum(any(n < 0 for side in row["sides"] for n in side["passages"]) for row in kept) == packed.without_passages


def test_what_is_most_worth_a_look_is_kept() -> None:
    kept = {row["id"] for row in unpacked(pack(MANY, most_bytes=30_000).items)}
    odd = {
        name for name, (one,) in MANY if one is not None and one.label is not None and one.flagged != bool(one.label)
    }
    assert kept
    assert kept <= odd or odd <= kept


def test_the_same_items_make_the_same_page() -> None:
    assert pack(MANY) == pack(MANY)
