"""Judges that look at pairs of a premise and a claim: their scores, sentence by sentence."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Span
from arriero.evals.judgement import Claim, Judgement, Support
from arriero.evals.judges.llama.claims import EMPTY, Found, by_sentence
from arriero.evals.judges.readable import readable
from arriero.evals.judges.transformers.network import ModelFiles, batches
from arriero.evals.judges.transformers.premises import premises

if TYPE_CHECKING:
    import torch

_TOKENS_AT_ONCE = 8192
_SLACK = 4
"""Tokens by which a premise may be longer beside another claim than beside the longest one."""

_WORDS = {"contradicted": "the passages say otherwise", "not_mentioned": "not in the passages"}


@dataclass(frozen=True, slots=True)
class _Work:
    """An item with its claims, the ids of all pairs, and for each pair the claim that it is about."""

    claims: tuple[Found, ...]
    caveats: tuple[str, ...]
    pairs: tuple[tuple[int, list[int]], ...] = ()
    failed: str | None = None


class PairJudge(ABC):
    """A model that says of a premise and a claim how likely the one supports the other.

    Claims are the sentences of a response. Premises are its passages, as many neighbours together as the model reads
    at once, longer ones in parts. A claim is as supported as by the premise that supports it best; the response's
    score is that of its least supported claim.

    Args:
        model: Folder of the model, or its name on the hub; nothing is downloaded.
        max_tokens: Most tokens of premise and claim together.
        device: `cpu`, `cuda` and so on; None for a GPU where there is one.
        threshold: Score from which an item is flagged.
        most_claims: Most claims of a response.

    Raises:
        ModelMissing: The model is not on this machine; the error says how to get it.
        EvalError: A number is not in its range.
    """

    name: str

    def __init__(
        self,
        model: str,
        *,
        max_tokens: int,
        device: str | None = None,
        threshold: float = 0.5,
        most_claims: int = 100,
    ) -> None:
        if min(max_tokens, most_claims) < 1 or not 0 <= threshold <= 1:
            raise EvalError(
                f"max_tokens={max_tokens}, most_claims={most_claims}, threshold={threshold}: give 1 or more of each,"
                " and a threshold from 0 to 1"
            )
        self._files = ModelFiles.find(model)
        self._max_tokens = max_tokens
        self._device = device
        self._threshold = threshold
        self._most_claims = most_claims
        self._loaded = False
        self._alone = anyio.Lock()

    @property
    def threshold(self) -> float:
        """Score from which an item is flagged."""
        return self._threshold

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides its scores; see `Judge.fingerprint`."""
        return {
            "name": self.name,
            "version": 1,
            "claims": "sentences",
            "most_claims": self._most_claims,
            "max_tokens": self._max_tokens,
            **self._files.facts,
        }

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        """Judge items; see `Judge.judge`.

        Args:
            items: The items.

        Returns:
            A judgement for each, in order.

        Raises:
            ModelUnusable: The model cannot be loaded.
        """
        async with self._alone:
            if not self._loaded:
                await anyio.to_thread.run_sync(self._load)
                self._loaded = True
            work = [await anyio.to_thread.run_sync(self._prepared, readable(item)) for item in items]
            rows = [ids for one in work for _, ids in one.pairs]
            shares: dict[int, tuple[float, float]] = {}
            for batch in batches([len(row) for row in rows], _TOKENS_AT_ONCE):
                found = await anyio.to_thread.run_sync(self._scored, [rows[at] for at in batch])
                shares.update(zip(batch, found, strict=True))
        done = iter(range(len(rows)))
        return [
            self._judgement(item, one, [shares[next(done)] for _ in one.pairs])
            for item, one in zip(items, work, strict=True)
        ]

    @abstractmethod
    def _load(self) -> None:
        """Load tokenizer and weights."""

    @abstractmethod
    def _ids(self, premise: str, claim: str) -> list[int]:
        """Ids of a pair, as the model was trained on it."""

    @abstractmethod
    def _shares(self, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        """For each pair the probabilities that the premise supports and that it contradicts the claim."""

    def _scored(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, float]]:
        import torch

        with torch.inference_mode():
            found: list[Any] = self._shares(rows).tolist()
        return [(support, contradiction) for support, contradiction in found]

    def _prepared(self, item: GroundingItem) -> _Work:
        if not item.response.strip():
            return _Work((), (EMPTY,))
        claims = by_sentence(item.response, self._most_claims)
        caveats = claims.caveats if item.context else (*claims.caveats, "the item has no passages")
        if not claims.found:
            return _Work((), (*caveats, "the response makes no claim"))
        longest = max(claims.found, key=lambda one: len(self._ids("", one.text))).text
        room = self._max_tokens - _SLACK
        if (least := len(self._ids("", longest))) > room:  # else every word of the passages would be tried beside it
            failed = f"a claim takes {least} tokens by itself, the model reads {self._max_tokens}"
            return _Work((), (), failed=f"{failed}: split the response, or use a model that reads more")
        every = premises(item.context, lambda text: len(self._ids(text, longest)) <= room) or [""]
        pairs = [(at, self._ids(one, claim.text)) for at, claim in enumerate(claims.found) for one in every]
        most = max(len(ids) for _, ids in pairs)
        if most > self._max_tokens:
            failed = f"a claim and the least of the passages take {most} tokens, the model reads {self._max_tokens}"
            return _Work((), (), failed=f"{failed}: split the response, or use a model that reads more")
        return _Work(claims.found, caveats, tuple(pairs))

    def _judgement(self, item: GroundingItem, work: _Work, shares: Sequence[tuple[float, float]]) -> Judgement:
        if work.failed is not None:
            return Judgement(item.id, self.name, None, failed=work.failed)
        caveat = "; ".join(work.caveats) or None
        if not work.claims:
            return Judgement(item.id, self.name, 0.0, caveat=caveat)
        best: dict[int, tuple[float, float]] = {}
        for (at, _), (support, contradiction) in zip(work.pairs, shares, strict=True):
            known = best.get(at, (0.0, 0.0))
            best[at] = (max(known[0], support), max(known[1], contradiction))
        claims = tuple(_claim(one, *best[at]) for at, one in enumerate(work.claims))
        wrong = [one for one in claims if one.verdict != "supported"]
        spans = tuple(one.span for one in wrong if one.span is not None)
        reasons = tuple(f"{one.reasons[0]}: {one.text}" for one in wrong)
        return Judgement(item.id, self.name, max(one.score for one in claims), claims, spans, reasons, caveat)


def _claim(found: Found, support: float, contradiction: float) -> Claim:
    said: Support = "supported" if support >= 0.5 else "contradicted" if contradiction >= 0.5 else "not_mentioned"
    span = None if found.place is None else Span(*found.place, said)
    reasons = () if said == "supported" else (f"{_WORDS[said]} (support {support:.0%})",)
    return Claim(found.text, said, 1.0 - support, span, reasons)
