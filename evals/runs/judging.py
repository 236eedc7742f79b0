"""What a judge said of the items of a run or of a file, kept beside them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judge, Judgement
from arriero.evals.runs.lines import Lines


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
