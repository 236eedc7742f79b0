"""A rate corrected for the judge that measured it, with the help of a sample that people labelled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from arriero.evals.errors import CorrectionRefused, EvalError
from arriero.evals.statistics.estimate import (
    Clusters,
    Estimate,
    Floats,
    Integers,
    binary,
    check_level,
    group_ids,
    numbers,
)
from arriero.evals.statistics.intervals import cluster_wilson, score_interval, wilson

LEAST_YOUDEN = 0.2
"""Sensitivity + specificity - 1 below which a judge says too little to be corrected."""

LEAST_LABELS = 20
"""Labels below which no corrected rate is given."""


_LEAST_OTHERS = 20
"""Items without labels below which their mean is too uncertain to help."""

LEAST_DOCUMENTS = 3
"""Documents with labels below which nothing is known of how documents differ."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How a judge did on items that people labelled.

    Args:
        sensitivity: Share of the hallucinated items that it flags.
        specificity: Share of the supported items that it lets pass.
    """

    sensitivity: Estimate
    specificity: Estimate

    @property
    def youden(self) -> float:
        """Sensitivity + specificity - 1: 1 for a perfect judge, 0 for a coin."""
        return self.sensitivity.value + self.specificity.value - 1


def judge_quality(labels: ArrayLike, flags: ArrayLike, *, clusters: Clusters = None, level: float = 0.95) -> Quality:
    """Sensitivity and specificity of a judge.

    Args:
        labels: 1 where people found a hallucination, else 0.
        flags: 1 where the judge did, in the same order.
        clusters: The cluster of each item; None for independent items.
        level: How often each interval is to hold the truth.

    Returns:
        Both, with Wilson's intervals; by clusters where a class is of several.

    Raises:
        CorrectionRefused: The labels are of one class only.
        EvalError: The rows differ in length or hold something else than 0 and 1.

    Example:
        >>> print(judge_quality([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]).sensitivity)
        75.0 % [30.1, 95.4]
    """
    truth, said = binary("labels", labels), binary("flags", flags)
    _same_length(truth, said)
    positives = int(truth.sum())
    if positives in (0, truth.size):
        which = "supported" if positives == 0 else "hallucinated"
        raise CorrectionRefused(f"all {truth.size} labels are {which!r}: label more items, some of each kind")
    ids = group_ids(clusters, truth.size)

    def part(which: int, hits: Floats) -> Estimate:
        rows, of = hits[truth == which], ids[truth == which]
        if clusters is None or np.unique(of).size in (1, of.size):
            return wilson(int(rows.sum()), rows.size, level=level)
        return cluster_wilson(rows, of, level=level)

    return Quality(part(1, said), part(0, 1 - said))


def require_useful(quality: Quality) -> None:
    """Refuse a judge that says too little for its rate to be corrected.

    Args:
        quality: The judge on labelled items.

    Raises:
        CorrectionRefused: Sensitivity + specificity - 1 is below 0.2.

    Example:
        >>> require_useful(judge_quality([1, 1, 0, 0], [1, 1, 0, 0]))
    """
    if quality.youden < LEAST_YOUDEN:
        raise CorrectionRefused(
            f"sensitivity {quality.sensitivity} and specificity {quality.specificity} of the judge add up to"
            f" {quality.youden + 1:.2f}: below {1 + LEAST_YOUDEN:g} it says too little to be corrected; use a better"
            " judge, or the labels alone"
        )


def rogan_gladen(
    labels: ArrayLike,
    flags: ArrayLike,
    unlabelled_flags: ArrayLike,
    *,
    clusters: Clusters = None,
    unlabelled_clusters: Clusters = None,
    elsewhere: bool = False,
    level: float = 0.95,
) -> Estimate:
    """Rate corrected by the judge's sensitivity and specificity.

    For labels that are no random sample of the judged items, such as as many of each kind, or a set labelled
    elsewhere: the judge must be as good there as here. For a random sample of the same items `prediction_powered` is
    narrower. Where the judge is so poor that the lower end is 0, only the upper one can miss: then the interval holds
    the truth in up to 98 % of studies instead of 95 %.

    Args:
        labels: 1 where people found a hallucination, else 0, for the labelled items.
        flags: 1 where the judge did, for the same items.
        unlabelled_flags: 1 where the judge flags an item without a label, else 0.
        clusters: The cluster (document, conversation) of each labelled item; None for independent items.
        unlabelled_clusters: The same for the others; given if and only if `clusters` is.
        elsewhere: Whether the labelled items are not among those whose rate is wanted.
        level: How often the interval is to hold the truth.

    Returns:
        The corrected rate.

    Raises:
        CorrectionRefused: The labels are of one class, or sensitivity + specificity - 1 is below 0.2.
        EvalError: The rows do not fit each other.

    Source: Rogan and Gladen (1978), American J. Epidemiology 107, 71-76; centre and shift of the interval by Lang and
        Reiczigel (2014), Preventive Veterinary Medicine 113, 13-22; its width by linearisation over clusters, Cochran
        (1977), Sampling Techniques, section 9A, as flags, sensitivity and specificity may share items and documents.

    Example:
        >>> labels, flags = [1] * 50 + [0] * 50, [1] * 45 + [0] * 5 + [1] * 10 + [0] * 40
        >>> print(rogan_gladen(labels, flags, [1] * 310 + [0] * 690, elsewhere=True))
        15.7 % [0.0, 28.1]
    """
    from scipy import special

    quality = judge_quality(labels, flags, level=level)
    require_useful(quality)
    truth, said, rest = binary("labels", labels), binary("flags", flags), binary("unlabelled", unlabelled_flags)
    ids = _joint_ids(clusters, unlabelled_clusters, truth.size, rest.size)
    of, total = ids[: truth.size], int(ids.max()) + 1
    judged, judged_ids = (rest, ids[truth.size :]) if elsewhere else (np.concatenate([said, rest]), ids)
    value = (float(judged.mean()) + quality.specificity.value - 1) / quality.youden
    z = float(special.ndtri((1 + level) / 2))
    # Lang and Reiczigel's adjusted counts: as if z^2 judged and two labelled items of each class were added
    seen = (float(judged.sum()) + z**2 / 2) / (judged.size + z**2)
    hit, hit_variance, hit_pulls = _adjusted(said[truth == 1], of[truth == 1], total)
    passed, passed_variance, passed_pulls = _adjusted(1 - said[truth == 0], of[truth == 0], total)
    youden = hit + passed - 1
    rate = (seen + passed - 1) / youden
    inside = _share(rate)
    pulls = _pulls(judged, judged_ids, total) + (1 - inside) * passed_pulls - inside * hit_pulls
    added = sum(
        weight**2 * 0.5 / (size + 2) ** 2
        for weight, size in ((inside, quality.sensitivity.n), (1 - inside, quality.specificity.n))
    )
    error = float(np.sqrt(pulls @ pulls + added)) / abs(youden)
    shift = 2 * z**2 * (rate * hit_variance - (1 - rate) * passed_variance)
    half = float(special.stdtrit(max(1, int(np.count_nonzero(np.bincount(of))) - 1), (1 + level) / 2)) * error
    low, high = min(_share(value), _share(rate + shift - half)), max(_share(value), _share(rate + shift + half))
    return Estimate(_share(value), low, high, truth.size + rest.size, "Rogan-Gladen", level)


def prediction_powered(
    labels: ArrayLike,
    scores: ArrayLike,
    unlabelled_scores: ArrayLike,
    *,
    clusters: Clusters = None,
    unlabelled_clusters: Clusters = None,
    level: float = 0.95,
) -> Estimate:
    """Rate from a random sample that people labelled, sharpened by a judge's scores on everything else.

    Right whatever the judge is worth: a useless one leaves the labels alone to decide. The labelled items must be a
    random sample of the same traffic: of items, or of whole clusters.

    Args:
        labels: 1 where people found a hallucination, else 0.
        scores: The judge's scores of the same items, on any scale; flags of 0 and 1 among them.
        unlabelled_scores: Its scores of the items without a label.
        clusters: The cluster (document, conversation) of each labelled item; None for independent items.
        unlabelled_clusters: The same for the others; given if and only if `clusters` is.
        level: How often the interval is to hold the truth.

    Returns:
        The corrected rate.

    Raises:
        CorrectionRefused: There are fewer than 20 labels, or they are of one class.
        EvalError: The rows do not fit each other.

    Source: Angelopoulos, Duchi and Zrnic (2023), PPI++: Efficient Prediction-Powered Inference, arXiv 2311.01453.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> truth = random.random(2_000) < 0.1
        >>> scores = np.clip(truth * 0.6 + random.random(2_000) * 0.5, 0, 1)
        >>> rate = prediction_powered(truth[:150], scores[:150], scores[150:])
        >>> bool(rate.low < truth.mean() < rate.high)
        True
    """
    from scipy import special

    check_level(level)
    truth, said, rest = binary("labels", labels), numbers("scores", scores), numbers("unlabelled", unlabelled_scores)
    _same_length(truth, said)
    if truth.size < LEAST_LABELS:
        raise CorrectionRefused(
            f"{truth.size} labels: label at least {LEAST_LABELS} items, 100 to 200 for a useful width"
        )
    if truth.min() == truth.max():
        which = "hallucinated" if truth[0] else "supported"
        raise CorrectionRefused(f"all {truth.size} labels are {which!r}: label more items; until then use wilson()")
    found = powered(truth, said, rest, clusters, unlabelled_clusters)
    # Kept off 0 and 1, where an effective number of labels would say nothing
    inside = float(np.clip(found.value, 0.5 / truth.size, 1 - 0.5 / truth.size))
    # As if two items more had been seen whose residuals are one off each way
    variance = found.variance + 2 * 0.5 / (truth.size + 2) ** 2
    quantile = float(special.stdtrit(found.freedom, (1 + level) / 2))
    low, high = score_interval(inside, inside * (1 - inside) / variance, quantile)
    value = _share(found.value)
    return Estimate(value, min(low, value), max(high, value), truth.size + rest.size, "PPI++", level)


@dataclass(frozen=True, slots=True)
class Powered:
    """A mean of labels, sharpened by scores.

    Args:
        value: The mean.
        variance: Its variance, the labels' part shrunk for the two items that callers add.
        freedom: Degrees of freedom: clusters with labels less one.
    """

    value: float
    variance: float
    freedom: int


def powered(truth: Floats, said: Floats, rest: Floats, clusters: Clusters, rest_clusters: Clusters) -> Powered:
    """Mean of labels, sharpened by the judge's scores as much as makes its variance smallest.

    The variance is by linearisation over clusters: labelled and other items of one document vary together.
    Residuals of a good judge are nearly all alike and seldom one off; callers add two items that are (Agresti and
    Coull (1998), American Statistician 52), or a sample that happens to hold no error of the judge would claim to know
    the rate exactly.

    Raises:
        CorrectionRefused: The labels are of fewer than 3 clusters.
        EvalError: Clusters are given for one part only, or not one for each item.
    """
    ids = _joint_ids(clusters, rest_clusters, truth.size, rest.size)
    of, rest_of, total = ids[: truth.size], ids[truth.size :], int(ids.max()) + 1
    count = int(np.count_nonzero(np.bincount(of)))
    if count < LEAST_DOCUMENTS:
        raise CorrectionRefused(f"the labels are of {count} documents: label items of more")
    shrunk = truth.size / (truth.size + 2)
    labels, scores = (_pulls(row, of, total, shrunk) for row in (truth, said))
    less = scores - _pulls(rest, rest_of, total)
    squares = float(said.var() + rest.var()) if rest.size else 0.0
    enough = rest.size >= _LEAST_OTHERS and np.count_nonzero(np.bincount(rest_of)) >= LEAST_DOCUMENTS
    helps = squares > 0 and enough
    weight = float(np.clip(_weight(truth, said, rest), 0.0, 1.0)) if helps else 0.0
    left = labels - weight * less
    value = float(truth.mean() + weight * (rest.mean() - said.mean())) if rest.size else float(truth.mean())
    return Powered(value, float(left @ left), count - 1)


def _weight(truth: Floats, said: Floats, rest: Floats) -> float:
    """What makes the variance smallest for independent items; of a dozen documents a better one cannot be known."""
    shared = float((truth - truth.mean()) @ (said - said.mean())) / truth.size**2
    return shared / (float(said.var()) / said.size + float(rest.var()) / rest.size)


def _pulls(row: Floats, ids: Integers, total: int, scale: float = 1.0) -> Floats:
    """How much each cluster pulls a mean away from where it is; their squares sum to the mean's variance."""
    count = int(np.count_nonzero(np.bincount(ids)))
    sums = np.bincount(ids, row - row.mean(), total)
    return np.asarray(sums / row.size * np.sqrt(scale * count / max(1, count - 1)))


def _joint_ids(clusters: Clusters, rest_clusters: Clusters, size: int, rest_size: int) -> Integers:
    """A number for each item's cluster, labelled items first; one document has one number in both parts."""
    if (clusters is None) != (rest_clusters is None):
        raise EvalError("give clusters for the labelled and for the other items, or for neither")
    if clusters is None or rest_clusters is None:
        return np.arange(size + rest_size)
    for part, length in ((clusters, size), (rest_clusters, rest_size)):
        if len(part) != length:
            group_ids(part, length)  # which says so
    if isinstance(clusters, np.ndarray) and isinstance(rest_clusters, np.ndarray):
        return group_ids(np.concatenate([clusters, rest_clusters]), size + rest_size)
    return group_ids([*clusters, *rest_clusters], size + rest_size)


def _adjusted(hits: Floats, ids: Integers, total: int) -> tuple[float, float, Floats]:
    """A share as if two items more had been seen, its variance for independent items, and the clusters' pulls."""
    share = (float(hits.sum()) + 1) / (hits.size + 2)
    return share, share * (1 - share) / (hits.size + 2), _pulls(hits, ids, total, hits.size / (hits.size + 2))


def _same_length(labels: Floats, flags: Floats) -> None:
    if labels.size != flags.size:
        raise EvalError(f"{labels.size} labels and {flags.size} judgements: give one of each for every item")


def _share(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
