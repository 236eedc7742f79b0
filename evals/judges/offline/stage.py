"""The second stage of the offline judge: what the counts say and what embeddings say, weighed together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judges.offline.embeddings import MEANINGS, Embedder, meanings_of
from arriero.evals.judges.offline.features import Reading
from arriero.evals.judges.offline.model import Floats, Line, Model

SHIPPED_STAGE = Path(__file__).parent / "model-embeddings.npz"
"""The second stage that comes with the package; a section of `CARD.md` beside it says what it adds."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Logistic regressions on the log-odds of the counts and on `MEANINGS`.

    Args:
        kinds: Names of the kinds of text, as in the model of the counts.
        lines: One for each kind and, last, one for all other texts.
        final: Slope and intercept from the log-odds of the mixture to those of a probability on the training sets.
        threshold: Score from which an item is flagged.
        about: Where it comes from.
    """

    kinds: tuple[str, ...]
    lines: tuple[Line, ...]
    final: tuple[float, float]
    threshold: float
    about: Mapping[str, object]

    def scores(self, kinds: Floats, log_odds: Floats, meanings: Floats) -> Floats:
        """Probability of a hallucination for each item; items do not sway one another.

        Args:
            kinds: Probability of each kind of text for each item.
            log_odds: What the counts say of each item: by the model of each kind and, last, by the general one.
            meanings: Its `MEANINGS`.
        """
        shares = np.concatenate([kinds, 1 - kinds.sum(axis=1, keepdims=True)], axis=1)
        scores = np.zeros(len(kinds))
        for number, line in enumerate(self.lines):
            told = line.log_odds(np.concatenate([log_odds[:, number : number + 1], meanings], axis=1))
            scores = scores + shares[:, number] / (1 + np.exp(-np.clip(told, -30, 30)))
        scores = np.clip(scores, 1e-9, 1 - 1e-9)
        mixed = np.log(scores / (1 - scores)) * self.final[0] + self.final[1]
        return np.asarray(1 / (1 + np.exp(-np.clip(mixed, -30, 30))))


@dataclass(frozen=True, slots=True)
class Deeper:
    """A second stage and the embedder that it reads with.

    Args:
        stage: The stage.
        embedder: The embedder.
    """

    stage: Stage
    embedder: Embedder

    def scores(self, model: Model, items: Sequence[GroundingItem], readings: Sequence[Reading]) -> Floats:
        """Probability of a hallucination for each item."""
        meanings = [
            meanings_of(item, one, model.weight, self.embedder) for item, one in zip(items, readings, strict=True)
        ]
        return self.stage.scores(*model.log_odds(readings), np.array(meanings))


def save_stage(stage: Stage, path: Path) -> None:
    """Write a stage as arrays; no code, no objects."""
    head = {
        "meanings": MEANINGS,
        "kinds": stage.kinds,
        "threshold": stage.threshold,
        "final": stage.final,
        "about": stage.about,
    }
    lines: dict[str, NDArray[np.float32]] = {
        name: np.array([getattr(line, name) for line in stage.lines], np.float32) for name in Line.__slots__
    }
    with path.open("wb") as file:
        packed = np.frombuffer(json.dumps(head).encode(), np.uint8)
        np.savez_compressed(file, allow_pickle=False, head=packed, **lines)


@cache
def load_stage(path: Path = SHIPPED_STAGE) -> Stage:
    """Read a stage.

    Args:
        path: What `save_stage` wrote.

    Returns:
        The stage; read once for the process.

    Raises:
        EvalError: The file is missing, is no such stage or was made for other features.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays["head"].tobytes())
        if tuple(head["meanings"]) != MEANINGS:
            raise EvalError(f"{path} was trained on other features: train it again (see CARD.md)")
        rows = zip(*(np.asarray(arrays[name], np.float64) for name in Line.__slots__), strict=True)
        lines = tuple(Line(mean, scale, weights, float(intercept)) for mean, scale, weights, intercept in rows)
        final = (float(head["final"][0]), float(head["final"][1]))
        return Stage(tuple(head["kinds"]), lines, final, float(head["threshold"]), head["about"])
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
        raise EvalError(
            f"{path} is no second stage of the offline judge ({error}): install the package again"
        ) from error
