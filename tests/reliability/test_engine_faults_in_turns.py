"""A turn whose server fails: over real sockets, at every place of the protocol."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from misbehaving_server import (
    HEAD,
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
)
from turn_law import problems

from arriero import EngineError, Stack, tool
from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engines.vllm import VLLMEngine
from arriero.stack.errors import EngineInterrupted, EngineRejected, EngineUnavailable
from arriero.stack.events import CallFinished, Event, TextDelta, TurnFailed, TurnFinished
from arriero.stack.log import SQLiteLog
from arriero.stack.terms import Terms
from arriero.testing import call
from arriero.testing.calls import written
from arriero.tools import Registry

pytestmark = [pytest.mark.anyio, pytest.mark.reliability]

SILENCE = 0.5
"""Seconds after which a silent server is given up."""
DEADLINE = 5.0
TOKENIZER = Tokenizer.from_folder(DEMO)
DIALECT = Dialect.detect(DEMO)
CALL = written(DIALECT, [call("feed", mule="Zuri")]).encode(TOKENIZER)
END = TOKENIZER.special_id("<|eot_id|>")
TEXT = [*TOKENIZER.encode("All mules are fed."), END]

fed: list[str] = []


@tool
def feed(mule: str) -> str:
    """Feed a mule.

    Args:
        mule: The mule.
    """
    fed.append(mule)
    return f"{mule} is fed"


TERMS = Terms(registry=Registry([feed]))


def usage(count: int) -> bytes:
    return b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":%d}}\n\ndata: [DONE]\n\n' % count


def streams(ids: Sequence[int]) -> Answer:
    """A whole answer, a chunk for each id."""
    pieces = [chunk(event([id_])) for id_ in ids[:-1]]
    return says(HEAD, *pieces, chunk(event(ids[-1:], "stop") + usage(len(ids))), b"0\r\n\r\n")


BROKEN_OFF: dict[str, tuple[Callable[..., Answer], tuple[bytes, ...]]] = {
    "hang-up": (hangs_up_after, ()),
    "reset": (resets_after, ()),
    "half a chunk": (hangs_up_after, (b"40\r\ndata: {",)),
    "half an event": (hangs_up_after, (chunk(b'data: {"choices": [{"tok'),)),
    "stall": (is_silent_after, ()),
    "stall in a chunk": (is_silent_after, (b"40\r\ndata: {",)),
    "early end": (says, (b"0\r\n\r\n",)),
    "garbage": (says, (chunk(b"data: \xff\xfe nonsense\n\n"),)),
    "garbled chunk": (says, (b"zz\r\nwhat\r\n",)),
    "500 in the stream": (says, (chunk(b'data: {"error":{"message":"died","code":500}}\n\n'),)),
    "abort": (says, (chunk(event([], "abort")),)),
    "text for ids": (says, (chunk(b'data: {"choices":[{"token_ids":"x"}]}\n\n'),)),
    "an id below 0": (says, (chunk(event([-1])),)),
    "an id of 41 bits": (says, (chunk(event([1 << 40])),)),
    "text for a count": (
        says,
        (chunk(event([5], "stop") + b'data: {"choices":[],"usage":{"prompt_tokens":"x"}}\n\n'),),
    ),
}
"""What happens after some ids of an answer: how the connection goes on, and the last bytes."""


def breaks_off(name: str, ids: Sequence[int]) -> Answer:
    """An answer that breaks off after these ids."""
    way, last = BROKEN_OFF[name]
    return way(HEAD, *(chunk(event([id_])) for id_ in ids), *last)


NOT_BEGUN: dict[str, Answer] = {
    "500": says(response(500, b'{"error":{"message":"dead"}}')),
    "503": says(response(503)),
    "hang-up": hangs_up_after(),
    "reset": resets_after(),
    "reset after the head": resets_after(HEAD),
    "half a chunk": hangs_up_after(HEAD, b"40\r\ndata: {"),
    "no http": hangs_up_after(b"SSH-2.0-OpenSSH\r\n"),
    "half a head": hangs_up_after(b"HTTP/1.1 200 OK\r\ncontent-ty"),
}
REFUSED: dict[str, Answer] = {
    "400": says(response(400, b'{"error":{"message":"bad top_p"}}')),
    "html": says(response(200, b"<html>hello</html>")),
}


@asynccontextmanager
async def stack_over(*script: Answer) -> AsyncIterator[tuple[Stack, ScriptedServer]]:
    fed.clear()
    async with misbehaving(Path(DEMO), *script, context_length=2048) as server:
        engine = await VLLMEngine.connect(server.url, tokenizer=DEMO, read_timeout=SILENCE, retries=2, backoff=0.01)
        async with Stack(engine, DIALECT, log=SQLiteLog(":memory:")) as stack:
            yield stack, server


async def turn(stack: Stack, text: str, into: list[Event]) -> None:
    async for happened in stack.run_turn([Message("user", text)], TERMS, session="alice"):
        into.append(happened)


async def fails(stack: Stack, kind: type[EngineError]) -> list[Event]:
    """Run a turn that ends with an error. What is promised of all such turns is looked at here."""
    events: list[Event] = []
    begun = time.monotonic()
    with pytest.raises(kind) as raised:
        await turn(stack, "Feed Zuri", events)
    assert time.monotonic() - begun < DEADLINE
    *_, failed, end = events
    assert isinstance(failed, TurnFailed)
    assert failed.error == type(raised.value).__name__
    assert isinstance(end, TurnFinished)
    assert end.reason == "failed"
    records = await stack.log.read("alice")
    assert problems(records) == []
    assert [record.event for record in records] == [one for one in events if not isinstance(one, TextDelta)]
    return events


async def goes_on(stack: Stack, server: ScriptedServer, kept: Sequence[int]) -> None:
    """The next turn of the session works, and begins with what was kept of the failed one."""
    events: list[Event] = []
    await turn(stack, "Once more", events)
    assert isinstance(events[-1], TurnFinished)
    assert (events[-1].reason, events[-1].text) == ("answer", "All mules are fed.")
    assert server.requests[-1]["prompt"][: len(kept)] == kept
    assert problems(await stack.log.read("alice")) == []


@pytest.mark.parametrize("fault", BROKEN_OFF)
async def test_an_answer_that_breaks_off_ends_the_turn_and_is_not_asked_again(fault: str) -> None:
    async with stack_over(breaks_off(fault, TEXT[:1]), streams(TEXT)) as (stack, server):
        await fails(stack, EngineInterrupted)
        assert len(server.requests) == 1
        await goes_on(stack, server, server.requests[0]["prompt"][:1])


@pytest.mark.parametrize("fault", BROKEN_OFF)
async def test_a_step_that_breaks_off_keeps_the_steps_before_it(fault: str) -> None:
    async with stack_over(streams(CALL), breaks_off(fault, TEXT[:1]), streams(TEXT)) as (stack, server):
        events = await fails(stack, EngineInterrupted)
        assert fed == ["Zuri"]
        assert sum(isinstance(one, CallFinished) for one in events) == 1
        assert len(server.requests) == 2
        await goes_on(stack, server, [*server.requests[0]["prompt"], *CALL])
        assert fed == ["Zuri"]


@pytest.mark.parametrize("length", [len(CALL) // 2, len(CALL) - 1])
@pytest.mark.parametrize("fault", BROKEN_OFF)
async def test_a_call_that_breaks_off_is_never_run(fault: str, length: int) -> None:
    async with stack_over(breaks_off(fault, CALL[:length]), streams(TEXT)) as (stack, server):
        await fails(stack, EngineInterrupted)
        assert fed == []
        assert len(server.requests) == 1
        await goes_on(stack, server, server.requests[0]["prompt"][:1])


@pytest.mark.parametrize("fault", NOT_BEGUN.values(), ids=NOT_BEGUN)
async def test_what_failed_before_the_first_token_is_asked_again_in_the_same_step(fault: Answer) -> None:
    async with stack_over(streams(CALL), fault, fault, streams(TEXT)) as (stack, server):
        events: list[Event] = []
        await turn(stack, "Feed Zuri", events)
        assert isinstance(events[-1], TurnFinished)
        assert events[-1].reason == "answer"
        assert fed == ["Zuri"]
        assert server.requests[1] == server.requests[2] == server.requests[3]
        assert len(server.requests) == 4


@pytest.mark.parametrize("fault", NOT_BEGUN.values(), ids=NOT_BEGUN)
async def test_a_server_that_stays_down_is_unavailable(fault: Answer) -> None:
    async with stack_over(streams(CALL), fault, fault, fault, streams(TEXT)) as (stack, server):
        await fails(stack, EngineUnavailable)
        assert len(server.requests) == 4
        assert fed == ["Zuri"]
        await goes_on(stack, server, [*server.requests[0]["prompt"], *CALL])


async def test_a_server_that_says_nothing_is_given_up_at_its_deadline() -> None:
    async with stack_over(streams(CALL), is_silent_after(), streams(TEXT)) as (stack, server):
        await fails(stack, EngineUnavailable)
        assert len(server.requests) == 2
        await goes_on(stack, server, [*server.requests[0]["prompt"], *CALL])


@pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
async def test_a_refusal_ends_the_turn(fault: Answer) -> None:
    async with stack_over(streams(CALL), fault, streams(TEXT)) as (stack, server):
        await fails(stack, EngineRejected)
        assert fed == ["Zuri"]
        await goes_on(stack, server, [*server.requests[0]["prompt"], *CALL])
