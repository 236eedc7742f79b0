"""From a run, or a file of items, to what is known of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from arriero.evals.labels import consensus
from arriero.evals.runs.judging import Judging
from arriero.evals.runs.subject import Subject

if TYPE_CHECKING:
    from arriero.evals.evaluation import Evaluation


def labels_of(subject: Subject) -> tuple[dict[str, Literal[0, 1]], bool]:
    """What people said of the items, and whether those are a random sample of all.

    Labels that items came with count where nobody said anything else. Where a calibration chose items at random, the
    labels of others do not count; labels of all items are a sample of all as well.

    Args:
        subject: A run, or a file of items.

    Returns:
        The labels by item, and whether they are a random sample.
    """
    from arriero.evals.calibrating import read_plan

    spoken = {label.item_id for label in subject.labels}
    carried = {item.id: item.label for item in subject.items if item.label is not None and item.id not in spoken}
    known: dict[str, Literal[0, 1]] = {**carried, **consensus(subject.labels).labels}
    known = {item.id: known[item.id] for item in subject.items if item.id in known}
    plan = read_plan(subject.path)
    if plan is None:
        return known, len(known) == len(subject.items)
    chosen = set(plan.ids)
    return {id_: value for id_, value in known.items() if id_ in chosen}, True


def evaluate_subject(
    subject: Subject,
    judging: Judging,
    *,
    random_labels: bool | None = None,
    level: float = 0.95,
    seed: int = 0,
    k: int | None = None,
    about: Mapping[str, object] | None = None,
) -> "Evaluation":
    """Evaluate a run, or a file of items, by what a judge and people said of it.

    Args:
        subject: The run or the file.
        judging: The judge, and what it said.
        random_labels: Whether the labelled items are a random sample; None for what `labels_of` finds.
        level: How often each interval is to hold the truth.
        seed: Seed of what is drawn.
        k: Passages that count for retrieval; None for as many as the system retrieves, else 5.
        about: What else is to be told.

    Returns:
        The evaluation.

    Raises:
        EvalError: There are no items.
    """
    from arriero.evals.evaluate import evaluate

    labels, random = labels_of(subject)
    found = evaluate(
        subject.items,
        judging.judgements,
        judge=judging.judge,
        threshold=judging.threshold,
        name=subject.name,
        labels=labels,
        random_labels=random if random_labels is None else random_labels,
        questions=subject.questions,
        answers=subject.answers,
        system=subject.system,
        k=k or _retrieved(subject.system) or 5,
        level=level,
        seed=seed,
        about={**subject.about, **(about or {})},
    )
    return replace(found, caveats=(*_of_missing(subject, labels), *found.caveats))


def _of_missing(subject: Subject, labels: Mapping[str, int]) -> list[str]:
    """That chosen items have no label: those that have one may then be no random sample."""
    from arriero.evals.calibrating import read_plan

    plan = read_plan(subject.path)
    missing = 0 if plan is None else sum(id_ not in labels for id_ in plan.ids)
    if plan is None or not missing or not labels:
        return []
    return [
        f"{missing} of the {len(plan.ids)} items that were chosen at random have no label that counts: nobody labelled"
        " them, nobody could say, or people differ. The rate holds if those are like the others."
    ]


def _retrieved(system: Mapping[str, object]) -> int | None:
    index = system.get("index")
    k = index.get("k") if isinstance(index, Mapping) else None
    return k if isinstance(k, int) else None
