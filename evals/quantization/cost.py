"""What a model costs: tokens a second, and memory of its weights."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from arriero.evals.quantization.overheard import Reference
from arriero.stack.engine import Engine, Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.engines.quantization import WeightBytes

_PROMPTS = 4


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model writes, one request at a time.

    Args:
        tokens_per_second: Median of the repeats, prompts included.
        slowest: The slowest repeat.
        fastest: The fastest.
        repeats: How many there were, after a request that does not count.
    """

    tokens_per_second: float
    slowest: float
    fastest: float
    repeats: int


async def speed(engine: Engine, references: Sequence[Reference], *, repeats: int = 3, tokens: int = 64) -> Speed | None:
    """Measure how fast a model writes.

    Args:
        engine: The model.
        references: Prompts; the first few are used.
        repeats: How often; 0 for not at all.
        tokens: Most tokens to write after each prompt.

    Returns:
        The speed; None without a prompt or a repeat.

    Raises:
        EngineError: The engine failed.
    """
    prompts = [reference.prompt for reference in references[:_PROMPTS]]
    if not prompts or repeats < 1:
        return None
    await _rate(engine, prompts[:1], tokens)  # warms up
    rates = [await _rate(engine, prompts, tokens) for _ in range(repeats)]
    return Speed(statistics.median(rates), min(rates), max(rates), repeats)


async def memory(engine: Engine) -> WeightBytes | None:
    """Memory of a model's weights.

    Args:
        engine: The model.

    Returns:
        The memory; None of a model elsewhere, which does not say.

    Raises:
        EngineError: The model cannot be loaded.
    """
    return await engine.weight_bytes() if isinstance(engine, TransformersEngine) else None


async def _rate(engine: Engine, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    written, begun = 0, time.perf_counter()
    for prompt in prompts:
        async for delta in engine.generate(prompt, Sampling(max_tokens=tokens)):
            written += len(delta.token_ids)
    return written / (time.perf_counter() - begun)
