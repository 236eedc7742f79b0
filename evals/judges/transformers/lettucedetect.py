"""LettuceDetect: a ModernBERT that marks the tokens of an answer that its passages do not support."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Span
from arriero.evals.judgement import Claim, Judgement
from arriero.evals.judges.claims import claims_of
from arriero.evals.judges.llama.claims import EMPTY
from arriero.evals.judges.readable import readable
from arriero.evals.judges.transformers.network import (
    ModelFiles,
    ModelUnusable,
    batches,
    chosen_device,
    load_model,
    padded,
    read_tokenizer,
    special_id,
)
from arriero.evals.judges.transformers.premises import premises

if TYPE_CHECKING:
    import tokenizers

MODEL = "KRLabsOrg/lettucedect-base-modernbert-en-v1"

_TOKENS_AT_ONCE = 8192
_UNSUPPORTED_FROM = 0.5
_QUESTION = (
    "Briefly answer the following question:\n{question}\nBear in mind that your response should be strictly based on"
    " the following {count} passages:\n{passages}\nIn case the passages do not contain the necessary information to"
    ' answer the question, please reply with: "Unable to answer based on given passages."\noutput:'
)
_SUMMARY = "Summarize the following text:\n{passages}\noutput:"


@dataclass(frozen=True, slots=True)
class _Part:
    """Some passages of an item with its response, as ids; and which tokens are the response's, at which characters."""

    ids: tuple[int, ...]
    places: tuple[tuple[int, int, int], ...]


class LettuceDetectJudge:
    """LettuceDetect, which gives each token of a response a probability that the passages do not support it.

    The response's score is that of its least supported token. Passages that are too long to be read at once are read
    in groups; a token counts as supported where any group supports it. (Its authors' program takes the worst group
    instead, which flags what stands in another one.)

    Args:
        model: Folder of the model, or its name on the hub; `hf download` fetches it.
        max_tokens: Most tokens of passages and response together.
        device: `cpu`, `cuda` and so on; None for a GPU where there is one.
        threshold: Score from which an item is flagged.

    Raises:
        ModelMissing: The model is not on this machine; the error says how to get it.
        EvalError: A number is not in its range.

    Source: Kovács and Recski (2025), LettuceDetect, arXiv 2502.17125; the prompt is that of RAGTruth,
        on which it was trained.
    """

    name = "lettucedetect"

    def __init__(
        self, model: str = MODEL, *, max_tokens: int = 4096, device: str | None = None, threshold: float = 0.5
    ) -> None:
        if max_tokens < 1 or not 0 <= threshold <= 1:
            raise EvalError(
                f"max_tokens={max_tokens}, threshold={threshold}: give at least 1, and a threshold from 0 to 1"
            )
        self._files = ModelFiles.find(model)
        self._max_tokens = max_tokens
        self._device = device
        self._threshold = threshold
        self._loaded = False
        self._alone = anyio.Lock()

    @property
    def threshold(self) -> float:
        """Score from which an item is flagged."""
        return self._threshold

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides its scores; see `Judge.fingerprint`."""
        return {"name": self.name, "version": 1, "max_tokens": self._max_tokens, **self._files.facts}

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
            work = [await anyio.to_thread.run_sync(self._parts, readable(item)) for item in items]
            parts = [part for one in work for part in self._readable(one)]
            scores: dict[int, list[float]] = {}
            for batch in batches([len(part.ids) for part in parts], _TOKENS_AT_ONCE):
                found = await anyio.to_thread.run_sync(self._scored, [parts[at] for at in batch])
                scores.update(zip(batch, found, strict=True))
        done = iter(range(len(parts)))
        return [
            self._judgement(item, one, [scores[next(done)] for _ in self._readable(one)])
            for item, one in zip(items, work, strict=True)
        ]

    def _load(self) -> None:
        self._on = chosen_device(self._device)
        self._tokenizer: tokenizers.Tokenizer = read_tokenizer(self._files)
        self._pad = special_id(self._tokenizer, self._files, "[PAD]", "<pad>")
        self._model = load_model(self._files, "AutoModelForTokenClassification").to(self._on)
        if self._model.config.num_labels != 2:
            raise ModelUnusable(f"{self._files.name} has {self._model.config.num_labels} labels for tokens, not 2")

    def _parts(self, item: GroundingItem) -> list[_Part]:
        if not item.response.strip():
            return []
        bare = self._part(item, ())
        if len(bare.ids) > self._max_tokens:  # every word of the passages would be tried beside it
            return [bare]

        def fits(passages: Sequence[str]) -> bool:
            return len(self._part(item, passages).ids) <= self._max_tokens

        return [self._part(item, group) for group in _groups(item.context, fits)]

    def _readable(self, parts: Sequence[_Part]) -> Sequence[_Part]:
        """The parts of an item; none where one is too long, for then the item fails."""
        return parts if all(len(part.ids) <= self._max_tokens for part in parts) else ()

    def _part(self, item: GroundingItem, passages: Sequence[str]) -> _Part:
        found = self._tokenizer.encode(_prompt(item.question, passages), item.response)
        places = tuple(
            (at, start, end)
            for at, (sequence, (start, end)) in enumerate(zip(found.sequence_ids, found.offsets, strict=True))
            if sequence == 1 and start < end
        )
        return _Part(tuple(found.ids), places)

    def _scored(self, parts: Sequence[_Part]) -> list[list[float]]:
        """For each part the probability of each token of the response that it is unsupported."""
        import torch

        ids, mask = padded([part.ids for part in parts], self._pad, self._on)
        with torch.inference_mode():
            unsupported = torch.softmax(self._model(input_ids=ids, attention_mask=mask).logits, dim=-1)[:, :, 1].cpu()
        return [[float(row[at]) for at, _, _ in part.places] for row, part in zip(unsupported, parts, strict=True)]

    def _judgement(self, item: GroundingItem, parts: Sequence[_Part], scores: Sequence[Sequence[float]]) -> Judgement:
        if not parts:
            return Judgement(item.id, self.name, 0.0, caveat=EMPTY)
        if (most := max(len(part.ids) for part in parts)) > self._max_tokens:
            reason = (
                f"the response and the least of the passages take {most} tokens, the model reads {self._max_tokens}"
            )
            return self._failed(item, f"{reason}: split the response, or use a model that reads more")
        tokens = [(start, end, min(known)) for (_, start, end), *known in zip(parts[0].places, *scores, strict=True)]
        if not tokens:
            return self._failed(item, "the response has no token that the model knows")
        spans = _spans(item.response, tokens)
        return Judgement(
            item.id,
            self.name,
            max(score for _, _, score in tokens),
            tuple(_claims(item.response, tokens)),
            spans,
            tuple(f"not supported by the passages: {item.response[span.start : span.end]}" for span in spans),
            None if item.context else "the item has no passages",
        )

    def _failed(self, item: GroundingItem, reason: str) -> Judgement:
        return Judgement(item.id, self.name, None, failed=reason)


def _prompt(question: str | None, passages: Sequence[str]) -> str:
    listed = "\n".join(f"passage {at}: {passage}" for at, passage in enumerate(passages, 1))
    if not question:
        return _SUMMARY.format(passages=listed)
    return _QUESTION.format(question=question, count=len(passages), passages=listed)


def _groups(context: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> list[list[str]]:
    """As many neighbouring passages together as fit; parts of a passage that does not fit by itself."""
    groups: list[list[str]] = [[]]
    for passage in context:
        for part in premises([passage], lambda text: fits([text])):
            if groups[-1] and not fits([*groups[-1], part]):
                groups.append([])
            groups[-1].append(part)
    return groups


def _spans(response: str, tokens: Sequence[tuple[int, int, float]]) -> tuple[Span, ...]:
    """Runs of unsupported tokens, without the space around them."""
    found = []
    for unsupported, run in groupby(tokens, key=lambda token: token[2] >= _UNSUPPORTED_FROM):
        if unsupported:
            places = list(run)
            start, end = places[0][0], places[-1][1]
            text = response[start:end]
            start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
            if start < end:
                found.append(Span(start, end))
    return tuple(found)


def _claims(response: str, tokens: Sequence[tuple[int, int, float]]) -> list[Claim]:
    """The sentences, each as unsupported as its least supported token."""
    found = []
    for one in claims_of(response):
        inside = [score for start, end, score in tokens if start < one.end and end > one.start]
        score = max(inside, default=0.0)
        said = "not_mentioned" if score >= _UNSUPPORTED_FROM else "supported"
        found.append(Claim(one.text, said, score, Span(one.start, one.end, said)))  # type: ignore[arg-type]
    return found
