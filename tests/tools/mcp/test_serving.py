"""Our server, in a process of its own, used by the SDK's client in another."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from peers import at, free_port, listening

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError, ToolError
from arriero.tools.mcp import McpPolicy, McpServer, serve

SERVERS = Path(__file__).resolve().parent / "servers"
OURS = str(SERVERS / "ours.py")
TOKEN = "0123456789abcdef0123"
MODES = ("auto", "legacy")
"""The protocol of 2026, and that before."""
Call = tuple[str, dict[str, Any]]
DELETE: Call = ("delete", {"path": "a.txt"})


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    port = free_port()
    with listening([OURS, "http", str(port)], port=port) as url:
        yield url


@pytest.fixture(scope="module")
def asking_url() -> Iterator[str]:
    """With a token, and with tools that need approval."""
    port = free_port()
    with listening([OURS, "http", str(port), TOKEN, "ask"], port=port) as url:
        yield url


@pytest.fixture(scope="module")
def sdk(open_url: str, asking_url: str) -> dict[str, Any]:
    """What the SDK's client got, by job: in both forms of the protocol and over both transports."""
    stdio, asking = [sys.executable, OURS, "stdio"], f"{asking_url} {TOKEN}"
    command = [str(Path(sys.executable).with_name("arriero")), "mcp", "--from", OURS]
    jobs = {"command line": _job("auto", command, [("tools", {}), ("add", {"a": 2})])}
    for mode in MODES:
        jobs[f"used {mode} stdio"] = _job(mode, stdio, CALLS.values())
        jobs[f"used {mode} http"] = _job(mode, open_url, CALLS.values())
        jobs[f"another {mode}"] = _job(mode, open_url, [("session", {})])
        jobs[f"asked {mode} stdio"] = _job(mode, [*stdio, "ask"], [DELETE] * 2, True, False)
        jobs[f"asked {mode} http"] = _job(mode, asking, [DELETE] * 2, True, False)
        jobs[f"cannot ask {mode}"] = _job(mode, asking, [DELETE])
    done = subprocess.run(
        [sys.executable, str(SERVERS / "sdk_client.py")],
        input=json.dumps(list(jobs.values())),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(jobs, json.loads(done.stdout), strict=True))


def _job(mode: str, way: str | list[str], calls: Iterable[Call], *answers: bool) -> dict[str, Any]:
    return {"mode": mode, "way": way, "calls": list(calls), "answers": answers}


@pytest.fixture(params=[(mode, transport) for mode in MODES for transport in ("stdio", "http")], ids=" ".join)
def used(request: pytest.FixtureRequest, sdk: dict[str, Any]) -> "Used":
    """What the calls below gave."""
    mode, transport = request.param
    got = sdk[f"used {mode} {transport}"]
    return Used(mode, transport, got["version"], dict(zip(CALLS, got["results"], strict=True)))


@dataclass(frozen=True)
class Used:
    mode: str
    transport: str
    version: str
    results: dict[str, Any]


CALLS: dict[str, "Call"] = {
    "tools": ("tools", {}),
    "added": ("add", {"a": 2, "b": 3}),
    "mistyped": ("add", {"a": "two"}),
    "failed": ("fail", {}),
    "missing": ("missing", {}),
    "hidden": ("delete", {"path": "a"}),
    "slow": ("slow", {}),
    "slow in a thread": ("slow_thread", {}),
    "cancelled": ("cancel", {"tool": "hang"}),
    "hung": ("hung", {}),
    "drawn": ("draw", {}),
    "read": ("read", {"uri": "the last link"}),
    "read another": ("read", {"uri": f"arriero://artifact/{'0' * 32}"}),
    "read a path": ("read", {"uri": "file:///etc/passwd"}),
    "session": ("session", {}),
    "session again": ("session", {}),
}


def _texts(result: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in result["content"])


def test_the_sdk_s_client_lists_our_tools(used: Used) -> None:
    tools = used.results["tools"]
    assert (used.version >= "2026") == (used.mode == "auto")
    assert [tool["name"] for tool in tools] == "add fail draw slow slow_thread hang hung session".split()
    assert tools[0]["description"] == "Add two numbers."
    assert tools[0]["inputSchema"]["properties"]["b"]["description"] == "The other."
    assert tools[0]["inputSchema"]["required"] == ["a"]


def test_calls_give_text_and_structured_content(used: Used) -> None:
    added = used.results["added"]
    assert (added["structuredContent"], added.get("isError")) == ({"sum": 5}, False)
    assert json.loads(_texts(added)) == {"sum": 5}


def test_what_goes_wrong_is_an_error_that_says_what(used: Used) -> None:
    mistyped, failed = used.results["mistyped"], used.results["failed"]
    assert mistyped["isError"]
    assert "argument 'a'" in _texts(mistyped)
    assert (failed["isError"], _texts(failed)) == (True, "error: the disk is full")
    assert "there is no tool 'missing'" in used.results["missing"]["message"]


def test_tools_that_need_approval_are_not_there_unless_asked_for(used: Used) -> None:
    assert "there is no tool 'delete'" in used.results["hidden"]["message"]


@pytest.mark.parametrize("name", ["slow", "slow in a thread"])
def test_progress_is_told(used: Used, name: str) -> None:
    worked = used.results[name]
    assert _texts(worked) == "worked"
    assert worked["steps"] == [[float(done), 3.0, f"step {done}"] for done in (1, 2, 3)]


def test_a_call_that_the_client_cancels_ends(used: Used) -> None:
    assert used.results["cancelled"] == "cancelled"
    assert _texts(used.results["hung"]) == "0"


def test_files_arrive_as_pictures_sounds_resources_and_links(used: Used) -> None:
    text, picture, table, sound, large = used.results["drawn"]["content"]
    assert text["text"].startswith("drawn")
    assert (picture["type"], base64.b64decode(picture["data"])) == ("image", b"\x89PNG")
    assert base64.b64decode(table["resource"]["blob"]) == b"a,b"
    assert table["resource"]["mimeType"] == "text/csv"
    assert (sound["type"], base64.b64decode(sound["data"])) == ("audio", b"RIFF")
    assert (large["type"], large["size"], large["name"]) == ("resource_link", 600_000, "large.bin")


def test_a_large_file_is_read_by_its_link_and_no_other_file_is(used: Used) -> None:
    assert used.results["read"] == [len(base64.b64encode(bytes(600_000)))]
    for other in ("read another", "read a path"):
        assert "there is no resource" in used.results[other]["message"]


def test_clients_over_http_do_not_share_a_session(used: Used, sdk: dict[str, Any]) -> None:
    own = [_texts(used.results[name]) for name in ("session", "session again")]
    if used.transport == "stdio":
        assert own == ["mcp", "mcp"]
        return
    assert (own[0] == own[1]) == (used.mode == "legacy")
    (other,) = sdk[f"another {used.mode}"]["results"]
    assert _texts(other) not in own


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("mode", MODES)
def test_tools_that_need_approval_are_run_when_the_client_s_user_agrees(
    mode: str, transport: str, sdk: dict[str, Any]
) -> None:
    asked = sdk[f"asked {mode} {transport}"]
    agreed, refused = asked["results"]
    assert asked["asked"] == ['Run the tool delete with the arguments {"path": "a.txt"}?'] * 2
    assert (agreed["isError"], refused["isError"]) == (False, True)
    assert _texts(agreed) == "deleted a.txt"
    assert "deleted" not in _texts(refused)


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_cannot_ask_runs_nothing_that_needs_approval(mode: str, sdk: dict[str, Any]) -> None:
    (result,) = sdk[f"cannot ask {mode}"]["results"]
    assert result["isError"]
    assert "a person must approve it" in _texts(result)


def _post(url: str, **headers: str) -> int:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"accept": "application/json, text/event-stream"}
    return httpx2.post(url, json=body, headers=accept | headers, trust_env=False).status_code


def test_requests_without_the_token_are_refused(asking_url: str) -> None:
    wrong = ["", "Bearer", "Bearer " + "0" * 20, f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
    assert [_post(asking_url, authorization=value) for value in wrong] == [401] * len(wrong)
    assert _post(asking_url) == 401
    assert _post(asking_url, authorization=f"Bearer {TOKEN}") != 401


def test_requests_of_web_pages_and_for_other_hosts_are_refused(open_url: str) -> None:
    """A page that rebinds its name to this machine sends its own name as Host, and its origin."""
    port = open_url.split(":")[2].partition("/")[0]
    assert _post(open_url, host=f"evil.example:{port}") == 421
    assert _post(open_url, host=f"127.0.0.1.evil.example:{port}") == 421
    assert _post(open_url, origin="http://evil.example") == 403
    assert _post(open_url, origin=f"http://localhost:{port}") == 403
    assert _post(open_url, host=f"localhost:{port}") not in (421, 403)


@pytest.mark.anyio
async def test_a_server_for_other_machines_needs_a_good_token() -> None:
    with pytest.raises(ToolDefinitionError, match=r"on 0\.0\.0\.0, where other machines reach them, needs a token"):
        await serve(Registry(), transport="http", host="0.0.0.0", port=0)
    with pytest.raises(ToolDefinitionError, match="the token has 5 characters"):
        await serve(Registry(), transport="http", token="short")


@pytest.mark.anyio
async def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ToolError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await serve(Registry(), transport="http", port=port)


@pytest.mark.anyio
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_our_client_and_our_server_understand_each_other(transport: str, open_url: str) -> None:
    policy = McpPolicy(trusted=True)
    server = (
        McpServer.stdio("h", sys.executable, [OURS, "stdio"], policy=policy)
        if transport == "stdio"
        else at(open_url, policy=policy)
    )
    async with server:
        registry = Registry(await server.tools())
        assert (await registry.call(ToolCall("h_add", {"a": 2}))).content == {"sum": 3}
        drawn = await registry.call(ToolCall("h_draw", {}))
        assert [kept.media_type for kept in drawn.artifacts] == ["image/png", "text/csv", "audio/wav"]
        assert (await registry.call(ToolCall("h_fail", {}))).error == "error: the disk is full"


def test_the_command_line_serves_the_tools_of_a_file(sdk: dict[str, Any]) -> None:
    tools, added = sdk["command line"]["results"]
    assert {"add", "slow"} <= {tool["name"] for tool in tools}
    assert added["structuredContent"] == {"sum": 3}


@pytest.mark.anyio
async def test_a_served_process_ends_when_its_client_goes() -> None:
    process = await anyio.open_process([sys.executable, OURS, "stdio"])
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.fail_after(20):
        assert await process.wait() == 0
