"""What tracing costs a step with one tool call: the events of a turn, read again with and without it."""

import time
from collections.abc import AsyncGenerator

import anyio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from arriero import Agent, Limits, tool
from arriero.stack.events import Event
from arriero.stack.tracing import Tracing
from arriero.testing import call, scripted_stack

STEPS = 50
ROUNDS = 15


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def again(events: list[Event]) -> AsyncGenerator[Event, None]:
    """The events, without the work that made them."""
    for event in events:
        yield event


async def microseconds(events: list[Event], tracing: Tracing | None) -> float:
    """CPU time of a step, in the quickest round."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        watched = again(events) if tracing is None else tracing.watch(again(events), session="s", name="a", model="m")
        async for _event in watched:
            pass
        times.append(time.process_time() - started)
    return min(times) / STEPS * 1e6


async def main() -> None:
    """Print a line for each kind of tracing."""
    stack = scripted_stack(*[call("double", number=number) for number in range(STEPS)], "Done.")
    agent = Agent(stack, tools=[double], limits=Limits(steps=STEPS + 1))
    events = [event async for event in agent.stream("Go")]
    spans = TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    meters = MeterProvider([InMemoryMetricReader()])
    kinds = {
        "without": None,
        "nobody listens": Tracing(),
        "spans": Tracing(spans),
        "spans and measurements": Tracing(spans, meter_provider=meters),
        "the same, with content": Tracing(spans, meter_provider=meters, content=True),
    }
    bare = await microseconds(events, None)
    for what, tracing in kinds.items():
        print(f"{what:24} {await microseconds(events, tracing) - bare:6.1f} us of CPU a step")


if __name__ == "__main__":
    anyio.run(main)
