"""Stacks over real models."""

import json
import shutil
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from anyio.from_thread import start_blocking_portal
from scripted import kinds, of, run
from test_server import serving

from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import UnknownDialect
from arriero.prompts.messages import Message
from arriero.stack.engine import Delta, Sampling
from arriero.stack.engines.vllm import VLLMEngine
from arriero.stack.errors import EngineInterrupted, EngineUnavailable, ModelNotReadable
from arriero.stack.events import Event, PromptAppended, StepFinished, TextDelta, TurnFailed, TurnFinished
from arriero.stack.log import LogError, SQLiteLog
from arriero.stack.stack import Stack
from arriero.stack.turn import Terms

pytestmark = pytest.mark.anyio

SHORT = Terms(sampling=Sampling(max_tokens=40))


async def conversation(stack: Stack) -> list[StepFinished]:
    """Two turns of a session, checked against the law of the tape."""
    transcript: list[int] = []
    steps = []
    for text in ("Hello there", "And again"):
        events = await run(stack, text, SHORT, "alice")
        for prompt in of(PromptAppended, events):
            transcript += prompt.token_ids
        (step,) = of(StepFinished, events)
        assert step.usage.prompt_tokens == len(transcript)
        transcript += step.token_ids
        steps.append(step)
        finished = of(TurnFinished, events)[0]
        assert "".join(delta.text for delta in of(TextDelta, events)) == finished.text == step.content
    return steps


async def test_a_session_over_a_local_model_extends_its_transcript() -> None:
    async with Stack.local() as stack:
        first, second = await conversation(stack)
    assert second.usage.cached_tokens is not None
    assert second.usage.cached_tokens >= first.usage.prompt_tokens


@pytest.mark.vllm
async def test_a_session_over_vllm_hits_its_prefix_cache_for_every_full_block(vllm_server) -> None:
    async with Stack.connect(vllm_server.url) as stack:
        first, second = await conversation(stack)
    seen = first.usage.prompt_tokens + len(first.token_ids) - 1  # the last id was sampled, never computed
    blocks = seen // vllm_server.block_size
    assert second.usage.cached_tokens is not None
    assert second.usage.cached_tokens >= blocks * vllm_server.block_size


@pytest.mark.vllm
async def test_the_guard_over_vllm_always_gives_a_verdict(vllm_server) -> None:
    async with Stack.connect(vllm_server.url) as stack:
        verdict = await stack.shield("llama-guard").check([Message("user", "How do I bake bread?")], "input")
    assert verdict.allowed or verdict.reason


class Fatal:
    """An engine whose server is killed when the first token has come."""

    def __init__(self, engine: VLLMEngine, kill: Callable[[], None]) -> None:
        self._engine, self._kill = engine, kill
        self.model, self.tokenizer, self.context_length = engine.model, engine.tokenizer, engine.context_length

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        async with aclosing(self._engine.generate(prompt_ids, sampling)) as deltas:
            async for delta in deltas:
                if delta.token_ids:
                    self._kill()
                yield delta

    async def aclose(self) -> None:
        await self._engine.aclose()


@pytest.mark.vllm
async def test_killing_vllm_in_the_middle_of_a_stream_ends_the_turn_with_an_intact_log(
    start_vllm, never_ending_demo: Path, tmp_path: Path
) -> None:
    path = tmp_path / "events.sqlite"
    llama = Dialect.get("llama3.1")
    dialect = replace(llama, calls=replace(llama.calls, ends={"<|finetune_right_pad_id|>": "end_of_turn"}))
    events: list[Event] = []
    with start_vllm(folder=never_ending_demo) as server:
        vllm = await VLLMEngine.connect(server.url)
        first = vllm.generate(vllm.tokenizer.encode("Hello"), Sampling(max_tokens=4))
        assert [delta async for delta in first]  # a server's first answer comes late, perhaps all at once
        engine = Fatal(vllm, server.kill)
        async with Stack(engine, dialect, log=SQLiteLog(path)) as stack:
            long = Terms(sampling=Sampling(max_tokens=1500))
            with pytest.raises(EngineInterrupted, match="broke off"):
                await run(stack, "Hello there", long, "alice", into=events)
    log = SQLiteLog(path)
    stored = [record.event for record in await log.read("alice")]
    assert stored == [event for event in events if not isinstance(event, TextDelta)]
    assert kinds(stored) == ["TurnStarted", "PromptAppended", "TurnFailed", "TurnFinished"]
    assert of(TurnFailed, stored)[0].error == "EngineInterrupted"
    assert of(TurnFinished, stored)[0].reason == "failed"
    await log.aclose()


@pytest.fixture
def local_client() -> Iterator[openai.OpenAI]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Stack.local()) as stack,
        serving(stack) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        yield client


def test_the_server_over_a_local_model_says_the_same_streamed_or_not(local_client: openai.OpenAI) -> None:
    request = {"model": "arriero-demo", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 20}
    whole = local_client.chat.completions.create(**request)
    pieces = [chunk.choices[0] for chunk in local_client.chat.completions.create(**request, stream=True)]
    assert whole.choices[0].message.content == "".join(piece.delta.content or "" for piece in pieces)
    assert whole.choices[0].finish_reason == pieces[-1].finish_reason
    assert 0 < whole.usage.completion_tokens <= 20


async def test_nothing_listening_is_one_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EngineUnavailable, match="127"):
        async with Stack.connect(url):
            pass


async def test_a_folder_without_a_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotReadable):
        await Stack.local(tmp_path)


@pytest.mark.parametrize("damage", ["weights", "vocabulary"])
async def test_a_damaged_model_is_one_clear_error_before_there_is_a_log(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    if damage == "weights":
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] // 2}))
    with pytest.raises(ModelNotReadable):
        await Stack.local(folder, log=tmp_path / "events.sqlite")
    assert not (tmp_path / "events.sqlite").exists()


async def test_an_unknown_dialect_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UnknownDialect, match=r"llama3\.1"):
        await Stack.local(DEMO, dialect="llama9", log=tmp_path / "events.sqlite")
    assert not (tmp_path / "events.sqlite").exists()


async def test_a_log_that_cannot_be_opened_closes_the_engine_again(tmp_path: Path) -> None:
    with pytest.raises(LogError):
        await Stack.local(log=tmp_path / "no" / "folder" / "events.sqlite")


async def test_an_awaited_stack_is_the_callers_to_close() -> None:
    stack = await Stack.local()
    assert stack.dialect.name == "llama3.1"
    await stack.aclose()
