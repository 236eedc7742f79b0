"""Everything that a network can do to a provider's answer, by raw sockets."""

import gzip
import json
import socket
import ssl
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx2  # noqa: F401 - no deadline of a test should count its import
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from arriero.tools.search import Brave, SearchError, SearXNG, Tavily, WebSearch

pytestmark = pytest.mark.anyio
KEY = "key-5f1c0ffee-of-the-test"
RESULT = {"title": "Mules", "url": "https://example.org", "description": "Mules eat hay."}
ANSWER = json.dumps({"web": {"results": [RESULT]}}).encode()

Behave = Callable[[Any], Awaitable[None]]


@dataclass
class Server:
    """What listens, and what was sent to it."""

    port: int
    heads: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(*behaviours: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server that treats each connection as the next behaviour says, the last one for ever."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Server(listener.extra(SocketAttribute.local_port))
    left = [*behaviours]

    async def treat(connection: SocketStream) -> None:
        try:
            async with connection:
                stream: Any = connection
                if tls:
                    stream = await TLSStream.wrap(connection, server_side=True, ssl_context=tls)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                server.heads.append(head.decode())
                await (left.pop(0) if len(left) > 1 else left[0])(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, ssl.SSLError):
            pass

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, treat)
        yield server
        group.cancel_scope.cancel()


def sends(body: bytes, head: str = "", *, status: int = 200, length: int | None = None) -> Behave:
    """Answer with these bytes, and close."""
    size = len(body) if length is None else length
    whole = f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n{head}\r\n".encode() + body
    return lambda stream: stream.send(whole)


async def hangs(stream: Any) -> None:
    await anyio.sleep_forever()


async def resets(stream: Any) -> None:
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def closes(stream: Any) -> None:
    """Nothing at all."""


async def trickles(stream: Any) -> None:
    await stream.send(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await stream.send(b" ")
        await anyio.sleep(0.01)


async def floods(stream: Any) -> None:
    await stream.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await stream.send(b"10000\r\n" + b" " * 65536 + b"\r\n")


def says(raw: bytes) -> Behave:
    """Answer with bytes that are no HTTP, or hardly."""
    return lambda stream: stream.send(raw)


BOMB = gzip.compress(b" " * 200_000_000, 9)
GZIP = "Content-Encoding: gzip\r\n"
HTML = "Content-Type: text/html\r\n"
FAULTS: dict[str, tuple[Behave, str, str, int]] = {
    "closed without an answer": (closes, "unreachable", "broke off its answer", 2),
    "reset": (resets, "unreachable", "the connection broke|broke off", 2),
    "silent": (hangs, "timeout", r"did not answer within 0\.5 s", 2),
    "a byte now and then": (trickles, "timeout", r"did not answer within 0\.5 s", 2),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "unreachable", "did not speak HTTP", 2),
    "a head without end": (says(b"HTTP/1.1 200 X\r\nA: " + b"x" * 300_000), "unreachable", "did not speak HTTP", 2),
    "a head with a NUL": (says(b"HTTP/1.1 200 X\r\nA\0: b\r\n\r\n"), "unreachable", "did not speak HTTP", 2),
    "cut short": (sends(ANSWER[:20], length=len(ANSWER)), "unreachable", "broke off its answer", 2),
    "a length that is too small": (sends(ANSWER, length=20), "answer", "something else where JSON was due", 1),
    "a length that is none": (says(b"HTTP/1.1 200 X\r\nContent-Length: ten\r\n\r\n"), "unreachable", "HTTP", 2),
    "empty": (sends(b""), "answer", "sent nothing where JSON was due", 1),
    "no content": (sends(b"", status=204), "request", r"\(204\)", 1),
    "a page": (sends(b"<html>Welcome</html>", HTML), "answer", "an HTML page where JSON was due", 1),
    "a page called JSON": (sends(b"\n <!doctype html>"), "answer", "an HTML page where JSON was due", 1),
    "a captcha": (sends(b"<html>Please solve the CAPTCHA", HTML), "captcha", "takes us for a robot", 1),
    "half of JSON": (sends(ANSWER[:-5]), "answer", "something else where JSON was due", 1),
    "a list": (sends(b"[1, 2]"), "answer", "something else where JSON was due", 1),
    "no text": (sends(b'{"web": "\xff\xfe"}'), "answer", "something else where JSON was due", 1),
    "JSON without bottom": (sends(b'{"web":' * 100_000), "answer", "something else where JSON was due", 1),
    "results that are no list": (sends(b'{"web": {"results": "none"}}'), "answer", r"no list web\.results", 1),
    "results in no object": (sends(b'{"web": [1]}'), "answer", r"no web\.results that can be read", 1),
    "without end": (floods, "answer", "larger than 4 MiB", 1),
    "a decompression bomb": (sends(BOMB, GZIP), "answer", "larger than 4 MiB", 1),
    "broken compression": (sends(b"no gzip at all", GZIP), "answer", "cannot be decompressed", 1),
    "compression cut short": (sends(gzip.compress(ANSWER)[:-12], GZIP), "answer", "breaks off", 2),
    "another compression": (sends(ANSWER, "Content-Encoding: br\r\n"), "answer", "not asked for", 1),
    "a redirect": (
        sends(b"", "Location: https://evil.example/x\r\n", status=302), "settings", r"redirects to evil\.example", 1
    ),
    "a redirect to itself": (sends(b"", "Location: /res/v1/web/search\r\n", status=301), "settings", "another path", 1),
    "a redirect to nowhere": (sends(b"", "Location: http://[\r\n", status=308), "settings", "another address", 1),
    "down": (sends(b"<html>Bad gateway</html>", HTML, status=502), "unreachable", r"cannot answer now \(502\)", 2),
    "gone": (sends(b"<html>Not found</html>", HTML, status=404), "request", r"refused the request \(404\)", 1),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_an_error_that_says_who_and_why(fault: str) -> None:
    behave, reason, text, asked = FAULTS[fault]
    async with serving(behave) as server:
        search = WebSearch([Brave(KEY, server.address, rate=None)], attempt_timeout=0.5, retries=1, backoff=0.01).search
        started = time.monotonic()
        with pytest.raises(SearchError, match=f"^brave: .*({text})") as caught:
            await search("mules")
    assert caught.value.reason == reason
    assert len(server.heads) == asked
    assert len(str(caught.value)) < 300
    assert KEY not in repr(caught.value)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("fault", [closes, resets, hangs, sends(b"", status=500), sends(ANSWER[:9], length=99)])
async def test_an_answer_after_a_fault_is_taken(fault: Behave) -> None:
    async with serving(fault, sends(ANSWER)) as server:
        searcher = WebSearch([Brave(KEY, server.address, rate=None)], attempt_timeout=0.5, backoff=0.01)
        assert [hit.title for hit in (await searcher.search("mules")).hits] == ["Mules"]


async def test_an_answer_may_be_compressed_or_in_pieces() -> None:
    async def pieces(stream: Any) -> None:
        await stream.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for byte in ANSWER:
            await stream.send(b"1\r\n" + bytes([byte]) + b"\r\n")
        await stream.send(b"0\r\n\r\n")

    for behave in (pieces, sends(gzip.compress(ANSWER), GZIP)):
        async with serving(behave) as server:
            assert len((await WebSearch([Brave(KEY, server.address)]).search("mules")).hits) == 1


async def test_a_decompression_bomb_takes_little_memory() -> None:
    async with serving(sends(BOMB, GZIP)) as server:
        searcher = WebSearch([Brave(KEY, server.address)], retries=0)
        tracemalloc.start()
        try:
            with pytest.raises(SearchError, match="larger than 4 MiB"):
                await searcher.search("mules")
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20  # it would be 200 MB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "row", [None, 1, "x", [], {}, {"url": 5}, {"url": "https://a.example", "title": {}, "description": []}]
)
async def test_a_result_of_a_wrong_shape_spoils_no_other(row: Any) -> None:
    answers = {
        Brave: {"web": {"results": [row, RESULT]}},
        Tavily: {"results": [row, RESULT]},
        SearXNG: {"results": [row, RESULT], "unresponsive_engines": [1, ["x"]]},
    }
    for kind, answer in answers.items():
        async with serving(sends(json.dumps(answer).encode())) as server:
            provider = SearXNG(server.address) if kind is SearXNG else kind(KEY, server.address)
            assert "Mules" in [hit.title for hit in (await WebSearch([provider]).search("mules")).hits]


async def test_a_key_is_not_sent_to_where_a_redirect_points() -> None:
    async with (
        serving(sends(ANSWER)) as other,
        serving(sends(b"", f"Location: {other.address}/\r\n", status=307)) as first,
    ):
        for provider in (Brave(KEY, first.address), Tavily(KEY, first.address), SearXNG(first.address, key=KEY)):
            with pytest.raises(SearchError, match="redirects to"):
                await WebSearch([provider]).search("mules")
    assert other.heads == []
    assert all(KEY in head for head in first.heads)
    assert len(first.heads) == 3


async def test_nobody_listening_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(SearchError, match=r"nothing answers at 127\.0\.0\.1: connection refused") as caught:
        await WebSearch([SearXNG(f"http://127.0.0.1:{port}")], retries=0).search("mules")
    assert caught.value.reason == "unreachable"
    with pytest.raises(SearchError, match="nothing answers at its proxy"):
        await WebSearch([Brave(KEY, proxy=f"http://127.0.0.1:{port}")], retries=0).search("mules")


async def test_a_host_that_does_not_exist_is_told() -> None:
    with pytest.raises(SearchError, match=r"there is no host nowhere\.invalid"):
        await WebSearch([SearXNG("http://nowhere.invalid")], retries=0).search("mules")


async def test_a_proxy_that_is_none_is_told_without_its_password() -> None:
    for proxy in ("ftp://user:c0ffee@host", "no address"):
        with pytest.raises(SearchError, match="its address or proxy cannot be used") as caught:
            await WebSearch([Brave(KEY, proxy=proxy)]).search("mules")
        assert caught.value.reason == "settings"
        assert "c0ffee" not in repr(caught.value)


async def test_requests_go_through_the_proxy() -> None:
    async with serving(sends(ANSWER)) as proxy:
        provider = Brave(KEY, "http://brave.example", proxy=proxy.address)
        assert len((await WebSearch([provider]).search("mules")).hits) == 1
    assert proxy.heads[0].startswith("GET http://brave.example/res/v1/web/search?q=mules&count=3 HTTP/1.1\r\n")


async def test_the_environment_does_not_choose_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(sends(ANSWER)) as server:
        assert len((await WebSearch([Brave(KEY, server.address)]).search("mules")).hits) == 1


async def test_only_trusted_certificates_are_accepted(tmp_path: Path) -> None:
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(sends(ANSWER), tls=context) as server:
        address = server.address.replace("http:", "https:")
        assert len((await WebSearch([Brave(KEY, address, ca_file=ca_file)]).search("mules")).hits) == 1
        with pytest.raises(SearchError, match=r"certificate of 127\.0\.0\.1 is not trusted; set ca_file"):
            await WebSearch([Brave(KEY, address)], retries=0).search("mules")
        named = address.replace("127.0.0.1", "localhost")  # trusted, but for another name
        with pytest.raises(SearchError, match="certificate of localhost is not trusted"):
            await WebSearch([Brave(KEY, named, ca_file=ca_file)], retries=0).search("mules")
        assert len(server.heads) == 1
    async with serving(hangs) as plain:
        address = plain.address.replace("http:", "https:")
        with pytest.raises(SearchError, match=r"did not answer within 0\.5 s"):
            await WebSearch([Brave(KEY, address)], retries=0, attempt_timeout=0.5).search("mules")
