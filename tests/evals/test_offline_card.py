"""The card of the offline judge says what the shipped model does."""

from pathlib import Path

import pytest

from arriero.evals.data.grounding import read_items
from arriero.evals.judges.offline.card import (
    DETECTION_BARS,
    SPAN_BAR,
    SPANS,
    TRANSFER_BARS,
    detects,
    marks,
    of_split,
    shown,
)
from arriero.evals.judges.offline.model import SHIPPED, load
from arriero.evals.judges.offline.train import trained
from arriero.evals.judges.offline.training import SETTINGS

DATA = Path(__file__).parents[1] / "data" / "grounding"
CARD = (SHIPPED.parent / "CARD.md").read_text(encoding="utf-8")


def row(name: str, which: int = 0) -> list[str]:
    """Cells of a set's row in the card: of the first table that has it, or of a later one."""
    rows = [line for line in CARD.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in rows[which].strip("|").split("|")]


@pytest.mark.parametrize("name", DETECTION_BARS)
def test_the_test_split_gives_what_the_card_says(name: str) -> None:
    found = detects(load(), of_split(read_items(DATA / f"{name}.jsonl.xz"), "test"))
    _, items, auroc, asked, accuracy, f1 = row(name)
    assert (items, auroc) == (str(found.items), shown(found.auroc))
    assert (accuracy, f1) == (shown(found.balanced_accuracy), shown(found.f1))
    assert ("not reached" in asked) == (found.auroc.value < DETECTION_BARS[name])


def test_spans_fit_as_the_card_says() -> None:
    found = marks(load(), of_split(read_items(DATA / f"{SPANS}.jsonl.xz"), "test"))
    _, items, f1, asked = row(SPANS)
    assert (items, f1) == (str(found.n), shown(found))
    assert ("not reached" in asked) == (found.value < SPAN_BAR)


def test_a_model_that_never_saw_a_set_does_on_it_what_the_card_says() -> None:
    name = "mtrag_human"  # training again is most of this file's time; the script that writes the card does it for all
    sets = {one: read_items(DATA / f"{one}.jsonl.xz") for one in SETTINGS}
    found = detects(trained(sets, without=name), sets[name]).auroc
    _, items, auroc, asked = row(name, which=1)
    said = float(auroc.split(" ")[0])
    assert items == str(found.n)
    # Trained anew, by another build of scikit-learn perhaps: the card's figure to the second decimal.
    assert found.value == pytest.approx(said, abs=0.005)
    assert ("not reached" in asked) == (said < TRANSFER_BARS[name] or found.value < TRANSFER_BARS[name])


def test_the_model_is_small_and_says_what_it_was_trained_on() -> None:
    assert SHIPPED.stat().st_size < 500_000
    items = load().about["items"]
    assert isinstance(items, dict)
    assert items == {name: len(of_split(read_items(DATA / f"{name}.jsonl.xz"), "train")) for name in SETTINGS}
