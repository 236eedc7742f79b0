"""Vectara's HHEM 2.1 Open: a T5 encoder that says how consistent a text is with a premise."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from arriero.evals.judges.transformers.network import (
    ModelFiles,
    ModelUnusable,
    check_weights,
    chosen_device,
    padded,
    read_tokenizer,
    special_id,
)
from arriero.evals.judges.transformers.pairs import PairJudge

if TYPE_CHECKING:
    import torch

MODEL = "vectara/hallucination_evaluation_model"
FOUNDATION = "google/flan-t5-base"

_PROMPT = "Determine if the hypothesis is true given the premise?\n\nPremise: {premise}\n\nHypothesis: {claim}"
_TIED = ("transformer.encoder.embed_tokens.weight", "transformer.shared.weight")


class HHEMJudge(PairJudge):
    """HHEM 2.1 Open, or a model in its form. `hf download` fetches it and the T5 that it was made from.

    The code that comes with the model is not executed: its weights are loaded into transformers' own
    `T5ForTokenClassification`, and read at the first token, which is `<pad>`.

    Args:
        model: Folder or name.
        foundation: Folder or name of the T5 whose configuration and tokenizer it has; None for what its
            configuration names.
        max_tokens: Most tokens of premise and claim together.
        device: As for `PairJudge`.
        threshold: As for `PairJudge`.
        most_claims: As for `PairJudge`.

    Raises:
        ModelMissing: The model or its foundation is not on this machine; the error says how to get it.

    Source: the model's card and configuration, https://huggingface.co/vectara/hallucination_evaluation_model
    """

    name = "hhem"

    def __init__(
        self,
        model: str = MODEL,
        *,
        foundation: str | None = None,
        max_tokens: int = 2048,
        device: str | None = None,
        threshold: float = 0.5,
        most_claims: int = 100,
    ) -> None:
        super().__init__(model, max_tokens=max_tokens, device=device, threshold=threshold, most_claims=most_claims)
        named = foundation or self._files.config().get("foundation")
        self._foundation = ModelFiles.find(named if isinstance(named, str) else FOUNDATION)

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """All that decides its scores; see `Judge.fingerprint`."""
        foundation = {"model": self._foundation.name, "revision": self._foundation.revision}
        return {**super().fingerprint, "foundation": foundation}

    def _load(self) -> None:
        self._on = chosen_device(self._device)
        self._tokenizer = read_tokenizer(self._foundation)
        self._pad = special_id(self._tokenizer, self._foundation, "<pad>")
        self._end = special_id(self._tokenizer, self._foundation, "</s>")
        self._model = self._network().to(self._on)

    def _network(self) -> Any:
        import transformers

        weights = self._weights()
        config = transformers.T5Config.from_pretrained(self._foundation.folder, local_files_only=True, num_labels=2)
        model: Any = transformers.T5ForTokenClassification(config)
        for one, other in (_TIED, _TIED[::-1]):
            if other in weights:
                weights.setdefault(one, weights[other])
        try:
            found = model.load_state_dict(weights, strict=False)
        except RuntimeError as error:  # tensors of another size
            raise ModelUnusable(f"{self._files.name} does not fit {self._foundation.name}: {error}") from error
        check_weights(self._files, found.missing_keys)
        return model.float().eval()

    def _weights(self) -> "dict[str, torch.Tensor]":
        import safetensors.torch
        from safetensors import SafetensorError

        file = self._files.folder / "model.safetensors"
        try:
            loaded = safetensors.torch.load_file(file)
        except (OSError, SafetensorError) as error:
            raise ModelUnusable(f"{file} cannot be read ({error}): `hf download {self._files.name}`") from error
        return {key.removeprefix("t5."): value for key, value in loaded.items()}

    def _ids(self, premise: str, claim: str) -> list[int]:
        text = _PROMPT.format(premise=premise, claim=claim)
        return [self._pad, *self._tokenizer.encode(text, add_special_tokens=False).ids, self._end]

    def _shares(self, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        import torch

        ids, mask = padded(rows, self._pad, self._on)
        support = torch.softmax(self._model(input_ids=ids, attention_mask=mask).logits[:, 0], dim=-1)[:, 1]
        return torch.stack([support, torch.zeros_like(support)], dim=-1)
