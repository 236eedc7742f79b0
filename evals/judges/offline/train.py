"""`python -m arriero.evals.judges.offline.train`: trains the model that ships, measures it, writes its card."""

import argparse
import hashlib
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from arriero.evals.data.grounding import read_items
from arriero.evals.items import GroundingItem
from arriero.evals.judges.offline.card import SPANS, Figures, card, detects, marks, of_split
from arriero.evals.judges.offline.judge import judge_with
from arriero.evals.judges.offline.model import SHIPPED, Model, load, save
from arriero.evals.judges.offline.training import SETTINGS, train

CHARACTERS = 4_000


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with SET.jsonl.xz for each set")
    parser.add_argument("--out", type=Path, default=SHIPPED.parent, help="folder for model.npz and CARD.md")
    given = parser.parse_args()
    sets = {name: read_items(given.data / f"{name}.jsonl.xz") for name in SETTINGS}
    save(trained(sets), given.out / "model.npz")
    model = load(given.out / "model.npz")
    figures = Figures(
        {name: detects(model, of_split(items, "test")) for name, items in sets.items()},
        {name: detects(trained(sets, without=name), items).auroc for name, items in sets.items()},
        marks(model, of_split(read_items(given.data / f"{SPANS}.jsonl.xz"), "test")),
    )
    (given.out / "CARD.md").write_text(card(model, figures, rate(model, sets["wice"])), encoding="utf-8")
    sys.stdout.write(f"{given.out / 'CARD.md'}\n")


def trained(sets: dict[str, tuple[GroundingItem, ...]], without: str | None = None) -> Model:
    """A model of the train splits of sets.

    Args:
        sets: The sets.
        without: One to leave out altogether, its words too.
    """
    used = {name: of_split(items, "train") for name, items in sets.items() if name != without}
    digest = hashlib.sha256("".join(item.id for items in used.values() for item in items).encode()).hexdigest()
    items = {name: len(items) for name, items in used.items()}
    return train(used, {"items": items, "ids": digest, "scikit-learn": version("scikit-learn")})


def rate(model: Model, items: tuple[GroundingItem, ...]) -> float:
    """Items a second whose passages have 4,000 characters, no two alike: the median of batches of 50, on one core."""
    long = [item for item in items if sum(map(len, item.context)) >= CHARACTERS]
    cut = [GroundingItem(item.id, ("\n".join(item.context)[:CHARACTERS],), item.response) for item in long]
    rates = []
    for start in range(0, len(cut), 50):
        started = time.process_time()
        judge_with(model, batch := cut[start : start + 50])
        rates.append(len(batch) / (time.process_time() - started))
    return median(rates)


if __name__ == "__main__":
    main()
