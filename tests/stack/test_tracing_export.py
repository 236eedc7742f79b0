"""Spans and measurements in a file, and at a collector."""

import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripted import call, scripted_stack

from arriero import Agent, tool
from arriero.stack.tracing import Tracing, TracingUnavailable

pytestmark = pytest.mark.anyio


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


async def test_spans_go_to_a_file_as_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    with Tracing.to_file(path, service="mules") as tracing:
        for _ in range(2):
            stack = scripted_stack("Yes.<|eot_id|>")
            stack.tracing = tracing
            await Agent(stack).run("Go")
    spans = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [span["name"] for span in spans] == ["chat scripted", "invoke_agent agent"] * 2
    assert spans[0]["parent_id"] == spans[1]["context"]["span_id"]
    assert spans[0]["resource"]["attributes"]["service.name"] == "mules"


def test_a_file_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(TracingUnavailable, match="give another file"):
        Tracing.to_file(tmp_path / "missing" / "spans.jsonl")


@dataclass
class Collector:
    """What a collector was sent."""

    url: str = ""
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    keys: set[str | None] = field(default_factory=set)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes OTLP over HTTP."""
    got = Collector()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            got.bodies.setdefault(self.path, []).append(body)
            got.keys.add(self.headers.get("x-key"))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    got.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield got
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_collector_gets_spans_and_measurements(collector: Collector) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    stack = scripted_stack(call("double", number=21), "It is 42.<|eot_id|>")
    with Tracing.to_otlp(collector.url + "/", headers={"x-key": "k"}, service="mules") as stack.tracing:
        await Agent(stack, tools=[double], name="adder").run("Twice 21?")
    assert sorted(collector.bodies) == ["/v1/metrics", "/v1/traces"]
    assert collector.keys == {"k"}
    sent = ExportTraceServiceRequest.FromString(collector.bodies["/v1/traces"][0]).resource_spans[0]
    names = [span.name for span in sent.scope_spans[0].spans]
    assert names == ["chat scripted", "execute_tool double", "chat scripted", "invoke_agent adder"]
    service = {pair.key: pair.value.string_value for pair in sent.resource.attributes}["service.name"]
    assert service == "mules"
    measured = ExportMetricsServiceRequest.FromString(collector.bodies["/v1/metrics"][-1]).resource_metrics[0]
    assert "gen_ai.client.token.usage" in [metric.name for metric in measured.scope_metrics[0].metrics]


async def test_a_turn_does_not_notice_a_collector_that_is_not_there() -> None:
    stack = scripted_stack("Yes.<|eot_id|>")
    with Tracing.to_otlp("http://127.0.0.1:9", timeout=0.1) as stack.tracing:
        assert (await Agent(stack).run("Go")).text == "Yes."
