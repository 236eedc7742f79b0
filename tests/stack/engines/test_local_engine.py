"""TransformersEngine over a Llama with random weights."""

import json
import math
import shutil
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from arriero.stack.engine import Delta, Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.errors import ContextTooLong, EngineRejected, EngineUnavailable, ModelNotReadable

pytestmark = pytest.mark.anyio
PROMPT = list(range(40, 90))


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> TransformersEngine:
    return TransformersEngine(tiny_llama)


async def answer(engine: TransformersEngine, prompt: Sequence[int], **sampling: Any) -> tuple[list[int], Delta]:
    deltas = [delta async for delta in engine.generate(prompt, Sampling(**{"max_tokens": 12} | sampling))]
    assert all(delta.finish_reason is None and delta.usage is None for delta in deltas[:-1])
    return [id_ for delta in deltas for id_ in delta.token_ids], deltas[-1]


def reference(folder: Path, prompt: Sequence[int], count: int) -> list[int]:
    """What transformers' own generation continues with."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    out = model.generate(torch.tensor([list(prompt)]), max_new_tokens=count, do_sample=False)
    return [int(id_) for id_ in out[0, len(prompt) :]]


async def test_greedy_tokens_are_those_of_transformers_own_generation(
    engine: TransformersEngine, tiny_llama: Path
) -> None:
    assert (await answer(engine, PROMPT))[0] == reference(tiny_llama, PROMPT, 12)


async def test_tokens_come_one_by_one_and_the_last_delta_counts_them(engine: TransformersEngine) -> None:
    deltas = [delta async for delta in engine.generate(PROMPT, Sampling(max_tokens=3))]
    assert [len(delta.token_ids) for delta in deltas] == [1, 1, 1]
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].usage is not None
    assert (deltas[-1].usage.prompt_tokens, deltas[-1].usage.completion_tokens) == (50, 3)


async def test_a_stop_id_ends_the_answer_and_is_delivered(engine: TransformersEngine) -> None:
    whole, _ = await answer(engine, PROMPT)
    first = whole.index(whole[5])
    ids, last = await answer(engine, PROMPT, stop_ids=(whole[5],))
    assert (ids, last.finish_reason) == (whole[: first + 1], "stop")


async def test_the_models_own_end_ids_end_the_answer(tiny_llama: Path, tmp_path: Path) -> None:
    whole, _ = await answer(TransformersEngine(tiny_llama), PROMPT)
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [whole[0]]}))
    ids, last = await answer(TransformersEngine(folder), PROMPT)
    assert (ids, last.finish_reason) == (whole[:1], "stop")


async def test_logprobs_hold_the_best_and_the_drawn_token(engine: TransformersEngine) -> None:
    async for delta in engine.generate(PROMPT, Sampling(max_tokens=5, temperature=1.5, seed=4, logprobs=2)):
        (alternatives,) = delta.logprobs
        assert delta.token_ids[0] in alternatives
        assert len(alternatives) in (2, 3)
        assert 0.0 < sum(math.exp(value) for value in alternatives.values()) <= 1.0 + 1e-6


async def test_zero_logprobs_report_the_drawn_token_alone(engine: TransformersEngine) -> None:
    ids, last = await answer(engine, PROMPT, logprobs=0)
    assert list(last.logprobs[0]) == ids[-1:]


async def test_a_prompt_that_extends_an_earlier_one_costs_only_what_is_new(
    engine: TransformersEngine, tiny_llama: Path
) -> None:
    first, _ = await answer(engine, PROMPT)
    extended = [*PROMPT, *first, 7, 8, 9]
    ids, last = await answer(engine, extended)
    assert last.usage is not None
    assert last.usage.cached_tokens == len(PROMPT) + len(first) - 1
    assert ids == reference(tiny_llama, extended, 12)


async def test_a_prompt_that_branches_off_is_answered_as_if_fresh(engine: TransformersEngine, tiny_llama: Path) -> None:
    await answer(engine, PROMPT)
    branched = [*PROMPT[:40], 3, 1, 4]
    ids, last = await answer(engine, branched)
    assert last.usage is not None
    assert last.usage.cached_tokens == 40
    assert ids == reference(tiny_llama, branched, 12)


async def test_the_same_prompt_again_is_known_up_to_its_last_id(engine: TransformersEngine) -> None:
    first, _ = await answer(engine, PROMPT)
    again, last = await answer(engine, PROMPT)
    assert again == first
    assert last.usage is not None
    assert last.usage.cached_tokens == len(PROMPT) - 1


async def test_two_conversations_in_turn_both_stay_known(tiny_llama: Path) -> None:
    engine = TransformersEngine(tiny_llama, kept_prompts=2)
    tapes = [[1, *range(100, 140)], [1, *range(200, 240)]]
    known = []
    for tape in tapes * 3:
        before = len(tape)
        ids, last = await answer(engine, tape)
        tape += ids
        assert last.usage is not None
        known.append((last.usage.cached_tokens, before))
    assert known[:2] == [(0, 41), (0, 41)]
    assert all(cached == before - 1 for cached, before in known[2:])


async def test_a_long_prompt_is_read_in_pieces_to_the_same_end(engine: TransformersEngine, tiny_llama: Path) -> None:
    prompt = [(7 * i) % 250 for i in range(490)]
    assert (await answer(engine, prompt))[0] == reference(tiny_llama, prompt, 12)


async def test_answers_generated_at_once_do_not_disturb_each_other(engine: TransformersEngine) -> None:
    prompts = [PROMPT, PROMPT[:20], [*PROMPT, 5]]
    alone = [(await answer(engine, prompt))[0] for prompt in prompts]
    together: dict[int, list[int]] = {}

    async def ask(i: int) -> None:
        together[i] = (await answer(engine, prompts[i]))[0]

    async with anyio.create_task_group() as tasks:
        for i in range(len(prompts)):
            tasks.start_soon(ask, i)
    assert [together[i] for i in range(len(prompts))] == alone


async def test_an_answer_left_hanging_does_not_block_another(engine: TransformersEngine) -> None:
    async with aclosing(engine.generate(PROMPT, Sampling(max_tokens=50))) as hanging:
        await anext(hanging)
        with anyio.fail_after(30):
            assert len((await answer(engine, PROMPT))[0]) == 12
        assert len((await anext(hanging)).token_ids) == 1


async def test_leaving_stops_the_work_and_keeps_what_was_read(engine: TransformersEngine) -> None:
    prompt = [9, *PROMPT]
    async with aclosing(engine.generate(prompt, Sampling(max_tokens=400))) as deltas:
        left = (await anext(deltas)).token_ids
    ids, last = await answer(engine, prompt)
    assert tuple(ids[:1]) == left
    assert last.usage is not None
    assert last.usage.cached_tokens == len(prompt) - 1


async def test_cancelling_takes_effect_within_a_token(engine: TransformersEngine) -> None:
    await engine.load()
    heard: list[float] = []
    with anyio.move_on_after(0.3) as scope:
        async for _ in engine.generate([2, *PROMPT], Sampling(max_tokens=10**6)):
            heard.append(anyio.current_time())
    assert scope.cancelled_caught
    assert 0 < len(heard) < 450
    longest = max(b - a for a, b in zip(heard, [*heard[1:], scope.deadline], strict=True))
    assert anyio.current_time() - scope.deadline < longest + 1.0


async def test_a_seed_makes_sampling_repeatable(engine: TransformersEngine) -> None:
    hot = {"temperature": 1.2, "top_p": 0.95, "max_tokens": 20}
    first, _ = await answer(engine, PROMPT, seed=1, **hot)
    assert (await answer(engine, PROMPT, seed=1, **hot))[0] == first
    assert (await answer(engine, PROMPT, seed=2, **hot))[0] != first


async def test_a_tiny_nucleus_is_greedy(engine: TransformersEngine) -> None:
    greedy, _ = await answer(engine, PROMPT)
    assert (await answer(engine, PROMPT, temperature=1.0, top_p=1e-6))[0] == greedy


async def test_the_answer_is_limited_to_what_the_context_leaves(engine: TransformersEngine) -> None:
    ids, last = await answer(engine, [5] * 510, max_tokens=100)
    assert (len(ids), last.finish_reason) == (2, "length")


async def test_a_prompt_that_fills_the_context_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(ContextTooLong, match="no room for an answer"):
        await answer(engine, [5] * 512)


@pytest.mark.parametrize(
    ("prompt", "sampling", "said"),
    [
        ([], {}, "prompt is empty"),
        ([5, 100_000], {}, "ids outside of 0"),
        ([5, -1], {}, "ids outside of 0"),
        ([5], {"max_tokens": 0}, "max_tokens is 0"),
        ([5], {"temperature": -0.1}, "temperature is -0.1"),
        ([5], {"temperature": math.nan}, "temperature is nan"),
        ([5], {"top_p": 0.0}, "top_p is 0.0"),
        ([5], {"logprobs": -1}, "logprobs is -1"),
    ],
)
async def test_an_unusable_request_is_refused(
    engine: TransformersEngine, prompt: list[int], sampling: dict[str, Any], said: str
) -> None:
    with pytest.raises(EngineRejected, match=said):
        await answer(engine, prompt, **sampling)


async def test_a_closed_engine_says_so(tiny_llama: Path) -> None:
    engine = TransformersEngine(tiny_llama)
    await engine.aclose()
    with pytest.raises(EngineUnavailable, match="closed"):
        await answer(engine, PROMPT)


async def test_no_folder_is_named() -> None:
    with pytest.raises(ModelNotReadable, match="there is no model folder /nowhere"):
        TransformersEngine("/nowhere")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
async def test_a_file_that_is_missing_is_named(tiny_llama: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(ModelNotReadable, match=f"lacks {name}"):
        TransformersEngine(folder)


async def test_a_missing_shard_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    shards = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(ModelNotReadable, match=r"lacks model-2\.safetensors"):
        TransformersEngine(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
async def test_a_file_that_is_no_json_is_named(tiny_llama: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    (folder / name).write_text("{")
    with pytest.raises(ModelNotReadable, match=name):
        TransformersEngine(folder)


async def test_a_configuration_of_no_llama_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelNotReadable, match="max_position_embeddings"):
        TransformersEngine(folder)


async def test_truncated_weights_are_refused_when_loaded(tiny_llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelNotReadable, match="cannot be loaded"):
        await TransformersEngine(folder).load()


async def test_weights_that_lack_a_tensor_are_refused_when_loaded(tiny_llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelNotReadable, match=r"lack 1 tensors.*model\.layers\.1\.mlp\.up_proj\.weight"):
        await TransformersEngine(folder).load()
