"""From what is kept of a run, or of a file, to its evaluation."""

from collections.abc import Mapping
from typing import Literal

from arriero.evals.calibrating import read_plan
from arriero.evals.evaluate import evaluate
from arriero.evals.evaluation import Evaluation
from arriero.evals.labels import consensus
from arriero.evals.runs.judging import Judging
from arriero.evals.runs.subject import Subject


def evaluation_of(
    subject: Subject, judging: Judging, *, random_labels: bool | None = None, level: float = 0.95, seed: int = 0
) -> Evaluation:
    """Evaluate a run or a file of items, with the labels that it has.

    What people said last counts, then the labels that items came with. Where `arriero eval calibrate` chose items at
    random, only the labels of those count: others may have been chosen for what they are.

    Args:
        subject: The run, or the file.
        judging: A judge, and what it said.
        random_labels: Whether the labels are a random sample. None to find out: they are where items were chosen at
            random to be labelled, and where every item has a label.
        level: How often each interval is to hold the truth.
        seed: Seed of what is drawn.

    Returns:
        The evaluation.

    Raises:
        EvalError: There are no items.
    """
    plan = None if random_labels is not None else read_plan(subject.path)
    labels = _labels(subject)
    if plan is not None:
        labels = {id_: labels[id_] for id_ in plan.ids if id_ in labels}
    everything = all(item.id in labels for item in subject.items)
    return evaluate(
        subject.items,
        judging.judgements,
        judge=judging.judge,
        threshold=judging.threshold,
        name=subject.name,
        labels=labels,
        random_labels=plan is not None or everything if random_labels is None else random_labels,
        questions=subject.questions,
        answers=subject.answers,
        system=subject.system,
        level=level,
        seed=seed,
        about=subject.about,
    )


def _labels(subject: Subject) -> Mapping[str, Literal[0, 1]]:
    spoken = {label.item_id for label in subject.labels}
    carried = {item.id: item.label for item in subject.items if item.label is not None and item.id not in spoken}
    return carried | dict(consensus(subject.labels).labels)
