"""What the turn loop needs of a model server: token ids in, token ids out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, Protocol

from arriero.prompts.errors import ArrieroError
from arriero.prompts.grammar.grammar import Grammar
from arriero.prompts.tokens import Tokenizer


class InvalidSampling(ArrieroError, ValueError):
    """A field of `Sampling` is not of its type, or the seed has more than 64 bits."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample.

    Args:
        max_tokens: Most tokens to generate.
        temperature: 0 is greedy.
        top_p: Nucleus mass, in (0, 1].
        seed: Fixed seed of 64 bits with a sign, where the engine takes one.
        stop_ids: Ids that end generation; the one that did is delivered too.
        logprobs: Number of alternatives to report for each token; None for none.
        grammar: What the answer may be; None for anything.

    Raises:
        InvalidSampling: A field is not of its type, or the seed is too large.

    Example:
        >>> Sampling(seed=7).temperature
        0.0
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] = ()
    logprobs: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "seed", "logprobs"):
            value = getattr(self, name)
            optional = value is None and name != "max_tokens"
            if not optional and (not isinstance(value, Integral) or isinstance(value, bool)):
                raise InvalidSampling(f"{name} of the sampling is {value!r}: give a whole number")
        for name in ("temperature", "top_p"):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool):
                raise InvalidSampling(f"{name} of the sampling is {value!r}: give a number")
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise InvalidSampling(f"grammar of the sampling is {self.grammar!r}: make one with call_grammar")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise InvalidSampling(f"seed of the sampling is {self.seed}: give one of 64 bits, from -2**63 to 2**63 - 1")


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

    Leaving the iterator early (`aclose()`) ends the request on the engine's side. One that takes no grammars says so
    with an attribute, `grammars = False`.
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


def takes_grammars(engine: Engine) -> bool:
    """Whether an engine holds its answers to `Sampling.grammar`.

    Args:
        engine: The engine.

    Returns:
        What its attribute `grammars` says; True without one.
    """
    return bool(getattr(engine, "grammars", True))
