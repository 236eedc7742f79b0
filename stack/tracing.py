"""What happens in turns, for OpenTelemetry. Nothing is recorded unless a stack is given a `Tracing`."""

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from arriero.prompts.errors import ArrieroError
from arriero.stack.dispatch import calling
from arriero.stack.events import Event

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import TracerProvider

    from arriero.stack.spans import Instruments, Operation, Spans

T = TypeVar("T")

_log = logging.getLogger(__name__)

_SCOPE = "arriero"
_REMEDY = "pip install 'arriero[otel]'"
# Boundaries that the conventions ask for: docs/gen-ai/gen-ai-metrics.md.
_TOKENS = [4.0**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]


class TracingUnavailable(ArrieroError):
    """OpenTelemetry, or the part of it that exports, is not installed; or nothing can be written there."""


class Tracing:
    """Records turns as spans and measurements, by OpenTelemetry's conventions for generative AI.

    A turn is a span `invoke_agent`, with a span for each request to the model, each tool call and each verdict of a
    shield below it; a turn that a tool runs is below that tool's turn. They are made from the turn's events. What
    people and the model say, arguments and results are left out unless they are asked for.

    Args:
        tracer_provider: Where spans go; None for the program's own provider. As long as a program has set none,
            nothing is recorded, and turns run as without tracing.
        meter_provider: Where measurements go; None for the program's own provider.
        content: Whether to record messages, arguments and results as well.
        provider: Who serves the model, for `gen_ai.provider.name`.

    Raises:
        TracingUnavailable: opentelemetry-api is not installed.

    Example:
        >>> import anyio
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> from arriero import Message, Stack
        >>> memory, provider = InMemorySpanExporter(), TracerProvider()
        >>> provider.add_span_processor(SimpleSpanProcessor(memory))
        >>> async def turn() -> None:
        ...     async with Stack.local(tracing=Tracing(provider)) as stack:
        ...         async for event in stack.run_turn([Message("user", "Hello!")]):
        ...             pass
        >>> anyio.run(turn)
        >>> [span.name for span in memory.get_finished_spans()]
        ['chat arriero-demo', 'invoke_agent']
    """

    def __init__(
        self,
        tracer_provider: "TracerProvider | None" = None,
        *,
        meter_provider: "MeterProvider | None" = None,
        content: bool = False,
        provider: str = "vllm",
    ) -> None:
        try:
            import opentelemetry.trace  # noqa: F401  a remedy here, not in the first turn
        except ImportError as error:
            raise TracingUnavailable(f"tracing needs OpenTelemetry ({error}): {_REMEDY}") from error
        self._tracers, self._meters = tracer_provider, meter_provider
        self._content, self._provider = content, provider
        self._instruments: Instruments | None = None
        self._closing: tuple[Any, ...] = ()

    @classmethod
    def to_otlp(
        cls,
        endpoint: str = "http://localhost:4318",
        *,
        headers: Mapping[str, str] | None = None,
        service: str = "arriero",
        timeout: float = 5.0,
        content: bool = False,
        provider: str = "vllm",
    ) -> Self:
        """Send spans and measurements to a collector, by OTLP over HTTP.

        They are sent from threads of their own, in batches: a collector that does not answer costs no turn anything.

        Args:
            endpoint: The collector, without `/v1/traces`.
            headers: Headers to send, such as a key.
            service: Name of this program, for `service.name`.
            timeout: Seconds in which a batch must be taken, repetitions included; it is lost after them.
            content: Whether to record messages, arguments and results as well.
            provider: Who serves the model.

        Returns:
            The tracing. What is left is sent by `close()`, at the latest when the program ends.

        Raises:
            TracingUnavailable: The extra `otel` is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise TracingUnavailable(f"exporting needs the extra 'otel' ({error}): {_REMEDY}") from error
        base, sent = endpoint.rstrip("/"), dict(headers or {})
        spans = TracerProvider(resource=_resource(service))
        exporter = OTLPSpanExporter(endpoint=f"{base}/v1/traces", headers=sent, timeout=timeout)
        spans.add_span_processor(BatchSpanProcessor(exporter))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics", headers=sent, timeout=timeout)
        )
        meters = MeterProvider([reader], resource=_resource(service))
        tracing = cls(spans, meter_provider=meters, content=content, provider=provider)
        tracing._closing = (spans.shutdown, meters.shutdown)
        return tracing

    @classmethod
    def to_file(
        cls, path: str | Path, *, service: str = "arriero", content: bool = False, provider: str = "vllm"
    ) -> Self:
        """Write spans to a file, each as one line of JSON.

        Args:
            path: The file. Lines are added to what it holds.
            service: Name of this program, for `service.name`.
            content: Whether to record messages, arguments and results as well.
            provider: Who serves the model.

        Returns:
            The tracing. What is left is written by `close()`, at the latest when the program ends.

        Raises:
            TracingUnavailable: The extra `otel` is not installed, or the file cannot be written.
        """
        try:
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        except ImportError as error:
            raise TracingUnavailable(f"exporting needs the extra 'otel' ({error}): {_REMEDY}") from error
        try:
            file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115  `close` closes it
        except OSError as error:
            raise TracingUnavailable(f"spans cannot be written to {path}: {error}; give another file") from error
        exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
        spans = TracerProvider(resource=_resource(service))
        spans.add_span_processor(BatchSpanProcessor(exporter))
        tracing = cls(spans, content=content, provider=provider)
        tracing._closing = (spans.shutdown, file.close)
        return tracing

    def watch(
        self,
        events: AsyncGenerator[Event, None],
        *,
        session: str,
        name: str = "",
        model: str = "",
        tools: Collection[str] = (),
    ) -> AsyncGenerator[Event, None]:
        """The same events, recorded as they come. `Stack` calls this for every turn.

        Args:
            events: Events of a turn.
            session: The session.
            name: Name of the agent.
            model: The engine's model.
            tools: Names of tools that may be called, besides those that the events declare.

        Returns:
            The events; `events` itself where nobody would hear of them.
        """
        if self._unheard():
            return events
        return _watched(events, lambda: self._begin("invoke_agent", session, name, model, tools))

    @contextmanager
    def workflow(self, name: str, *, session: str = "") -> Iterator[Callable[[Event], None]]:
        """Record the run of a workflow that the block awaits; turns of agents in it are below the run.

        Args:
            name: Name of the workflow.
            session: Name of the run.

        Yields:
            What hears of the run's events, for `watch=` of `Workflow.run` and `Workflow.resume`.
        """
        begin = partial(self._begin, "invoke_workflow", session, name, "")
        spans = None if self._unheard() else _unharmed(begin)
        if spans is None:
            yield lambda _: None
            return
        from opentelemetry import context

        over, token = "abandoned", context.attach(spans.within)
        try:
            yield lambda event: _unharmed(partial(spans.take, event))
            over = ""
        except Exception as error:
            over = type(error).__name__
            raise
        finally:
            context.detach(token)
            _unharmed(partial(spans.end, over))

    def close(self) -> None:
        """Export what is left, of a tracing that was made with `to_otlp` or `to_file`. Closing twice is fine."""
        for end in self._closing:
            end()
        self._closing = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unheard(self) -> bool:
        return self._tracers is None and self._meters is None and _nobody_listens()

    def _begin(
        self, operation: "Operation", session: str, name: str, model: str, tools: Collection[str] = ()
    ) -> "Spans":
        from arriero.stack.spans import Spans, Subject

        subject = Subject(
            operation=operation,
            session=session,
            name=name,
            model=model,
            provider=self._provider,
            content=self._content,
            tools=tools,
        )
        return Spans(self._made(), subject, _around())

    def _made(self) -> "Instruments":
        if self._instruments is None:
            from opentelemetry import metrics, trace

            from arriero.stack.spans import Instruments

            meter = metrics.get_meter(_SCOPE, meter_provider=self._meters)

            def seconds(name: str, what: str) -> Any:
                return meter.create_histogram(name, "s", what, explicit_bucket_boundaries_advisory=_SECONDS)

            self._instruments = Instruments(
                tracer=trace.get_tracer(_SCOPE, tracer_provider=self._tracers),
                tokens=meter.create_histogram(
                    "gen_ai.client.token.usage",
                    "{token}",
                    "Number of input and output tokens used.",
                    explicit_bucket_boundaries_advisory=_TOKENS,
                ),
                requests=seconds("gen_ai.client.operation.duration", "Duration of a request to the model."),
                turns=seconds("gen_ai.invoke_agent.duration", "Duration of a turn."),
                tools=seconds("gen_ai.execute_tool.duration", "Duration of a tool call."),
            )
        return self._instruments


async def _watched(events: AsyncGenerator[Event, None], begin: "Callable[[], Spans]") -> AsyncGenerator[Event, None]:
    from opentelemetry import context

    spans = _unharmed(begin)
    over = "abandoned"
    async with aclosing(events):
        try:
            while True:
                # Only while the turn runs: at a `yield`, the context is the reader's own.
                token = context.attach(spans.within if spans else context.get_current())
                try:
                    event = await anext(events, None)
                finally:
                    context.detach(token)
                if event is None:
                    break
                if spans:
                    _unharmed(partial(spans.take, event))
                yield event
            over = ""
        except Exception as error:
            over = type(error).__name__
            raise
        finally:
            if spans:
                _unharmed(partial(spans.end, over))


def _unharmed(work: Callable[[], T]) -> T | None:
    """Tracing that fails, as a processor of the program's own may, does no harm to the turn."""
    try:
        return work()
    except Exception:
        _log.exception("a turn could not be traced")
        return None


def _around() -> "Context":
    """Where a turn begins: in the call of another turn that runs it, or where the program is."""
    from opentelemetry import context

    from arriero.stack.spans import SPANS, Spans

    here = context.get_current()
    turn = context.get_value(SPANS, here)
    if isinstance(turn, Spans) and turn.is_at(here):
        return turn.around(calling.get(None))
    return here


def _nobody_listens() -> bool:
    from opentelemetry import trace

    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def _resource(service: str) -> "Resource":
    from opentelemetry.sdk.resources import Resource

    return Resource.create({"service.name": service})
