"""`arriero mcp` against the SDK's client, and servers as a source of tools for `arriero tools`."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

ARRIERO = [sys.executable, "-c", "from arriero.cli import app; app(prog_name='arriero')"]
TOKEN = "CANARY-token-of-32-characters-ok"
TOOLS = '''
from arriero.tools import tool

@tool
def double(number: float) -> float:
    """Double a number."""
    return 2 * number

@tool
def prints() -> str:
    """Prints."""
    print("this is no message of the protocol", flush=True)
    return "printed"

@tool(sensitive=True)
def erase(path: str) -> str:
    """Erase a file."""
    return f"erased {path}"
'''


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    file = tmp_path / "tools.py"
    file.write_text(TOOLS)
    return file


@asynccontextmanager
async def client(*options: str, **more: Any) -> AsyncIterator[Client]:
    server = StdioServerParameters(command=ARRIERO[0], args=[*ARRIERO[1:], "mcp", *options], env=dict(os.environ))
    async with Client(server, read_timeout_seconds=30, **more) as connected:
        yield connected


async def names(connected: Client) -> list[str]:
    return [tool.name for tool in (await connected.list_tools()).tools]


async def text(connected: Client, name: str, **arguments: object) -> str:
    result = await connected.call_tool(name, arguments)
    return "".join(block.text for block in result.content if block.type == "text")


@pytest.mark.anyio
async def test_tools_of_a_file_are_offered_over_standard_streams(tools: Path) -> None:
    async with client("--from", str(tools)) as connected:
        assert await names(connected) == ["double", "prints"]
        assert await text(connected, "double", number=4) == "8.0"
        assert await text(connected, "prints") == "printed"
        assert await text(connected, "double", number=5) == "10.0"


@pytest.mark.anyio
async def test_built_in_tools_are_offered_where_no_others_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hay")
    async with client("--root", str(tmp_path)) as connected:
        assert {"web_search", "web_fetch", "code_interpreter", "file_read", "file_list"} <= set(await names(connected))
        assert "file_write" not in await names(connected)
        assert await text(connected, "file_read", path="a.txt") == "hay"
        assert "42" in await text(connected, "code_interpreter", code="6 * 7")


@pytest.mark.anyio
async def test_tools_are_chosen_by_name(tools: Path) -> None:
    async with client("--from", str(tools), "--tool", "double", "--tool", "knowledge_search") as connected:
        assert await names(connected) == ["knowledge_search", "double"]


@pytest.mark.anyio
async def test_a_sensitive_tool_is_offered_where_wanted_and_the_clients_user_asked(tools: Path) -> None:
    import mcp_types

    async def agree(*_: object) -> mcp_types.ElicitResult:
        return mcp_types.ElicitResult(action="accept", content={"approve": True})

    options = ("--from", str(tools), "--sensitive")
    async with client(*options, elicitation_callback=agree) as connected:
        assert await text(connected, "erase", path="a") == "erased a"
    async with client(*options) as connected:
        assert "erased" not in await text(connected, "erase", path="a")


@contextmanager
def listening(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    environment = os.environ | {"ARRIERO_MCP_TOKEN": TOKEN}
    command = [*ARRIERO, "mcp", *options, "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().strip(), process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


@pytest.mark.anyio
async def test_over_http_only_who_has_the_token_is_served_until_ctrl_c(tools: Path) -> None:
    with listening("--from", str(tools)) as (url, process):
        async with httpx2.AsyncClient() as http:
            assert (await http.post(url, json={})).status_code == 401
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
            Client(streamable_http_client(url, http_client=http), read_timeout_seconds=30) as connected,
        ):
            assert await text(connected, "double", number=4) == "8.0"
    assert process.returncode == 0


def test_tools_of_a_server_that_is_a_program_are_called(arriero, tools: Path) -> None:
    server = "other=" + shlex.join([*ARRIERO, "mcp", "--from", str(tools)])
    done = arriero("tools", "call", "other_double", "number=4", "--mcp", server, "--yes")
    assert (done.code, done.out) == (0, "8.0\n")
    # nobody vouches for it: somebody must agree to each call
    assert arriero("tools", "call", "other_double", "number=4", "--mcp", server).code == 1


def test_tools_of_a_server_at_an_address_are_called_with_its_token(
    arriero, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening("--from", str(tools)) as (url, _):
        command = ("tools", "call", "far-off_double", "number=4", "--mcp", f"far-off={url}", "--yes")
        refused = arriero(*command)
        assert (refused.code, refused.out) == (1, "")
        monkeypatch.setenv("ARRIERO_MCP_FAR_OFF_TOKEN", TOKEN)
        assert arriero(*command).out == "8.0\n"


def test_a_server_that_is_not_there_is_one_clear_line(arriero) -> None:
    done = arriero("tools", "list", "--mcp", "gone=/no/such/program")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--http", "127.0.0.1"], 2, "HOST:PORT"),
        (["--http", "127.0.0.1:70000"], 2, "HOST:PORT"),
        (["--tool", "hammer"], 2, "hammer"),
        (["--tool", "file_read"], 2, "--root"),
        (["--http", "0.0.0.0:0", "--tool", "web_search"], 1, "needs a token"),
        (["--http", "127.0.0.1:0", "--token", "short", "--tool", "web_search"], 1, "at least 16"),
    ],
)
def test_options_that_cannot_work_are_told(
    arriero, arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ARRIERO_MCP_TOKEN", raising=False)
    done = arriero("mcp", *arguments)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert "short" not in done.err
