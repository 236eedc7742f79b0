"""MiniCheck: small models that check a claim against a document."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arriero.evals.judges.transformers.network import (
    ModelUnusable,
    chosen_device,
    load_model,
    padded,
    read_tokenizer,
    special_id,
)
from arriero.evals.judges.transformers.pairs import PairJudge

if TYPE_CHECKING:
    import torch

MODEL = "lytang/MiniCheck-Flan-T5-Large"

_LENGTH, _LENGTH_OF_T5 = 512, 768
"""Most tokens of a pair, near to the chunks that its authors use: 400 tokens, for T5 500 words."""


class MiniCheckJudge(PairJudge):
    """MiniCheck in one of its small forms: Flan-T5, RoBERTa or DeBERTa. `hf download` fetches them.

    Args:
        model: Folder or name: `lytang/MiniCheck-Flan-T5-Large`, `lytang/MiniCheck-RoBERTa-Large`,
            `lytang/MiniCheck-DeBERTa-v3-Large`.
        max_tokens: Most tokens of document and claim together; None for what its authors use.
        device: As for `PairJudge`.
        threshold: As for `PairJudge`.
        most_claims: As for `PairJudge`.

    Raises:
        ModelMissing: The model is not on this machine; the error says how to get it.

    Source: Tang, Laban and Durrett (2024), MiniCheck, https://github.com/Liyan06/MiniCheck, for the form of the input
        (document and claim with an end token between them) and of the answer (T5: first tokens of 0 and of 1).
    """

    name = "minicheck"

    def __init__(
        self,
        model: str = MODEL,
        *,
        max_tokens: int | None = None,
        device: str | None = None,
        threshold: float = 0.5,
        most_claims: int = 100,
    ) -> None:
        asked = _LENGTH if max_tokens is None else max_tokens
        super().__init__(model, max_tokens=asked, device=device, threshold=threshold, most_claims=most_claims)
        self._generates = self._files.config().get("model_type") == "t5"
        if max_tokens is None and self._generates:
            self._max_tokens = _LENGTH_OF_T5

    def _load(self) -> None:
        self._on = chosen_device(self._device)
        self._tokenizer = tokenizer = read_tokenizer(self._files)
        self._end = special_id(tokenizer, self._files, "</s>", "[SEP]")
        self._pad = special_id(tokenizer, self._files, "<pad>", "[PAD]")
        kind = "AutoModelForSeq2SeqLM" if self._generates else "AutoModelForSequenceClassification"
        self._model = load_model(self._files, kind).to(self._on)
        if self._generates:
            firsts = [tokenizer.encode(answer, add_special_tokens=False).ids[:1] for answer in "01"]
            self._answers = [id_ for first in firsts for id_ in first]
            if len(set(self._answers)) < 2:
                raise ModelUnusable(f"the vocabulary of {self._files.name} does not tell 0 from 1")
        else:
            self._start = special_id(tokenizer, self._files, "<s>", "[CLS]")
            if self._model.config.num_labels != 2:
                raise ModelUnusable(
                    f"{self._files.name} has {self._model.config.num_labels} labels, MiniCheck has 2: is it a model of"
                    " entailment, for the judge `nli`?"
                )

    def _ids(self, premise: str, claim: str) -> list[int]:
        def ids(text: str) -> list[int]:
            found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
            return found

        if self._generates:
            return [*ids(f"predict: {premise}"), self._end, *ids(claim), self._end]
        return [self._start, *ids(premise), self._end, *ids(claim), self._end]

    def _shares(self, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        import torch

        ids, mask = padded(rows, self._pad, self._on)
        if self._generates:
            start = torch.full((len(rows), 1), self._model.config.decoder_start_token_id, device=self._on)
            logits = self._model(input_ids=ids, attention_mask=mask, decoder_input_ids=start).logits[:, 0]
            logits = logits[:, self._answers]
        else:
            logits = self._model(input_ids=ids, attention_mask=mask).logits
        support = torch.softmax(logits, dim=-1)[:, 1]
        return torch.stack([support, torch.zeros_like(support)], dim=-1)
