"""From a random sample that people label to how good a judge is, and the rate corrected for it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Evaluation, Rate
from arriero.evals.human.agreement import Agreement, agreement
from arriero.evals.human.labelling import in_random_order
from arriero.evals.items import GroundingItem
from arriero.evals.labels import Consensus, consensus
from arriero.evals.statistics.power import width_of_labels

if TYPE_CHECKING:
    from arriero.evals.judges.calibration import Calibration
    from arriero.evals.runs import Judging, Subject

_FORMAT = 1
_MORE = (50, 100, 150, 200, 300, 500, 1_000, 2_000)


class PlanDiffers(EvalError):
    """Items were chosen by another seed before: two samples in one would be no random sample."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Items chosen at random to be labelled.

    Args:
        seed: What decided the choice, together with the items' ids.
        ids: The chosen items, in the order in which they are to be labelled.
        judged: Items that they were chosen from.
        documents: Documents that the chosen items are of.
        all_documents: Documents of all that they were chosen from.
    """

    seed: int
    ids: tuple[str, ...]
    judged: int
    documents: int
    all_documents: int

    def __str__(self) -> str:
        return (
            f"{len(self.ids)} of {self.judged} judged items, a simple random sample (seed {self.seed}) over"
            f" {self.documents} of {self.all_documents} documents"
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What more labels would bring.

    Args:
        labels: Number of labels.
        width: Width that the interval of the corrected rate would have, about.
    """

    labels: int
    width: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What labels say of a judge, and of the rate that it measures.

    Args:
        evaluation: The evaluation; its `answers` has the rate before and after the correction, and the judge's
            sensitivity and specificity.
        plan: Which items were chosen; None where every label counts.
        agreement: How far two people agree; None where fewer than 10 items have two labels.
        said: What people say together.
        came_along: Labels among those used that the items came with.
        unlabelled: Chosen items that nobody has labelled yet.
        disputed: Chosen items on which people differ.
        unsure: Chosen items of which nobody could say.
        forecast: What more labels would bring; empty where nothing was corrected.
    """

    evaluation: Evaluation
    plan: Plan | None
    agreement: Agreement | None
    said: Consensus
    came_along: int
    unlabelled: tuple[str, ...]
    disputed: tuple[str, ...]
    unsure: tuple[str, ...]
    forecast: tuple[Forecast, ...]

    @property
    def rate(self) -> Rate:
        """The rate before and after the correction."""
        return self.evaluation.answers


def choose(
    items: Sequence[GroundingItem], size: int = 150, *, seed: int | None = None, earlier: Plan | None = None
) -> Plan:
    """Choose items to label: a simple random sample, so that PPI++ holds. Documents come in it as often as in all.

    Args:
        items: The items that a judge gave a score.
        size: How many; 100 to 200 for a useful interval.
        seed: Another seed, another sample; None for that of the earlier plan, else 0.
        earlier: What was chosen before: its items are chosen again, with others after them where more are wanted.

    Returns:
        The plan.

    Raises:
        PlanDiffers: The seed is not that of the earlier plan.
        EvalError: There are no items, or none is wanted.

    Example:
        >>> items = [GroundingItem(str(n), (), "", doc_id=str(n // 2)) for n in range(400)]
        >>> small = choose(items, 100)
        >>> print(choose(items, 150, earlier=small))
        150 of 400 judged items, a simple random sample (seed 0) over ... of 200 documents
        >>> choose(items, 150, earlier=small).ids[:100] == small.ids
        True
    """
    if not items or size < 1:
        raise EvalError(f"{size} of {len(items)} judged items to label: judge items first, and label at least one")
    if earlier is not None and seed not in (None, earlier.seed):
        raise PlanDiffers(
            f"items were chosen with seed {earlier.seed} before: leave the seed out, or remove calibration.json to"
            " begin anew"
        )
    seed = earlier.seed if earlier is not None else seed or 0
    order = in_random_order(items, seed=seed)
    # Where items came to it since, those chosen before may stand further behind: the sample reaches up to the last.
    known = set(() if earlier is None else earlier.ids)
    size = max([size, *(place for place, item in enumerate(order, 1) if item.id in known)])
    chosen = order[:size]
    return Plan(seed, tuple(item.id for item in chosen), len(items), len(_documents(chosen)), len(_documents(items)))


def calibrate(subject: "Subject", judging: "Judging", *, level: float = 0.95, seed: int = 0) -> Calibrated:
    """Say how good a judge is, and correct the rate that it measures.

    Labels that the items came with count where nobody said anything. Where items were chosen (`write_plan`), labels of
    others do not count, and PPI++ corrects; else every label does, and Rogan and Gladen's correction.

    Args:
        subject: A run, or a file of items, with its labels.
        judging: The judge, and what it said of the items.
        level: How often each interval is to hold the truth.
        seed: Seed of what is drawn.

    Returns:
        What was found. Where the labels allow no correction, its rate says why.

    Raises:
        EvalError: There are no items, or the file of chosen items is damaged.

    Example:
        >>> import tempfile
        >>> from arriero.evals.judgement import Judgement
        >>> from arriero.evals.labels import Label
        >>> from arriero.evals.runs import Judging, Subject
        >>> items = tuple(GroundingItem(str(n), ("Mules are patient.",), "Mules fly.") for n in range(1_000))
        >>> truth = {item.id: int(n % 5 == 0) for n, item in enumerate(items)}
        >>> said = {id_: Judgement(id_, "mine", 0.8 if value else 0.3) for id_, value in truth.items()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_plan(folder, plan := choose(items, 120))
        ...     labels = tuple(Label(id_, "ana", truth[id_]) for id_ in plan.ids)
        ...     found = calibrate(Subject("mules", Path(folder), items, labels=labels), Judging("mine", 0.5, {}, said))
        >>> found.rate.correction, found.rate.corrected.low < 0.2 < found.rate.corrected.high
        ('PPI++', True)
    """
    from arriero.evals.runs.evaluating import evaluate_subject, labels_of

    used, _ = labels_of(subject)
    plan = read_plan(subject.path)
    found = evaluate_subject(subject, judging, level=level, seed=seed)
    said = consensus(subject.labels)
    spoken = {label.item_id for label in subject.labels}
    chosen = [item.id for item in subject.items] if plan is None else list(plan.ids)
    disputed, unsure = set(said.disputed), set(said.unsure)
    return Calibrated(
        evaluation=found,
        plan=plan,
        agreement=_agreement(subject, set(chosen)),
        said=said,
        came_along=len(used.keys() - spoken),
        unlabelled=tuple(id_ for id_ in chosen if id_ not in used and id_ not in spoken),
        disputed=tuple(id_ for id_ in chosen if id_ in disputed),
        unsure=tuple(id_ for id_ in chosen if id_ in unsure),
        forecast=_forecast(found.answers, _correlation(judging, used), plan),
    )


def fit_scores(subject: "Subject", judging: "Judging") -> "Calibration":
    """Fit a judge's scores to what people said, so that they mean probabilities.

    Args:
        subject: A run, or a file of items, with its labels.
        judging: The judge, and what it said of the items.

    Returns:
        The calibration, to be saved and given to the judge.

    Raises:
        CalibrationRefused: There are too few labels, or higher scores do not go with hallucinations.
    """
    from arriero.evals.judges.calibration import Calibration, CalibrationRefused
    from arriero.evals.runs.evaluating import labels_of

    labels, _ = labels_of(subject)
    rows = []
    for item in subject.items:
        judgement = judging.judgements.get(item.id)
        if item.id in labels and judgement is not None and judgement.score is not None:
            rows.append((judgement.score, labels[item.id], item.doc_id or item.id))
    if not rows:
        raise CalibrationRefused("no judged item is labelled: label 100 to 200 (`arriero eval calibrate`)")
    scores, values, documents = zip(*rows, strict=True)
    return Calibration.fit(scores, values, documents, judge=judging.fingerprint)


def read_plan(path: str | Path) -> Plan | None:
    """Read which items were chosen: `calibration.json` in a run's folder, or `FILE.calibration.json` beside a file.

    Args:
        path: The run's folder, or the file.

    Returns:
        The plan; None where nothing was chosen.

    Raises:
        EvalError: The file is damaged.
    """
    import pydantic

    from arriero.evals.runs.subject import beside

    file = beside(Path(path), "calibration.json")
    try:
        found = pydantic.TypeAdapter(_Kept).validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, pydantic.ValidationError) as error:
        what = error.strerror if isinstance(error, OSError) else error.errors(include_url=False)[0]["msg"]
        raise EvalError(f"{file} cannot be used ({what}): remove it to choose items anew") from error
    if found.format != _FORMAT:
        raise EvalError(f"{file} has format {found.format}, this version reads {_FORMAT}: remove it to choose anew")
    return found.plan


def write_plan(path: str | Path, plan: Plan) -> None:
    """Write down which items were chosen, so that a later call goes on with them.

    Args:
        path: The run's folder, or the file of items.
        plan: The plan.

    Raises:
        EvalError: It cannot be written.

    Example:
        >>> import tempfile
        >>> plan = choose([GroundingItem(str(n), (), "") for n in range(30)], 20)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_plan(folder, plan)
        ...     read_plan(folder) == plan
        True
    """
    from arriero.evals.runs.subject import beside

    file = beside(Path(path), "calibration.json")
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(json.dumps(asdict(_Kept(plan)), indent=1) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise EvalError(f"{file} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Kept:
    plan: Plan
    format: int = _FORMAT


def _documents(items: Iterable[GroundingItem]) -> set[str]:
    return {item.doc_id or item.id for item in items}


def _agreement(subject: "Subject", chosen: set[str]) -> Agreement | None:
    documents = {item.id: item.doc_id or item.id for item in subject.items}
    try:
        return agreement([label for label in subject.labels if label.item_id in chosen], documents=documents)
    except EvalError:  # nobody labelled what another did
        return None


def _correlation(judging: "Judging", labels: Mapping[str, int]) -> float:
    """Correlation of scores and labels; 0 where it is undefined."""
    import numpy as np

    said = [(one.score, labels[id_]) for id_, one in judging.judgements.items() if id_ in labels]
    rows = [(score, label) for score, label in said if score is not None]
    if len(rows) < 2 or any(len(set(side)) < 2 for side in zip(*rows, strict=True)):
        return 0.0
    scores, truth = np.asarray(rows, dtype=np.float64).T
    return max(0.0, float(np.corrcoef(scores, truth).item(0, 1)))


def _forecast(rate: Rate, correlation: float, plan: Plan | None) -> tuple[Forecast, ...]:
    """Widths with more labels, from the width there is.

    Items of one document are alike as far as that width is beyond what it would be for documents of one item each
    (Kish (1965), Survey Sampling, section 5.4): more labels of the same documents bring less than more documents.
    """
    if rate.corrected is None or rate.correction == "Rogan-Gladen" or not 0 < rate.labelled < rate.judged:
        return ()
    agreement = correlation if rate.correction == "PPI++" else 0.0
    share, there = min(0.99, max(0.01, rate.corrected.value)), rate.corrected.width
    documents = rate.judged if plan is None else plan.all_documents

    def plain(labels: int) -> float:
        return width_of_labels(labels, rate=share, agreement=agreement, judged=rate.judged - labels)

    def to_a_document(labels: int) -> float:
        met = documents * (1 - math.pow(1 - labels / rate.judged, rate.judged / documents))
        return max(1.0, labels / met)

    effect, now = (there / plain(rate.labelled)) ** 2, to_a_document(rate.labelled)
    alike = min(1.0, max(0.0, (effect - 1) / (now - 1))) if now > 1 else 0.0
    rest = effect / (1 + (now - 1) * alike)
    counts = [count for count in _MORE if rate.labelled < count < rate.judged]
    widths = [plain(count) * math.sqrt(rest * (1 + (to_a_document(count) - 1) * alike)) for count in counts]
    return tuple(Forecast(count, min(there, width)) for count, width in zip(counts, widths, strict=True))
