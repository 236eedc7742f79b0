"""VLLMEngine against a real vLLM."""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import httpx2
import pytest

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.stack.engine import Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.engines.vllm import VLLMEngine
from arriero.stack.errors import ContextTooLong, EngineInterrupted, EngineRejected, EngineUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.vllm]
MOST = 2000
RAMBLING = Sampling(max_tokens=MOST)
"""The model that never ends an answer goes on long enough to be left or cut, on a fast machine too."""


@pytest.fixture
async def engine(vllm_server) -> AsyncIterator[VLLMEngine]:
    async with aclosing(await VLLMEngine.connect(vllm_server.url)) as engine:
        yield engine


@pytest.fixture(scope="module")
def own_server(start_vllm, never_ending_demo: Path) -> Iterator:
    """A server that may be killed, with a key and a model that rambles."""
    with start_vllm("--api-key", "sesame", folder=never_ending_demo) as server:
        yield server


@pytest.fixture
async def rambler(own_server) -> AsyncIterator[VLLMEngine]:
    async with aclosing(await VLLMEngine.connect(own_server.url, api_key="sesame", retries=1)) as engine:
        yield engine


def question(engine: VLLMEngine, text: str) -> list[int]:
    return Dialect.get("llama3.1").render([Message("user", text)]).encode(engine.tokenizer)


async def answer(engine: VLLMEngine | TransformersEngine, prompt: list[int], sampling: Sampling) -> list[int]:
    return [id_ async for delta in engine.generate(prompt, sampling) for id_ in delta.token_ids]


async def counted(url: str, metric: str) -> float:
    async with httpx2.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(url.removesuffix("/v1") + "/metrics")).text
    lines = [line for line in metrics.splitlines() if line.startswith(f"vllm:{metric}{{")]
    assert lines, f"vLLM has no metric {metric}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def wait_until_running(url: str, requests: int) -> None:
    with anyio.fail_after(20):
        while await counted(url, "num_requests_running") != requests:  # noqa: ASYNC110 - a counter over HTTP sets no event
            await anyio.sleep(0.02)


async def test_connect_learns_name_context_and_tokenizer(engine: VLLMEngine, vllm_server) -> None:
    assert (engine.model, engine.context_length) == (vllm_server.model, 2048)
    assert "<|eot_id|>" in engine.tokenizer.special_ids


async def test_another_model_is_refused_with_those_served(vllm_server) -> None:
    with pytest.raises(EngineRejected, match="no model 'llama-9': it has arriero-demo"):
        await VLLMEngine.connect(vllm_server.url, model="llama-9")


async def test_a_tokenizer_may_be_given_as_a_folder(vllm_server, tiny_llama: Path) -> None:
    async with aclosing(await VLLMEngine.connect(vllm_server.url, tokenizer=tiny_llama)) as engine:
        assert engine.tokenizer.size < 300


async def test_the_last_delta_counts_the_tokens(engine: VLLMEngine) -> None:
    prompt = question(engine, "What is the capital of Peru?")
    deltas = [delta async for delta in engine.generate(prompt, Sampling(max_tokens=6))]
    usage = deltas[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt), sum(len(d.token_ids) for d in deltas))
    assert [delta.finish_reason is None for delta in deltas] == [True] * (len(deltas) - 1) + [False]


async def test_a_stop_id_ends_the_answer_and_is_delivered(engine: VLLMEngine) -> None:
    prompt = question(engine, "Tell me about mules.")
    whole = await answer(engine, prompt, Sampling(max_tokens=8))
    stop = whole[1]
    ids = await answer(engine, prompt, Sampling(max_tokens=8, stop_ids=(stop,)))
    assert ids == whole[: whole.index(stop) + 1]


async def test_logprobs_hold_the_drawn_token_by_id(engine: VLLMEngine) -> None:
    prompt = question(engine, "Which way?")
    async for delta in engine.generate(prompt, Sampling(max_tokens=4, temperature=1.0, seed=3, logprobs=3)):
        for drawn, alternatives in zip(delta.token_ids, delta.logprobs, strict=True):
            assert drawn in alternatives
            assert len(alternatives) in (3, 4)
            assert sum(math.exp(value) for value in alternatives.values()) <= 1.0 + 1e-4


@pytest.mark.parametrize("text", ["Hello!", "How many days has a week?", "¿Cuánto pesa una mula? 🐴"])
async def test_both_engines_continue_the_same_ids_with_the_same_tokens(engine: VLLMEngine, text: str) -> None:
    prompt = question(engine, text)
    sampling = Sampling(max_tokens=40)
    assert await answer(TransformersEngine(DEMO), prompt, sampling) == await answer(engine, prompt, sampling)


async def test_a_prompt_that_extends_the_last_one_is_found_in_the_prefix_cache(engine: VLLMEngine, vllm_server) -> None:
    prompt = question(engine, "A tape that no other test sends. " * 12)
    said = await answer(engine, prompt, Sampling(max_tokens=20))
    before = await engine.prefix_cache_counters()
    deltas = [delta async for delta in engine.generate([*prompt, *said, *prompt[:9]], Sampling(max_tokens=1))]
    after = await engine.prefix_cache_counters()
    # The last token was drawn but never read, so its block cannot be full.
    full = (len(prompt) + len(said) - 1) // vllm_server.block_size * vllm_server.block_size
    usage = deltas[-1].usage
    assert usage is not None
    assert usage.cached_tokens == after.hits - before.hits == full > 0
    assert after.queries - before.queries == len(prompt) + len(said) + 9


async def test_requests_at_once_get_their_own_answers(engine: VLLMEngine) -> None:
    prompts = [question(engine, f"Number {i}?") for i in range(6)]
    sampling = Sampling(max_tokens=10)
    answers: dict[int, list[int]] = {}

    async def ask(i: int) -> None:
        answers[i] = await answer(engine, prompts[i], sampling)

    async with anyio.create_task_group() as tasks:
        for i in range(len(prompts)):
            tasks.start_soon(ask, i)
    assert [answers[i] for i in range(6)] == [await answer(engine, prompt, sampling) for prompt in prompts]


async def test_a_prompt_that_fills_the_context_is_refused(engine: VLLMEngine) -> None:
    with pytest.raises(ContextTooLong):
        await answer(engine, [1] * 2048, Sampling())


async def test_what_vllm_refuses_is_passed_on(engine: VLLMEngine) -> None:
    with pytest.raises(EngineRejected, match="vocabulary"):
        await answer(engine, [10**6], Sampling())
    with pytest.raises(EngineRejected, match="logprobs"):
        await answer(engine, [5], Sampling(logprobs=1000))


async def test_a_wrong_key_is_refused_and_not_shown(own_server) -> None:
    for key in (None, "open"):
        with pytest.raises(EngineRejected, match="refused the API key") as caught:
            await VLLMEngine.connect(own_server.url, api_key=key)
        assert "open" not in str(caught.value)


async def test_leaving_the_iterator_aborts_the_request(rambler: VLLMEngine, own_server) -> None:
    before = await counted(own_server.url, "generation_tokens_total")
    async with aclosing(rambler.generate([5, 6, 7], RAMBLING)) as deltas:
        await anext(deltas)
    await wait_until_running(own_server.url, 0)
    assert await counted(own_server.url, "generation_tokens_total") - before < MOST


async def test_the_answer_is_limited_to_what_the_context_leaves(rambler: VLLMEngine) -> None:
    deltas = [delta async for delta in rambler.generate([9] * 2040, Sampling(max_tokens=99))]
    assert (sum(len(delta.token_ids) for delta in deltas), deltas[-1].finish_reason) == (8, "length")


async def test_a_server_killed_in_the_middle_interrupts_the_answer(rambler: VLLMEngine, own_server) -> None:
    # The last test of this module: it leaves the module's own server dead.
    deltas = rambler.generate([5, 6, 7], RAMBLING)
    await anext(deltas)
    own_server.kill()
    with anyio.fail_after(20), pytest.raises(EngineInterrupted, match=r"middle.*127\.0\.0\.1"):
        [delta async for delta in deltas]
    with pytest.raises(EngineUnavailable, match="nothing answers"):
        await answer(rambler, [5], Sampling())
