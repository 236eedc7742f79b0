"""Spans and measurements of turns, as a collector gets them."""

import json
import subprocess
import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from scripted import Say, call, run, scripted_stack

from arriero import Agent, Limits, Message, Stack, tool
from arriero.agents.workflow import NodeError, Workflow
from arriero.stack.decisions import Decision
from arriero.stack.errors import EngineInterrupted
from arriero.stack.shields import Verdict
from arriero.stack.terms import Terms
from arriero.stack.tracing import Tracing
from arriero.tools import ToolError

pytestmark = pytest.mark.anyio


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@dataclass
class Seen:
    """A tracer provider of one's own, and what came of it."""

    memory: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    provider: TracerProvider = field(default_factory=TracerProvider)

    def __post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.memory.get_finished_spans()}

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.memory.get_finished_spans()]

    def parent(self, name: str) -> str | None:
        by_id = {span.context.span_id: span.name for span in self.memory.get_finished_spans()}
        parent = self.spans[name].parent
        return by_id.get(parent.span_id) if parent else None


def traced_stack(*answers: str | Say, **settings) -> tuple[Stack, Seen]:
    seen, stack = Seen(), scripted_stack(*answers)
    stack.tracing = Tracing(seen.provider, **settings)
    return stack, seen


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_a_turn_is_a_tree_of_spans_with_the_conventions_names() -> None:
    stack, seen = traced_stack(call("double", number=21), "It is 42.<|eot_id|>")
    turn = await Agent(stack, tools=[double], name="adder").run("Twice 21?", session="alice")
    assert seen.names == ["chat scripted", "execute_tool double", "chat scripted", "invoke_agent adder"]
    assert {seen.parent(name) for name in seen.names[:3]} == {"invoke_agent adder"}
    whole = seen.spans["invoke_agent adder"]
    assert whole.parent is None
    assert attributes(whole) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "vllm",
        "gen_ai.agent.name": "adder",
        "gen_ai.conversation.id": "alice",
        "gen_ai.request.model": "scripted",
        "gen_ai.usage.input_tokens": turn.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": turn.usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "arriero.turn.reason": "answer",
    }


async def test_a_request_says_what_it_used_and_how_it_ended() -> None:
    stack, seen = traced_stack(call("double", number=21), "It is 42.<|eot_id|>")
    turn = await Agent(stack, tools=[double]).run("Twice 21?", session="alice")
    first, second = (span for span in seen.memory.get_finished_spans() if span.name == "chat scripted")
    assert first.kind is trace.SpanKind.CLIENT
    assert attributes(first) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.conversation.id": "alice",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.usage.input_tokens": turn.steps[0].usage.prompt_tokens,
        "gen_ai.usage.output_tokens": turn.steps[0].usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "arriero.step": 1,
    }
    assert attributes(second)["gen_ai.response.finish_reasons"] == ("stop",)
    assert first.end_time - first.start_time >= turn.steps[0].duration * 1e9 * 0.5


async def test_a_cut_answer_has_the_finish_reason_length() -> None:
    stack, seen = traced_stack("A long answer<|eot_id|>")
    await run(stack, "Go", Terms(limits=Limits(tokens=3)))
    assert attributes(seen.spans["chat scripted"])["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes(seen.spans["invoke_agent"])["arriero.turn.reason"] == "limit"
    assert [event.name for event in seen.spans["invoke_agent"].events] == ["arriero.limit_reached"]


async def test_no_text_argument_or_result_is_in_a_span_unless_it_is_asked_for() -> None:
    @tool
    def whisper(word: str) -> str:
        """Whisper a word."""
        if word == "oops":
            raise ToolError("secret-of-the-error")
        return "secret-of-the-tool"

    stack, seen = traced_stack(
        call("whisper", word="secret-of-the-model"),
        call("whisper", word="oops"),
        call("secret_name", word="oops"),
        "secret-answer<|eot_id|>",
    )
    await Agent(stack, tools=[whisper], instructions="secret-system").run("secret-question")
    assert seen.names.count("execute_tool whisper") == 2
    assert seen.names.count("execute_tool unknown") == 1  # the model invented the name
    assert "secret" not in "".join(span.to_json() for span in seen.memory.get_finished_spans())


async def test_content_is_recorded_where_it_is_asked_for() -> None:
    stack, seen = traced_stack(call("double", number=21), "It is 42.<|eot_id|>", content=True)
    await Agent(stack, tools=[double], instructions="Be brief.").run("Twice 21?")
    whole, made = attributes(seen.spans["invoke_agent agent"]), attributes(seen.spans["execute_tool double"])
    assert json.loads(whole["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Twice 21?"}]},
    ]
    assert json.loads(whole["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "It is 42."}]
    assert (made["gen_ai.tool.call.arguments"], made["gen_ai.tool.call.result"]) == ('{"number": 21}', "42")
    first = next(span for span in seen.memory.get_finished_spans() if span.name == "chat scripted")
    (said,) = json.loads(attributes(first)["gen_ai.output.messages"])
    assert said["finish_reason"] == "tool_call"
    assert said["parts"] == [{"type": "tool_call", "name": "double", "arguments": {"number": 21}}]


async def test_every_name_of_an_attribute_is_the_conventions_or_begins_with_arrieros() -> None:
    known = {name for name in vars(gen_ai_attributes).values() if isinstance(name, str)} | {"error.type"}
    deprecated = {"gen_ai.system", "gen_ai.prompt", "gen_ai.completion"}
    stack, seen = traced_stack(call("double", number=21), call("double", number="x"), "42.<|eot_id|>", content=True)
    await Agent(stack, tools=[double]).run("Twice 21?")
    used = {name for span in seen.memory.get_finished_spans() for name in attributes(span)}
    assert len(used) > 15
    assert {name for name in used if not name.startswith("arriero.")} <= known - deprecated


async def test_a_failed_tool_is_a_span_with_an_error() -> None:
    @tool
    def fail() -> str:
        """Fail."""
        raise ToolError("no")

    stack, seen = traced_stack(call("fail"), "Sorry.<|eot_id|>")
    await Agent(stack, tools=[fail]).run("Go")
    failed = seen.spans["execute_tool fail"]
    assert attributes(failed)["error.type"] == "tool_error"
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert seen.spans["invoke_agent agent"].status.status_code is trace.StatusCode.UNSET


async def test_a_turn_whose_engine_breaks_off_ends_every_span_with_the_error() -> None:
    stack, seen = traced_stack(Say("half", finish=None))
    with pytest.raises(EngineInterrupted):
        await run(stack, "Go")
    for name in ("chat scripted", "invoke_agent"):
        assert attributes(seen.spans[name])["error.type"] == "EngineInterrupted"
        assert seen.spans[name].status.description is None


async def test_a_turn_that_its_reader_leaves_ends_its_spans() -> None:
    stack, seen = traced_stack("It is 42.<|eot_id|>")
    async with aclosing(stack.run_turn([Message("user", "Go")])) as events:
        await anext(events)
        await anext(events)
    assert attributes(seen.spans["invoke_agent"])["error.type"] == "abandoned"
    assert seen.names == ["chat scripted", "invoke_agent"]


async def test_a_verdict_is_a_span() -> None:
    class Keyword:
        name = "keyword"

        async def check(self, messages: list[Message], where: str) -> Verdict:
            return Verdict("bomb" not in str(messages[-1].content), ("S9",))

    stack, seen = traced_stack("Sure.<|eot_id|>")
    await Agent(stack, shields=[Keyword()]).run("a bomb")
    shield = next(span for span in seen.memory.get_finished_spans() if span.name.startswith("shield"))
    assert attributes(shield)["arriero.shield.where"] == "input"
    assert attributes(shield)["arriero.shield.allowed"] is False
    assert attributes(shield)["arriero.shield.categories"] == ("S9",)
    assert attributes(seen.spans["invoke_agent agent"])["arriero.turn.reason"] == "refused"


async def test_a_turn_that_a_tool_runs_is_below_that_call() -> None:
    seen = Seen()
    inner, outer = scripted_stack("A mule.<|eot_id|>"), scripted_stack(call("expert"), "A mule, they say.<|eot_id|>")
    inner.tracing = outer.tracing = Tracing(seen.provider)
    colleague = Agent(inner, name="colleague")

    @tool
    async def expert() -> str:
        """Ask the expert."""
        return (await colleague.run("What is it?")).text

    await Agent(outer, tools=[expert], name="front").run("What is it?")
    assert seen.parent("invoke_agent colleague") == "execute_tool expert"
    assert seen.parent("execute_tool expert") == "invoke_agent front"
    assert len({span.context.trace_id for span in seen.memory.get_finished_spans()}) == 1


async def test_turns_that_calls_run_side_by_side_are_each_below_its_own() -> None:
    seen = Seen()
    stacks = [scripted_stack(f"Load {number}.<|eot_id|>") for number in range(2)]
    both = call("weigh", number=0).removesuffix("<|eot_id|>") + "; " + call("weigh", number=1)
    outer = scripted_stack(both, "Done.<|eot_id|>")
    for stack in [outer, *stacks]:
        stack.tracing = Tracing(seen.provider, content=True)

    @tool
    async def weigh(number: int) -> str:
        """Weigh a mule."""
        return (await Agent(stacks[number], name=f"scale{number}").run("Weigh")).text

    await Agent(outer, tools=[weigh], name="front").run("Go")
    spans = {span.context.span_id: span for span in seen.memory.get_finished_spans()}
    for number in range(2):
        above = spans[seen.spans[f"invoke_agent scale{number}"].parent.span_id]
        assert attributes(above)["gen_ai.tool.call.arguments"] == json.dumps({"number": number})


async def test_a_turn_is_below_the_span_that_its_tool_has_begun() -> None:
    inner = scripted_stack("A mule.<|eot_id|>")
    outer, seen = traced_stack(call("expert"), "A mule, they say.<|eot_id|>")
    inner.tracing = outer.tracing

    @tool
    async def expert() -> str:
        """Ask the expert."""
        with seen.provider.get_tracer("program").start_as_current_span("asking"):
            return (await Agent(inner, name="colleague").run("What is it?")).text

    await Agent(outer, tools=[expert], name="front").run("What is it?")
    assert seen.parent("invoke_agent colleague") == "asking"


async def test_a_turn_is_below_the_span_of_the_program_that_runs_it() -> None:
    stack, seen = traced_stack("Yes.<|eot_id|>")
    with seen.provider.get_tracer("program").start_as_current_span("job") as job:
        await Agent(stack).run("Go")
        assert trace.get_current_span() is job
    assert seen.parent("invoke_agent agent") == "job"


async def test_the_context_of_the_reader_is_its_own_between_events() -> None:
    stack, _ = traced_stack("Yes.<|eot_id|>")
    async with aclosing(stack.run_turn([Message("user", "Go")])) as events:
        async for _event in events:
            assert not trace.get_current_span().get_span_context().is_valid


async def test_a_workflow_is_a_span_with_its_nodes_and_turns_below() -> None:
    stack, seen = traced_stack("A mule.<|eot_id|>")
    flow: Workflow[str, str] = Workflow("naming", takes=str, gives=str)

    @flow.step(flow.input)
    async def name(text: str) -> str:
        return (await Agent(stack, name="namer").run(text)).text

    @flow.step(name)
    def fail(text: str) -> str:
        raise ZeroDivisionError

    flow.returns(fail)
    with pytest.raises(NodeError), stack.tracing.workflow("naming", session="run-1") as watch:
        await flow.run("What is it?", log=stack.log, run="run-1", watch=watch)
    whole = seen.spans["invoke_workflow naming"]
    assert attributes(whole)["gen_ai.workflow.name"] == "naming"
    assert attributes(whole)["error.type"] == "workflow_failed"
    assert {seen.parent(name) for name in ("node name", "node fail", "invoke_agent namer")} == {whole.name}
    assert attributes(seen.spans["node fail"])["error.type"] == "ZeroDivisionError"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_turn_that_is_resumed_is_a_span_of_its_own() -> None:
    @tool(sensitive=True)
    def sell(mule: int) -> str:
        """Sell a mule."""
        return "sold"

    stack, seen = traced_stack(call("sell", mule=1), "Done.<|eot_id|>")
    agent = Agent(stack, tools=[sell])
    paused = await agent.run("Sell mule 1", session="alice")
    first = seen.spans["invoke_agent agent"]
    assert attributes(first)["arriero.turn.reason"] == "paused"
    assert [event.name for event in first.events] == ["arriero.decision_asked"]
    seen.memory.clear()
    await agent.resume("alice", decisions={paused.waiting[0].id: Decision.run()})
    again = seen.spans["invoke_agent agent"]
    assert attributes(again)["arriero.turn.reason"] == "answer"
    assert [event.name for event in again.events] == ["arriero.resumed", "arriero.decision_given"]
    assert seen.names == ["execute_tool sell", "chat scripted", "invoke_agent agent"]


async def test_turns_side_by_side_do_not_mix() -> None:
    seen = Seen()

    async def one(name: str) -> None:
        stack = scripted_stack(call("double", number=1), "2.<|eot_id|>")
        stack.tracing = Tracing(seen.provider)
        await Agent(stack, tools=[double], name=name).run("Go", session=name)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(one, f"a{number}")
    traces = {span.context.trace_id: span.name for span in seen.memory.get_finished_spans() if span.parent is None}
    assert sorted(traces.values()) == [f"invoke_agent a{number}" for number in range(5)]
    for span in seen.memory.get_finished_spans():
        if session := attributes(span).get("gen_ai.conversation.id"):
            assert traces[span.context.trace_id] == f"invoke_agent {session}"


async def test_tokens_and_durations_are_measured() -> None:
    reader = InMemoryMetricReader()
    stack = scripted_stack(call("double", number=21), "It is 42.<|eot_id|>")
    stack.tracing = Tracing(meter_provider=MeterProvider([reader]))
    turn = await Agent(stack, tools=[double]).run("Twice 21?")
    data = reader.get_metrics_data()
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert sorted(found) == [
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "gen_ai.execute_tool.duration",
        "gen_ai.invoke_agent.duration",
    ]
    tokens = {
        point.attributes["gen_ai.token.type"]: point for point in found["gen_ai.client.token.usage"].data.data_points
    }
    assert (tokens["input"].sum, tokens["output"].sum) == (turn.usage.prompt_tokens, turn.usage.completion_tokens)
    assert tokens["input"].count == 2
    assert found["gen_ai.execute_tool.duration"].data.data_points[0].attributes["gen_ai.tool.name"] == "double"
    assert found["gen_ai.client.token.usage"].unit == "{token}"


@pytest.mark.parametrize("moment", ["on_start", "on_end"])
async def test_tracing_that_fails_does_not_harm_the_turn(moment: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SpanProcessor):
        """A processor of somebody else's."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    processor = Broken()
    setattr(processor, moment, fail)
    stack, seen = traced_stack(call("double", number=21), "It is 42.<|eot_id|>")
    seen.provider.add_span_processor(processor)
    assert (await Agent(stack, tools=[double]).run("Twice 21?")).text == "It is 42."
    assert "a turn could not be traced" in caplog.text


async def test_without_a_provider_the_events_pass_untouched() -> None:
    stack = scripted_stack("Yes.<|eot_id|>")
    events = stack.run_turn([Message("user", "Go")])
    assert Tracing().watch(events, session="alice") is events
    await events.aclose()


def test_a_stack_without_tracing_never_loads_opentelemetry() -> None:
    program = (
        "import sys, anyio, scripted\n"
        "anyio.run(scripted.run, scripted.scripted_stack('Yes.<|eot_id|>'), 'Go')\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
