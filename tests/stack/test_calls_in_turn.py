"""What a turn tells its tools, and what it hears from them."""

import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import anyio
import pytest
from scripted import ScriptedEngine, call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.event_json import from_json, to_json
from arriero.stack.events import CallFinished, CallProgressed, Event, TurnFinished, TurnStarted
from arriero.stack.log import SQLiteLog
from arriero.stack.stack import Stack
from arriero.stack.turn import Limits, Terms
from arriero.tools import Attachment, Progress, Registry, Tool, ToolContext, ToolOutput, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


@tool
async def look(context: ToolContext) -> dict[str, Any]:
    """Look at the call."""
    return {
        "session": context.session,
        "run": context.run,
        "key": context.idempotency_key,
        "seconds": round(context.deadline - anyio.current_time()),
        "tokens": context.count_tokens("four"),
    }


def contents(events: list[Event]) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", event.result.content) for event in of(CallFinished, events)]


async def test_a_tool_knows_its_session_turn_deadline_and_tokenizer() -> None:
    stack = scripted_stack(call("look"), call("look"), DONE, call("look"), DONE)
    terms = Terms(registry=Registry([look]), limits=Limits(seconds=10))
    told = [*contents(await run(stack, "Go", terms, "alice")), *contents(await run(stack, "Go", terms, "alice"))]
    assert [(one["session"], one["seconds"], one["tokens"]) for one in told] == [("alice", 10, 4)] * 3
    turns = [one["run"] for one in told]
    assert turns[0] == turns[1] != turns[2]
    assert len({one["key"] for one in told}) == 3


async def test_calls_of_one_step_have_keys_of_their_own() -> None:
    both = call("look").removesuffix("<|eot_id|>") + "; " + call("look")
    stack = scripted_stack(both, DONE)
    events = await run(stack, "Go", Terms(registry=Registry([look])))
    assert len({told["key"] for told in contents(events)}) == 2


async def test_progress_is_streamed_while_the_tool_runs_and_never_logged() -> None:
    seen = threading.Event()

    @tool
    def work(steps: int) -> Any:
        """Work."""
        yield Progress("first", 1, steps)
        yield "waited" if seen.wait(5) else "not seen"
        return "done"

    stack = scripted_stack(call("work", steps=2), DONE)
    terms, events = Terms(registry=Registry([work])), []
    async with aclosing(stack.run_turn([Message("user", "Go")], terms, session="alice")) as turn:
        async for event in turn:
            events.append(event)
            if isinstance(event, CallProgressed):
                seen.set()
    assert of(CallProgressed, events) == [
        CallProgressed(1, ToolCall("work", {"steps": 2}), "first", 1, 2),
        CallProgressed(1, ToolCall("work", {"steps": 2}), "waited"),
    ]
    assert of(CallFinished, events)[0].result.content == "done"
    assert "CallProgressed" not in kinds(await logged(stack, "alice"))


async def test_leaving_a_turn_at_its_progress_stops_the_tool() -> None:
    stopped = anyio.Event()

    @tool
    async def endless() -> AsyncIterator[str]:
        """Go on and on."""
        try:
            yield "begun"
            await anyio.sleep(60)
        finally:
            stopped.set()

    stack = scripted_stack(call("endless"), DONE)
    async with aclosing(stack.run_turn([Message("user", "Go")], Terms(registry=Registry([endless])))) as turn:
        async for event in turn:
            if isinstance(event, CallProgressed):
                break
    with anyio.fail_after(5):
        await stopped.wait()


async def test_files_of_a_result_survive_the_log() -> None:
    @tool
    async def chart() -> ToolOutput:
        """Draw."""
        return ToolOutput("a chart", (Attachment("a.png", "image/png", b"png"),))

    registry = Registry([chart])
    stack = scripted_stack(call("chart"), DONE)
    await run(stack, "Go", Terms(registry=registry), "alice")
    (finished,) = of(CallFinished, await logged(stack, "alice"))
    assert from_json(to_json(finished)) == finished
    (kept,) = finished.result.artifacts
    assert (kept.name, await registry.artifacts.get(kept.id)) == ("a.png", b"png")


def test_a_result_that_was_stored_before_there_were_files_is_still_read() -> None:
    stored = (
        '{"v":1,"kind":"CallFinished","step":1,"result":{"call":{"name":"a","arguments":{},"id":""},'
        '"content":"b","error":null,"duration":0.5,"source":null}}'
    )
    event = from_json(stored)
    assert isinstance(event, CallFinished)
    assert event.result.artifacts == ()


async def test_a_long_result_is_cut_to_tokens_of_the_model() -> None:
    @tool(max_result_tokens=150)
    async def novel() -> str:
        """Write a novel."""
        return "é" * 2_000

    stack = scripted_stack(call("novel"), DONE)
    events = await run(stack, "Go", Terms(registry=Registry([novel])))
    content = str(of(CallFinished, events)[0].result.content)
    assert len(engine_of(stack).tokenizer.encode(content)) <= 150  # one id per byte
    assert "é" in content


@pytest.mark.parametrize(
    "written",
    [
        '<|python_tag|>brave_search.call(query="mules")<|eom_id|>',
        '<|python_tag|>web_search.call(query="mules")<|eom_id|>',
        call("brave_search", query="mules"),
        call("web_search", query="mules"),
    ],
)
@pytest.mark.parametrize("builtin", ["brave_search", None])
async def test_a_search_is_answered_whatever_the_model_calls_it(written: str, builtin: str | None) -> None:
    async def handler(arguments: Any, context: ToolContext) -> str:
        return f"found {arguments['query']}"

    parameters = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    search = Tool(name="web_search", description="", parameters=parameters, handler=handler, builtin=builtin)
    stack = scripted_stack(written, DONE)
    events = await run(stack, "Go", Terms(registry=Registry([search])))
    assert [event.result.content for event in of(CallFinished, events)] == ["found mules"]
    assert of(TurnFinished, events)[0].reason == "answer"


@pytest.mark.parametrize(("dialect", "declared"), [("llama3.1", []), ("llama3.2", ["look"])])
async def test_a_builtin_tool_is_declared_where_prompts_cannot_switch_it_on(dialect: str, declared: list[str]) -> None:
    async def handler(arguments: Any, context: ToolContext) -> str:
        return ""

    builtin = Tool(name="look", description="", parameters=look.parameters, handler=handler, builtin="wolfram_alpha")
    stack = Stack(ScriptedEngine([DONE]), Dialect.get(dialect), log=SQLiteLog(":memory:"))
    (begun,) = of(TurnStarted, await run(stack, "Go", Terms(registry=Registry([builtin]))))
    assert [declaration["function"]["name"] for declaration in begun.tools] == declared
    assert begun.builtins == (() if declared else ("wolfram_alpha",))
