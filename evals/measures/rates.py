"""The rate of hallucination: what the judge flags, what people say, and the correction that the two allow."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from arriero.evals.errors import CorrectionRefused
from arriero.evals.evaluation import Correction, Judged, Rate
from arriero.evals.statistics.correction import (
    LEAST_DOCUMENTS,
    LEAST_LABELS,
    LEAST_YOUDEN,
    Quality,
    judge_quality,
    prediction_powered,
    require_useful,
    rogan_gladen,
)
from arriero.evals.statistics.estimate import Clusters, Estimate, Floats
from arriero.evals.statistics.intervals import cluster_wilson, wilson


@dataclass(frozen=True, slots=True)
class Row:
    """What a rate needs to know of an answer or of a claim.

    Args:
        score: The judge's; None where it failed.
        flagged: Whether the judge flags it.
        label: What people said; None where nobody did.
        document: Its cluster.
    """

    score: float | None
    flagged: bool
    label: Literal[0, 1] | None
    document: Hashable


def answer_rows(items: Sequence[Judged]) -> list[Row]:
    """A row for each answer."""
    return [Row(one.judgement.score, bool(one.flagged), one.label, one.item.doc_id or one.item.id) for one in items]


def claim_rows(items: Sequence[Judged]) -> list[Row]:
    """A row for each claim, as the judge takes responses apart. An item that the judge failed has one without a score.

    A claim of a supported answer is supported. One of a hallucinated answer is hallucinated where people marked a
    part of it, or where it is the only one; where they marked nothing, nobody knows. If that is so of any answer no
    claim has a label: those left would be the claims of supported answers for the most part, and no sample of all.
    """
    rows, unknown = [], False
    for one in items:
        document = one.item.doc_id or one.item.id
        if one.judgement.score is None:
            rows.append(Row(None, False, None, document))
        for claim in one.judgement.claims if one.judgement.score is not None else ():
            label: Literal[0, 1] | None = one.label
            if label == 1 and len(one.judgement.claims) > 1:
                marked, span = one.item.spans, claim.span
                overlaps = span and any(mark.start < span.end and span.start < mark.end for mark in marked)
                label = (1 if overlaps else 0) if marked and span else None
                unknown = unknown or label is None
            rows.append(Row(claim.score, claim.verdict != "supported", label, document))
    return [replace(row, label=None) for row in rows] if unknown else rows


def rate(rows: Sequence[Row], *, random_labels: bool = True, level: float = 0.95) -> Rate:
    """The rate among some answers or claims, corrected where the labels allow it.

    Args:
        rows: The answers or claims.
        random_labels: Whether the labelled ones are a random sample of all: then PPI++ corrects, else Rogan-Gladen.
        level: How often each interval is to hold the truth.

    Returns:
        The rate. Where no correction is possible `corrected` is None and `refused` says why; where random labels
        allow a rate that the judge adds nothing to, it is of the labels alone, and `refused` says why.
    """
    judged = [row for row in rows if row.score is not None]
    labelled = [row for row in judged if row.label is not None]
    failed = len(rows) - len(judged)
    if not judged:
        return Rate(None, None, _nothing_judged(failed), None, None, None, 0, 0, failed)
    flagged = share([row.flagged for row in judged], [row.document for row in judged], level=level)
    alone, quality = None, None
    if labelled:
        alone = share([row.label for row in labelled], [row.document for row in labelled], level=level)
        quality = _quality(labelled, level)
    if failed and labelled and not random_labels and len(labelled) == len(judged):
        unfit = _chosen(len(labelled), len(rows))
        return Rate(None, None, unfit, flagged, alone, quality, len(judged), len(labelled), failed)
    corrected, correction, refused = _corrected(judged, labelled, alone, quality, random_labels, level)
    return Rate(corrected, correction, refused, flagged, alone, quality, len(judged), len(labelled), failed)


def share(events: Sequence[float | None], documents: Sequence[Hashable], *, level: float = 0.95) -> Estimate:
    """Share of yes among yes-or-no items, by documents where they repeat and there are several."""
    row = np.asarray(events, dtype=np.float64)
    clusters = clusters_of(documents)
    if clusters is None:
        return wilson(int(row.sum()), row.size, level=level)
    return cluster_wilson(row, clusters, level=level)


def clusters_of(documents: Sequence[Hashable]) -> Sequence[Hashable] | None:
    """Documents as clusters; None where each is there once, or where there is only one and items are all there is."""
    return documents if 1 < len(set(documents)) < len(documents) else None


_Found = tuple[Estimate | None, Correction | None, str | None]


def _corrected(
    judged: Sequence[Row],
    labelled: Sequence[Row],
    alone: Estimate | None,
    quality: Quality | None,
    random_labels: bool,
    level: float,
) -> _Found:
    if alone is None:
        return (
            None,
            None,
            "no labels: label 100 to 200 items, chosen at random (`arriero eval calibrate`); until then there is"
            " only what the judge flags, and that is no rate of hallucination",
        )
    if len(labelled) < LEAST_LABELS:
        return None, None, f"{len(labelled)} labels: label at least {LEAST_LABELS} items, 100 to 200 for a useful width"
    if len(labelled) == len(judged):
        return alone, "labels only", None
    try:
        if quality is None:
            judge_quality(_labels(labelled), _flags(labelled))  # says which class there is none of
            raise AssertionError
        if random_labels and quality.youden < LEAST_YOUDEN and not _of_few_documents(judged, labelled):
            return alone, "labels only", _reason(quality)  # a random sample needs no judge
        require_useful(quality)
        if random_labels:
            return _powered(judged, labelled, level), "PPI++", None
        return _by_quality(judged, labelled, level), "Rogan-Gladen", None
    except CorrectionRefused as error:
        return None, None, str(error)


def _of_few_documents(judged: Sequence[Row], labelled: Sequence[Row]) -> bool:
    """Whether the labels are of so few of many documents that they say nothing of the others."""
    return clusters_of(_documents(judged)) is not None and len({row.document for row in labelled}) < LEAST_DOCUMENTS


def _reason(quality: Quality) -> str:
    try:
        require_useful(quality)
    except CorrectionRefused as error:
        return str(error)
    return ""


def _powered(judged: Sequence[Row], labelled: Sequence[Row], level: float) -> Estimate:
    rest = [row for row in judged if row.label is None]
    clusters, others = _clusters(judged, labelled, rest)
    scores, rest_scores = _scores(labelled), _scores(rest)
    return prediction_powered(
        _labels(labelled), scores, rest_scores, clusters=clusters, unlabelled_clusters=others, level=level
    )


def _by_quality(judged: Sequence[Row], labelled: Sequence[Row], level: float) -> Estimate:
    rest = [row for row in judged if row.label is None]
    clusters, others = _clusters(judged, labelled, rest)
    flags, rest_flags = _flags(labelled), _flags(rest)
    return rogan_gladen(
        _labels(labelled), flags, rest_flags, clusters=clusters, unlabelled_clusters=others, level=level
    )


def _clusters(judged: Sequence[Row], labelled: Sequence[Row], rest: Sequence[Row]) -> tuple[Clusters, Clusters]:
    if clusters_of(_documents(judged)) is None:
        return None, None
    return _documents(labelled), _documents(rest)


def _quality(labelled: Sequence[Row], level: float) -> Quality | None:
    clusters = clusters_of(_documents(labelled))
    try:
        return judge_quality(_labels(labelled), _flags(labelled), clusters=clusters, level=level)
    except CorrectionRefused:
        return None


def _labels(rows: Sequence[Row]) -> Floats:
    return np.array([row.label for row in rows], dtype=np.float64)


def _scores(rows: Sequence[Row]) -> Floats:
    return np.array([row.score for row in rows], dtype=np.float64)


def _flags(rows: Sequence[Row]) -> Floats:
    return np.array([row.flagged for row in rows], dtype=np.float64)


def _documents(rows: Sequence[Row]) -> list[Hashable]:
    return [row.document for row in rows]


def _chosen(labelled: int, items: int) -> str:
    return (
        f"{labelled} of {items} items have labels, which are no random sample, and nothing is known of the others:"
        " choose items at random (`arriero eval calibrate`)"
    )


def _nothing_judged(failed: int) -> str:
    return f"the judge gave no score to any of {failed} items" if failed else "there are no items"
