"""What VLLMEngine makes of servers that fail: a real HTTP server on loopback misbehaves in each way."""

import socket
import traceback
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from misbehaving_server import (
    DONE,
    HEAD,
    WHOLE,
    Answer,
    ScriptedServer,
    chunk,
    event,
    hangs_up_after,
    is_silent_after,
    misbehaving,
    resets_after,
    response,
    says,
    streams_whole_answer,
)

from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.engines.vllm import VLLMEngine
from arriero.stack.errors import ContextTooLong, EngineInterrupted, EngineRejected, EngineUnavailable, ModelNotReadable

pytestmark = pytest.mark.anyio
PROMPT = [1, 2, 3]


async def ask(
    server: ScriptedServer, prompt: Sequence[int] = PROMPT, *, max_tokens: int = 512, **how: Any
) -> list[Delta]:
    async with aclosing(await VLLMEngine.connect(server.url, **{"retries": 2, "backoff": 0.01} | how)) as engine:
        return [delta async for delta in engine.generate(prompt, Sampling(max_tokens=max_tokens))]


def ids_of(deltas: Sequence[Delta]) -> list[int]:
    return [id_ for delta in deltas for id_ in delta.token_ids]


async def test_what_came_before_a_failure_is_delivered_before_it(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, says(HEAD, chunk(event([7]) + event([8]) + event([9], "abort")))) as server:
        async with aclosing(await VLLMEngine.connect(server.url)) as engine:
            deltas = engine.generate(PROMPT, Sampling())
            assert (await anext(deltas)).token_ids == (7, 8)
            with pytest.raises(EngineInterrupted, match="gave up the answer"):
                await anext(deltas)
        assert len(server.requests) == 1


async def test_a_whole_answer_ends_with_reason_and_usage(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, streams_whole_answer) as server:
        assert await ask(server) == [Delta((7, 8)), Delta((9,), (), "stop", Usage(3, 3, None))]


async def test_an_answer_reads_the_same_however_its_bytes_are_cut(tiny_llama: Path) -> None:
    bytewise = says(HEAD, *(chunk(WHOLE[i : i + 1]) for i in range(len(WHOLE))), b"0\r\n\r\n")
    async with misbehaving(tiny_llama, bytewise) as server:
        assert ids_of(await ask(server)) == [7, 8, 9]


async def test_nobody_listening_is_named_with_address_and_remedy() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EngineUnavailable, match=f"nothing answers at {url}.*start vLLM.*2 attempts"):
            await VLLMEngine.connect(url, retries=1, backoff=0.01)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://host:port", ""])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(EngineRejected, match="write for example"):
        await VLLMEngine.connect(url)


@pytest.mark.parametrize(
    "failure",
    [
        says(response(500, b'{"error":{"message":"dead"}}')),
        says(response(503)),
        says(response(429, b"slow down", **{"retry-after": "0"})),
        hangs_up_after(),
        resets_after(),
        resets_after(HEAD),
        hangs_up_after(HEAD, b"0\r\n\r\n"),
        hangs_up_after(HEAD, b"40\r\ndata: {"),
        says(HEAD, chunk(b'data: {"error":{"message":"worker died","code":500}}\n\n' + DONE), b"0\r\n\r\n"),
    ],
    ids=["500", "503", "429", "hang-up", "reset", "reset-after-head", "empty", "half-a-chunk", "error-event"],
)
async def test_what_failed_before_the_first_token_is_asked_again(tiny_llama: Path, failure: Answer) -> None:
    async with misbehaving(tiny_llama, failure, failure, streams_whole_answer) as server:
        assert ids_of(await ask(server)) == [7, 8, 9]
        assert len(server.requests) == 3


async def test_retries_end(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, says(response(500, b'{"error":{"message":"engine is dead"}}'))) as server:
        with pytest.raises(EngineUnavailable, match=r"500 \(engine is dead\).*3 attempts"):
            await ask(server)
        assert len(server.requests) == 3


async def test_the_wait_that_a_server_asks_for_is_kept(tiny_llama: Path) -> None:
    busy = says(response(429, **{"retry-after": "1"}))
    async with misbehaving(tiny_llama, busy, streams_whole_answer) as server:
        start = anyio.current_time()
        await ask(server)
        assert anyio.current_time() - start >= 1.0


@pytest.mark.parametrize(
    "failure",
    [
        hangs_up_after(HEAD, chunk(event([7]))),
        resets_after(HEAD, chunk(event([7]))),
        hangs_up_after(HEAD, chunk(event([7])), b"40\r\ndata: {"),
        says(HEAD, chunk(event([7])), b"0\r\n\r\n"),
        says(HEAD, chunk(event([7]) + DONE), b"0\r\n\r\n"),
        says(HEAD, chunk(event([7])), chunk(b"data: {nonsense\n\n")),
        says(HEAD, chunk(event([7])), chunk(event([8], "abort"))),
        says(HEAD, chunk(event([7])), chunk(b'data: {"error":{"message":"died","code":500}}\n\n')),
        is_silent_after(HEAD, chunk(event([7]))),
    ],
    ids=["hang-up", "reset", "half-a-chunk", "early-end", "no-reason", "garbage", "abort", "error-event", "silence"],
)
async def test_an_answer_that_breaks_off_is_never_asked_again(tiny_llama: Path, failure: Answer) -> None:
    async with misbehaving(tiny_llama, failure) as server:
        async with aclosing(await VLLMEngine.connect(server.url, read_timeout=0.3, backoff=0.01)) as engine:
            deltas = engine.generate(PROMPT, Sampling())
            assert (await anext(deltas)).token_ids == (7,)
            with pytest.raises(EngineInterrupted, match=r"127\.0\.0\.1"):
                await anext(deltas)
        assert len(server.requests) == 1


async def test_silence_before_the_first_token_is_not_asked_again(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, is_silent_after()) as server:
        with pytest.raises(EngineUnavailable, match=r"silent for 0.3 s.*read_timeout"):
            await ask(server, read_timeout=0.3)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(response(400, b'{"error":{"message":"bad top_p"}}')), "bad top_p"),
        (says(response(403, b'{"error":"Unauthorized"}')), "refused the API key"),
        (says(response(404, b'{"error":{"message":"no such model"}}')), "no such model.*the server has arriero-demo"),
        (says(response(422, b'{"detail":[{"msg":"extra field"}]}')), "extra field"),
        (says(response(200, b"<html>hello</html>")), "no vLLM completion.*hello"),
        (says(response(200, b'data: {"choices": 5}\n\n')), "no vLLM completion"),
        (says(response(200, b'data: {"choices":[{"index":0,"text":"hi"}]}\n\n')), "without token ids"),
        (says(response(200, event([7], prompt_token_ids=[0, 1, 2, 3]))), r"another prompt.*4 ids instead of 3"),
        (says(response(200, b'data: {"error":{"message":"too many logprobs","code":400}}\n\n')), "too many logprobs"),
    ],
    ids=["400", "403", "404", "422", "html", "shape", "no-ids", "other-prompt", "error-event"],
)
async def test_a_refusal_says_what_the_server_said(tiny_llama: Path, answer: Answer, said: str) -> None:
    async with misbehaving(tiny_llama, answer) as server:
        with pytest.raises(EngineRejected, match=said):
            await ask(server)
        assert len(server.requests) == 1


async def test_no_error_shows_the_key_or_the_password(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, says(response(401, b'{"error":"Unauthorized"}'))) as server:
        url = server.url.replace("http://", "http://user:hunter2@")
        async with aclosing(await VLLMEngine.connect(url, api_key="sesame")) as engine:
            with pytest.raises(EngineRejected, match="refused the API key") as caught:
                await anext(engine.generate(PROMPT, Sampling()))
        assert not any(secret in f"{caught.value}{engine!r}" for secret in ("hunter2", "sesame"))


async def test_leaving_the_iterator_hangs_up(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, is_silent_after(HEAD, chunk(event([7])))) as server:
        engine = await VLLMEngine.connect(server.url)
        async with aclosing(engine):
            deltas = engine.generate(PROMPT, Sampling())
            assert (await anext(deltas)).token_ids == (7,)
            await deltas.aclose()
            await server.left.wait()


async def test_cancelling_hangs_up(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, is_silent_after(HEAD)) as server:
        engine = await VLLMEngine.connect(server.url)
        async with aclosing(engine):
            with anyio.move_on_after(0.2) as scope:
                await anext(engine.generate(PROMPT, Sampling()))
            assert scope.cancelled_caught
            await server.left.wait()


async def test_the_next_request_uses_the_same_connection(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, streams_whole_answer) as server:
        async with aclosing(await VLLMEngine.connect(server.url)) as engine:
            for _ in range(3):
                assert ids_of([delta async for delta in engine.generate(PROMPT, Sampling())]) == [7, 8, 9]
        assert server.connections == 1


async def test_a_prompt_that_fills_the_context_is_never_sent(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, streams_whole_answer) as server:
        with pytest.raises(ContextTooLong, match="512 tokens and the context of the model 512"):
            await ask(server, [1] * 512)
        assert server.requests == []


async def test_the_answer_is_limited_to_what_the_context_leaves(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, streams_whole_answer) as server:
        await ask(server, [1] * 500, max_tokens=100)
        assert server.requests[0]["max_tokens"] == 12


async def test_a_model_folder_on_another_machine_asks_for_the_tokenizer() -> None:
    async with misbehaving(Path("/nowhere/llama"), streams_whole_answer) as server:
        with pytest.raises(ModelNotReadable, match=r"/nowhere/llama is not on this machine: pass tokenizer="):
            await VLLMEngine.connect(server.url)


async def test_a_closed_engine_says_so(tiny_llama: Path) -> None:
    async with misbehaving(tiny_llama, streams_whole_answer) as server:
        engine = await VLLMEngine.connect(server.url)
        await engine.aclose()
        with pytest.raises(EngineUnavailable, match="closed"):
            await anext(engine.generate(PROMPT, Sampling()))


@pytest.mark.parametrize(
    "url",
    ["user:S3CRET@host/v1", "http://user:S3CRET@host:x/v1", "http://user:S3CRET/2@host/v1", "ftp://user:S3C@RET@host"],
)
async def test_a_password_in_an_unusable_url_is_not_repeated(url: str) -> None:
    with pytest.raises(EngineRejected) as refused:
        await VLLMEngine.connect(url)
    shown = "".join(traceback.format_exception(refused.value))
    assert "host" in shown
    assert "S3C" not in shown
    assert "RET" not in shown
