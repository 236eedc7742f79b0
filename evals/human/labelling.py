"""Items that people label: who has said what, who is done, and what a page shows of it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, append_label, read_labels
from arriero.prompts.visible import visible


@dataclass(frozen=True, slots=True)
class Labelling:
    """Items that people label, in one order for all of them.

    Args:
        name: What is labelled, for the page's title.
        items: The items.
        path: The file of labels.
        judgements: What a judge said of them, by item, to be shown; empty to hide it. Who sees a judge follows it.
        settling: Whether these are items on which others differ: then nothing is said of how far people agree.

    Example:
        >>> import tempfile
        >>> item = GroundingItem("a", ("Mules are patient.",), "Mules fly.")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     labelling = Labelling("mules", (item,), Path(folder) / "labels.jsonl")
        ...     append_label(labelling.path, Label("a", "ana", 1))
        ...     labelling.done("ana"), labelling.done("ben")
        (True, False)
    """

    name: str
    items: tuple[GroundingItem, ...]
    path: Path
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    settling: bool = False

    def said(self, annotator: str) -> dict[str, Label]:
        """What one person said of these items, by item.

        Args:
            annotator: Who.

        Raises:
            DamagedRun: The file of labels cannot be read.
        """
        mine = {label.item_id: label for label in read_labels(self.path) if label.annotator == annotator}
        return {item.id: mine[item.id] for item in self.items if item.id in mine}

    def done(self, annotator: str) -> bool:
        """Whether one person has labelled them all.

        Args:
            annotator: Who.

        Raises:
            DamagedRun: The file of labels cannot be read.
        """
        return len(self.said(annotator)) == len(self.items)

    def say(self, position: int, annotator: str, value: Literal[0, 1] | None, note: str, at: float) -> None:
        """Write a label down. It is on disk when this returns.

        Args:
            position: The item's, from 0.
            annotator: Who says so.
            value: 1 for hallucinated, 0 for supported, None for "cannot say".
            note: Why.
            at: Seconds since 1970.

        Raises:
            RunBusy: Another process has been writing to the file for some seconds.
            DamagedRun: The file cannot be written.
        """
        append_label(self.path, Label(self.items[position].id, annotator, value, note, at))

    def withdraw(self, position: int, annotator: str, at: float) -> None:
        """Take a label back.

        Args:
            position: The item's, from 0.
            annotator: Who takes it back.
            at: Seconds since 1970.

        Raises:
            RunBusy: Another process has been writing to the file for some seconds.
            DamagedRun: The file cannot be written.
        """
        append_label(self.path, Label(self.items[position].id, annotator, None, "", at, withdrawn=True))

    def state(self, annotator: str, others: Sequence[str] = ()) -> dict[str, Any]:
        """What one person may know: their own labels; of the others only whether they are done.

        When everybody is done, how far they agree too.

        Args:
            annotator: Who asks.
            others: Who else is to label; those who began are known.

        Returns:
            JSON values.

        Raises:
            DamagedRun: The file of labels cannot be read.
        """
        labels = read_labels(self.path)
        ids = {item.id for item in self.items}
        by: dict[str, dict[str, Label]] = {name: {} for name in (annotator, *others)}
        for label in labels:
            if label.item_id in ids:
                by.setdefault(label.annotator, {})[label.item_id] = label
        mine = by[annotator]
        waits = [name for name, said in by.items() if name != annotator and len(said) < len(ids)]
        found = None
        if not self.settling and len(by) > 1 and len(mine) == len(ids) and not waits:
            found = self._agreement([label for label in labels if label.item_id in ids])
        return {
            "name": visible(self.name),
            "annotator": visible(annotator),
            "labels": [_said(mine.get(item.id)) for item in self.items],
            "waits": [visible(name) for name in waits],
            "agreement": found,
        }

    def shown(self, position: int) -> dict[str, Any]:
        """An item as the page shows it; the label that it may carry is left out.

        Args:
            position: Its position, from 0.

        Returns:
            JSON values.
        """
        item = self.items[position]
        judgement = self.judgements.get(item.id)
        return {
            "question": None if item.question is None else visible(item.question),
            "passages": [visible(passage).strip() for passage in item.context],
            "response": _pieces(visible(item.response)),
            "judge": None if judgement is None else _judged(judgement),
        }

    def _agreement(self, labels: Sequence[Label]) -> dict[str, Any] | None:
        from arriero.evals.human.agreement import agreement

        documents: dict[str, Hashable] = {item.id: item.doc_id or item.id for item in self.items}
        try:
            found = agreement(labels, documents=documents)
        except EvalError:  # too few items in common to say anything
            return None
        figures = {"agree": found.raw, "Cohen's kappa": found.kappa, "Krippendorff's alpha": found.alpha}
        figures["Gwet's AC1"] = found.ac1
        return {
            "annotators": [visible(name) for name in found.annotators],
            "items": found.items,
            "disputed": len(found.disputed),
            "figures": {name: None if one is None else asdict(one) for name, one in figures.items()},
        }


def in_random_order(items: Sequence[GroundingItem], *, seed: int = 0) -> tuple[GroundingItem, ...]:
    """Items in an order that their ids and a seed decide: the first ones are a simple random sample.

    Each item's place comes from a digest of its id. So the order stays when items are added, a larger sample holds
    every smaller one, and it is the same on every machine.

    Args:
        items: The items.
        seed: Another seed, another order.

    Returns:
        All items.

    Example:
        >>> items = [GroundingItem(str(n), (), "") for n in range(100)]
        >>> [item.id for item in in_random_order(items)[:3]] == [item.id for item in in_random_order(items[::-1])[:3]]
        True
    """
    return tuple(sorted(items, key=lambda item: sha256(f"{seed}\0{item.id}".encode()).digest()))


def _said(label: Label | None) -> dict[str, Any] | None:
    return None if label is None else {"value": label.value, "note": label.note}


def _pieces(response: str) -> list[dict[str, Any]]:
    """The response in pieces: sentences that claim something, and what stands between them."""
    from arriero.evals.judges.claims import claims_of

    pieces, end = [], 0
    for sentence in claims_of(response):
        pieces += [(response[end : sentence.start], False), (response[sentence.start : sentence.end], True)]
        end = sentence.end
    pieces.append((response[end:], False))
    return [{"text": text, "claim": claim} for text, claim in pieces if text]


def _judged(judgement: Judgement) -> dict[str, Any]:
    return {
        "name": visible(judgement.judge),
        "score": judgement.score,
        "reasons": [visible(reason) for reason in judgement.reasons],
        "failed": None if judgement.failed is None else visible(judgement.failed),
    }
