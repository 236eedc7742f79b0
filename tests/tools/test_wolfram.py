"""Against a server that answers as the LLM API does, and one that does everything a network can do."""

import asyncio
import contextlib
import logging
import socket
import ssl
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
import trustme

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, Tool, ToolDefinitionError, ToolError, ToolUnavailable
from arriero.tools.wolfram import wolfram_alpha

pytestmark = pytest.mark.anyio

APP_ID = "CANARY-0123456789"
ANSWER = (
    'Query:\n"10 densest elemental metals"\n\nInput interpretation:\n10 densest metallic elements | by mass density'
    "\n\nResult:\n1 | hassium | 41 g/cm^3 |\n2 | meitnerium | 37.4 g/cm^3 |\n\nWolfram|Alpha website result for "
    '"10 densest elemental metals":\nhttps://www.wolframalpha.com/input?i=10+densest+elemental+metals'
)
SUGGESTION = "Wolfram|Alpha could not understand: How do mules sing. \nThings to try instead:\nmules\nsinging"


@dataclass
class Service:
    """The LLM API as its documentation has it; `raw` is sent in place of that."""

    url: str = ""
    raw: bytes | None = None
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        query = parse_qs(urlsplit(head.split()[1].decode()).query)
        self.asked.append(query)
        if self.raw is None:
            status, body = self.answer(query)
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: text/plain;charset=utf-8\r\n"
                f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}".encode()
            )
        else:
            writer.write(self.raw)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            if self.raw is not None and self.raw.endswith(b"..."):
                await reader.read()  # until the other side gives up
        writer.close()

    @staticmethod
    def answer(query: dict[str, list[str]]) -> tuple[int, str]:
        if "appid" not in query:
            return 403, "Appid missing"
        if query["appid"] != [APP_ID]:
            return 403, "Invalid appid"
        if "input" not in query:
            return 400, "Input missing"
        if "mules" in query["input"][0]:
            return 501, SUGGESTION
        return 200, ANSWER


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1/llm-api"
    async with server:
        yield service


def tool(service: Service, app_id: str = APP_ID, **settings: float) -> Tool:
    return wolfram_alpha(app_id, url=service.url, **settings)  # type: ignore[arg-type]


async def problem(offered: Tool, query: str = "2+2") -> ToolError:
    with pytest.raises(ToolError) as caught:
        await offered.invoke({"query": query})
    told = "".join(traceback.format_exception(caught.value))
    assert APP_ID not in told
    return caught.value


async def test_an_answer_is_given_as_it_is(service: Service) -> None:
    query = "10 densest elemental metals & 2+2 = é?"
    assert await tool(service).invoke({"query": query}) == ANSWER
    assert service.asked == [{"input": [query], "appid": [APP_ID], "maxchars": ["4000"]}]


async def test_units_and_length_are_asked_for(service: Service) -> None:
    offered = wolfram_alpha(APP_ID, url=service.url, units="metric", max_chars=20)
    assert await offered.invoke({"query": "mass of Mars"}) == ANSWER[:20]
    assert service.asked[0]["units"] == ["metric"]
    assert service.asked[0]["maxchars"] == ["20"]


async def test_a_model_calls_it_by_the_name_of_the_llama_format(service: Service) -> None:
    registry = Registry([tool(service)])
    assert registry.builtins == ("wolfram_alpha",)
    result = await registry.call(ToolCall("wolfram_alpha", {"query": "2+2"}))
    assert (result.content, result.error, result.source) == (ANSWER, None, "Wolfram|Alpha")


async def test_what_to_ask_instead_reaches_the_model(service: Service) -> None:
    result = await Registry([tool(service)]).call(ToolCall("wolfram_alpha", {"query": "How do mules sing"}))
    assert result.content == f"error: {SUGGESTION}"


async def test_a_wrong_app_id_is_told_without_showing_it(service: Service) -> None:
    error = await problem(tool(service, app_id="WRONG-CANARY"))
    assert str(error) == ("Wolfram|Alpha refused the AppID (403): Invalid appid; only whoever runs this can change it")


@pytest.mark.parametrize("query", ["", "  ", "x" * 2_001])
async def test_a_query_that_is_none_is_not_sent(service: Service, query: str) -> None:
    assert f"query has {len(query)} characters" in str(await problem(tool(service), query))
    assert service.asked == []


def page(status: int, body: str, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body.encode())}\r\n{more}\r\n{body}".encode()


@pytest.mark.parametrize(
    ("raw", "kind", "says"),
    [
        (page(400, "Input missing"), ToolError, "did not take the query (400): Input missing"),
        (page(401, "Invalid appid"), ToolError, "refused the AppID (401): Invalid appid"),
        (page(429, ""), ToolUnavailable, "takes no more queries for now (429)"),
        (page(500, "<html>oops"), ToolUnavailable, "cannot answer now (500)"),
        (page(501, ""), ToolError, "could not understand the query"),
        (page(503, "Busy\nnow"), ToolUnavailable, "cannot answer now (503): Busy now"),
        (page(302, "", "Location: http://127.0.0.1:1/steal\r\n"), ToolError, "answered with status 302"),
        (page(404, "no " + APP_ID), ToolError, "answered with status 404: no (AppID)"),
        (page(200, ""), ToolError, "sent nothing in place of an answer"),
        (page(200, "<!doctype html><p>Log in"), ToolError, "sent a page in place of an answer"),
        (b"", ToolUnavailable, "the connection to 127.0.0.1 broke"),
        (b"\0\0 nonsense \r\n\r\n", ToolUnavailable, "the connection to 127.0.0.1 broke"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf", ToolUnavailable, "the connection to 127.0.0.1 broke"),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ToolUnavailable, "broke"),
    ],
)
async def test_whatever_the_service_does_is_told(
    service: Service, raw: bytes, kind: type[ToolError], says: str
) -> None:
    service.raw = raw
    error = await problem(tool(service))
    assert type(error) is kind
    assert says in str(error)
    assert len(service.asked) == 1


@pytest.mark.parametrize("raw", [b"...", b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf..."])
async def test_a_service_that_hangs_is_given_up(service: Service, raw: bytes) -> None:
    service.raw = raw
    error = await problem(tool(service, timeout=0.2))
    assert type(error) is ToolUnavailable
    assert str(error) == "127.0.0.1 did not answer within 0.2 s"


async def test_an_endless_answer_is_read_as_far_as_it_is_wanted(service: Service) -> None:
    service.raw = b"HTTP/1.1 200 X\r\n\r\n" + b"2 " * 200_000 + b"..."
    answer = str(await tool(service, max_chars=50).invoke({"query": "2"}))
    assert answer == "2 " * 25


async def test_nobody_there_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = await problem(wolfram_alpha(APP_ID, url=f"http://127.0.0.1:{free.getsockname()[1]}/"))
    assert (type(error), str(error)) == (ToolUnavailable, "127.0.0.1 cannot be reached")


async def test_an_untrusted_certificate_is_refused_and_a_named_authority_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    service = Service()
    async with await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert "cannot be reached" in str(await problem(wolfram_alpha(APP_ID, url=url)))
        assert await wolfram_alpha(APP_ID, url=url, ca_file=tmp_path / "ca.pem").invoke({"query": "2"}) == ANSWER


async def test_neither_key_nor_query_is_in_the_log_or_the_repr(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await Registry([tool(service)]).call(ToolCall("wolfram_alpha", {"query": "mules of my neighbour"}))
        service.raw = b""
        await Registry([tool(service)]).call(ToolCall("wolfram_alpha", {"query": "mules of my neighbour"}))
    assert len(service.asked) == 2
    assert APP_ID not in caplog.text
    assert "neighbour" not in caplog.text
    assert APP_ID not in repr(tool(service))


async def test_a_cancelled_call_ends_at_once(service: Service) -> None:
    service.raw = b"..."
    with anyio.fail_after(5), anyio.move_on_after(0.2) as scope:
        await tool(service).invoke({"query": "2"})
    assert scope.cancelled_caught


@pytest.mark.parametrize("app_id", ["", "two words", "line\nbreak", "schlüssel"])
def test_an_app_id_that_cannot_be_one_is_refused_without_showing_it(app_id: str) -> None:
    with pytest.raises(ToolDefinitionError, match="the AppID is empty or holds") as caught:
        wolfram_alpha(app_id)
    assert not app_id or app_id not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost", "ftp://host/", "http://user:pass@host/", "http://[::1", "http://h:0/"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ToolDefinitionError, match="url must be like") as caught:
        wolfram_alpha(APP_ID, url=url)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    "settings", [{"max_chars": 0}, {"max_chars": 10**9}, {"timeout": 0}, {"timeout": float("nan")}]
)
def test_limits_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ToolDefinitionError, match=next(iter(settings))):
        wolfram_alpha(APP_ID, **settings)  # type: ignore[arg-type]
