"""What the registry does around a tool: approval, retries, cache, limits, deadlines, isolation, the record."""

import asyncio
import logging
import math
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import anyio
import pytest

from arriero.prompts.messages import ToolCall
from arriero.tools import (
    Artifact,
    Attachment,
    Cache,
    Registry,
    Tool,
    ToolCallApproved,
    ToolCallDenied,
    ToolCallFinished,
    ToolCallProgressed,
    ToolCallRetried,
    ToolCallStarted,
    ToolContext,
    ToolDefinitionError,
    ToolError,
    ToolEvent,
    ToolOutput,
    ToolResult,
    ToolUnavailable,
    tool,
)

pytestmark = pytest.mark.anyio


class Heard(list[ToolEvent]):
    """The events of a registry, as they came."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]

    @property
    def end(self) -> ToolCallFinished:
        """How the only call ended."""
        (end,) = self.of(ToolCallFinished)
        return end  # type: ignore[no-any-return]


@asynccontextmanager
async def offered(*tools: Tool, **settings: Any) -> AsyncIterator[tuple[Registry, Heard]]:
    heard = Heard()
    registry = Registry(tools, on_event=heard.append, **settings)
    yield registry, heard
    await registry.aclose()


@tool
async def double(number: int) -> int:
    """Double a number."""
    return 2 * number


# --- approval


@tool(sensitive=True)
async def delete(path: str) -> str:
    """Delete a file."""
    return f"deleted {path}"


async def test_a_sensitive_tool_never_runs_where_nobody_can_be_asked() -> None:
    async with offered(delete) as (registry, heard):
        result = await registry.call(ToolCall("delete", {"path": "a"}))
    assert result.error == "delete needs the approval of a person, and nobody can be asked; it was not run"
    assert [event.reason for event in heard.of(ToolCallDenied)] == ["nobody to ask"]
    assert (heard.end.outcome, heard.end.attempts) == ("denied", 0)


async def test_an_approver_sees_the_call_and_decides() -> None:
    asked = []

    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> bool:
        asked.append((call.arguments["path"], asked_of.name, context.session, context.question))
        return bool(call.arguments["path"] == "a")

    async with offered(delete, approve=approve) as (registry, heard):
        context = ToolContext(session="alice")
        allowed = await registry.call(ToolCall("delete", {"path": "a"}), context)
        denied = await registry.call(ToolCall("delete", {"path": "b"}), context)
    assert allowed.content == "deleted a"
    assert denied.content == "error: delete was not run: a person must approve it, and did not"
    assert asked == [("a", "delete", "alice", ""), ("b", "delete", "alice", "")]
    assert len(heard.of(ToolCallApproved)) == len(heard.of(ToolCallDenied)) == 1


@pytest.mark.parametrize("answer", ["yes", 1, None, RuntimeError("the door is shut")])
async def test_only_a_plain_yes_is_consent(answer: object) -> None:
    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with offered(delete, approve=approve) as (registry, heard):
        result = await registry.call(ToolCall("delete", {"path": "a"}))
    assert result.error
    assert heard.end.outcome == "denied"
    assert heard.end.attempts == 0


async def test_nobody_is_asked_about_arguments_that_do_not_fit() -> None:
    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> bool:
        raise AssertionError("asked")

    async with offered(delete, approve=approve) as (registry, heard):
        result = await registry.call(ToolCall("delete", {"file": "a"}))
    assert "argument 'path': missing" in str(result.error)
    assert heard.end.outcome == "bad arguments"


async def test_asking_in_the_middle_of_a_call_does_not_use_up_its_time() -> None:
    questions = []

    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> bool:
        questions.append(context.question)
        await anyio.sleep(0.3)
        return True

    @tool(timeout=0.2)
    async def send(context: ToolContext, text: str) -> str:
        """Send."""
        return "sent" if await context.approve(f"Send {len(text)} letters?") else "kept"

    async with offered(send, approve=approve) as (registry, _):
        assert (await registry.call(ToolCall("send", {"text": "hay"}))).content == "sent"
    assert questions == ["Send 3 letters?"]
    async with offered(send) as (registry, _):
        assert "nobody can be asked" in str((await registry.call(ToolCall("send", {"text": "hay"}))).error)


async def test_two_questions_at_once_stop_the_clock_once() -> None:
    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> bool:
        await anyio.sleep(float(context.question))
        return True

    @tool(timeout=0.2)
    async def send(context: ToolContext) -> str:
        """Send."""
        async with anyio.create_task_group() as group:
            for seconds in ("0.01", "0.4"):
                group.start_soon(context.approve, seconds)
        return "sent"

    async with offered(send, approve=approve) as (registry, _):
        assert (await registry.call(ToolCall("send", {}))).content == "sent"


async def test_the_clock_runs_on_after_the_answer() -> None:
    async def approve(call: ToolCall, asked_of: Tool, context: ToolContext) -> bool:
        return True

    @tool(timeout=0.1)
    async def send(context: ToolContext) -> str:
        """Send."""
        await context.approve("?")
        await anyio.sleep(60)
        return "sent"

    async with offered(send, approve=approve) as (registry, heard):
        await registry.call(ToolCall("send", {}))
    assert heard.end.outcome == "timed out"


# --- retries


def failing(times: int, error: Exception, seen: list[tuple[str, str]], **options: Any) -> Tool:
    @tool(**options)
    async def fetch(context: ToolContext) -> str:
        """Fetch."""
        seen.append((context.call_id, context.idempotency_key))
        if len(seen) <= times:
            raise error
        return "fetched"

    return fetch


@pytest.mark.parametrize("error", [OSError("reset"), ToolUnavailable("busy")])
async def test_an_idempotent_call_is_tried_again_under_the_same_key(error: Exception) -> None:
    seen: list[tuple[str, str]] = []
    async with offered(failing(2, error, seen, retries=2, idempotent=True)) as (registry, heard):
        result = await registry.call(ToolCall("fetch", {}))
    assert result.content == "fetched"
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert [event.attempt for event in heard.of(ToolCallRetried)] == [1, 2]
    assert heard.end.attempts == 3


async def test_retries_end_with_the_last_problem() -> None:
    seen: list[tuple[str, str]] = []
    async with offered(failing(9, OSError("reset"), seen, retries=1, pure=True)) as (registry, heard):
        result = await registry.call(ToolCall("fetch", {}))
    assert result.error == "OSError: reset"
    assert (len(seen), heard.end.outcome) == (2, "failed")
    assert isinstance(heard.end.exception, OSError)


async def test_an_answer_of_the_tools_own_is_not_tried_again() -> None:
    seen: list[tuple[str, str]] = []
    async with offered(failing(9, ToolError("no such city"), seen, retries=3, idempotent=True)) as (registry, _):
        assert (await registry.call(ToolCall("fetch", {}))).error == "no such city"
    assert len(seen) == 1


async def test_an_attempt_that_took_too_long_is_tried_again() -> None:
    tries = []

    @tool(timeout=0.1, retries=1, idempotent=True)
    async def slow_at_first() -> str:
        """Be slow at first."""
        tries.append(True)
        await anyio.sleep(60 if len(tries) == 1 else 0)
        return "here"

    async with offered(slow_at_first) as (registry, _):
        assert (await registry.call(ToolCall("slow_at_first", {}))).content == "here"


def test_retries_of_what_may_do_harm_twice_are_refused_at_definition() -> None:
    with pytest.raises(ToolDefinitionError, match="declare it idempotent=True or pure=True"):
        tool(retries=1)(double.function)
    with pytest.raises(ToolDefinitionError, match="retries is -1"):
        tool(retries=-1, pure=True)(double.function)


async def test_keys_of_calls_come_from_the_turn_and_the_position() -> None:
    keys: list[str] = []

    @tool
    async def pay(context: ToolContext) -> None:
        """Pay."""
        keys.append(context.idempotency_key)

    async with offered(pay) as (registry, _):
        calls = [ToolCall("pay", {}), ToolCall("pay", {})]
        await registry.call_all(calls, ToolContext(idempotency_key="turn 1"))
        await registry.call_all(calls, ToolContext(idempotency_key="turn 1"))
        await registry.call_all(calls, ToolContext(idempotency_key="turn 2"))
        await registry.call_all(calls)
    first, again, other, without = keys[:2], keys[2:4], keys[4:6], keys[6:]
    assert first == again
    assert len({*first, *other, *without}) == 6
    assert "turn" not in "".join(keys)


# --- cache


async def test_a_pure_tool_is_not_run_twice_for_the_same_values() -> None:
    runs = []

    @tool(pure=True, cache=Cache())
    async def load(mule: str, days: int = 1) -> dict[str, Any]:
        """Get a load."""
        runs.append(mule)
        return {"load": [85]}

    async with offered(load) as (registry, heard):
        first = await registry.call(ToolCall("load", {"mule": "Zuri"}))
        assert isinstance(first.content, dict)
        first.content["load"].append("changed by whoever read it")
        same = await registry.call(ToolCall("load", {"days": "1", "mule": "Zuri"}))
        assert same.content == {"load": [85]}
        assert isinstance(same.content, dict)
        same.content["load"].append("changed again")
        again = await registry.call(ToolCall("load", {"mule": "Zuri"}))
        other = await registry.call(ToolCall("load", {"mule": "Zuri", "days": 2}))
    assert again.content == other.content == {"load": [85]}
    assert runs == ["Zuri", "Zuri"]
    assert [event.cached for event in heard.of(ToolCallFinished)] == [False, True, True, False]


async def test_a_cache_forgets_by_age_and_by_size_and_keeps_no_errors() -> None:
    runs = []

    @tool(pure=True, cache=Cache(ttl=0.1, size=2))
    async def load(number: int) -> int:
        """Get a load."""
        runs.append(number)
        if number < 0:
            raise ValueError("below zero")
        return number

    async with offered(load) as (registry, _):
        for number in (1, 2, 3, 3, 1, -1, -1):
            await registry.call(ToolCall("load", {"number": number}))
        assert runs == [1, 2, 3, 1, -1, -1]
        await anyio.sleep(0.15)
        await registry.call(ToolCall("load", {"number": 1}))
        assert runs[-1] == 1


@pytest.mark.parametrize(
    "output",
    [
        ToolOutput("exit status 1", error="failed"),
        ToolOutput("x" * 2_000_000),
        ToolOutput("", (Attachment("a", "b", bytes(2_000_000)),)),
    ],
    ids=["failed", "long", "large file"],
)
async def test_a_cache_keeps_neither_failures_nor_what_is_large(output: ToolOutput) -> None:
    @tool(pure=True, cache=Cache())
    async def work() -> ToolOutput:
        """Work."""
        return output

    async with offered(work) as (registry, heard):
        await registry.call(ToolCall("work", {}))
        await registry.call(ToolCall("work", {}))
    assert not any(event.cached for event in heard.of(ToolCallFinished))


def test_a_cache_of_what_is_not_pure_is_refused_at_definition() -> None:
    with pytest.raises(ToolDefinitionError, match="declare it pure=True"):
        tool(idempotent=True, cache=Cache())(double.function)
    with pytest.raises(ToolDefinitionError, match="ttl is 0"):
        Cache(ttl=0)


# --- concurrency


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


# --- deadlines


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
    soon = ToolContext(deadline=anyio.current_time() + 0.05)

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


# --- isolation


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError("mine"), BaseExceptionGroup("all", [SystemExit()])]
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
