"""How many calls run at once, and when each of them ends."""

import asyncio
import sys
import threading

import anyio
import pytest
from recorded_calls import double, offered

from arriero.prompts.messages import ToolCall
from arriero.tools import (
    Registry,
    ToolCallFinished,
    ToolContext,
    ToolError,
    tool,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("own", "registrys", "most"), [(2, 64, 2), (None, 3, 3), (5, 3, 3)])
async def test_no_more_calls_run_at_once_than_allowed(own: int | None, registrys: int, most: int) -> None:
    running, peak = 0, 0

    @tool(concurrency=own)
    async def count() -> None:
        """Count."""
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await anyio.sleep(0.01)
        running -= 1

    async with offered(count, concurrency=registrys) as (registry, _):
        results = await registry.call_all([ToolCall("count", {})] * 9)
    assert peak == most
    assert not any(result.error for result in results)


async def test_waiting_for_a_tools_own_turn_holds_up_no_other_tool() -> None:
    free = anyio.Event()

    @tool(concurrency=1)
    async def slow() -> str:
        """Wait."""
        await free.wait()
        return "slow"

    @tool
    async def release() -> str:
        """Release the other."""
        free.set()
        return "free"

    async with offered(slow, release, concurrency=2) as (registry, _):
        with anyio.fail_after(5):
            results = await registry.call_all([ToolCall("slow", {})] * 4 + [ToolCall("release", {})])
    assert [result.content for result in results] == ["slow"] * 4 + ["free"]


def test_one_registry_serves_one_event_loop_after_another() -> None:
    registry = Registry([double], concurrency=1)
    for _ in range(2):
        results = anyio.run(registry.call_all, [ToolCall("double", {"number": 2})] * 3)
        assert [result.content for result in results] == ["4"] * 3


async def test_a_call_that_misses_a_cancellation_is_cancelled_once_more() -> None:
    asked, missed = anyio.Event(), 0

    async def approve(*_: object) -> bool:
        nonlocal missed
        asked.set()
        while True:
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                if missed:
                    raise
                missed += 1

    @tool(sensitive=True)
    async def unload() -> None:
        """Unload."""

    async with offered(unload, double, approve=approve) as (registry, _):
        with anyio.fail_after(20):
            waiting = asyncio.ensure_future(registry.call_all([ToolCall("unload", {}), ToolCall("double", {})]))
            await asked.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert missed == 1


async def test_the_deadline_of_the_turn_ends_a_call_that_its_timeout_would_not() -> None:
    @tool
    async def slow() -> None:
        """Wait."""
        await anyio.sleep(60)

    async with offered(slow) as (registry, heard):
        result = await registry.call(ToolCall("slow", {}), ToolContext(deadline=anyio.current_time() + 0.05))
    assert result.error == "slow was stopped: the turn's time was over"
    assert heard.end.outcome == "timed out"


async def test_a_scope_with_the_same_deadline_ends_before_there_is_a_result() -> None:
    @tool
    async def slow() -> None:
        """Wait."""
        await anyio.sleep(60)

    deadline, reached = anyio.current_time() + 0.05, []
    with anyio.CancelScope(deadline=deadline):
        reached.append(await Registry([slow]).call(ToolCall("slow", {}), ToolContext(deadline=deadline)))
    assert not reached


async def test_a_tool_reads_the_nearer_of_both_deadlines() -> None:
    @tool(timeout=10)
    async def left(context: ToolContext) -> float:
        """Say how many seconds are left."""
        return round(context.deadline - anyio.current_time())

    async with offered(left) as (registry, _):
        assert (await registry.call(ToolCall("left", {}))).content == "10"
        soon = ToolContext(deadline=anyio.current_time() + 5)
        assert (await registry.call(ToolCall("left", {}), soon)).content == "5"


async def test_an_async_tool_that_does_not_listen_is_left_behind() -> None:
    deaf_until = anyio.Event()

    @tool(timeout=0.05)
    async def deaf() -> str:
        """Do not listen."""
        while not deaf_until.is_set():
            try:
                await deaf_until.wait()
            except asyncio.CancelledError:
                continue
        return "at last"

    async with offered(deaf, double) as (registry, heard):
        with anyio.fail_after(5):
            result = await registry.call(ToolCall("deaf", {}))
            assert (await registry.call(ToolCall("double", {"number": 1}))).content == "2"
        assert "it runs on, for it does not listen" in str(result.error)
        assert heard.of(ToolCallFinished)[0].task_left_running
        deaf_until.set()


async def test_a_cancelled_turn_does_not_wait_for_a_tool_that_does_not_listen() -> None:
    deaf_until, begun = anyio.Event(), anyio.Event()

    @tool
    async def deaf() -> None:
        """Do not listen."""
        begun.set()
        while not deaf_until.is_set():
            try:
                await deaf_until.wait()
            except asyncio.CancelledError:
                continue

    async with offered(deaf) as (registry, heard):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(registry.call_all, [ToolCall("deaf", {})] * 2)
                await begun.wait()
                group.cancel_scope.cancel()
        assert [event.outcome for event in heard.of(ToolCallFinished)] == ["cancelled"] * 2
        deaf_until.set()


@pytest.mark.parametrize("what", ["its own time", "the turn's time"])
async def test_a_thread_that_cannot_be_stopped_is_told_of(what: str) -> None:
    release = threading.Event()
    soon = ToolContext(deadline=anyio.current_time() + 0.5)  # the thread must have begun by then

    @tool(timeout=0.05 if what == "its own time" else 30)
    def stuck() -> None:
        """Hang."""
        release.wait(30)

    async with offered(stuck) as (registry, heard):
        result = await registry.call(ToolCall("stuck", {}), None if what == "its own time" else soon)
        release.set()
    assert "its thread runs on, for Python cannot stop it" in str(result.error)
    assert heard.end.thread_left_running
    assert not heard.end.task_left_running


async def test_stuck_threads_starve_no_other_tool_and_are_limited_in_number() -> None:
    release = threading.Event()

    @tool(timeout=0.05)
    def stuck() -> None:
        """Hang."""
        release.wait(30)

    @tool
    def quick() -> str:
        """Be quick."""
        return "quick"

    async with offered(stuck, quick) as (registry, _):
        results = await registry.call_all([ToolCall("stuck", {})] * 8)
        assert all("its thread runs on" in str(result.error) for result in results)
        refused = await registry.call(ToolCall("stuck", {}))
        assert refused.error == "8 earlier calls of stuck still run and cannot be stopped"
        assert (await registry.call(ToolCall("quick", {}))).content == "quick"
        release.set()
        with anyio.fail_after(5):
            while "still run" in str((await registry.call(ToolCall("stuck", {}))).error):
                continue


def test_a_hanging_thread_does_not_keep_the_program_from_ending() -> None:
    program = """
import anyio, threading
from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, tool
@tool(timeout=0.05)
def stuck() -> None:
    "Hang."
    threading.Event().wait()
print(anyio.run(Registry([stuck]).call, ToolCall("stuck", {})).error)
"""
    ended = anyio.run(lambda: anyio.run_process([sys.executable, "-c", program], stderr=None))
    assert b"its thread runs on" in ended.stdout


async def test_a_sync_tool_that_reports_is_stopped_when_it_was_given_up() -> None:
    gone_on, ended = threading.Event(), threading.Event()

    @tool(timeout=0.05)
    def steps(context: ToolContext) -> None:
        """Work in steps."""
        try:
            gone_on.wait(30)
            context.progress("next step")
            raise AssertionError("not stopped")
        except ToolError:
            ended.set()

    async with offered(steps) as (registry, _):
        await registry.call(ToolCall("steps", {}))
    gone_on.set()
    assert await anyio.to_thread.run_sync(ended.wait, 5)
