"""What a judge said of the items of a run or of a file, kept beside them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arriero.agents.map_progress import Progress, shown
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judge, Judgement
from arriero.evals.runs.lines import Lines

if TYPE_CHECKING:
    from arriero.evals.runs.folder import RunFolder
    from arriero.evals.runs.subject import Subject

_BATCH = 32
"""Items that a judge is given at once, and that are judged again after a kill."""


@dataclass(frozen=True, slots=True)
class Judging:
    """A judge, and what it said.

    Args:
        name: The judge's name.
        threshold: Score from which an item is flagged.
        fingerprint: All that decides its scores.
        judgements: What it said, by the items' ids. Items that it has not judged are not there.
    """

    name: str
    threshold: float
    fingerprint: Mapping[str, object] = field(default_factory=dict)
    judgements: Mapping[str, Judgement] = field(default_factory=dict)

    @property
    def judge(self) -> Mapping[str, object]:
        """What decided the judgements, as `Evaluation.judge` has it: fingerprint, name and threshold."""
        return {**self.fingerprint, "name": self.name, "threshold": self.threshold}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file of judgements.

    Args:
        key: Digest of what decides the judge's scores.
        judge: The judge without judgements, in a line that says that it judges from here on; else None.
        item: Digest of what was judged: an answer that is asked for again is judged again.
        judgement: What was said; None in a line that names the judge.
    """

    key: str
    judge: Judging | None = None
    item: str = ""
    judgement: Judgement | None = None


def judge_of(judge: Judge) -> Judging:
    """A judge as it is written down.

    Args:
        judge: The judge.

    Returns:
        Its name, threshold and fingerprint.
    """
    return Judging(judge.name, judge.threshold, dict(judge.fingerprint))


def judge_key(judging: Judging) -> str:
    """Digest of what decides a judge's scores.

    Args:
        judging: The judge.

    Returns:
        16 hexadecimal digits.
    """
    return digest({"name": judging.name, "fingerprint": judging.fingerprint})


def item_key(item: GroundingItem) -> str:
    """Digest of what a judge reads of an item.

    Args:
        item: The item.

    Returns:
        16 hexadecimal digits.
    """
    return digest([item.question, item.context, item.response])


def digest(value: object) -> str:
    """Digest of a JSON value, the order of names left aside.

    Args:
        value: The value.

    Returns:
        16 hexadecimal digits of its SHA-256.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_judging(path: Path, items: Mapping[str, GroundingItem]) -> Judging | None:
    """What the judge that last judged said of items, as they are now.

    Args:
        path: A file of judgements.
        items: The items by id.

    Returns:
        The judge and its judgements; None where there is no such file, or nothing is in it.

    Raises:
        DamagedRun: A line holds no judgement.
    """
    lines = Lines(path, Line).read()
    named = [line for line in lines if line.judge is not None]
    if not named or named[-1].judge is None:
        return None
    judge, key = named[-1].judge, named[-1].key
    keys = {id_: item_key(item) for id_, item in items.items()}
    said = {
        line.judgement.item_id: line.judgement
        for line in lines
        if line.judgement is not None and line.key == key and keys.get(line.judgement.item_id) == line.item
    }
    return Judging(judge.name, judge.threshold, judge.fingerprint, said)


async def judge_run(
    folder: "RunFolder", judge: Judge, *, progress: Progress = True, retry_failed: bool = False
) -> Judging:
    """Let a judge judge the answers of a run; see `judge_subject`."""
    from arriero.evals.runs.subject import read_subject

    return await judge_subject(read_subject(folder.path), judge, progress=progress, retry_failed=retry_failed)


async def judge_subject(
    subject: "Subject", judge: Judge, *, progress: Progress = True, retry_failed: bool = False
) -> Judging:
    """Let a judge judge items, and keep what it says beside them.

    Called again, it goes on where it was left. A judge of another fingerprint judges all items anew; what the first
    one said stays in the file, and counts again when that one is asked again.

    Args:
        subject: A run, or a file of items.
        judge: The judge.
        progress: Whether to show progress on stderr, or who hears of it, as for `Agent.map`.
        retry_failed: Whether to judge again what it failed on before.

    Returns:
        The judge and all its judgements. Those that failed say why.

    Raises:
        RunBusy: Another process writes the same file.
        EvalError: The judge gave another number of judgements than it was given items, or of other items.
        ArrieroError: No item can be judged; as from the judge.
    """
    by_id = {item.id: item for item in subject.items}
    path, judging = subject.judgements_path(judge.name), judge_of(judge)
    key, lines = judge_key(judging), Lines(path, Line)
    with lines.appending() as append:
        found = read_judging(path, by_id)
        if found is None or judge_key(found) != key or found.threshold != judging.threshold:
            append(Line(key, judging))
            found = read_judging(path, by_id)
        said = dict(found.judgements) if found is not None else {}
        left = [
            item
            for item in subject.items
            if (known := said.get(item.id)) is None or (retry_failed and known.failed is not None)
        ]
        with shown(progress, len(subject.items), judge.name, len(subject.items) - len(left)) as tally:
            for start in range(0, len(left), _BATCH):
                batch = left[start : start + _BATCH]
                for _ in batch:
                    tally.begun()
                judgements = await judge.judge(batch)
                _check(judge.name, batch, judgements)
                append(*(Line(key, None, item_key(by_id[one.item_id]), one) for one in judgements))
                for one in judgements:
                    said[one.item_id] = one
                    tally.over(failed=one.failed is not None, waiting=False, known=False)
    return Judging(judging.name, judging.threshold, judging.fingerprint, said)


def _check(name: str, batch: Sequence[GroundingItem], judgements: Sequence[Judgement]) -> None:
    if [one.item_id for one in judgements] != [item.id for item in batch]:
        raise EvalError(f"the judge {name!r} gave {len(judgements)} judgements, not one for each of {len(batch)} items")
