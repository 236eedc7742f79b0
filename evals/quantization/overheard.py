"""What a model was asked, id by id, and what it answered."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Engine, Sampling, takes_grammars
from arriero.stack.stack import Stack


@dataclass(frozen=True, slots=True)
class Reference:
    """A prompt and the answer that the baseline gave to it.

    Args:
        cluster: The document or item that it is of.
        prompt: The prompt's ids.
        answer: The answer's ids.
    """

    cluster: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Overheard:
    """An engine that keeps what passes through it.

    Args:
        engine: The engine, which its owner closes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.grammars = takes_grammars(engine)
        self.heard: list[Reference] = []
        self.cluster = ""
        """The document or item that what comes is of."""

    @property
    def model(self) -> str:
        """The engine's model."""
        return self._engine.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The engine's tokenizer."""
        return self._engine.tokenizer

    @property
    def context_length(self) -> int:
        """Most ids of prompt and answer together."""
        return self._engine.context_length

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Continue a prompt, and keep both.

        Yields:
            The engine's deltas.
        """
        prompt, answer = tuple(prompt_ids), list[int]()
        try:
            async for delta in self._engine.generate(prompt_ids, sampling):
                answer += delta.token_ids
                yield delta
        finally:  # who has read the last delta asks for no further one
            if answer:
                self.heard.append(Reference(self.cluster, prompt, tuple(answer)))

    async def aclose(self) -> None:
        """Nothing: the engine is its owner's."""


def overhearing(stack: Stack) -> tuple[Stack, Overheard]:
    """A stack over the same engine that keeps what passes.

    Args:
        stack: The stack, whose owner closes it. The new one needs no closing.

    Returns:
        The new stack, and what hears.
    """
    engine = Overheard(stack.engine)
    return Stack(engine, stack.dialect, log=stack.log), engine
