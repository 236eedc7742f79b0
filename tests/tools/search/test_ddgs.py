"""`ddgs` runs for real: its requests go through a proxy on the loopback that answers for the engines' hosts."""

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
import trustme

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError, ToolError, web_search

pytestmark = pytest.mark.anyio

PAGE = """<html><body>{results}</body></html>"""
RESULT = '<div class="links_main body"><h2>{title}</h2><a href="{url}">{text}</a></div>'


@dataclass
class SearchHost:
    """An HTTPS server behind a CONNECT proxy; it answers every request with `status` and `body`."""

    certificates: ssl.SSLContext
    status: int = 200
    body: str = ""
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
            self.requests.append(read_request(connection))
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self.certificates.wrap_socket(connection, server_side=True) as secure:
                self.requests.append(read_request(secure))
                if self.silent:
                    secure.recv(1)
                    return
                body = self.body.encode()
                head = f"HTTP/1.1 {self.status} X\r\nContent-Type: text/html; charset=utf-8\r\n"
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
    ca.issue_cert("html.duckduckgo.com").configure_cert(context)
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


async def search(host: SearchHost, authority: tuple[ssl.SSLContext, Path], query: str, limit: float = 10.0) -> str:
    tool = web_search(proxy=host.address, ca_file=authority[1], engines=["duckduckgo"], timeout=limit)
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
    tool = web_search(proxy=address, engines=["duckduckgo"], timeout=5)
    result = await Registry([tool]).call(ToolCall("web_search", {"query": "mule"}))
    assert str(result.content).startswith("error: the search engines cannot be reached: ")
    assert result.source == "ddgs"


async def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ddgs", None)
    with pytest.raises(ToolError, match=r"pip install 'arriero\[search\]'"):
        await web_search().invoke({"query": "mule"})


@pytest.fixture
def index(tmp_path: Path) -> Path:
    entries = [
        {"title": "Salt Pass", "url": "https://example.org/salt", "text": "The Salt Pass is\n3,210 metres high."},
        {"title": "Grey Pass", "url": "https://example.org/grey", "text": "The Grey Pass closes in winter."},
        {"title": "Mules", "url": "https://example.org/mules", "text": "Mules eat hay."},
    ]
    file = tmp_path / "web.jsonl"
    file.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n\n", "utf-8")
    return file


async def test_the_offline_index_gives_whole_entries_best_first(index: Path) -> None:
    tool = web_search(provider="offline", index=index)
    assert await tool.invoke({"query": "How high is the Salt Pass?"}) == (
        "provider: offline\n"
        "[1] Salt Pass | https://example.org/salt | The Salt Pass is 3,210 metres high.\n"
        "[2] Grey Pass | https://example.org/grey | The Grey Pass closes in winter."
    )
    assert await web_search(provider="offline", index=index, count=1).invoke({"query": "mules pass"}) == (
        "provider: offline\n[1] Mules | https://example.org/mules | Mules eat hay."
    )


async def test_the_offline_index_says_when_it_finds_nothing(index: Path) -> None:
    tool = web_search(provider="offline", index=index)
    assert await tool.invoke({"query": "what is the volcano"}) == "provider: offline\nno results"


async def test_the_bundled_index_is_readable() -> None:
    title = json.loads(SAMPLE_INDEX.read_text("utf-8").splitlines()[0])["title"]
    text = str(await web_search(provider="offline").invoke({"query": title}))
    assert text.startswith(f"provider: offline\n[1] {title} | ")


def test_a_missing_index_is_named(index: Path) -> None:
    for setting in ("index", "ca_file"):
        with pytest.raises(ToolDefinitionError, match=rf"{setting}: there is no file .*missing\.jsonl"):
            web_search(provider="offline", **{setting: str(index.parent / "missing.jsonl")})  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match="index is 5; give a path"):
        web_search(provider="offline", index=5)  # type: ignore[arg-type]


def test_an_index_that_is_gone_is_named(tmp_path: Path) -> None:
    search = _offline(tmp_path / "missing.jsonl", 1)
    with pytest.raises(ToolError, match=r"missing\.jsonl cannot be read"):
        search("x")


async def test_an_index_may_be_given_as_text(index: Path) -> None:
    text = await web_search(provider="offline", index=str(index)).invoke({"query": "mules"})
    assert str(text).startswith("provider: offline\n[1] ")


@pytest.mark.parametrize("line", ['{"title": "a"}', "[1]", "{"])
def test_a_broken_index_is_named_with_its_line(index: Path, line: str) -> None:
    index.write_text(f'{{"title": "a", "url": "b", "text": "c"}}\n{line}\n')
    with pytest.raises(ToolError, match=r"web\.jsonl, line 2: not a JSON object with"):
        anyio.run(web_search(provider="offline", index=index).invoke, {"query": "x"})


def test_the_declaration_is_the_one_the_model_knows() -> None:
    for tool in (web_search(), web_search(provider="offline")):
        assert tool.declaration == {
            "type": "function",
            "function": {
                "name": "web_search",
                "description": "Search the web.",
                "parameters": {
                    "type": "object",
                    "properties": {"query": {"type": "string", "description": "What to look for."}},
                    "required": ["query"],
                },
            },
        }


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="unknown provider 'google'"):
        web_search(provider="google")  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match="count is 0"):
        web_search(count=0)
