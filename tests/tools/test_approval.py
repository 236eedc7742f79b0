"""What people are asked about a call, and what their answers do."""

import asyncio
from typing import Any

import anyio
import pytest
from recorded_calls import delete, double, offered

from arriero.prompts.messages import ToolCall
from arriero.tools import (
    Tool,
    ToolCallApproved,
    ToolCallDenied,
    ToolContext,
    tool,
)

pytestmark = pytest.mark.anyio


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


async def test_an_answer_that_somebody_cancels_is_no_consent_and_cancels_no_call() -> None:
    async def approve(*_: object) -> bool:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.cancel()
        return await answer

    async with offered(delete, double, approve=approve) as (registry, heard):
        denied, other = await registry.call_all([ToolCall("delete", {"path": "a"}), ToolCall("double", {"number": 2})])
    assert denied.error
    assert other.content == "4"
    assert [event.reason for event in heard.of(ToolCallDenied)] == ["asking failed"]


@pytest.mark.parametrize("form", ["sync", "async"])
async def test_a_question_that_is_not_awaited_is_no_consent(form: str) -> None:
    async def approve(*_: object) -> bool:
        return True

    def sell(context: ToolContext) -> str:
        """Sell."""
        return "sold" if context.approve("Sell?") else "kept"

    async def sell_async(context: ToolContext) -> str:
        """Sell."""
        return sell(context)

    selling = tool(name="sell")(sell if form == "sync" else sell_async)
    async with offered(selling, approve=approve) as (registry, heard):
        result = await registry.call(ToolCall("sell", {}))
    assert "must write `await context.approve(...)`" in str(result.error)
    assert not heard.of(ToolCallApproved)


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
