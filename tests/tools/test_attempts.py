"""What is tried again, and what need not be tried because it is known."""

import math
from typing import Annotated, Any

import anyio
import pytest
from pydantic import AfterValidator, SecretStr
from recorded_calls import double, offered

from arriero.prompts.messages import ToolCall
from arriero.tools import (
    Attachment,
    Cache,
    Tool,
    ToolCallFinished,
    ToolCallRetried,
    ToolContext,
    ToolDefinitionError,
    ToolError,
    ToolOutput,
    ToolUnavailable,
    tool,
)

pytestmark = pytest.mark.anyio


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


class Brand:
    """What JSON cannot carry."""

    def __init__(self, mark: str) -> None:
        self.mark = mark


@pytest.mark.parametrize("kind", [SecretStr, Annotated[Any, AfterValidator(Brand)]])
async def test_values_that_json_cannot_tell_apart_are_not_taken_for_each_other(kind: Any) -> None:
    async def read(value: kind) -> str:  # type: ignore[valid-type]
        """Read."""
        return str(value.mark if isinstance(value, Brand) else value.get_secret_value())

    async with offered(tool(pure=True, cache=Cache())(read)) as (registry, heard):
        contents = [(await registry.call(ToolCall("read", {"value": text}))).content for text in "aba"]
    assert contents == ["a", "b", "a"]
    assert [event.cached for event in heard.of(ToolCallFinished)] == [False, False, True]


@pytest.mark.parametrize(("ttl", "expected"), [(math.inf, [1, 2, 3, 1, -1, -1]), (1e-9, [1, 2, 3, 3, 1, -1, -1])])
async def test_a_cache_forgets_by_size_and_by_age_and_keeps_no_errors(ttl: float, expected: list[int]) -> None:
    runs = []

    @tool(pure=True, cache=Cache(ttl=ttl, size=2))
    async def load(number: int) -> int:
        """Get a load."""
        runs.append(number)
        if number < 0:
            raise ValueError("below zero")
        return number

    async with offered(load) as (registry, _):
        for number in (1, 2, 3, 3, 1, -1, -1):
            await registry.call(ToolCall("load", {"number": number}))
    assert runs == expected


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
    with pytest.raises(ToolDefinitionError, match=r"cache is 60; use Cache\(ttl=seconds\)"):
        tool(pure=True, cache=60)(double.function)  # type: ignore[call-overload]
    with pytest.raises(ToolDefinitionError, match="declare it pure=True"):
        tool(idempotent=True, cache=Cache())(double.function)
    with pytest.raises(ToolDefinitionError, match="ttl is 0"):
        Cache(ttl=0)
