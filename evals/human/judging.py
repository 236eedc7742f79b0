"""What people said, as a judge says it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, consensus, latest

if TYPE_CHECKING:
    from arriero.evals.runs import Judging, Subject


class HumanJudge:
    """A judge that says what most people said: 1 for hallucinated, 0 for supported.

    Labels that an item came with count where nobody said anything else. It fails on items that nobody labelled, or
    that are not settled. People label answers, so there are no verdicts on claims; notes are its reasons.

    Args:
        labels: What people said, oldest first.

    Example:
        >>> import anyio
        >>> judge = HumanJudge([Label("a", "ana", 1, "mules walk"), Label("b", "ana", 1), Label("b", "ben", 0)])
        >>> items = [GroundingItem(name, ("Mules walk.",), "Mules fly.") for name in "abc"]
        >>> for said in anyio.run(judge.judge, items):
        ...     print(said.score, *said.reasons, said.failed)
        1.0 ana: mules walk None
        None people differ on it: a further person has to settle it
        None nobody labelled it
    """

    name = "human"
    threshold = 0.5

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self._labels = latest(labels)
        self._said = consensus(self._labels)
        self._disputed = set(self._said.disputed)
        self._by_item: dict[str, list[Label]] = {}
        for label in self._labels:
            self._by_item.setdefault(label.item_id, []).append(label)

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """Who said something, and a digest of what."""
        from arriero.evals.runs.judging import digest

        said = digest([asdict(label) for label in self._labels])
        return {"kind": "human", "annotators": sorted(self._said.annotators), "labels": said}

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        """What people said of items.

        Args:
            items: The items.

        Returns:
            A judgement for each, in order.
        """
        return [self._judged(item) for item in items]

    def _judged(self, item: GroundingItem) -> Judgement:
        spoken = self._by_item.get(item.id, [])
        value = self._said.labels.get(item.id) if spoken else item.label
        if value is None:
            unsettled = "people differ on it: a further person has to settle it"
            why = unsettled if item.id in self._disputed else "nobody could say" if spoken else "nobody labelled it"
            return Judgement(item.id, self.name, None, failed=why)
        notes = tuple(f"{one.annotator}: {one.note}" for one in spoken if one.value == value and one.note)
        return Judgement(item.id, self.name, float(value), spans=item.spans if value else (), reasons=notes)


async def judged_by_people(subject: "Subject") -> "Judging":
    """What people said of a run or a file, as a judge's judgements. Nothing is kept: labels may come any time.

    Where a calibration chose items at random, what was said of others does not count, as for every judge.

    Args:
        subject: A run, or a file of items, with its labels.

    Returns:
        The judgements.

    Raises:
        EvalError: The file of chosen items is damaged.
    """
    from arriero.evals.runs.evaluating import labels_of
    from arriero.evals.runs.judging import judge_of

    judge, counting = HumanJudge(subject.labels), labels_of(subject)[0]
    said = {
        one.item_id: one
        if one.item_id in counting or one.score is None
        else replace(one, score=None, failed="it is not among the items that were chosen at random")
        for one in await judge.judge(subject.items)
    }
    return replace(judge_of(judge), judgements=said)
