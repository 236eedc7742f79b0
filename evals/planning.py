"""What a number of items can show, before anything is run; in words for people who are no statisticians."""

from dataclasses import dataclass

from arriero.evals.errors import EvalError
from arriero.evals.statistics.power import (
    difference_for_items,
    items_for_difference,
    items_for_non_inferiority,
    labels_for_width,
    margin_for_items,
    width_of_labels,
)

AGREEMENTS = (("no judge", 0.0), ("a fair judge", 0.5), ("a good judge", 0.7), ("a very good judge", 0.9))
"""Correlations of a judge's scores with people's labels that are met in practice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is expected of a study.

    Args:
        rate: The rate of hallucination that is expected.
        flipped: Share of questions on which two systems differ, either way; None for half of what it would be if they
            had nothing in common: rate (1 - rate).
        per_document: Questions to one document, on average.
        alike: How alike answers about one document are, from 0 for not at all to 1: the intraclass correlation.
        candidates: Systems that are compared with one baseline: each must be clearer then.
        power: How often what is there is to be found.
        level: How often an interval is to hold the truth.

    Raises:
        EvalError: A share is not between 0 and 1.

    Example:
        >>> Plan(rate=0.1, per_document=5).effect
        1.8
    """

    rate: float = 0.1
    flipped: float | None = None
    per_document: float = 1.0
    alike: float = 0.2
    candidates: int = 1
    power: float = 0.8
    level: float = 0.95

    def __post_init__(self) -> None:
        for name in ("rate", "power", "level"):
            if not 0 < getattr(self, name) < 1:
                raise EvalError(f"{name} is {getattr(self, name)!r}: give a share between 0 and 1")
        if not (0 <= self.alike <= 1 and self.per_document >= 1 and self.candidates >= 1):
            raise EvalError("give alike from 0 to 1, and at least one question to a document and one candidate")

    @property
    def effect(self) -> float:
        """How many times more items clusters need: 1 + (per_document - 1) alike (Kish 1965)."""
        return 1 + (self.per_document - 1) * self.alike

    @property
    def strict(self) -> float:
        """Level of one of several comparisons, by Bonferroni: what Holm's method asks of the clearest."""
        return 1 - (1 - self.level) / self.candidates

    @property
    def flips(self) -> float:
        """Share of questions on which two systems differ."""
        return self.rate * (1 - self.rate) if self.flipped is None else self.flipped

    def labels(self, width: float, agreement: float = 0.0) -> int:
        """Labels for an interval of a width, given the judge's correlation with them."""
        return round(labels_for_width(width, rate=self.rate, agreement=agreement, level=self.level) * self.effect)

    def width(self, labels: int, agreement: float = 0.0) -> float:
        """Width of the interval that a number of labels gives."""
        effective = max(1, round(labels / self.effect))
        return width_of_labels(effective, rate=self.rate, agreement=agreement, level=self.level)

    def items(self, difference: float) -> int:
        """Questions that both systems must answer to find a difference of their rates."""
        flipped = max(self.flips, difference)
        found = items_for_difference(difference, flipped=flipped, power=self.power, level=self.strict)
        return round(found * self.effect)

    def items_for_margin(self, margin: float) -> int:
        """Questions that both must answer to show that one that is as good is not worse by more than a margin."""
        found = items_for_non_inferiority(margin, flipped=self.flips, power=self.power, level=self.strict)
        return round(found * self.effect)

    def smallest(self, items: int) -> float:
        """The smallest difference that a number of questions shows."""
        return difference_for_items(items / self.effect, flipped=self.flips, power=self.power, level=self.strict)

    def margin(self, items: int) -> float:
        """The smallest margin within which a number of questions shows a system to be not worse."""
        return margin_for_items(items / self.effect, flipped=self.flips, power=self.power, level=self.strict)

    def expectation(self, items: int) -> str:
        """What so many questions can show, in a sentence; for printing before they are asked.

        Args:
            items: Questions.

        Returns:
            The sentence.

        Example:
            >>> print(Plan(rate=0.1).expectation(200))
            With 200 questions, 100 of them labelled, the rate's interval will be about 12 points wide without ...
        """
        labels = min(100, items)
        known, wide = f"{labels} of them labelled", f"{self._points(labels)} points wide without a judge and"
        wide += f" {self._points(labels, 0.7)} with a good one"
        if labels == items:
            known, wide = "all labelled", f"{self._points(labels)} points wide"
        return (
            f"With {items:,} questions, {known}, the rate's interval will be about {wide}, if about"
            f" {100 * self.rate:g} % are hallucinated. Two systems whose answers to them are all labelled show a"
            f" difference from about {100 * self.smallest(items):.1f} points on; by a judge's word it must be larger."
        )

    def _points(self, labels: int, agreement: float = 0.0) -> str:
        return f"{100 * min(1.0, self.width(labels, agreement)):.0f}"
