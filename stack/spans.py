"""Events as spans and measurements, named by OpenTelemetry's conventions for generative AI.

Names and requirement levels: github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai, where all of them
are still in development. What those conventions have no name for begins with `arriero.`.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, assert_never

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.engine import Usage
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    HandedOff,
    LimitReached,
    MessageAdded,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    PromptAppended,
    SessionForked,
    StepFinished,
    TextDelta,
    TranscriptRewritten,
    TurnFailed,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    VerdictGiven,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Span, Tracer

Operation = Literal["invoke_agent", "invoke_workflow"]
"""What a stream of events is the record of."""

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]

SPANS = "arriero.spans"
"""Name under which a context holds the spans of the turn that it is in."""

_INVENTED = "unknown"
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Instruments:
    """Where spans and measurements go.

    Args:
        tracer: Makes spans.
        tokens: Tokens of requests.
        requests: Seconds of requests.
        turns: Seconds of turns.
        tools: Seconds of tool calls.
    """

    tracer: "Tracer"
    tokens: "Histogram"
    requests: "Histogram"
    turns: "Histogram"
    tools: "Histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a stream of events is about.

    Args:
        operation: A turn of an agent, or the run of a workflow.
        session: The session.
        name: Name of the agent or of the workflow.
        model: The engine's model.
        provider: Who serves the model.
        content: Whether texts, arguments and results are recorded.
        tools: Names of tools that may be called.
    """

    operation: Operation
    session: str
    name: str
    model: str
    provider: str
    content: bool
    tools: Collection[str] = ()


class Spans:
    """The spans of one stream of events.

    Args:
        instruments: Where they go.
        subject: What the stream is about.
        parent: The context in which it happens.
    """

    def __init__(self, instruments: Instruments, subject: Subject, parent: "Context") -> None:
        from opentelemetry import context, trace

        self._trace, self._to, self._about = trace, instruments, subject
        self._started = time.perf_counter()
        self._error = ""
        self._tools = set(subject.tools)
        self._request: Span | None = None
        self._calls: dict[tuple[int, int], tuple[Span, int]] = {}
        self._nodes: dict[tuple[str, str], Span] = {}
        self._common: dict[str, Any] = {"gen_ai.provider.name": subject.provider}
        if subject.model:
            self._common["gen_ai.request.model"] = subject.model
        named = {"gen_ai.agent.name" if subject.operation == "invoke_agent" else "gen_ai.workflow.name": subject.name}
        self._whole = instruments.tracer.start_span(
            f"{subject.operation} {subject.name}".strip(),
            context=parent,
            attributes={
                "gen_ai.operation.name": subject.operation,
                **({"gen_ai.conversation.id": subject.session} if subject.session else {}),
                **self._common,
                **(named if subject.name else {}),
            },
        )
        self.within: Context = context.set_value(SPANS, self, trace.set_span_in_context(self._whole))

    def around(self, call: tuple[int, int] | None) -> "Context":
        """The context of what a call runs, or else of what the turn runs.

        Args:
            call: Step and position of the call; None for the turn.
        """
        span, _ = self._calls.get(call or (0, 0), (None, 0))
        return self.within if span is None else self._trace.set_span_in_context(span)

    def is_at(self, context: "Context") -> bool:
        """Whether no other span was begun in a context since the turn's own."""
        return self._trace.get_current_span(context) is self._whole

    def take(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case PromptAppended():
                self._begin_request()
            case StepFinished():
                self._end_request(event)
            case CallStarted(step, call, position):
                self._calls[step, position] = (self._start_call(call, time.time_ns()), time.time_ns())
            case CallFinished():
                self._end_call(event)
            case VerdictGiven():
                self._note_verdict(event)
            case NodeStarted(node, key, attempt):
                self._nodes[node, key] = self._start(f"node {node}", {"arriero.node.key": key, "arriero.node": node})
                self._nodes[node, key].set_attribute("arriero.node.attempt", attempt)
            case NodeFinished(node, key):
                self._end_node(node, key)
            case NodeFailed(node, key, _, error):
                self._end_node(node, key, error)
            case TurnStarted(messages, tools=tools):
                self._offer(tools)
                self._say("gen_ai.input.messages", messages)
            case TurnFinished(text, reason, usage):
                self._whole.set_attributes({"arriero.turn.reason": reason, **_of_usage(usage)})
                self._say("gen_ai.output.messages", [Message("assistant", text)])
            case TurnPaused(_, usage):
                self._whole.set_attributes({"arriero.turn.reason": "paused", **_of_usage(usage)})
            case TurnFailed(error):
                self._error = error
            case WorkflowFinished(_, error):
                self._error = "workflow_failed" if error else ""
            case WorkflowPaused():
                self._whole.set_attribute("arriero.turn.reason", "paused")
            case _:
                self._note(event)

    def end(self, error: str = "") -> None:
        """The stream is over.

        Args:
            error: What broke it off; empty where nothing did.
        """
        self._error = self._error or error
        left = [span for span, _ in self._calls.values()] + list(self._nodes.values())
        for span in [*left, *([self._request] if self._request else [])]:
            self._finish(span, self._error)
        self._finish(self._whole, self._error)
        if self._about.operation == "invoke_agent":
            self._measure(self._to.turns, time.perf_counter() - self._started, "invoke_agent", self._error)

    def _note(
        self,
        event: TextDelta
        | CallProgressed
        | MessageAdded
        | DecisionAsked
        | DecisionGiven
        | TurnResumed
        | TranscriptRewritten
        | HandedOff
        | SessionForked
        | LimitReached
        | WorkflowStarted,
    ) -> None:
        """What happens at a moment, without its texts."""
        match event:
            case TextDelta() | CallProgressed() | WorkflowStarted():
                return  # as many as there are tokens; or said by the span itself
            case MessageAdded(_, _, source):
                self._happened("message_added", {"source": source})
            case DecisionAsked(_, _, call, asked):
                self._happened("decision_asked", {"asked": asked, "tool": call.name})
            case DecisionGiven(_, _, decision):
                self._happened("decision_given", {"choice": decision.choice})
            case TurnResumed():
                self._happened("resumed", {})
            case TranscriptRewritten(reason, policy, tools=tools, dropped=dropped):
                self._offer(tools)
                self._happened("transcript_rewritten", {"reason": reason, "policy": policy, "dropped": dropped})
            case HandedOff(_, agent):
                self._happened("handed_off", {"agent": agent})
            case SessionForked(session):
                self._happened("session_forked", {"session": session})
            case LimitReached(limit):
                self._happened("limit_reached", {"limit": limit})
            case _:
                assert_never(event)

    def _begin_request(self) -> None:
        if self._request is None:
            self._request = self._start_request()

    def _start_request(self, start: int | None = None) -> "Span":
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": self._about.session, **self._common}
        name = f"chat {self._about.model}".strip()
        return self._start(name, attributes, start, self._trace.SpanKind.CLIENT)

    def _end_request(self, event: StepFinished) -> None:
        start = time.time_ns() - int(event.duration * _NANOSECONDS)
        span, self._request = self._request or self._start_request(start), None
        span.set_attributes(
            {
                "arriero.step": event.step,
                "gen_ai.response.model": self._about.model,
                "gen_ai.response.finish_reasons": [_finish_reason(event)],
                **_of_usage(event.usage),
            }
        )
        if self._about.content:
            said = Message("assistant", event.content, event.tool_calls)
            span.set_attribute("gen_ai.output.messages", _as_json([said], _finish_reason(event)))
        self._finish(span)
        self._measure(self._to.requests, event.duration, "chat")
        for kind, count in (("input", event.usage.prompt_tokens), ("output", event.usage.completion_tokens)):
            self._measure(self._to.tokens, count, "chat", **{"gen_ai.token.type": kind})

    def _offer(self, declarations: Iterable[Mapping[str, Any]]) -> None:
        self._tools.update(declared["function"]["name"] for declared in declarations)

    def _named(self, call: ToolCall) -> str:
        """The tool's name. One that the model invented is a text of its own."""
        return call.name if self._about.content or call.name in self._tools else _INVENTED

    def _start_call(self, call: ToolCall, start: int) -> "Span":
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": self._named(call),
            "gen_ai.tool.type": "function",
        }
        if call.id:
            attributes["gen_ai.tool.call.id"] = call.id
        if self._about.content:
            attributes["gen_ai.tool.call.arguments"] = json.dumps(call.arguments, default=str)
        return self._start(f"execute_tool {self._named(call)}", attributes, start)

    def _end_call(self, event: CallFinished) -> None:
        """The results of a step come together, when the last one is there: each says how long it took."""
        result, now = event.result, time.time_ns()
        took = int(result.duration * _NANOSECONDS)
        span, start = self._calls.pop((event.step, event.position), (None, now - took))
        span = span or self._start_call(result.call, start)
        error = "tool_error" if result.error is not None else ""
        if self._about.content:
            given = result.content
            span.set_attribute(
                "gen_ai.tool.call.result", given if isinstance(given, str) else json.dumps(given, default=str)
            )
        self._finish(span, error, min(now, start + took))
        name = self._named(result.call)
        self._measure(self._to.tools, result.duration, "execute_tool", error, **{"gen_ai.tool.name": name})

    def _note_verdict(self, event: VerdictGiven) -> None:
        attributes = {"arriero.shield": event.shield, "arriero.shield.where": event.where}
        start = time.time_ns() - int(event.duration * _NANOSECONDS)
        span = self._start(f"shield {event.shield}".strip(), attributes, start)
        span.set_attributes(
            {
                "arriero.shield.allowed": event.verdict.allowed,
                "arriero.shield.categories": list(event.verdict.categories),
            }
        )
        self._finish(span)

    def _end_node(self, node: str, key: str, error: str = "") -> None:
        if (span := self._nodes.pop((node, key), None)) is not None:
            self._finish(span, error)

    def _start(self, name: str, attributes: Attributes, start: int | None = None, kind: Any = None) -> "Span":
        return self._to.tracer.start_span(
            name,
            context=self.within,
            kind=kind or self._trace.SpanKind.INTERNAL,
            attributes=attributes,
            start_time=start,
        )

    def _finish(self, span: "Span", error: str = "", end: int | None = None) -> None:
        if error:
            span.set_attribute("error.type", error)
            span.set_status(self._trace.StatusCode.ERROR)  # an error's text may quote what was asked
        span.end(end)

    def _happened(self, what: str, attributes: Attributes) -> None:
        self._whole.add_event(f"arriero.{what}", {f"arriero.{name}": value for name, value in attributes.items()})

    def _say(self, name: str, messages: Sequence[Message]) -> None:
        if self._about.content:
            self._whole.set_attribute(name, _as_json(messages))

    def _measure(self, histogram: "Histogram", value: float, operation: str, error: str = "", **more: str) -> None:
        about = {"gen_ai.operation.name": operation, **self._common, **more}
        histogram.record(value, about | ({"error.type": error} if error else {}))


def _finish_reason(event: StepFinished) -> str:
    if event.tool_calls:
        return "tool_call"
    return "length" if event.end == "none" else "stop"


def _of_usage(usage: Usage) -> dict[str, int]:
    counted = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        counted["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    return counted


def _as_json(messages: Sequence[Message], finish_reason: str = "") -> str:
    """Messages as the conventions' JSON schemas have them; a span's attribute holds them as text."""
    ending = {"finish_reason": finish_reason} if finish_reason else {}
    return json.dumps([{"role": said.role, "parts": _parts(said), **ending} for said in messages], default=str)


def _parts(said: Message) -> list[dict[str, Any]]:
    if said.role == "tool":
        return [{"type": "tool_call_response", "response": said.content}]
    text = [{"type": "text", "content": said.content}] if said.content else []
    calls = [{"type": "tool_call", "name": call.name, "arguments": call.arguments} for call in said.tool_calls]
    return [*text, *calls]
