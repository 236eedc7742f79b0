"""MCP over HTTP: what a network and a server at its other end can do."""

import gzip
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from peers import at, example, free_port, listening

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError, ToolError
from arriero.tools.mcp import FileTokens, McpConnectionError, McpPolicy, McpServer, oauth
from arriero.tools.mcp.link import Link
from arriero.tools.mcp.routes import ChildRoute, HttpRoute
from arriero.tools.registry import ToolResult
from arriero.tools.web.policy import BlockedAddress, NetworkPolicy

pytestmark = pytest.mark.anyio

TRUSTED = McpPolicy(trusted=True, timeout=10, reconnects=2)
TOOL = {"name": "work", "description": "Work.", "inputSchema": {"type": "object"}}
DONE = {"content": [{"type": "text", "text": "done"}]}


@dataclass
class Scripted:
    """An HTTP server that speaks MCP by hand; `answer` may give other bytes for a request, or none to hang up."""

    url: str = ""
    received: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    answer: "Answer | None" = None
    sessions: int = 0

    def count(self, method: str) -> int:
        return sum(message.get("method") == method for _, message in self.received)

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            buffered = BufferedByteReceiveStream(stream)
            try:
                while True:
                    head = (await buffered.receive_until(b"\r\n\r\n", 65_536)).decode().split("\r\n")
                    fields = (line.partition(":") for line in head[1:])
                    headers = {name.lower(): value.strip() for name, _, value in fields}
                    body = await buffered.receive_exactly(int(headers.get("content-length", 0)))
                    message = json.loads(body) if body else {}
                    method = message.get("method", head[0].split()[0])
                    self.received.append((headers, message | {"method": method}))
                    answer = self.answer(method, headers, message) if self.answer else b""
                    if answer is None:
                        return
                    await stream.send(answer or self.respond(method, message))
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    def respond(self, method: str, message: dict[str, Any]) -> bytes:
        match method:
            case "initialize":
                self.sessions += 1
                info = {"name": "scripted", "version": "1"}
                result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
                return reply(message, result, {"mcp-session-id": f"s{self.sessions}"})
            case "tools/list":
                return reply(message, {"tools": [TOOL]})
            case "tools/call":
                return reply(message, DONE)
            case "DELETE":
                return http(200, b"")
            case "GET":
                return http(405, b"")
            case "server/discover":
                return http(400, b"")
        return http(202, b"")


Answer = Callable[[str, dict[str, str], dict[str, Any]], bytes | None]


def http(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} -", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def reply(message: dict[str, Any], result: dict[str, Any], headers: dict[str, str] | None = None) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
    return http(200, body, {"content-type": "application/json", **(headers or {})})


@asynccontextmanager
async def scripted(answer: Answer | None = None) -> AsyncIterator[Scripted]:
    server = Scripted(answer=answer)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        server.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()


async def _work(server: McpServer) -> ToolResult:
    return await Registry(await server.tools()).call(ToolCall("h_work", {}))


async def test_this_machine_is_reached_only_when_that_is_allowed() -> None:
    async with scripted() as server:
        with pytest.raises(BlockedAddress):
            McpServer.http("h", server.url)
        with pytest.raises(BlockedAddress, match="metadata"):
            McpServer.http("h", "http://169.254.169.254/mcp")
        async with at(server.url, policy=TRUSTED) as allowed:
            assert (await _work(allowed)).content == "done"
        assert server.count("DELETE") == 1  # the session is given back
    assert all(headers["host"] in server.url for headers, _ in server.received)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_server_cannot_send_the_client_elsewhere(status: int) -> None:
    async with scripted() as inside:
        location = {"location": inside.url}
        async with scripted(lambda *_: http(status, b"", location)) as server:
            with pytest.raises(McpConnectionError, match="cannot be used"):
                async with at(server.url):
                    pass
    assert inside.received == []


async def test_nobody_who_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/mcp"
        with pytest.raises(McpConnectionError, match="MCP server 'h' cannot be used: ConnectError"):
            async with at(url):
                pass


async def test_credentials_do_not_go_over_the_network_in_the_clear() -> None:
    with pytest.raises(ToolDefinitionError, match="in the clear; use https"):
        McpServer.http("h", "http://mcp.example.org/mcp", headers={"Authorization": "Bearer k"})
    McpServer.http("h", "https://mcp.example.org/mcp", headers={"Authorization": "Bearer k"})


async def test_what_follows_from_an_encrypted_server_is_not_sent_in_the_clear() -> None:
    """The address of an authorization server, for instance, which the server names."""
    async with Link(NetworkPolicy(), max_message=1_000, encrypted=True) as link:
        answer = await link.handle_async_request(httpx2.Request("POST", "http://login.example.org/token"))
    assert "tokens would go there in the clear" in answer.text


@pytest.mark.parametrize("calls", [False, True])
async def test_a_stream_that_the_server_ends_at_once_is_not_opened_without_end(calls: bool) -> None:
    def answer(method: str, headers: dict[str, str], message: dict[str, Any]) -> bytes:
        ends = method == "GET" or (calls and method == "tools/call")
        return http(200, b"id: 1\nretry: 0\ndata:\n\n", {"content-type": "text/event-stream"}) if ends else b""

    started = time.monotonic()
    async with scripted(answer) as server, at(server.url, policy=McpPolicy(trusted=True, timeout=2)) as client:
        assert (await _work(client)).error == ("h_work took longer than 2 s and was stopped" if calls else None)
        with anyio.fail_after(20):
            while server.count("GET") < 25:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert server.count("GET") <= 21 + 10 * (time.monotonic() - started)


async def test_headers_are_sent_with_each_request() -> None:
    async with (
        scripted() as server,
        at(server.url, policy=TRUSTED, headers={"Authorization": "Bearer canary"}) as client,
    ):
        await _work(client)
    assert {headers.get("authorization") for headers, _ in server.received} == {"Bearer canary"}


def test_credentials_are_shown_nowhere() -> None:
    http_route = HttpRoute(url="https://mcp.example.org/mcp", headers={"Authorization": "Bearer canary"})
    child_route = ChildRoute(command=("server",), env={"KEY": "canary"})
    assert "canary" not in repr((http_route, child_route))


@pytest.mark.parametrize("body", [b"", b'{"error": "invalid_token"}'])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_says_what_is_missing(status: int, body: bytes) -> None:
    async with scripted(lambda *_: http(status, body, {"content-type": "application/json"})) as server:
        with pytest.raises(McpConnectionError, match=rf"refused access \(HTTP {status}\): give it headers= or auth="):
            async with at(server.url):
                pass


async def test_a_session_that_the_server_forgot_is_made_anew_and_the_call_sent_once() -> None:
    forgotten: set[str] = set()
    executed: list[str] = []

    def answer(method: str, headers: dict[str, str], message: dict[str, Any]) -> bytes:
        if headers.get("mcp-session-id") in forgotten:
            return http(404, b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": "Session not found"}}')
        if method == "tools/call":
            executed.append(headers["mcp-session-id"])
        return b""

    async with scripted(answer) as server, at(server.url, policy=TRUSTED) as client:
        assert (await _work(client)).content == "done"
        forgotten.add("s1")
        assert (await _work(client)).content == "done"
    assert executed == ["s1", "s2"]


async def test_a_call_whose_answer_was_cut_off_is_not_repeated_and_the_next_one_works() -> None:
    cut = {"left": 1}

    def answer(method: str, headers: dict[str, str], message: dict[str, Any]) -> bytes | None:
        if method == "tools/call" and cut["left"]:
            cut["left"] -= 1
            return None
        return b""

    async with scripted(answer) as server, at(server.url, policy=TRUSTED) as client:
        result = await _work(client)
        assert "the connection was lost during the call" in str(result.error)
        assert server.count("tools/call") == 1
        assert (await _work(client)).content == "done"
    assert server.sessions == 1


async def test_a_call_that_found_nobody_is_sent_when_the_server_is_there_again() -> None:
    """The new process knows nothing of the session either."""
    port = free_port()
    command = ["-m", "mcp_simple_streamablehttp", "--port", str(port), "--log-level", "ERROR"]
    call = ToolCall("h_start-notification-stream", {"interval": 0.01, "count": 1, "caller": "us"})
    results: list[ToolResult] = []
    with ExitStack() as first, ExitStack() as second:
        url = first.enter_context(listening(command, example("simple-streamablehttp"), port=port))
        async with at(url, policy=McpPolicy(trusted=True, reconnects=12, timeout=60)) as client:
            registry = Registry(await client.tools())
            assert (await registry.call(call)).error is None
            first.close()
            again = listening(command, example("simple-streamablehttp"), port=port)
            async with anyio.create_task_group() as tasks:

                async def run() -> None:
                    results.append(await registry.call(call))

                tasks.start_soon(run)
                await anyio.sleep(0.2)  # it is refused meanwhile, of which nobody hears
                assert results == []
                await anyio.to_thread.run_sync(second.enter_context, again)
    assert results[0].error is None


@pytest.mark.parametrize("kind", ["json", "sse", "gzip"])
async def test_answers_without_bounds_are_refused(kind: str) -> None:
    def answer(method: str, headers: dict[str, str], message: dict[str, Any]) -> bytes:
        if method != "tools/call":
            return b""
        text = json.dumps(
            {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "z" * 3_000_000}]}}
        )
        if kind == "sse":
            return http(200, f"data: {text}\n\n".encode(), {"content-type": "text/event-stream"})
        if kind == "gzip":
            packed = gzip.compress(text.encode())
            return http(200, packed, {"content-type": "application/json", "content-encoding": "gzip"})
        return http(200, text.encode(), {"content-type": "application/json"})

    policy = McpPolicy(trusted=True, max_message=1_000_000, reconnects=0)
    async with scripted(answer) as server, at(server.url, policy=policy) as client:
        result = await _work(client)
        assert result.error is not None
        assert "z" * 1_000 not in str(result.content)
        assert server.count("tools/call") == 1
    assert all(headers.get("accept-encoding") == "identity" for headers, _ in server.received)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff" * 100 + b"\r\n\r\n",
        http(200, b"<html>", {"content-type": "text/html"}),
        http(500, b"oops"),
        http(202, b""),
    ],
)
async def test_answers_that_are_none_are_errors(garbage: bytes) -> None:
    answer: Answer = lambda method, *_: garbage if method == "tools/call" else b""  # noqa: E731
    async with scripted(answer) as server, at(server.url, policy=TRUSTED) as client:
        assert (await _work(client)).error is not None


async def test_a_server_that_accepts_and_never_answers_is_given_up() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        started = time.monotonic()
        with pytest.raises(McpConnectionError, match=r"did not shake hands within 0\.5 s: no answer"):
            async with at(url, policy=McpPolicy(start_timeout=0.5)):
                pass
        assert time.monotonic() - started < 20


async def test_two_calls_at_once_do_not_share_a_failure() -> None:
    def answer(method: str, headers: dict[str, str], message: dict[str, Any]) -> bytes | None:
        fails = method == "tools/call" and message["params"]["arguments"].get("fail")
        return None if fails else b""

    async with scripted(answer) as server, at(server.url, policy=TRUSTED) as client:
        calls = [ToolCall("h_work", {"fail": True} if number % 2 else {}) for number in range(10)]
        results = await Registry(await client.tools()).call_all(calls)
    assert [result.error is None for result in results] == [True, False] * 5


async def test_a_user_authorizes_once_and_the_token_is_kept(tmp_path: Path) -> None:
    """Against the SDK's example of a server with an authorization server beside it."""
    gate, resource = free_port(), free_port()
    env = example("simple-auth")
    gatekeeper = ["-m", "mcp_simple_auth.auth_server", "--port", str(gate)]
    protected = ["-m", "mcp_simple_auth.server", "--port", str(resource), "--auth-server", f"http://localhost:{gate}"]
    with listening(gatekeeper, env, port=gate), listening(protected, env, port=resource):
        url = f"http://localhost:{resource}/mcp"
        for run in (1, 2):
            browser = Browser()
            auth = oauth(
                url,
                open_page=browser.open_page,
                wait_for_redirect=browser.wait_for_redirect,
                tokens=FileTokens(tmp_path / "tokens.json"),
            )
            network = NetworkPolicy(allow_private=(f"localhost:{gate}", f"localhost:{resource}"))
            async with McpServer.http("h", url, auth=auth, network=network, policy=TRUSTED) as server:
                result = await Registry(await server.tools()).call(ToolCall("h_get_time", {}))
            assert isinstance(result.content, dict), result
            assert result.content["timezone"] == "UTC"
            assert browser.pages == (1 if run == 1 else 0)
        with pytest.raises(BlockedAddress):
            McpServer.http("h", url)


class Browser:
    """A user who logs in on the page that is shown."""

    def __init__(self) -> None:
        self.pages = 0
        self.ended_at = ""

    async def open_page(self, page: str) -> None:
        self.pages += 1
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
            login = await client.get(page)
            state = login.text.partition('name="state" value="')[2].partition('"')[0]
            form = {"state": state, "username": "demo_user", "password": "demo_password"}
            sent = await client.post(
                str(login.url.copy_with(path="/login/callback", query=None)), data=form, follow_redirects=False
            )
            self.ended_at = sent.headers["location"]

    async def wait_for_redirect(self) -> str:
        return self.ended_at


async def test_an_authorization_that_is_not_given_is_told(tmp_path: Path) -> None:
    gate, resource = free_port(), free_port()
    env = example("simple-auth")
    gatekeeper = ["-m", "mcp_simple_auth.auth_server", "--port", str(gate)]
    protected = ["-m", "mcp_simple_auth.server", "--port", str(resource), "--auth-server", f"http://localhost:{gate}"]

    async def show(page: str) -> None:
        assert page.startswith(f"http://localhost:{gate}/")

    async def deny() -> str:
        return "http://localhost:8976/callback?error=access_denied"

    with listening(gatekeeper, env, port=gate), listening(protected, env, port=resource):
        url = f"http://localhost:{resource}/mcp"
        auth = oauth(url, open_page=show, wait_for_redirect=deny, tokens=FileTokens(tmp_path / "tokens.json"))
        network = NetworkPolicy(allow_private=(f"localhost:{gate}", f"localhost:{resource}"))
        with pytest.raises(ToolError, match="the authorization was not given"):
            async with McpServer.http("h", url, auth=auth, network=network):
                pass
