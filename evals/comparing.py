"""Two systems or more on the same items: is the difference real, and is it small enough?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from arriero.evals.errors import CorrectionRefused, EvalError
from arriero.evals.evaluation import Evaluation, Judged
from arriero.evals.measures.rates import clusters_of
from arriero.evals.statistics.correction import LEAST_LABELS
from arriero.evals.statistics.difference import prediction_powered_difference
from arriero.evals.statistics.estimate import Clusters, Estimate, Floats, group_ids
from arriero.evals.statistics.intervals import design_effect
from arriero.evals.statistics.paired import Comparison, Conclusion, compare, conclude, excludes_none, holm
from arriero.evals.statistics.power import difference_for_items

By = Literal["labels", "judge"]

_CHOSEN = "the labelled items are no random sample, and nothing corrects a difference by others"
_FEW_PAIRS = 100
_FEW_DOCUMENTS = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """One question, answered by both systems.

    Args:
        key: What pairs the two: the id of the item, or the value of the field that was chosen.
        base: The baseline's answer.
        candidate: The candidate's.
    """

    key: str
    base: Judged
    candidate: Judged


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What a candidate does on the items of a baseline; less hallucination is better.

    Args:
        base: Name of the baseline.
        candidate: Name of the candidate.
        by: Whether people or the judge say what is hallucinated. The judge's word is about its flags.
        found: Difference, flips and test, of labels or of flags.
        corrected: Difference of the rates of hallucination: that of the labels, or that of the flags corrected by the
            pairs that have labels; None where there are too few.
        refused: Why the flags were not corrected; None where they were, or where labels decide.
        conclusion: From the corrected difference where there is one, else from that of the flags. `worse` and `better`
            need the interval and the adjusted p value; `not worse` is said of each candidate by itself.
        p_adjusted: The p value of the difference that decides, adjusted for several candidates by Holm's method.
        smallest: Difference that as many items with as many flips show in 8 of 10 studies.
        pairs: The pairs that were compared.
        labelled: Pairs with labels on both sides.
        failed: Pairs left out because the judge failed on one side, or because a label is missing.
        unpaired: Items of the baseline and of the candidate that the other lacks.
        judge: The judge's fingerprint, where it decides.
        level: How often each interval is to hold the truth.
        caveats: All that a reader must know before they believe a number.
    """

    base: str
    candidate: str
    by: By
    found: Comparison
    corrected: Estimate | None
    refused: str | None
    conclusion: Conclusion
    p_adjusted: float
    smallest: float | None
    pairs: tuple[Pair, ...]
    labelled: int
    failed: int
    unpaired: tuple[int, int]
    judge: Mapping[str, object]
    level: float
    caveats: tuple[str, ...] = ()


def compare_runs(
    base: Evaluation,
    candidates: Sequence[Evaluation],
    *,
    margin: float = 0.02,
    by: By | None = None,
    pair: str | None = None,
    draws: int = 5_000,
    seed: int = 0,
) -> tuple[RunComparison, ...]:
    """Compare systems with a baseline on the same items.

    Args:
        base: What was found of the baseline.
        candidates: What was found of the others.
        margin: Largest increase of the rate that counts as not worse; chosen before looking.
        by: Whether labels or the judge decide. None for labels where every pair has them, else the judge.
        pair: Field of the items' `extra` that pairs them; None for their id.
        draws: How often to draw for the bootstrap.
        seed: Seed of the draws.

    Returns:
        A comparison for each candidate, p values adjusted for their number.

    Raises:
        EvalError: Nothing pairs, a key is there twice, or different judges judged the two.

    Example:
        >>> from arriero.evals.evaluate import evaluate
        >>> from arriero.evals.items import GroundingItem
        >>> def run(name, wrong):
        ...     items = [GroundingItem(str(n), ("Mules walk.",), "?", label=int(n < wrong)) for n in range(400)]
        ...     return evaluate(items, {}, judge={}, threshold=0.5, name=name)
        >>> (found,) = compare_runs(run("bf16", 40), [run("int4", 80)])
        >>> print(found.by, found.conclusion, found.corrected)
        labels worse 10.0 % [7.4, 13.3]
    """
    if not candidates:
        raise EvalError("there is nothing to compare with the baseline: give at least one candidate")
    found = [_compared(base, one, margin=margin, by=by, pair=pair, draws=draws, seed=seed) for one in candidates]
    adjusted = holm([one.p_adjusted for one in found])
    return tuple(_adjusted(one, p_value) for one, p_value in zip(found, adjusted, strict=True))


def paired(base: Sequence[Judged], candidate: Sequence[Judged], *, field: str | None = None) -> tuple[Pair, ...]:
    """Answers of two systems to the same questions.

    Args:
        base: The baseline's.
        candidate: The candidate's.
        field: Field of the items' `extra` that pairs them; None for their id.

    Returns:
        A pair for each key that both have, in the baseline's order.

    Raises:
        EvalError: An item lacks the field, a key is there twice on one side, or no key is on both.

    Example:
        >>> paired([], [])
        Traceback (most recent call last):
        arriero.evals.errors.EvalError: no item of the baseline is among those of the candidate ...
    """
    sides = [_keyed(side, items, field) for side, items in (("baseline", base), ("candidate", candidate))]
    found = tuple(Pair(key, one, sides[1][key]) for key, one in sides[0].items() if key in sides[1])
    if not found:
        raise EvalError(
            f"no item of the baseline is among those of the candidate by {field or 'id'!r}: compare runs of the same"
            " questions, or name the field that pairs them"
        )
    return found


def _keyed(side: str, items: Sequence[Judged], field: str | None) -> dict[str, Judged]:
    keys = []
    for one in items:
        value = one.item.id if field is None else one.item.extra.get(field)
        if value is None:
            raise EvalError(f"item {one.item.id!r} of the {side} has no field {field!r} to be paired by")
        keys.append(str(value))
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise EvalError(
            f"{len(twice)} keys of the {side} are there twice, such as {twice[0]!r}: pair by a field that tells its"
            " items apart, or compare one system's answers at a time"
        )
    return dict(zip(keys, items, strict=True))


def _compared(
    base: Evaluation, candidate: Evaluation, *, margin: float, by: By | None, pair: str | None, draws: int, seed: int
) -> RunComparison:
    pairs = paired(base.items, candidate.items, field=pair)
    labelled = [one for one in pairs if one.base.label is not None and one.candidate.label is not None]
    by = by or ("labels" if len(labelled) == len(pairs) else "judge")
    if by == "judge" and base.judge != candidate.judge:
        raise EvalError(
            f"{base.name!r} and {candidate.name!r} were judged by different judges ({_differing(base, candidate)}):"
            " judge both with the same, else a difference may be the judges'"
        )
    judged = [one for one in pairs if one.base.flagged is not None and one.candidate.flagged is not None]
    used = labelled if by == "labels" else judged
    if not used:
        raise EvalError(f"no pair has {'labels' if by == 'labels' else 'a judgement'} on both sides")
    clusters = clusters_of([_document(one) for one in used])
    events = [
        (one.base.label, one.candidate.label) if by == "labels" else (one.base.flagged, one.candidate.flagged)
        for one in used
    ]
    before, after = np.array(events, dtype=np.float64).T
    found = compare(before, after, margin=margin, clusters=clusters, draws=draws, level=base.level, seed=seed)
    corrected: Estimate | None = found.difference
    refused: str | None = None
    p_value = found.p_value
    if by == "judge":
        chosen = bool(labelled) and not (base.random_labels and candidate.random_labels)
        corrected, p_value, refused = (None, p_value, _CHOSEN) if chosen else _corrected(judged, found, base.level)
    return RunComparison(
        base=base.name,
        candidate=candidate.name,
        by=by,
        found=found,
        corrected=corrected,
        refused=refused,
        conclusion=conclude(corrected or found.difference, margin, p_value),
        p_adjusted=p_value,
        smallest=_smallest(after - before, clusters, base.level),
        pairs=tuple(used),
        labelled=len(labelled),
        failed=len(pairs) - len(used),
        unpaired=(len(base.items) - len(pairs), len(candidate.items) - len(pairs)),
        judge=base.judge if by == "judge" else {},
        level=base.level,
        caveats=tuple(_caveats(used, len(pairs), by, corrected, refused)),
    )


def _corrected(judged: Sequence[Pair], flags: Comparison, level: float) -> tuple[Estimate | None, float, str | None]:
    """The corrected difference with its p value; else why there is none, with that of the flags."""
    labelled = [one for one in judged if one.base.label is not None and one.candidate.label is not None]
    rest = [one for one in judged if one.base.label is None or one.candidate.label is None]
    if not labelled:
        return (
            None,
            flags.p_value,
            f"no pair has labels on both sides: label both answers of at least {LEAST_LABELS} questions",
        )
    if rest:
        scores, others = _scores(labelled), _scores(rest)
    else:  # labels decide alone: scores that are there twice would pass for others'
        scores = others = np.zeros(len(labelled))
    clustered = clusters_of([_document(one) for one in judged]) is not None
    try:
        found, p_value = prediction_powered_difference(
            np.array([_label(one.candidate) - _label(one.base) for one in labelled]),
            scores,
            others,
            clusters=[_document(one) for one in labelled] if clustered else None,
            unlabelled_clusters=[_document(one) for one in rest or labelled] if clustered else None,
            level=level,
        )
    except CorrectionRefused as error:
        return None, flags.p_value, str(error)
    return found, p_value, None


def _caveats(
    used: Sequence[Pair], paired_items: int, by: By, corrected: Estimate | None, refused: str | None
) -> list[str]:
    found = []
    if by == "judge" and corrected is None:
        found.append(
            "The difference is one of what the judge flags, not of hallucination: the judge may err more on one system"
            f" than on the other. Not corrected: {refused}."
        )
    if by == "judge" and corrected is not None:
        found.append("The corrected difference holds if the pairs with labels are a random sample of all pairs.")
    if len(used) < paired_items:
        missing = "labels are missing" if by == "labels" else "the judge failed"
        found.append(f"{paired_items - len(used)} of {paired_items} pairs are left out: {missing} on one side or both.")
    if len(used) < _FEW_PAIRS:
        found.append(f"Only {len(used)} pairs: a difference must be large to be seen.")
    documents = len({_document(one) for one in used})
    if documents == 1 < len(used):
        found.append("All pairs are of one document: the interval is for this document, not for others.")
    elif documents < _FEW_DOCUMENTS and documents < len(used):
        found.append(f"The pairs are of {documents} documents only: the interval leans on how alike others are.")
    moved = sum(one.base.item.context != one.candidate.item.context for one in used)
    if moved:
        found.append(f"In {moved} pairs the two answered from different passages: their retrieval is compared too.")
    return found


def _adjusted(found: RunComparison, p_value: float) -> RunComparison:
    """With the p value for several candidates; a conclusion that it does not bear out is taken back."""
    decisive, level = found.corrected or found.found.difference, 1 - found.level
    caveats = found.caveats
    if excludes_none(decisive) != (found.p_adjusted <= level):
        differ, alike = f"the test (p {found.p_adjusted:.3f})", "its interval"
        if excludes_none(decisive):
            differ, alike = alike, differ
        caveats += (
            f"{found.candidate} is on the edge: {differ} tells the two apart, {alike} does not. That decides nothing.",
        )
    elif found.conclusion in ("worse", "better") and p_value > level:
        caveats += (
            f"{found.candidate} alone would count as {found.conclusion}; among several candidates one may look so by"
            f" chance (adjusted p {p_value:.3f}).",
        )
    conclusion = conclude(decisive, found.found.margin, p_value)
    return replace(found, p_adjusted=p_value, conclusion=conclusion, caveats=caveats)


def _smallest(differences: Floats, clusters: Clusters, level: float) -> float | None:
    """What as many items show; None where none flipped, and so nothing tells how many would."""
    flipped = float(np.abs(differences).mean())
    if flipped == 0:
        return None
    effective = differences.size / design_effect(differences, group_ids(clusters, differences.size))
    return difference_for_items(effective, flipped=flipped, level=level)


def _differing(base: Evaluation, candidate: Evaluation) -> str:
    keys = sorted({*base.judge, *candidate.judge})
    return ", ".join(key for key in keys if base.judge.get(key) != candidate.judge.get(key))


def _document(pair: Pair) -> str:
    return pair.base.item.doc_id or pair.base.item.id


def _label(judged: Judged) -> int:
    return judged.label or 0


def _scores(pairs: Sequence[Pair]) -> Floats:
    rows = [(one.candidate.judgement.score or 0.0) - (one.base.judgement.score or 0.0) for one in pairs]
    return np.array(rows)
