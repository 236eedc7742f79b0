"""The classifier of the offline judge: logistic regressions for the kinds of text it knows, and one for all others."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from arriero.evals.errors import EvalError
from arriero.evals.judges.offline.features import FEATURES, Counts, Reading

Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "model.npz"
"""The model that comes with the package; `CARD.md` beside it says what it is."""

OUTSIDE = 1.2

SPREAD = 4.0
"""Standard deviations beyond which a feature says no more."""


@dataclass(frozen=True, slots=True)
class Line:
    """A logistic regression on standardised features.

    Args:
        mean: Mean of each feature.
        scale: Its standard deviation.
        weights: Weight of each; 0 where it is not used.
        intercept: Log-odds of an average item.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float

    def log_odds(self, rows: Floats) -> Floats:
        """Log-odds of rows of features."""
        standard = np.clip((rows - self.mean) / self.scale, -SPREAD, SPREAD)
        # A sum along each row, not a matrix product: the same to the last bit whatever else is in the batch.
        return np.asarray((standard * self.weights).sum(axis=1) + self.intercept)


@dataclass(frozen=True, slots=True)
class Gate:
    """How like an item is to the kinds of text that the model was trained on.

    Args:
        columns: Features that tell kinds apart.
        mean: Mean of each.
        scale: Standard deviation of each.
        weights: For each kind, the weights of a multinomial regression.
        intercepts: For each kind.
        centres: Mean of each kind, standardised.
        precisions: Inverse covariance of each kind.
        limits: Distance from each centre within which an item is of its kind; from there on to `OUTSIDE` times that
            distance it is less and less so.
    """

    columns: NDArray[np.int64]
    mean: Floats
    scale: Floats
    weights: Floats
    intercepts: Floats
    centres: Floats
    precisions: Floats
    limits: Floats

    def kinds(self, rows: Floats) -> Floats:
        """Probability of each kind, 0 where an item is too unlike it; the rest up to 1 is "none of them"."""
        standard = np.clip((rows[:, self.columns] - self.mean) / self.scale, -6, 6)
        logits = (standard[:, None, :] * self.weights[None]).sum(axis=2) + self.intercepts
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        off = standard[:, None, :] - self.centres[None]
        squares = ((off[:, :, :, None] * self.precisions[None]).sum(axis=2) * off).sum(axis=2)
        inside = np.clip((OUTSIDE - np.sqrt(np.maximum(squares, 0)) / self.limits) / (OUTSIDE - 1), 0, 1)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True) * inside)


@dataclass(frozen=True, slots=True)
class Model:
    """All that decides a score.

    Args:
        kinds: Names of the kinds of text.
        gate: Which kind an item is of.
        general: For an item of any kind.
        experts: One for each kind; `general_share` times the log-odds of `general` is added to theirs.
        words: Column in `word_weights` of each word: `=word` in the response, `+stem` that the passages lack.
        word_weights: For each kind, the weight of each word.
        general_share: For each kind.
        calibration: Slope and intercept from log-odds to those of a probability; one row for each kind and, last,
            one for `general`. Made as if both classes were as common in each kind, so that a kind's base rate sways
            no score.
        final: Slope and intercept from the log-odds of the mixture to those of a probability on the training sets.
        document_frequency: Weight of each stem: its inverse document frequency.
        unseen: Weight of a stem that is not among them.
        threshold: Score from which an item is flagged.
        about: Where it comes from.
    """

    kinds: tuple[str, ...]
    gate: Gate
    general: Line
    experts: tuple[Line, ...]
    words: Mapping[str, int]
    word_weights: Floats
    general_share: Floats
    calibration: Floats
    final: Floats
    document_frequency: Mapping[str, float]
    unseen: float
    threshold: float
    about: Mapping[str, object]

    def weight(self, stemmed: str) -> float:
        """How much a word tells."""
        return self.document_frequency.get(stemmed, self.unseen)

    def scores(self, readings: Sequence[Reading]) -> tuple[Floats, Floats]:
        """Probability of a hallucination, and of each kind of text, for each item; items do not sway one another."""
        kinds, log_odds = self.log_odds(readings)
        shares = np.concatenate([kinds, 1 - kinds.sum(axis=1, keepdims=True)], axis=1)
        scores = np.zeros(len(kinds))
        for number, (slope, intercept) in enumerate(self.calibration):
            scores = scores + shares[:, number] * _probability(log_odds[:, number] * slope + intercept)
        scores = np.clip(scores, 1e-9, 1 - 1e-9)
        return _probability(np.log(scores / (1 - scores)) * self.final[0] + self.final[1]), kinds

    def log_odds(self, readings: Sequence[Reading]) -> tuple[Floats, Floats]:
        """Probability of each kind of text, and log-odds by the model of each kind and, last, by the general one."""
        rows = np.array([reading.features for reading in readings], dtype=np.float64)
        general = self.general.log_odds(rows)
        told = np.array([self._told(reading) for reading in readings])
        by_kind = [
            expert.log_odds(rows) + told[:, number] + self.general_share[number] * general
            for number, expert in enumerate(self.experts)
        ]
        return self.gate.kinds(rows), np.stack([*by_kind, general], axis=1)

    def blame(self, counts: Sequence[Counts]) -> Floats:
        """Log-odds of sentences, each as if it were the whole response. They rank; they are not calibrated."""
        rows = np.zeros((len(counts), len(FEATURES)))
        for row, one in zip(rows, counts, strict=True):
            for column, name in _CLAIM_COLUMNS:
                row[column] = getattr(one, name)
        return self.general.log_odds(rows)

    def _told(self, reading: Reading) -> Floats:
        """What single words of the response say, for each kind."""
        columns = sorted({column for word in words_of(reading) if (column := self.words.get(word)) is not None})
        return np.asarray(self.word_weights[:, columns].sum(axis=1))


_CLAIM_COLUMNS = [
    (column, name.partition("_")[2])
    for column, name in enumerate(FEATURES)
    if name.partition("_")[0] in ("all", "worst", "mean") and name.partition("_")[2] in Counts._fields
]


def words_of(reading: Reading) -> set[str]:
    """The words of a response, as the model knows them: `=word`, and `+stem` for those that the passages lack."""
    lacking = {stemmed for _, _, words in reading.sentences for stemmed in words.stems} - reading.context.words
    return {f"={lower}" for _, _, words in reading.sentences for lower in words.lower} | {f"+{one}" for one in lacking}


def _probability(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))


def save(model: Model, path: Path) -> None:
    """Write a model as arrays; no code, no objects."""
    table = sorted(model.document_frequency)
    words = sorted(model.words)
    gate = {f"gate_{name}": getattr(model.gate, name) for name in Gate.__slots__}
    experts = {f"expert_{name}": [getattr(one, name) for one in model.experts] for name in Line.__slots__}
    general = {f"general_{name}": getattr(model.general, name) for name in Line.__slots__}
    arrays = (
        gate
        | experts
        | general
        | {"share": model.general_share, "calibration": model.calibration, "final": model.final}
    )
    head = {
        "features": list(FEATURES),
        "kinds": model.kinds,
        "unseen": model.unseen,
        "threshold": model.threshold,
        "about": model.about,
    }
    columns = [model.words[word] for word in words]
    packed: dict[str, NDArray[Any]] = {name: np.asarray(value, np.float32) for name, value in arrays.items()}
    packed["head"] = _bytes(json.dumps(head))
    packed["table"] = _bytes("\n".join(table))
    packed["table_weights"] = np.array([round(model.document_frequency[word] * 16) for word in table], np.uint8)
    packed["words"] = _bytes("\n".join(words))
    packed["word_weights"] = model.word_weights[:, columns].astype(np.float16)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **packed)


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


@cache
def load(path: Path = SHIPPED) -> Model:
    """Read a model.

    Args:
        path: What `save` wrote.

    Returns:
        The model; read once for the process.

    Raises:
        EvalError: The file is missing, is no such model or was made for other features.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays["head"].tobytes())
        if tuple(head["features"]) != FEATURES:
            raise EvalError(f"{path} was trained on other features: train it again (see CARD.md)")
        return _model(head, arrays)
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise EvalError(f"{path} is no model of the offline judge ({error}): install the package again") from error


def _model(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Model:
    def floats(name: str) -> Floats:
        return np.asarray(arrays[name], np.float64)

    experts = zip(*(floats(f"expert_{name}") for name in Line.__slots__), strict=True)
    gate = [floats(f"gate_{name}") for name in Gate.__slots__[1:]]
    general = [floats(f"general_{name}") for name in Line.__slots__]
    words = arrays["words"].tobytes().decode().split("\n")
    table = arrays["table"].tobytes().decode().split("\n")
    return Model(
        kinds=tuple(head["kinds"]),
        gate=Gate(arrays["gate_columns"].astype(np.int64), *gate),
        general=Line(general[0], general[1], general[2], float(general[3])),
        experts=tuple(Line(mean, scale, weights, float(intercept)) for mean, scale, weights, intercept in experts),
        words={word: column for column, word in enumerate(words)},
        word_weights=floats("word_weights"),
        general_share=floats("share"),
        calibration=floats("calibration"),
        final=floats("final"),
        document_frequency=dict(zip(table, (floats("table_weights") / 16).tolist(), strict=True)),
        unseen=float(head["unseen"]),
        threshold=float(head["threshold"]),
        about=head["about"],
    )


def inverse_frequency(sentences: int, holding: int) -> float:
    """How much a word tells that stands in `holding` of so many sentences.

    Source: Sparck Jones (1972), Journal of Documentation 28, 11-21. In sixteenths, as it is stored.
    """
    return round(math.log(sentences / holding) * 16) / 16
