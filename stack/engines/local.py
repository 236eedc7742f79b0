"""A model in this process, through transformers on the CPU."""

import importlib.util
import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.engines.constraint import Constraint, Vocabulary
from arriero.stack.engines.forward import Forward, Sampler, Tape
from arriero.stack.engines.limits import answer_room, grammar_text
from arriero.stack.engines.quantization import Quantization, WeightBytes, check_quantization
from arriero.stack.errors import EngineRejected, EngineUnavailable, ModelNotReadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_READ_AT_ONCE = 256
"""Prompt ids between two chances to be cancelled."""


class TransformersEngine:
    """A Llama folder, run in this process, in fp32 unless another precision is wanted.

    The model is loaded at first use, or by `load`. Each forward pass runs in a worker thread, one at a time;
    answers that are generated at once take turns, so none can block another, and an answer that is left stops
    after the token in work. Keys and values of the latest prompts are kept: a prompt that extends one of them
    costs only what is new, reported as `Usage.cached_tokens`.

    Args:
        folder: Model folder in Hugging Face format: `config.json`, `tokenizer.json`, safetensors weights.
        threads: Threads for torch in the whole process; None for one with a small model, else torch's own choice.
        kept_prompts: How many finished prompts keep their keys and values.
        quantization: `bf16` computes in bfloat16; `int8` (a scale per row) and `int4` (one per 32 weights) round the
            weights of all linear layers once they are loaded, through torchao, and compute in fp32. None for fp32.

    Raises:
        ModelNotReadable: The folder lacks something, or its tokenizer has more ids than the model.

    Example:
        >>> import anyio
        >>> from arriero.models import DEMO
        >>> async def three_ids() -> int:
        ...     engine = TransformersEngine(DEMO)
        ...     prompt = engine.tokenizer.encode("Hello")
        ...     return sum([len(delta.token_ids) async for delta in engine.generate(prompt, Sampling(max_tokens=3))])
        >>> anyio.run(three_ids)
        3
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int | None = None,
        kept_prompts: int = 4,
        quantization: Quantization | None = None,
    ) -> None:
        self._folder = Path(folder)
        config, self._end_ids = _read_folder(self._folder)
        try:
            self._tokenizer = Tokenizer.from_folder(self._folder)
        except VocabularyMismatch as error:
            raise ModelNotReadable(str(error)) from error
        self._context_length: int = config["max_position_embeddings"]
        self._vocabulary: int = config["vocab_size"]
        highest = max([self._tokenizer.size - 1, *self._tokenizer.special_ids.values()])
        if self._vocabulary <= highest:
            raise ModelNotReadable(
                f"{self._folder / 'config.json'} says vocab_size {self._vocabulary}, and tokenizer.json has ids up to"
                f" {highest}: they belong to different models, fetch the whole model again"
            )
        self._threads = threads
        self._kept = max(1, kept_prompts)
        self._quantization = check_quantization(quantization)
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._forward: Forward | None = None
        self._closed = False
        self._ids: Vocabulary | None = None

    def __repr__(self) -> str:
        return f"TransformersEngine({str(self._folder)!r})"

    @property
    def model(self) -> str:
        """The folder's name."""
        return self._folder.resolve().name

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self._folder

    @property
    def quantization(self) -> Quantization | None:
        """How its weights were rounded after loading; None where they are as in the folder."""
        return self._quantization

    @property
    def grammars(self) -> bool:
        """Whether xgrammar is installed, which holds answers to a grammar."""
        return importlib.util.find_spec("xgrammar") is not None

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    @property
    def context_length(self) -> int:
        """Most ids of prompt and answer together."""
        return self._context_length

    async def load(self) -> None:
        """Load the model now instead of at first use. Does nothing when it is loaded.

        Raises:
            EngineUnavailable: torch or transformers is not installed, or the engine is closed.
            ModelNotReadable: The weights are unreadable or incomplete.
        """
        await self._loaded()

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Continue `prompt_ids`, one delta per token.

        Args:
            prompt_ids: The prompt.
            sampling: How to sample. `max_tokens` is cut to what the context leaves.

        Yields:
            Deltas. The last one carries the finish reason and the usage.

        Raises:
            ContextTooLong: The prompt leaves no room for an answer.
            EngineRejected: The prompt or the sampling is unusable.
            EngineUnavailable: torch or transformers is not installed, or the engine is closed.
            ModelNotReadable: The weights are unreadable or incomplete.
        """
        prompt = list(prompt_ids)
        room = answer_room(prompt, sampling, self._context_length)
        if not 0 <= min(prompt) <= max(prompt) < self._vocabulary:
            raise EngineRejected(
                f"the prompt holds ids outside of 0..{self._vocabulary - 1}: encode it with the tokenizer of this model"
            )
        ends = self._end_ids.union(sampling.stop_ids)
        forward, turns = await self._loaded(), self._one_at_a_time
        grammar = grammar_text(sampling, self._tokenizer)
        constraint = None
        if grammar is not None:
            constraint = await anyio.to_thread.run_sync(self._constraint, grammar, ends, limiter=turns)
        sampler = Sampler(sampling, constraint)
        tape = forward.take(prompt)
        cached = len(tape.ids)
        try:
            unread = prompt[cached:]
            while len(unread) > _READ_AT_ONCE:
                await anyio.to_thread.run_sync(forward.read, tape, unread[:_READ_AT_ONCE], limiter=turns)
                del unread[:_READ_AT_ONCE]
            for count in range(1, room + 1):
                drawn, logprobs = await anyio.to_thread.run_sync(_next, forward, sampler, tape, unread, limiter=turns)
                unread = [drawn]
                if drawn in ends or count == room:
                    break
                yield Delta((drawn,), logprobs)
        finally:
            forward.give_back(tape)
        yield Delta((drawn,), logprobs, "stop" if drawn in ends else "length", Usage(len(prompt), count, cached))

    async def log_probabilities(self, token_ids: Sequence[int], start: int) -> "NDArray[np.float32]":
        """What the model would say at each place of a text that is given.

        Args:
            token_ids: The text, such as a prompt and its answer.
            start: Position of the first id that is to be predicted, from 1.

        Returns:
            Natural logarithms of probabilities, one row for each position from `start` on, one column for each id.

        Raises:
            EngineRejected: `start` is outside of the text, or the text is longer than the context.
            EngineUnavailable: torch or transformers is not installed, or the engine is closed.
            ModelNotReadable: The weights are unreadable or incomplete.
        """
        if not 0 < start < len(token_ids) <= self._context_length:
            raise EngineRejected(
                f"start is {start} and the text has {len(token_ids)} ids: give a start inside of the text, and no more"
                f" than {self._context_length} ids"
            )
        forward, ids = await self._loaded(), list(token_ids)
        limiter = self._one_at_a_time
        return await anyio.to_thread.run_sync(forward.log_probabilities, ids, start, limiter=limiter)

    async def weight_bytes(self) -> WeightBytes:
        """Memory of the loaded weights.

        Returns:
            What they take in this process, and what they would take packed.

        Raises:
            EngineUnavailable: torch or transformers is not installed, or the engine is closed.
            ModelNotReadable: The weights are unreadable or incomplete.
        """
        return (await self._loaded()).weight_bytes()

    async def aclose(self) -> None:
        """Release the model's memory."""
        self._closed = True
        self._forward = None

    async def _loaded(self) -> Forward:
        if self._closed:
            raise EngineUnavailable(f"the engine for {self._folder} is closed: make a new one")
        if self._forward is None:
            await anyio.to_thread.run_sync(self._load, limiter=self._one_at_a_time)
        forward = self._forward
        if forward is None:
            raise EngineUnavailable(f"the engine for {self._folder} was closed while its model was loading")
        return forward

    def _load(self) -> None:
        if self._forward is None:
            self._forward = Forward(
                self._folder, threads=self._threads, kept=self._kept, quantization=self._quantization
            )

    def _constraint(self, grammar: str, ends: frozenset[int]) -> Constraint:
        if self._ids is None:
            self._ids = Vocabulary(self._tokenizer, self._vocabulary)
        return self._ids.constraint(grammar, ends)


def _next(forward: Forward, sampler: Sampler, tape: Tape, ids: list[int]) -> tuple[int, tuple[dict[int, float], ...]]:
    return sampler.draw(forward.read(tape, ids))


def _read_folder(folder: Path) -> tuple[dict[str, Any], frozenset[int]]:
    """The model's configuration and its end-of-sequence ids, if the folder holds all that is needed."""
    if not folder.is_dir():
        raise ModelNotReadable(f"there is no model folder {folder}: give a folder in Hugging Face format")
    lacking = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(_read_json(index).get("weight_map", {}).values()))
        lacking += [name for name in shards if not (folder / name).is_file()]
    elif not (folder / "model.safetensors").is_file():
        lacking.append("model.safetensors")
    if lacking:
        raise ModelNotReadable(f"the model folder {folder} lacks {', '.join(lacking)}: fetch the whole model")
    config = _read_json(folder / "config.json")
    for name in ("max_position_embeddings", "vocab_size"):
        if not isinstance(config.get(name), int):
            raise ModelNotReadable(f"{folder / 'config.json'} has no number {name}: it must describe a Llama")
    generation = folder / "generation_config.json"
    ends = (_read_json(generation) if generation.is_file() else {}).get("eos_token_id", config.get("eos_token_id"))
    return config, frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelNotReadable(f"{path} is no readable JSON ({error}): fetch the model again") from error
    if not isinstance(found, dict):
        raise ModelNotReadable(f"{path} holds no JSON object: fetch the model again")
    return found
