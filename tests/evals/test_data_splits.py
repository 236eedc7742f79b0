"""Splits: all of one document on one side."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.data import split
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Question


def items(documents: list[int]) -> list[GroundingItem]:
    return [GroundingItem(f"i{n}", ("x",), "y", doc_id=f"d{document}") for n, document in enumerate(documents)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=4).filter(lambda drawn: len(set(drawn)) > 3), st.integers(), st.randoms())
def test_no_document_is_on_two_sides_and_no_item_is_lost(documents: list[int], seed: int, order: Random) -> None:
    given_items = items(documents)
    parts = split(given_items, {"train": 0.5, "test": 0.5}, seed)
    sides = [{item.doc_id for item in part} for part in parts.values()]
    assert not sides[0] & sides[1]
    assert abs(len(sides[0]) - len(sides[1])) <= 1
    assert sorted(item.id for part in parts.values() for item in part) == sorted(item.id for item in given_items)
    shuffled = given_items.copy()
    order.shuffle(shuffled)
    again = split(shuffled, {"train": 0.5, "test": 0.5}, seed)
    assert [{item.doc_id for item in part} for part in again.values()] == sides


def test_another_seed_gives_another_split() -> None:
    parts = [split(items(list(range(40))), {"a": 0.5, "b": 0.5}, seed)["a"] for seed in (1, 2)]
    assert parts[0] != parts[1]


def test_questions_without_a_document_stand_for_themselves() -> None:
    asked = [Question(f"q{n}", "?") for n in range(10)]
    assert {name: len(part) for name, part in split(asked, {"a": 0.7, "b": 0.3}).items()} == {"a": 7, "b": 3}


@pytest.mark.parametrize("shares", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}, {"a": float("nan")}])
def test_shares_that_do_not_add_up_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(EvalError, match="give positive ones that add up to 1"):
        split(items([1, 2, 3]), shares)


def test_a_share_without_a_document_is_refused() -> None:
    with pytest.raises(EvalError, match=r"the share test would be empty: it is 0\.1 of 2 documents"):
        split(items([1, 2]), {"train": 0.9, "test": 0.1})
