"""The difference of two systems' rates, corrected for the judge that saw both."""

import numpy as np
from numpy.typing import ArrayLike

from arriero.evals.errors import CorrectionRefused, EvalError
from arriero.evals.statistics.correction import LEAST_LABELS, powered
from arriero.evals.statistics.estimate import Clusters, Estimate, check_level, numbers


def prediction_powered_difference(
    labels: ArrayLike,
    scores: ArrayLike,
    unlabelled_scores: ArrayLike,
    *,
    clusters: Clusters = None,
    unlabelled_clusters: Clusters = None,
    level: float = 0.95,
) -> tuple[Estimate, float]:
    """Difference of two rates from pairs that people labelled, sharpened by a judge's scores on all other pairs.

    Right whatever the judge is worth, as long as one judge saw both systems and the labelled pairs are a random sample
    of all: of pairs, or of whole clusters.

    Args:
        labels: For each labelled pair, the candidate's label less the baseline's: -1, 0 or 1.
        scores: The judge's score of the candidate's answer less that of the baseline's, for the same pairs.
        unlabelled_scores: The same for the pairs without labels.
        clusters: The cluster (document, conversation) of each labelled pair; None for independent pairs.
        unlabelled_clusters: The same for the others; given if and only if `clusters` is.
        level: How often the interval is to hold the truth.

    Returns:
        The candidate's rate less the baseline's, and the two-sided p value of the same t statistic: how odd it would
        be if both were alike. It is below 1 - level just where the interval excludes 0.

    Raises:
        CorrectionRefused: There are fewer than 20 labelled pairs, or they are of fewer than 3 clusters.
        EvalError: The rows do not fit each other.

    Source: Angelopoulos, Duchi and Zrnic (2023), PPI++, arXiv 2311.01453, for the mean of a difference; two pairs more
        of which one flips each way, as Agresti and Min (2005), Statistics in Medicine 24, 729-740.

    Example:
        >>> import numpy as np
        >>> random = np.random.default_rng(0)
        >>> truth = (random.random(2_000) < 0.10).astype(int) - (random.random(2_000) < 0.05)
        >>> scores = truth * 0.6 + random.normal(0, 0.2, 2_000)
        >>> found, p_value = prediction_powered_difference(truth[:150], scores[:150], scores[150:])
        >>> bool(found.low < 0.05 < found.high), p_value < 0.05
        (True, True)
    """
    from scipy import special

    check_level(level)
    truth, said, rest = numbers("labels", labels), numbers("scores", scores), numbers("unlabelled", unlabelled_scores)
    if truth.size != said.size:
        raise EvalError(f"{truth.size} labels and {said.size} judgements: give one of each for every pair")
    if not np.isin(truth, (-1, 0, 1)).all():
        raise EvalError("labels: give -1, 0 or 1 for each pair")
    if truth.size < LEAST_LABELS:
        raise CorrectionRefused(f"{truth.size} pairs with labels on both sides: label at least {LEAST_LABELS}")
    found = powered(truth, said, rest, clusters, unlabelled_clusters)
    value = float(np.clip(found.value, -1, 1))
    # As if two pairs more had been seen, one that flips each way
    error = float(np.sqrt(found.variance + 2 / (truth.size + 2) ** 2))
    half = float(special.stdtrit(found.freedom, (1 + level) / 2)) * error
    low, high = max(-1.0, value - half), min(1.0, value + half)
    p_value = 2 * float(special.stdtr(found.freedom, -abs(value) / error))
    return Estimate(value, low, high, truth.size + rest.size, "PPI++", level), p_value
