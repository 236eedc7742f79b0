"""What is evaluated: a run, or a file of items, with all that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Question
from arriero.evals.labels import Label, read_labels
from arriero.evals.runs.folder import RunFolder
from arriero.evals.runs.judging import Judging, read_judging
from arriero.evals.systems.system import Answer


@dataclass(frozen=True, slots=True)
class Subject:
    """Items with what people and judges said of them.

    Args:
        name: Name of the run or of the file.
        path: Folder of the run, or the file.
        items: The items. Answers that failed are none.
        questions: What was asked, by id; None for a file of items.
        answers: The answers, failed ones among them; None for a file of items.
        labels: What people said in the labels file beside it. Labels that the items of a file carry are in the items.
        judgings: What judges said, by the judge's name.
        system: What decided the answers; empty for a file of items.
        about: What else the run recorded.
    """

    name: str
    path: Path
    items: tuple[GroundingItem, ...]
    questions: Mapping[str, Question] | None = None
    answers: tuple[Answer, ...] | None = None
    labels: tuple[Label, ...] = ()
    judgings: Mapping[str, Judging] = field(default_factory=dict)
    system: Mapping[str, object] = field(default_factory=dict)
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def labels_path(self) -> Path:
        """Where its labels are: `labels.jsonl` in a run's folder, `FILE.labels.jsonl` beside a file."""
        return beside(self.path, "labels.jsonl")

    def judgements_path(self, judge: str) -> Path:
        """Where a judge's judgements are: `judgements.JUDGE.jsonl` in the folder, or after the file's name.

        Args:
            judge: The judge's name.
        """
        return beside(self.path, f"judgements.{judge.replace('/', '-')}.jsonl")


def read_subject(path: str | Path) -> Subject:
    """Read a run, or a file of items, with the labels and judgements beside it.

    Args:
        path: A folder that `RunFolder` made, or a file of items as `read_items` reads it.

    Returns:
        All that is known of it.

    Raises:
        EvalError: There is nothing, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return _read_run(path)
    if not path.is_file():
        raise EvalError(f"there is no {path}: give the folder of a run, or a file of items")
    from arriero.evals.data import read_items

    items = tuple(read_items(path))
    labels, judgings = _said(path, items)
    return Subject(path.name.split(".", 1)[0], path, items, labels=labels, judgings=judgings)


def _read_run(path: Path) -> Subject:
    folder = RunFolder.open(path)
    answered = folder.answered()
    items = folder.items()
    labels, judgings = _said(path, items)
    return Subject(
        answered.name,
        path,
        items,
        questions=answered.questions,
        answers=answered.answers,
        labels=labels,
        judgings=judgings,
        system=answered.system,
        about=answered.about,
    )


def _said(path: Path, items: tuple[GroundingItem, ...]) -> tuple[tuple[Label, ...], dict[str, Judging]]:
    labels = read_labels(beside(path, "labels.jsonl"))
    by_id = {item.id: item for item in items}
    begin = beside(path, "judgements.")
    names = (file.name for file in begin.parent.iterdir())
    kept = sorted(name for name in names if name.startswith(begin.name) and name.endswith(".jsonl"))
    found = [judging for name in kept if (judging := read_judging(begin.parent / name, by_id)) is not None]
    return labels, {judging.name: judging for judging in found}


def beside(path: Path, name: str) -> Path:
    """A file of a run, or one that stands beside a file of items and carries its name.

    Args:
        path: The run's folder, or the file.
        name: Name of the file in a run's folder.

    Returns:
        Its path.

    Example:
        >>> str(beside(Path("answers.jsonl"), "labels.jsonl"))
        'answers.jsonl.labels.jsonl'
    """
    return path / name if path.is_dir() else path.with_name(f"{path.name}.{name}")
