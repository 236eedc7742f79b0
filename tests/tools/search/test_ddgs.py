"""`ddgs` runs for real: its requests go through a proxy on the loopback that answers for the engines' hosts."""

import gzip
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import trustme

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError, ToolError, web_search
from arriero.tools.search import DuckDuckGo, Hit, SearchError, WebSearch

pytestmark = pytest.mark.anyio

PAGE = """<html><body>{results}</body></html>"""
RESULT = '<div class="links_main body"><h2>{title}</h2><a href="{url}">{text}</a></div>'


@dataclass
class SearchHost:
    """An HTTPS server behind a CONNECT proxy; it answers with what is `first`, then with `status` and `body`."""

    certificates: ssl.SSLContext
    status: int = 200
    body: str = ""
    first: list[tuple[int, str]] = field(default_factory=list)
    coding: str = "identity"
    others: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What other hosts than DuckDuckGo's answer."""
    silent: bool = False
    requests: list[str] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        try:
            tunnel = read_request(connection)
            self.requests.append(tunnel)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self.certificates.wrap_socket(connection, server_side=True) as secure:
                self.requests.append(read_request(secure))
                if self.silent:
                    secure.recv(1)
                    return
                asked = tunnel.split()[1].partition(":")[0]
                status, text = (
                    self.others[asked]
                    if asked in self.others
                    else self.first.pop(0)
                    if self.first
                    else (self.status, self.body)
                )
                body = gzip.compress(text.encode()) if self.coding == "gzip" else text.encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html; charset=utf-8\r\n"
                head += f"Content-Encoding: {self.coding}\r\n"
                secure.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        except OSError:
            connection.close()


def read_request(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += connection.recv(65536)
    return (head + b"\r\n\r\n" + body).decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("html.duckduckgo.com", "*.wikipedia.org", "www.mojeek.com").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return context, file


@pytest.fixture
def host(authority: tuple[ssl.SSLContext, Path]) -> Iterator[SearchHost]:
    host = SearchHost(authority[0])
    thread = threading.Thread(target=host.serve, daemon=True)
    thread.start()
    yield host
    host.listener.shutdown(socket.SHUT_RDWR)
    host.listener.close()
    thread.join(5)


def provider(proxy: str, authority: tuple[ssl.SSLContext, Path]) -> DuckDuckGo:
    return DuckDuckGo(("duckduckgo",), proxy=proxy, ca_file=authority[1], rate=None)


async def search(host: SearchHost, authority: tuple[ssl.SSLContext, Path], query: str, limit: float = 10.0) -> str:
    tool = web_search(provider(host.address, authority), timeout=limit)
    return str(await tool.invoke({"query": query}))


async def test_ddgs_results_are_shaped_and_their_provider_is_named(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path]
) -> None:
    results = [(f"Mule\n {n}", f"https://example.org/{n}", f"Mule text  {n} سلام") for n in range(5)]
    host.body = PAGE.format(results="".join(RESULT.format(title=t, url=u, text=x) for t, u, x in results))
    lines = (await search(host, authority, "mule text & hay")).splitlines()
    assert lines[0] == "provider: ddgs"
    assert len(lines) == 4
    assert lines[1] == "[1] Mule 0 | https://example.org/0 | Mule text 0 سلام"
    assert host.requests[0].startswith("CONNECT html.duckduckgo.com:443")
    assert "mule" in host.requests[1]


async def test_ddgs_snippets_are_cut(host: SearchHost, authority: tuple[ssl.SSLContext, Path]) -> None:
    host.body = PAGE.format(results=RESULT.format(title="T", url="https://example.org", text="mule " * 1000))
    text = await search(host, authority, "mule")
    assert len(text) < 700
    assert text.endswith("…")


async def test_ddgs_finding_nothing_says_so(host: SearchHost, authority: tuple[ssl.SSLContext, Path]) -> None:
    host.body = PAGE.format(results="<p>nothing</p>")
    assert await search(host, authority, "mule") == "provider: ddgs\nno results"
    assert await search(host, authority, "  ") == "provider: ddgs\nno results"


async def test_a_silent_engine_is_an_error_that_says_how_long(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path]
) -> None:
    host.silent = True
    with pytest.raises(ToolError, match="did not answer within 1 s"):
        await search(host, authority, "mule", limit=1.0)


async def test_an_unreachable_engine_is_an_error_the_model_can_read(authority: tuple[ssl.SSLContext, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    tool = web_search(provider(address, authority), timeout=5)
    result = await Registry([tool]).call(ToolCall("web_search", {"query": "mule"}))
    assert str(result.content).startswith("error: ddgs: the engines cannot be reached: duckduckgo ")
    assert result.source == "ddgs"


CAPTCHA = '<html><div class="anomaly-modal__title">Unfortunately, bots use DuckDuckGo too.</div></html>'
FOUND = PAGE.format(results=RESULT.format(title="Mules", url="https://example.org", text="Mules eat hay."))


@pytest.mark.parametrize("first", [(429, "slow down"), (503, ""), (500, "<html>oops</html>")])
async def test_an_engine_that_cannot_now_is_asked_again(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path], first: tuple[int, str]
) -> None:
    host.body, host.first = FOUND, [first]
    found = await WebSearch([provider(host.address, authority)], backoff=0.01).search("mules")
    assert [hit.title for hit in found.hits] == ["Mules"]
    assert len(host.requests) == 4  # each with its CONNECT


@pytest.mark.parametrize(
    ("status", "body", "reason", "text", "asked"),
    [
        (429, "slow down", "rate", "refuse more searches for now: duckduckgo answered with status 429", 3),
        (202, CAPTCHA, "captcha", "take us for a robot: duckduckgo asks for a person", 1),
        (200, CAPTCHA, "captcha", "take us for a robot: duckduckgo asks for a person", 1),
        (403, "<html>forbidden</html>", "unreachable", "duckduckgo answered with status 403", 3),
    ],
)
async def test_an_engine_that_refuses_did_not_find_nothing(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path], status: int, body: str, reason: str, text: str, asked: int
) -> None:
    host.status, host.body = status, body
    with pytest.raises(SearchError, match=f"^ddgs: .*{text}") as caught:
        await WebSearch([provider(host.address, authority)], backoff=0.01).search("mules")
    assert caught.value.reason == reason
    assert len(host.requests) == 2 * asked


@pytest.mark.parametrize("body", ["", "no page at all", "<html><body><div class='body'>", "\0\x01<<<>>>", "<a " * 9000])
async def test_a_page_that_is_none_finds_nothing(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path], body: str
) -> None:
    host.body = body
    with suppress(SearchError):
        assert (await WebSearch([provider(host.address, authority)], backoff=0.01).search("mules")).hits == ()


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_page_without_end_is_not_read_to_its_end(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path], coding: str
) -> None:
    host.coding, host.body = coding, FOUND + " " * 30_000_000
    with pytest.raises(SearchError, match=r"duckduckgo broke the connection \(ValueError\)"):
        await WebSearch([provider(host.address, authority)], retries=0).search("mules")


@pytest.mark.parametrize(
    ("region", "freshness", "expected"),
    [
        (None, None, {"l": "us-en"}),
        ("gb", "day", {"l": "uk-en", "df": "d"}),
        ("de", "week", {"l": "de-de", "df": "w"}),
        ("ja-JP", "month", {"l": "jp-jp", "df": "m"}),
        ("ch-fr", "year", {"l": "ch-fr", "df": "y"}),
        ("ke", None, {"l": "ke-en"}),
    ],
)
async def test_region_and_freshness_reach_the_engine_in_its_words(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path], region: str | None, freshness: Any, expected: Any
) -> None:
    host.body = FOUND
    await WebSearch([provider(host.address, authority)]).search("mules & hay", region=region, freshness=freshness)
    form = dict(parse_qsl(host.requests[1].partition("\r\n\r\n")[2], keep_blank_values=True))
    assert form == {"q": "mules & hay", "b": ""} | expected


MOJEEK = """<ul class="results-standard"><li><h2><a href="https://hay.example">Hay</a></h2>
<p class="s">Mules eat <b>hay</b>.</p></li></ul>"""
WIKIPEDIA = json.dumps(["mules", ["Mule"], [""], ["https://de.wikipedia.org/wiki/Mule"]])


async def test_what_several_engines_give_is_one_list(host: SearchHost, authority: tuple[ssl.SSLContext, Path]) -> None:
    host.status, host.body = 202, CAPTCHA
    host.others = {"www.mojeek.com": (200, MOJEEK)}
    engines = DuckDuckGo(("duckduckgo", "mojeek"), proxy=host.address, ca_file=authority[1])
    assert (await WebSearch([engines]).search("mules", count=20)).hits == (
        Hit("Hay", "https://hay.example", "Mules eat hay."),
    )
    host.others = {"www.mojeek.com": (200, "<ul></ul>")}
    with pytest.raises(SearchError, match=r"duckduckgo asks for a person$"):
        await WebSearch([engines]).search("mules", count=20)


async def test_an_engine_that_answers_in_json_is_read_in_its_language(
    host: SearchHost, authority: tuple[ssl.SSLContext, Path]
) -> None:
    host.others = {"de.wikipedia.org": (200, WIKIPEDIA)}
    engines = DuckDuckGo(("wikipedia",), proxy=host.address, ca_file=authority[1], rate=None)
    with pytest.raises(SearchError, match=r"^ddgs: could not read what the engines sent$") as caught:
        await WebSearch([engines]).search("mules", region="de")  # the extract is no answer of the extract's kind
    assert caught.value.reason == "answer"
    host.others = {"de.wikipedia.org": (200, '["mules", [], [], []]')}
    assert (await WebSearch([engines]).search("mules", region="de")).hits == ()
    host.others = {"de.wikipedia.org": (200, "<html>no JSON</html>")}
    with pytest.raises(SearchError, match="could not read what the engines sent"):
        await WebSearch([engines]).search("mules", region="de")


FIRST_SEARCH = """
import logging, sys, anyio
from arriero.tools.search import DuckDuckGo, SearchError, WebSearch
logging.basicConfig(level=logging.DEBUG)
search = WebSearch([DuckDuckGo(proxy=sys.argv[1])], retries=0)
try:
    anyio.run(search.search, "unheard-of mules")
except SearchError as error:
    print(error.reason)
"""


def test_the_first_search_of_a_process_is_watched_and_no_query_is_logged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://user:canary-7f3a@127.0.0.1:{listener.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", FIRST_SEARCH, nobody], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "unreachable\n"
    assert "Error in engine" in done.stderr
    assert "unheard" not in done.stderr
    assert "canary" not in done.stderr


async def test_an_engine_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(SearchError, match=r"^ddgs: there is no engine altavista; there are .*duckduckgo"):
        await WebSearch([DuckDuckGo(("altavista",))]).search("mules")


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(ToolDefinitionError, match=r"ca_file: there is no file .*missing\.pem"):
        DuckDuckGo(ca_file=tmp_path / "missing.pem")


async def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ddgs.ddgs", None)
    with pytest.raises(ToolError, match=r"pip install 'arriero\[search\]'"):
        await web_search().invoke({"query": "mule"})
