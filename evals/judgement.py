"""What a judge says of a response, and what a judge is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from arriero.evals.items import GroundingItem, Span

Support = Literal["supported", "contradicted", "not_mentioned"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a response says, and whether its passages say so.

    Args:
        text: The claim, in words of the response or of the judge.
        verdict: What the passages say of it.
        score: From 0, supported, to 1, hallucinated.
        span: Where the response says so; None where that is not known.
        reasons: Why, for people to read.
    """

    text: str
    verdict: Support
    score: float
    span: Span | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of a response.

    Args:
        item_id: The item.
        judge: The judge's name.
        score: From 0 to 1, higher for more likely hallucinated; None where the judge failed.
        claims: The response's claims, in order; empty where the judge takes no response apart.
        spans: Ranges of the response that it holds unsupported.
        reasons: Why, for people to read.
        caveat: Why the score may mean little here, such as an item unlike those the judge was made for.
        failed: Why there is no score. Such items are counted, never dropped.
    """

    item_id: str
    judge: str
    score: float | None
    claims: tuple[Claim, ...] = ()
    spans: tuple[Span, ...] = ()
    reasons: tuple[str, ...] = ()
    caveat: str | None = None
    failed: str | None = None


class Judge(Protocol):
    """Tells supported responses from hallucinated ones."""

    @property
    def name(self) -> str:
        """Short name, such as `offline`."""
        ...

    @property
    def threshold(self) -> float:
        """Score from which an item is flagged."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides its scores: kind, model, revision, prompt, versions, calibration. JSON values."""
        ...

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        """Judge items.

        Args:
            items: The items; the caller gives some dozens at a time.

        Returns:
            A judgement for each, in order. An item that cannot be judged has `failed`; nothing is raised for it.

        Raises:
            ArrieroError: No item can be judged, such as when the engine cannot be reached at all.
        """
        ...
