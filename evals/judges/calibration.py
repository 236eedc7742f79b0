"""A judge's scores made into probabilities, by what people said of some items."""

import hashlib
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judge, Judgement
from arriero.evals.statistics.estimate import Floats, binary, group_ids, numbers

Method = Literal["platt", "isotonic"]
Clusters = Sequence[Hashable] | NDArray[Any] | None

LEAST_LABELS = 20
"""Labelled items below which nothing is calibrated."""

LEAST_OF_A_KIND = 5
"""Hallucinated, and supported, items below which nothing is calibrated."""

_EDGE = 1e-6
"""Scores nearer than this to 0 or 1 count as this near: their log-odds would be infinite."""

_Line = tuple[float, float]
_Points = tuple[tuple[float, float], ...]


class CalibrationRefused(EvalError):
    """Scores cannot be calibrated: too few labels, one class only, or scores that say nothing."""


class InvalidCalibration(EvalError):
    """A file holds no calibration, or one that was made for another judge."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from a judge's scores to probabilities that an item is hallucinated. It never reverses their order.

    Make one with `Calibration.fit`. It corrects what a score means, not a rate: on traffic where hallucinations are
    more or less common than among the labelled items, the mean of calibrated scores is off. Rates are corrected with
    `prediction_powered`.

    Args:
        method: `platt`: a straight line through the log-odds, two numbers; `isotonic`: any rising steps.
        shape: For `platt` one pair: slope and offset of the log-odds. For `isotonic` pairs of a score and its
            probability, rising in both; between two of them the probability is a straight line.
        n: Labelled items that it was fitted on.
        rate: Share of them that were hallucinated.
        brier: Brier score of the scores as they came: mean square of score less label; 0 is perfect.
        brier_calibrated: The same of calibrated scores, each by a map that was fitted without its document.
        judge: Digest of the judge's fingerprint without versions; empty where nobody said.

    Example:
        >>> scores = [0.1, 0.2, 0.3, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9] * 4
        >>> labels = [0, 0, 0, 0, 0, 1, 0, 1, 1, 1] * 4
        >>> found = Calibration.fit(scores, labels)
        >>> found.apply(0.7) < 0.7 < found.apply(0.95)
        True
    """

    method: Method
    shape: tuple[tuple[float, float], ...]
    n: int
    rate: float
    brier: float
    brier_calibrated: float
    judge: str = ""

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        labels: ArrayLike,
        clusters: Clusters = None,
        *,
        method: Method = "platt",
        folds: int = 5,
        judge: Mapping[str, object] | None = None,
    ) -> Self:
        """Fit scores to labels.

        Args:
            scores: A judge's score of each labelled item, from 0 to 1.
            labels: 1 where people found a hallucination, else 0, in the same order.
            clusters: The document of each item; None for items of one document each.
            method: `platt` for up to some hundreds of labels; `isotonic` needs more, and follows any shape.
            folds: Parts into which documents are dealt to see how well it works.
            judge: Fingerprint of the judge, so that the calibration is used for no other one.

        Returns:
            The calibration, fitted on all items.

        Raises:
            CalibrationRefused: Too few labels, too few of a kind, or scores that do not rise with the labels.
            EvalError: The rows differ in length, a score is not from 0 to 1, a label is neither 0 nor 1.

        Source: Platt (1999), Probabilistic outputs for support vector machines, with his targets; the line is through
            log-odds, so that scores which are right already stay as they are. Isotonic: Zadrozny and Elkan (2002),
            KDD, 694-699.
        """
        row, truth = _checked(scores, labels, method)
        out_of_fold = _crossfitted(row, truth, clusters, method, folds)
        return cls(
            method,
            _shape(row, truth, method),
            int(row.size),
            float(truth.mean()),
            float(np.mean((row - truth) ** 2)),
            float(np.mean((out_of_fold - truth) ** 2)),
            _digest_of_judge(judge) if judge is not None else "",
        )

    def apply(self, score: float) -> float:
        """The probability that an item with this score is hallucinated.

        Args:
            score: The judge's score, from 0 to 1.

        Returns:
            The probability.

        Raises:
            EvalError: The score is not from 0 to 1.
        """
        if not 0 <= score <= 1:
            raise EvalError(f"a score is {score!r}: give one from 0 to 1")
        return float(_applied(np.asarray([score]), self.shape, self.method)[0])

    def save(self, path: str | Path) -> None:
        """Write it as JSON, all at once.

        Args:
            path: The file.

        Raises:
            EvalError: It cannot be written.
        """
        file = Path(path)
        beside = file.with_name(file.name + ".part")
        try:
            beside.write_text(json.dumps({"calibration": 1} | asdict(self), indent=1) + "\n", encoding="utf-8")
            beside.replace(file)
        except OSError as error:
            raise EvalError(f"{file} cannot be written ({error}): choose another place") from error

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The calibration.

        Raises:
            InvalidCalibration: The file is absent, or holds none.
        """
        from pydantic import TypeAdapter, ValidationError

        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidCalibration(
                f"{file} cannot be read ({error}): make it with `arriero eval calibrate`"
            ) from error
        try:
            found = TypeAdapter(Calibration).validate_json(text)
        except ValidationError as error:
            what = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in what["loc"]) or "the file"
            raise InvalidCalibration(
                f"{file} holds no calibration ({where}: {what['msg']}): make it with `arriero eval calibrate`"
            ) from error
        if not _usable(found):
            raise InvalidCalibration(
                f"{file}: its shape does not rise from 0 to 1: make the file again with `arriero eval calibrate`"
            )
        return found


def crossfitted(
    scores: ArrayLike, labels: ArrayLike, clusters: Clusters = None, *, method: Method = "platt", folds: int = 5
) -> Floats:
    """Calibrated scores of the labelled items themselves, each by a map that was fitted without its document.

    Args:
        scores: As for `Calibration.fit`.
        labels: As for `Calibration.fit`.
        clusters: As for `Calibration.fit`.
        method: As for `Calibration.fit`.
        folds: As for `Calibration.fit`.

    Returns:
        A probability for each item, in order: what to measure a calibrated judge by.

    Raises:
        CalibrationRefused: As for `Calibration.fit`.
        EvalError: As for `Calibration.fit`.

    Example:
        >>> scores = [0.1, 0.2, 0.3, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9] * 4
        >>> crossfitted(scores, [0, 0, 0, 0, 0, 1, 0, 1, 1, 1] * 4).shape
        (40,)
    """
    row, truth = _checked(scores, labels, method)
    return _crossfitted(row, truth, clusters, method, folds)


class CalibratedJudge:
    """A judge whose response scores are probabilities. Claims keep the judge's own scores.

    Args:
        judge: The judge.
        calibration: Made from its scores.
        threshold: Probability from which an item is flagged.

    Raises:
        InvalidCalibration: The calibration was made for another judge, or for other settings of this one.
    """

    def __init__(self, judge: Judge, calibration: Calibration, *, threshold: float = 0.5) -> None:
        known = _digest_of_judge(judge.fingerprint)
        if calibration.judge and calibration.judge != known:
            raise InvalidCalibration(
                f"the calibration was made for another judge than {judge.name!r} as it is set up now (model, prompt and"
                " settings count): use the same settings, or calibrate again with `arriero eval calibrate`"
            )
        self._judge = judge
        self._calibration = calibration
        self._threshold = threshold

    @property
    def name(self) -> str:
        """The judge's name."""
        return self._judge.name

    @property
    def threshold(self) -> float:
        """Probability from which an item is flagged."""
        return self._threshold

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The judge's own, with the calibration."""
        known = self._calibration
        made = {"method": known.method, "n": known.n, "sha256": digest(asdict(known))}
        return {**self._judge.fingerprint, "calibration": made}

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        """Judge items; see `Judge.judge`."""
        found = await self._judge.judge(items)
        return [one if one.score is None else replace(one, score=self._calibration.apply(one.score)) for one in found]


def digest(fingerprint: Mapping[str, object]) -> str:
    """A short name for all that a fingerprint says.

    Args:
        fingerprint: A judge's, or a system's. JSON values.

    Returns:
        The first 16 digits of its SHA-256, keys in order.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(fingerprint, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest_of_judge(fingerprint: Mapping[str, object]) -> str:
    """Versions of libraries are left out: they are recorded with every run, and a new one makes no other judge."""
    return digest({key: value for key, value in fingerprint.items() if key != "versions"})


def _checked(scores: ArrayLike, labels: ArrayLike, method: Method) -> tuple[Floats, Floats]:
    if method not in get_args(Method):
        raise EvalError(f"method is {method!r}: use one of {', '.join(get_args(Method))}")
    row, truth = numbers("scores", scores), binary("labels", labels)
    if row.size != truth.size:
        raise EvalError(f"{row.size} scores and {truth.size} labels: give one label for each score")
    odd = np.flatnonzero((row < 0) | (row > 1))
    if odd.size:
        raise EvalError(f"scores[{odd[0]}] is {row[odd[0]]:g}: scores go from 0 to 1")
    positives = int(truth.sum())
    if row.size < LEAST_LABELS or min(positives, row.size - positives) < LEAST_OF_A_KIND:
        raise CalibrationRefused(
            f"{positives} hallucinated and {row.size - positives} supported items are labelled: label at least"
            f" {LEAST_LABELS}, {LEAST_OF_A_KIND} of each kind"
        )
    return row, truth


def _crossfitted(row: Floats, truth: Floats, clusters: Clusters, method: Method, folds: int) -> Floats:
    ids = group_ids(clusters, row.size)
    documents = int(ids.max()) + 1
    if folds < 2 or documents < 2:
        raise CalibrationRefused(f"{folds} folds and {documents} documents: at least two of each are needed")
    found = np.empty_like(row)
    for part in range(min(folds, documents)):
        left_out = ids % min(folds, documents) == part
        known = ~left_out
        if len(np.unique(truth[known])) < 2:
            raise CalibrationRefused("the labels of one kind are all of one document: label more documents")
        found[left_out] = _applied(row[left_out], _shape(row[known], truth[known], method), method)
    return found


def _usable(found: Calibration) -> bool:
    if found.method == "platt":
        return len(found.shape) == 1 and found.shape[0][0] > 0 and math.isfinite(sum(found.shape[0]))
    rising = all(a <= c and b <= d for (a, b), (c, d) in pairwise(found.shape))
    return len(found.shape) > 1 and rising and all(0 <= value <= 1 for point in found.shape for value in point)


def _shape(row: Floats, truth: Floats, method: Method) -> _Points:
    found = (_platt(_log_odds(row), truth),) if method == "platt" else _isotonic(row, truth)
    flat = found[0][0] <= 0 if method == "platt" else found[0][1] == found[-1][1]
    if flat or row.min() == row.max():
        raise CalibrationRefused(
            "higher scores do not go with hallucinations among the labelled items: this judge cannot be calibrated"
        )
    return found


def _platt(log_odds: Floats, truth: Floats) -> _Line:
    """Slope and offset of the most likely line, with Platt's targets, which keep it finite for scores that separate."""
    from scipy import optimize

    positives, negatives = float(truth.sum()), float((1 - truth).sum())
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(line: Floats) -> tuple[float, Floats]:
        at = line[0] * log_odds + line[1]
        excess = _sigmoid(at) - target
        value = float((np.logaddexp(0, at) - target * at).sum())
        return value, np.asarray([float((excess * log_odds).sum()), float(excess.sum())])

    start = np.asarray([1.0, 0.0])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return float(found.x[0]), float(found.x[1])


def _isotonic(row: Floats, truth: Floats) -> _Points:
    from scipy import optimize

    xs, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, truth) / counts
    rising = optimize.isotonic_regression(means, weights=counts.astype(np.float64)).x
    edge = 1 / (row.size + 2)  # no number of labels shows that something never, or always, happens
    ys = np.clip(rising, edge, 1 - edge)
    inner = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    return ((0.0, inner[0][1]), *inner, (1.0, inner[-1][1]))


def _applied(scores: Floats, shape: _Points, method: Method) -> Floats:
    if method == "platt":
        slope, offset = shape[0]
        return _sigmoid(slope * _log_odds(scores) + offset)
    xs, ys = (np.asarray(side) for side in zip(*shape, strict=True))
    return np.asarray(np.interp(scores, xs, ys))


def _log_odds(scores: Floats) -> Floats:
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _sigmoid(at: Floats) -> Floats:
    from scipy import special

    return np.asarray(special.expit(at))
