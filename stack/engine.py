"""What the turn loop needs of a model server: token ids in, token ids out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from arriero.prompts.tokens import Tokenizer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample.

    Args:
        max_tokens: Most tokens to generate.
        temperature: 0 is greedy.
        top_p: Nucleus mass, in (0, 1].
        seed: Fixed seed, where the engine takes one.
        stop_ids: Ids that end generation; the one that did is delivered too.
        logprobs: Number of alternatives to report for each token; None for none.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request; `cached_tokens` is the part of the prompt found in the prefix cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer.

    Args:
        token_ids: New ids since the last delta, the stop id included.
        logprobs: For each new id the log-probabilities of alternatives by id, where asked for.
        finish_reason: `"stop"` or `"length"` in the last delta, else None.
        usage: Token counts, in the last delta.
    """

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[dict[int, float], ...] = ()
    finish_reason: Literal["stop", "length"] | None = None
    usage: Usage | None = None


class Engine(Protocol):
    """A model that continues token ids.

    Leaving the iterator early (`aclose()`) ends the request on the engine's side.
    """

    @property
    def model(self) -> str:
        """The model's name, as the engine knows it."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    @property
    def context_length(self) -> int:
        """Most ids of prompt and answer together."""
        ...

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncIterator[Delta]:
        """Continue `prompt_ids`.

        Raises:
            EngineError: The engine refused, broke off, or cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and memory."""
        ...
