"""What the registry does around a tool: isolation, long results, files, the record."""

import asyncio
import gc
import logging
import math
import weakref
from typing import get_args

import anyio
import pytest
from recorded_calls import delete, double, offered

from arriero.prompts.messages import ToolCall
from arriero.tools import (
    Artifact,
    Attachment,
    Cache,
    Progress,
    Registry,
    Tool,
    ToolCallDenied,
    ToolCallFinished,
    ToolCallProgressed,
    ToolCallStarted,
    ToolContext,
    ToolError,
    ToolEvent,
    ToolResult,
    tool,
)

pytestmark = pytest.mark.anyio


# --- isolation


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), GeneratorExit(), asyncio.CancelledError("mine"), BaseExceptionGroup("all", [SystemExit()] * 2)],
)
@pytest.mark.parametrize("form", ["sync", "async"])
async def test_nothing_that_a_tool_raises_leaves_the_registry(error: BaseException, form: str) -> None:
    @tool(name="raises")
    async def raises_async() -> None:
        """Raise."""
        raise error

    @tool(name="raises")
    def raises() -> None:
        """Raise."""
        raise error

    async with offered(raises_async if form == "async" else raises, double) as (registry, heard):
        calls = [ToolCall("raises", {}), ToolCall("double", {"number": 2})]
        failed, fine = await registry.call_all(calls)
    assert str(failed.error).startswith(type(error).__name__)
    assert fine.content == "4"
    assert {event.outcome for event in heard.of(ToolCallFinished)} == {"failed", "completed"}


@pytest.mark.parametrize(
    ("error", "told"), [(ToolError("no mule is free"), "no mule is free"), (OSError("reset"), "OSError: reset")]
)
async def test_what_a_task_of_a_tool_raises_is_told_without_its_group(error: Exception, told: str) -> None:
    async def fail() -> None:
        raise error

    @tool
    async def load() -> None:
        """Load."""
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(fail)

    async with offered(load) as (registry, heard):
        assert (await registry.call(ToolCall("load", {}))).error == told
    assert heard.end.exception is error


async def test_an_interrupt_raised_in_a_thread_is_the_tools_own() -> None:
    @tool
    def interrupt() -> None:
        """Raise."""
        raise KeyboardInterrupt

    async with offered(interrupt) as (registry, _):
        assert (await registry.call(ToolCall("interrupt", {}))).error == "KeyboardInterrupt"


def test_an_interrupt_in_the_main_thread_is_the_users() -> None:
    @tool
    async def interrupted() -> None:
        """Be interrupted."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        anyio.run(Registry([interrupted]).call, ToolCall("interrupted", {}))


async def test_an_exception_that_cannot_be_printed_is_told_by_its_name() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    @tool
    async def raises() -> None:
        """Raise."""
        raise Unprintable

    async with offered(raises) as (registry, _):
        assert (await registry.call(ToolCall("raises", {}))).error == "Unprintable"


async def test_a_long_error_is_cut() -> None:
    @tool
    async def raises() -> None:
        """Raise."""
        raise ValueError("x" * 1_000_000)

    async with offered(raises) as (registry, _):
        assert len(str((await registry.call(ToolCall("raises", {}))).content)) < 3_000


# --- long results and files


async def test_tokens_are_counted_by_the_context_and_a_tool_may_have_a_limit_of_its_own() -> None:
    @tool(max_result_tokens=40)
    async def words() -> str:
        """Give many words."""
        return "hay " * 500

    def count(text: str) -> int:
        return len(text.split())

    async with offered(words) as (registry, heard):
        result = await registry.call(ToolCall("words", {}), ToolContext(count_tokens=count))
        assert 30 <= count(str(result.content)) <= 40
        assert await registry.artifacts.get(result.artifacts[0].id) == b"hay " * 500
    assert heard.end.cut
    assert heard.end.artifacts == 1


async def test_a_result_of_a_hundred_megabytes_is_cut_without_being_counted() -> None:
    counted = []

    def count(text: str) -> int:
        counted.append(len(text))
        return len(text) // 3

    @tool
    async def much() -> str:
        """Give much."""
        return "a" * 100_000_000

    async with offered(much, count_tokens=count, max_result_tokens=100) as (registry, _):
        result = await registry.call(ToolCall("much", {}))
    assert len(str(result.content)) < 400
    assert "the whole could not be kept" in str(result.content)
    assert max(counted) < 10_000


@pytest.mark.parametrize("most", [1, 5, 20])
async def test_a_limit_smaller_than_the_note_leaves_the_note_alone(most: int) -> None:
    @tool
    async def words() -> str:
        """Give words."""
        return "x" * 1_000

    async with offered(words, max_result_tokens=most, count_tokens=len) as (registry, _):
        content = str((await registry.call(ToolCall("words", {}))).content)
    assert "1000 characters left out" in content
    assert "x" * 10 not in content


async def test_a_counter_that_fails_is_a_failure_of_the_call() -> None:
    def count(text: str) -> int:
        raise RuntimeError("no tokenizer")

    @tool
    async def words() -> str:
        """Give words."""
        return "x" * 10_000

    async with offered(words, count_tokens=count) as (registry, heard):
        assert (await registry.call(ToolCall("words", {}))).error == "RuntimeError: no tokenizer"
    assert heard.end.outcome == "failed"


class FullStore:
    async def put(self, attachment: Attachment) -> Artifact:
        raise OSError("no space left on device")

    async def get(self, id: str) -> bytes:  # noqa: A002
        raise KeyError(id)


async def test_a_full_store_costs_the_file_and_not_the_text() -> None:
    @tool
    async def chart() -> bytes:
        """Draw."""
        return b"\x89PNG\r\n\x1a\n..."

    async with offered(chart, artifacts=FullStore()) as (registry, _):
        result = await registry.call(ToolCall("chart", {}))
    assert result.content == "file image.png (image/png, 11 bytes), which could not be kept"
    assert (result.error, result.artifacts) == (None, ())


# --- the record


async def test_every_call_is_recorded_from_start_to_end() -> None:
    @tool
    async def work(context: ToolContext, steps: int) -> str:
        """Work."""
        for step in range(steps):
            context.progress("step", done=step, total=steps)
        return "done"

    outside: list[object] = []
    async with offered(work) as (registry, heard):
        context = ToolContext(session="alice", run="turn", call_id="c1", idempotency_key="k", report=outside.append)
        await registry.call(ToolCall("work", {"steps": 2}), context)
    assert heard[:-1] == [
        ToolCallStarted("c1", "work", "alice", "turn", "k"),
        ToolCallProgressed("c1", "work", "step", 0, 2),
        ToolCallProgressed("c1", "work", "step", 1, 2),
    ]
    assert (heard.end.call_id, heard.end.outcome, heard.end.attempts) == ("c1", "completed", 1)
    assert 0 <= heard.end.duration < 5
    assert len(outside) == 2


async def test_a_flood_of_progress_is_dammed() -> None:
    @tool
    async def chatter(context: ToolContext) -> str:
        """Report much."""
        for _ in range(20_000):
            context.progress("x" * 10_000)
        return "done"

    async with offered(chatter) as (registry, heard):
        assert (await registry.call(ToolCall("chatter", {}))).content == "done"
    told = heard.of(ToolCallProgressed)
    assert len(told) == 1_000
    assert len(told[0].message) < 300


async def test_progress_after_the_end_is_heard_by_nobody() -> None:
    kept: list[ToolContext] = []

    @tool
    async def leak(context: ToolContext) -> None:
        """Keep the context."""
        kept.append(context)

    async with offered(leak) as (registry, heard):
        await registry.call(ToolCall("leak", {}))
        kept[0].progress("still here")
    assert not heard.of(ToolCallProgressed)


async def test_a_listener_that_fails_harms_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: ToolEvent) -> None:
        raise RuntimeError("the disk is full of secrets")

    result = await Registry([double], on_event=broken).call(ToolCall("double", {"number": 2}))
    assert result.content == "4"
    assert "secrets" not in caplog.text


async def test_nothing_of_a_call_waits_for_the_garbage_collector() -> None:
    def hear(said: object) -> None:
        """Hear."""

    heard = weakref.ref(hear)
    async with offered(double) as (registry, _):
        gc.disable()
        try:
            result = await registry.call(ToolCall("double", {"number": 2}), ToolContext(report=hear))
            del hear
            await anyio.wait_all_tasks_blocked()  # the event loop lets its last handle go
            assert heard() is None
        finally:
            gc.enable()
    assert result.content == "4"


async def test_somebody_who_hears_of_progress_and_fails_harms_no_call(caplog: pytest.LogCaptureFixture) -> None:
    @tool
    async def unload(context: ToolContext) -> str:
        """Unload."""
        context.progress("unloading")
        return "done"

    def on_progress(position: int, said: Progress) -> None:
        raise RuntimeError("sk-canary")

    async with offered(unload) as (registry, _):
        (result,) = await registry.call_all([ToolCall("unload", {})], on_progress=on_progress)
    assert result.content == "done"
    assert "RuntimeError" in caplog.text
    assert "sk-canary" not in caplog.text


async def test_events_and_logs_hold_neither_arguments_nor_results(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "sk-canary-5f1e"
    monkeypatch.setenv("ARRIERO_CANARY", canary)
    caplog.set_level(logging.DEBUG)

    @tool(sensitive=True, retries=1, idempotent=True)
    async def raises(key: str) -> str:
        """Raise."""
        raise OSError(f"bad key {key}")

    @tool(pure=True, cache=Cache())
    def gives(key: str) -> str:
        """Give it back."""
        return key

    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> bool:
        return True

    async with offered(raises, gives, approve=approve) as (registry, heard):
        await registry.call_all(
            [
                ToolCall("raises", {"key": canary}),
                ToolCall("gives", {"key": canary}),
                ToolCall("gives", {"key": canary}),
                ToolCall("gives", {"kye": canary}),
            ]
        )
    assert {type(event) for event in heard} == set(get_args(ToolEvent)) - {ToolCallProgressed, ToolCallDenied}
    assert canary not in repr(heard)
    assert canary not in caplog.text


async def test_a_key_of_the_server_is_in_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "sk-canary-5f1e"
    monkeypatch.setenv("ARRIERO_CANARY", canary)
    async with offered(double, delete) as (registry, heard):
        results: list[ToolResult] = [
            await registry.call(ToolCall(name, arguments))
            for name in ("double", "delete", "os.environ", "$ARRIERO_CANARY", "{os.environ}")
            for arguments in ({}, {"number": "$ARRIERO_CANARY"}, {"number": "{0.__globals__}"}, {"%(x)s": math.pi})
        ]
    assert canary not in repr(results)
    assert canary not in repr(heard)
