"""Models of entailment (MNLI and its like): does a premise entail, or contradict, a claim?"""

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

MODEL = "MoritzLaurer/DeBERTa-v3-base-mnli-fever-anli"

_NOT = ("not", "non", "un")


class NLIJudge(PairJudge):
    """A model of entailment, such as DeBERTa or RoBERTa trained on MNLI. `hf download` fetches it.

    Which of its outputs means what is read from its configuration: `entailment`, and `contradiction` where it has one.

    Args:
        model: Folder or name.
        max_tokens: Most tokens of premise and claim together.
        device: As for `PairJudge`.
        threshold: As for `PairJudge`.
        most_claims: As for `PairJudge`.

    Raises:
        ModelMissing: The model is not on this machine; the error says how to get it.
        ModelUnusable: Its configuration names no label for entailment.
    """

    name = "nli"

    def __init__(
        self,
        model: str = MODEL,
        *,
        max_tokens: int = 512,
        device: str | None = None,
        threshold: float = 0.5,
        most_claims: int = 100,
    ) -> None:
        super().__init__(model, max_tokens=max_tokens, device=device, threshold=threshold, most_claims=most_claims)
        labels = self._files.config().get("id2label")
        names = {int(at): str(name).lower() for at, name in labels.items()} if isinstance(labels, dict) else {}
        entailing = [at for at, name in names.items() if "entail" in name and not name.startswith(_NOT)]
        if len(entailing) != 1:
            known = ", ".join(names[at] for at in sorted(names)) or "none"
            raise ModelUnusable(
                f"{model} has no one label `entailment` in its config.json (id2label: {known}): use a model that was"
                " trained for entailment"
            )
        self._supports = entailing[0]
        self._contradicts = next((at for at, name in names.items() if name.startswith("contradict")), None)

    def _load(self) -> None:
        self._on = chosen_device(self._device)
        self._tokenizer = read_tokenizer(self._files)
        self._pad = special_id(self._tokenizer, self._files, "[PAD]", "<pad>")
        self._end = special_id(self._tokenizer, self._files, "[SEP]", "</s>")
        self._model = load_model(self._files, "AutoModelForSequenceClassification").to(self._on)

    def _ids(self, premise: str, claim: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(premise, claim).ids
        return found

    def _shares(self, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        import torch

        ids, mask = padded(rows, self._pad, self._on)
        more = {}
        if (
            getattr(self._model.config, "type_vocab_size", 0) > 1
        ):  # BERT's kind tells premise and claim apart by a second row of ids
            ends = (ids == self._end).long()
            more["token_type_ids"] = ((ends.cumsum(1) - ends) * mask).clamp(max=1)
        every = torch.softmax(self._model(input_ids=ids, attention_mask=mask, **more).logits, dim=-1)
        support = every[:, self._supports]
        other = torch.zeros_like(support) if self._contradicts is None else every[:, self._contradicts]
        return torch.stack([support, other], dim=-1)
