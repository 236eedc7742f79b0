"""Servers that do everything wrong: each ends in a clear error, and leaves nothing behind."""

import json
import logging
import os
import sys
import time
from pathlib import Path

import anyio
import pytest
from peers import alive, faulty

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolError
from arriero.tools.context import Progress, ToolContext
from arriero.tools.mcp import Elicitation, McpConnectionError, McpPolicy, McpServer, Sampling
from arriero.tools.registry import ToolResult

pytestmark = pytest.mark.anyio

TRUSTED = McpPolicy(trusted=True, timeout=20)
IMPATIENT = McpPolicy(trusted=True, start_timeout=1.0)


async def _work(server: McpServer, context: ToolContext | None = None) -> ToolResult:
    return await Registry(await server.tools()).call(ToolCall("f_work", {}), context)


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(McpConnectionError, match="'/no/such/program' cannot be started"):
        async with McpServer.stdio("f", "/no/such/program"):
            pass


async def test_a_server_that_dies_at_the_start_is_told_with_its_status() -> None:
    server = faulty("dies", policy=TRUSTED)
    with pytest.raises(McpConnectionError, match="MCP server 'f' cannot be used: its process ended with status 3"):
        async with server:
            pass
    assert server.stderr == "no configuration\n"


async def test_a_server_that_never_answers_is_given_up_at_its_deadline() -> None:
    started = time.monotonic()
    with pytest.raises(McpConnectionError, match="did not shake hands within 1 s: its process gave no answer"):
        async with faulty("silent", policy=IMPATIENT):
            pass
    assert time.monotonic() - started < 20


async def test_text_on_the_standard_output_that_is_no_message_is_passed_over() -> None:
    async with faulty("banner", policy=TRUSTED) as server:
        assert (await _work(server)).content == "done"


async def test_a_program_that_only_prints_is_no_server() -> None:
    with pytest.raises(McpConnectionError, match="65536 bytes to its standard output that are no MCP messages"):
        async with faulty("prints", policy=TRUSTED):
            pass


@pytest.mark.parametrize("fault", ["huge result", "endless line"])
async def test_a_message_without_end_is_cut_off(fault: str) -> None:
    policy = McpPolicy(trusted=True, timeout=20, max_message=1_000_000, reconnects=0)
    async with faulty(fault, policy=policy) as server:
        result = await _work(server)
    assert "it sent a message of more than 1000000 bytes" in str(result.error)


async def test_a_call_that_was_under_way_when_the_server_died_is_not_repeated(tmp_path: Path) -> None:
    async with faulty("dies in a call", folder=tmp_path, policy=TRUSTED) as server:
        result = await _work(server)
        assert (tmp_path / "counts.called").read_text() == "x"
        assert "the connection was lost during the call" in str(result.error)
        assert "It may or may not have been carried out" in str(result.error)
        await _work(server)  # the next call meets a new process
    assert (tmp_path / "counts.called").read_text() == "xx"


@pytest.mark.parametrize("fault", ["idempotent", "read only"])
async def test_a_call_that_does_no_harm_twice_is_repeated_for_a_trusted_server(fault: str, tmp_path: Path) -> None:
    async with faulty(fault, folder=tmp_path, policy=TRUSTED) as server:
        assert (await _work(server)).content == "done at last"
    assert (tmp_path / "counts.called").read_text() == "xx"


async def test_what_an_untrusted_server_says_about_itself_repeats_nothing(tmp_path: Path) -> None:
    async with faulty("idempotent", folder=tmp_path) as server:
        (tool,) = await server.tools()
        with pytest.raises(ToolError, match="It may or may not have been carried out"):
            await tool.handler({}, ToolContext())
    assert (tmp_path / "counts.called").read_text() == "x"


async def test_a_server_that_died_between_calls_is_started_again(tmp_path: Path) -> None:
    async with faulty("dies later", folder=tmp_path, policy=TRUSTED) as server:
        for _ in range(3):
            await _until_dead(int(str((await _work(server)).content)))


async def test_a_server_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    async with faulty("dies with tools", folder=tmp_path, policy=McpPolicy(trusted=True, reconnects=1)) as server:
        (tool,) = await server.tools()
        for _ in range(3):
            await _until_dead(int(str((await Registry([tool]).call(ToolCall("f_work", {}))).content)))
        result = await Registry([tool]).call(ToolCall("f_work", {}))
    assert "MCP server 'f' cannot be used: its process ended with status 4" in str(result.error)


async def _until_dead(pid: int) -> None:
    with anyio.fail_after(10):
        while alive(pid):  # noqa: ASYNC110 - it is no child of ours that we could wait for
            await anyio.sleep(0.01)
    await anyio.sleep(0.01)  # until the event loop has looked, and then
    await anyio.wait_all_tasks_blocked()  # until the end of its output has been seen


async def _until_received(folder: Path, words: str) -> str:
    """What the server received, once the words are in it; it is another process, so we look."""
    with anyio.fail_after(10):
        while words not in (text := (folder / "received").read_text()):  # noqa: ASYNC110
            await anyio.sleep(0.01)
    return text


async def test_a_cancelled_call_returns_at_once_and_the_server_is_told(tmp_path: Path) -> None:
    async with faulty("hangs in a call", folder=tmp_path, policy=TRUSTED) as server:
        registry = Registry(await server.tools())
        with anyio.move_on_after(10) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(registry.call, ToolCall("f_work", {}))
                await _until_received(tmp_path, '"tools/call"')
                started = time.monotonic()
                tasks.cancel_scope.cancel()
        assert not scope.cancelled_caught
        assert time.monotonic() - started < 5
        received = [json.loads(line) for line in (await _until_received(tmp_path, "cancelled")).splitlines()]
    called = next(message for message in received if message["method"] == "tools/call")
    cancelled = next(message for message in received if message["method"] == "notifications/cancelled")
    assert cancelled["params"]["requestId"] == called["id"]


@pytest.mark.parametrize("fault", ["hangs in a call", "deaf in a call", "wrong id"])
async def test_a_call_ends_at_its_deadline_whatever_the_server_does(fault: str) -> None:
    async with faulty(fault, policy=McpPolicy(trusted=True, timeout=1.5)) as server:
        started = time.monotonic()
        result = await _work(server)
        assert time.monotonic() - started < 20
    assert "f_work took longer than 1.5 s" in str(result.error)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("no result", "f: the server answered against the protocol"),
        ("not base64", "the server sent a file that is not base64"),
        ("fails", "the disk is full"),
        ("refuses", "f: no[31m way"),
        ("structured wrong", "value 'n': 'seven' is not of type 'integer'"),
        ("structured none", "declares a structured result and gave none"),
    ],
)
async def test_wrong_results_are_errors_in_words(fault: str, problem: str) -> None:
    async with faulty(fault, policy=TRUSTED) as server:
        result = await _work(server)
    assert problem in str(result.error)


async def test_structured_content_is_given_once() -> None:
    async with faulty("structured", policy=TRUSTED) as server:
        assert (await _work(server)).content == {"text": "seven", "structured": {"n": 7}}
    async with faulty("structured same", policy=TRUSTED) as server:
        assert (await _work(server)).content == {"n": 7}


async def test_progress_is_told_without_control_characters() -> None:
    heard: list[object] = []
    async with faulty("progress", policy=TRUSTED) as server:
        await _work(server, ToolContext(report=heard.append))
    assert [said.message for said in heard if isinstance(said, Progress)] == ["step 1", "step 2", "step 3"]


async def test_a_list_that_never_ends_is_an_error() -> None:
    async with faulty("endless list", policy=TRUSTED) as server:
        with pytest.raises(ToolError, match="the server's list does not end"):
            await server.tools()


async def test_a_list_is_read_only_so_far() -> None:
    async with faulty("fat list", policy=TRUSTED) as server:
        with pytest.raises(ToolError, match="the server's list is longer than 16777216 bytes"):
            await server.tools()


async def test_half_a_character_does_not_lose_the_result() -> None:
    async with faulty("half a character", policy=TRUSTED) as server:
        assert (await _work(server)).content == "a?b"


async def test_of_very_many_files_some_are_kept() -> None:
    async with faulty("many files", policy=TRUSTED) as server:
        result = await _work(server)
    assert len(result.artifacts) == 100
    assert str(result.content).endswith("[900 more files were left out]")


async def test_only_some_questions_are_answered_at_once() -> None:
    asked = 0

    async def elicit(elicitation: Elicitation) -> dict[str, str | int | float | bool | list[str] | None] | None:
        nonlocal asked
        asked += 1
        while asked < 8:  # noqa: ASYNC110 - the others come as fast as the server sends them
            await anyio.sleep(0.01)
        await anyio.sleep(1)
        return {}

    async with faulty("asks much", policy=McpPolicy(trusted=True, elicit=elicit)) as server:
        result = await _work(server)
    assert result.content == f"{asked} of 100"
    assert 8 <= asked < 100


async def test_the_environment_of_this_process_stays_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANARY_KEY", "sk-canary")
    async with faulty("environment", folder=tmp_path, policy=TRUSTED) as server:
        seen = json.loads(str((await _work(server)).content))
    assert "sk-canary" not in str(seen)
    allowed = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "RECEIVED", "COUNTS"}
    assert set(seen) - {"__CF_USER_TEXT_ENCODING"} <= allowed


async def test_no_process_is_left_when_the_connection_closes() -> None:
    async with faulty("pids", policy=TRUSTED) as server:
        pids = json.loads(str((await _work(server)).content))
        assert [alive(pid) for pid in pids] == [True, True]
    assert [alive(pid) for pid in pids] == [False, False]


async def test_no_process_is_left_when_the_caller_is_cancelled(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with faulty("pids", policy=TRUSTED) as server:
            pids = json.loads(str((await _work(server)).content))
            scope.cancel()
            await anyio.sleep(60)
    assert [alive(pid) for pid in pids] == [False, False]


async def test_a_server_that_does_not_want_to_end_is_ended() -> None:
    started = time.monotonic()
    async with faulty("stays", policy=TRUSTED) as server:
        await server.tools()
    assert time.monotonic() - started < 10


async def test_the_standard_error_is_drained_kept_bounded_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with faulty("stderr", policy=TRUSTED) as server:
        assert (await _work(server)).content == "written"
        assert len(server.stderr) == 8_192
    assert "canary" not in caplog.text


@pytest.mark.parametrize("fault", ["banner", "bad notification"])
async def test_nothing_that_a_server_says_is_printed(fault: str, tmp_path: Path) -> None:
    """In a process of its own, where nobody configured logging: Python prints warnings there."""
    program = f"""
import sys, anyio
sys.path.insert(0, {str(Path(__file__).parent)!r})
from peers import faulty
from arriero.prompts.messages import ToolCall
from arriero.tools import Registry
from arriero.tools.mcp import McpPolicy
async def main():
    async with faulty({fault!r}, policy=McpPolicy(trusted=True)) as server:
        result = await Registry(await server.tools()).call(ToolCall("f_work", {{}}))
        assert result.error is None, result
anyio.run(main)
"""
    done = await anyio.run_process([sys.executable, "-c", program], env=os.environ, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("elicits", "Elicitation not supported"),
        ("elicits a page", "Elicitation not supported"),
        ("samples", "Sampling not supported"),
        ("roots", "List roots not supported"),
    ],
)
async def test_what_a_server_asks_is_refused_by_default(fault: str, words: str) -> None:
    async with faulty(fault, policy=TRUSTED) as server:
        assert words in str((await _work(server)).content)


async def test_what_a_server_asks_is_answered_by_those_named() -> None:
    asked: list[Elicitation | Sampling] = []

    async def elicit(elicitation: Elicitation) -> dict[str, str | int | float | bool | list[str] | None] | None:
        asked.append(elicitation)
        return None if elicitation.url else {"name": "Ada"}

    async def sample(sampling: Sampling) -> str | None:
        asked.append(sampling)
        return "Lima"

    policy = McpPolicy(trusted=True, elicit=elicit, sample=sample)
    results = []
    for fault in ("elicits", "elicits a page", "samples"):
        async with faulty(fault, policy=policy) as server:
            results.append(json.loads(str((await _work(server)).content)))
    assert results[0] == {"action": "accept", "content": {"name": "Ada"}}
    assert results[1] == {"action": "decline"}
    assert results[2]["content"] == {"type": "text", "text": "Lima"}
    first, second, third = asked
    assert isinstance(first, Elicitation)
    assert (first.server, first.message, first.url) == ("f", "Your name?", None)
    assert isinstance(second, Elicitation)
    assert second.url == "https://example.org/"
    assert isinstance(third, Sampling)
    assert (third.messages, third.max_tokens) == ((("user", "Capital of Peru?"),), 9)


async def test_a_server_that_is_not_connected_says_what_to_do() -> None:
    with pytest.raises(McpConnectionError, match="use it inside of `async with`"):
        await faulty("fine").tools()


async def test_an_error_inside_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with faulty("fine"):
            raise KeyError("mine")


async def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async with faulty("fine", policy=TRUSTED) as server:
        results = await Registry(await server.tools()).call_all([ToolCall("f_work", {})] * 50)
    assert [result.content for result in results] == ["done"] * 50
