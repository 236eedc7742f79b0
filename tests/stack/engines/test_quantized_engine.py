"""A local model in fewer bits: what it costs, and how far it moves."""

import anyio
import numpy as np
import pytest

from arriero.models import DEMO
from arriero.stack.engine import Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.engines.quantization import Quantization
from arriero.stack.errors import EngineRejected

QUESTION = "What is the height of the Salda Pass?"


async def _known(quantization: Quantization | None) -> tuple["np.ndarray[tuple[int, ...], np.dtype[np.float32]]", int]:
    engine = TransformersEngine(DEMO, quantization=quantization)
    assert engine.quantization == quantization
    ids = engine.tokenizer.encode(QUESTION)
    found = await engine.log_probabilities(ids, 1)
    weights = await engine.weight_bytes()
    assert weights.packed <= weights.held
    await engine.aclose()
    return found, weights.packed


def test_fewer_bits_take_less_memory_and_move_the_model_more() -> None:
    exact, most = anyio.run(_known, None)
    moved, memory = [], []
    for quantization in ("bf16", "int8", "int4"):
        found, size = anyio.run(_known, quantization)
        moved.append(float((np.exp(exact) * (exact - found)).sum(axis=1).mean()))
        memory.append(size)
    assert moved == sorted(moved)
    assert 0 < moved[0] < 0.005 < 0.05 < moved[2]
    assert memory == sorted(memory, reverse=True)
    assert memory[0] == pytest.approx(most / 2, rel=0.001)


def test_probabilities_of_a_given_text_are_those_of_generating_it() -> None:
    async def compared() -> None:
        engine = TransformersEngine(DEMO)
        ids = engine.tokenizer.encode(QUESTION)
        given = await engine.log_probabilities([*ids, 7, 8], len(ids))
        async for delta in engine.generate(ids, Sampling(max_tokens=1, logprobs=3)):
            for token, value in delta.logprobs[0].items():
                assert given[0, token] == pytest.approx(value, abs=1e-4)
        assert given.shape == (2, 2550)

    anyio.run(compared)


@pytest.mark.parametrize(("count", "start"), [(3, 0), (3, 3), (1, 1), (3_000, 5)])
def test_a_start_outside_of_the_text_and_a_text_beyond_the_context_are_refused(count: int, start: int) -> None:
    engine = TransformersEngine(DEMO)
    with pytest.raises(EngineRejected, match="start"):
        anyio.run(engine.log_probabilities, [5] * count, start)


def test_a_quantization_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(EngineRejected, match="give one of bf16, int8, int4"):
        TransformersEngine(DEMO, quantization="int3")  # type: ignore[arg-type]
