"""One Llama in this process: its forward pass, with keys and values kept between prompts. Everything here blocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arriero.stack.engine import Sampling
from arriero.stack.engines.constraint import Constraint
from arriero.stack.engines.quantization import Quantization, WeightBytes, quantize, quiet_import, weight_bytes
from arriero.stack.errors import EngineUnavailable, ModelNotReadable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import DynamicCache

_TOO_SMALL_TO_SHARE = 50_000_000
"""Parameters below which threads wait for each other longer than they compute."""
_GREEDY_BELOW = 1e-5  # as in vLLM: dividing by less overflows


@dataclass(slots=True, eq=False)
class Tape:
    """Ids that the model has read, and the keys and values that it made of them."""

    cache: "DynamicCache"
    ids: list[int] = field(default_factory=list)
    intact: bool = True


class Sampler:
    """Draws the next id.

    Args:
        sampling: How to sample.
        constraint: What may come next; None for anything.
    """

    def __init__(self, sampling: Sampling, constraint: Constraint | None = None) -> None:
        import torch

        self._sampling = sampling
        self._constraint = constraint
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def draw(self, logits: "torch.Tensor") -> tuple[int, tuple[dict[int, float], ...]]:
        """Draw one id, and report alternatives where asked for. The drawn id is always among them.

        As in vLLM, alternatives are the model's own, before a grammar rules some of them out.

        Raises:
            EngineRejected: The vocabulary cannot write what the grammar asks for.
        """
        import torch

        wanted = self._sampling
        drawn = self._drawn(logits if self._constraint is None else self._constraint.allowed(logits))
        if self._constraint is not None:
            self._constraint.take(drawn)
        if wanted.logprobs is None:
            return drawn, ()
        every = torch.log_softmax(logits, dim=-1)
        values, ids = torch.topk(every, min(wanted.logprobs, every.numel()))
        alternatives = dict(zip(ids.tolist(), values.tolist(), strict=True))
        return drawn, (alternatives | {drawn: float(every[drawn])},)

    def _drawn(self, logits: "torch.Tensor") -> int:
        import torch

        if self._sampling.temperature < _GREEDY_BELOW:
            return int(torch.argmax(logits))
        probabilities = torch.softmax(logits / self._sampling.temperature, dim=-1)
        if self._sampling.top_p < 1.0:
            probabilities = _nucleus(probabilities, self._sampling.top_p)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def _nucleus(probabilities: "torch.Tensor", top_p: float) -> "torch.Tensor":
    import torch

    ordered, order = torch.sort(probabilities, descending=True)
    ordered[torch.cumsum(ordered, dim=-1) - ordered >= top_p] = 0.0
    return torch.zeros_like(probabilities).scatter(-1, order, ordered)


class Forward:
    """A loaded model.

    Args:
        folder: The model's folder.
        threads: Threads for torch in the whole process; None for one with a small model, else torch's own choice.
        kept: How many finished prompts keep their keys and values.
        quantization: How the weights are rounded once they are loaded; None for fp32 as they are.

    Raises:
        EngineUnavailable: torch or transformers is not installed, or torchao where it is needed.
        ModelNotReadable: The weights are unreadable or incomplete.
    """

    def __init__(
        self, folder: Path, *, threads: int | None, kept: int, quantization: Quantization | None = None
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise EngineUnavailable(
                "running a model in this process needs torch: `pip install 'arriero[local]'`"
            ) from error
        self._model = _load(folder, torch.bfloat16 if quantization == "bf16" else torch.float32)
        quantize(self._model, quantization)
        if threads is None and self._model.num_parameters() < _TOO_SMALL_TO_SHARE:
            threads = 1
        if threads is not None:
            torch.set_num_threads(threads)
        self._kept = kept
        self._idle: list[Tape] = []

    def take(self, prompt_ids: Sequence[int]) -> Tape:
        """A tape that holds as much of the prompt's beginning as is known, and nothing else.

        The last id of the prompt is never on it: the model has to read something to answer.
        """
        from transformers import DynamicCache

        best, shared = None, 0
        for tape in self._idle:
            length = _common(tape.ids, prompt_ids[:-1])
            if length > shared and 2 * length >= len(
                tape.ids
            ):  # a few shared ids are not worth the loss of a long tape
                best, shared = tape, length
        if best is None:
            return Tape(DynamicCache())
        self._idle.remove(best)
        if surplus := len(best.ids) - shared:
            best.cache.crop(-surplus)
            del best.ids[shared:]
        return best

    def give_back(self, tape: Tape) -> None:
        """Keep a tape for later prompts, and forget the oldest ones."""
        if tape.intact and tape.ids:
            self._idle.append(tape)
            del self._idle[: -self._kept or None]

    def read(self, tape: Tape, ids: Sequence[int]) -> "torch.Tensor":
        """Read ids that follow the tape.

        Returns:
            Logits of the id after them.
        """
        import torch

        tape.intact = False  # until every layer has read them
        with torch.inference_mode():
            out = self._model(
                input_ids=torch.tensor([ids]), past_key_values=tape.cache, use_cache=True, logits_to_keep=1
            )
        tape.ids += ids
        tape.intact = True
        logits: torch.Tensor = out.logits[0, -1].float()
        return logits

    def log_probabilities(self, ids: Sequence[int], start: int) -> "NDArray[np.float32]":
        """Log-probabilities of all ids at each position from `start` on."""
        import torch

        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([ids[:-1]]), logits_to_keep=len(ids) - start).logits[0].float()
            found: NDArray[np.float32] = torch.log_softmax(logits, dim=-1).numpy()
        return found

    def weight_bytes(self) -> WeightBytes:
        """Memory of the weights."""
        return weight_bytes(self._model)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    limit = min(len(a), len(b))
    if list(a[:limit]) == list(b[:limit]):
        return limit
    return next(i for i in range(limit) if a[i] != b[i])


def _load(folder: Path, precision: "torch.dtype") -> Any:
    try:
        import transformers
    except ImportError as error:
        raise EngineUnavailable(
            f"running a model in this process needs transformers ({error}): `pip install 'arriero[local]'`"
        ) from error
    library: Any = transformers  # its annotations do not cover what is called here
    logging = library.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet_import():
            model, found = library.AutoModelForCausalLM.from_pretrained(
                folder, dtype=precision, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # config, safetensors and torch each raise their own
        raise ModelNotReadable(f"{folder} cannot be loaded: {error}; fetch the model again") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    if absent := sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}):
        raise ModelNotReadable(
            f"the weights in {folder} lack {len(absent)} tensors of the model, {absent[0]} among them:"
            " fetch the model again"
        )
    return model.eval()
