"""Our client against the example servers of the official SDK, unmodified, as processes of their own."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from peers import EVERYTHING, EXAMPLES, at, example, free_port, listening

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry
from arriero.tools.context import Progress, ToolContext
from arriero.tools.mcp import Elicitation, McpPolicy, McpServer, Sampling

pytestmark = pytest.mark.anyio

TRUSTED = McpPolicy(trusted=True)
WAYS = [(transport, legacy) for transport in ("stdio", "http") for legacy in (False, True)]
"""Both transports, in the protocol of 2026 and that of 2025."""


@pytest.fixture(scope="module")
def everything_url() -> Iterator[str]:
    port = free_port()
    command = ["-m", "mcp_everything_server", "--port", str(port), "--log-level", "ERROR"]
    with listening(command, example("everything-server"), port=port) as url:
        yield url


@pytest.fixture(scope="module", params=WAYS, ids=str)
async def everything(request: pytest.FixtureRequest, everything_url: str) -> AsyncIterator[McpServer]:
    transport, legacy = request.param
    async with _everything(transport, everything_url, replace(TRUSTED, legacy=legacy)) as server:
        yield server


@pytest.fixture(scope="module", params=WAYS, ids=str)
async def answered(request: pytest.FixtureRequest, everything_url: str) -> AsyncIterator[tuple[McpServer, bool]]:
    """The same, with somebody who answers what the server asks, and whether it is the protocol of 2025."""
    transport, legacy = request.param
    policy = McpPolicy(trusted=True, elicit=_answer, sample=_sample, legacy=legacy)
    async with _everything(transport, everything_url, policy) as server:
        yield server, legacy


def _everything(transport: str, url: str, policy: McpPolicy) -> McpServer:
    if transport == "http":
        return at(url, policy=policy)
    return McpServer.stdio("h", sys.executable, ["-c", EVERYTHING], env=example("everything-server"), policy=policy)


async def _call(server: McpServer, tool: str, arguments: dict[str, object] | None = None) -> object:
    return (await Registry(await server.tools()).call(ToolCall(f"h_{tool}", arguments or {}))).content


async def test_every_tool_of_the_everything_server_is_offered(everything: McpServer) -> None:
    tools = {tool.name: tool for tool in await everything.tools()}
    assert everything.refused == {}
    assert len(tools) == 28
    assert tools["h_test_simple_text"].description == "Tests simple text content response"
    assert tools["h_json_schema_2020_12_tool"].parameters["$defs"]["address"]["$anchor"] == "addressDef"


async def test_text_pictures_sounds_and_files_come_back(everything: McpServer) -> None:
    registry = Registry(await everything.tools())
    mixed = await registry.call(ToolCall("h_test_multiple_content_types", {}))
    picture = await registry.artifacts.get(mixed.artifacts[0].id)
    sound = await registry.call(ToolCall("h_test_audio_content", {}))
    assert await _call(everything, "test_simple_text") == "This is a simple text response for testing."
    assert await _call(everything, "test_embedded_resource") == "This is an embedded resource content."
    assert str(mixed.content).startswith("Multiple content types test:\n[image image-1.png]\n")
    assert picture.startswith(b"\x89PNG")
    assert [(kept.media_type, kept.size) for kept in sound.artifacts] == [("audio/wav", 44)]
    assert mixed.source == "MCP server h"


async def test_a_tool_s_error_is_a_result_that_the_model_reads(everything: McpServer) -> None:
    registry = Registry(await everything.tools())
    result = await registry.call(ToolCall("h_test_error_handling", {}))
    assert "This tool intentionally returns an error for testing" in str(result.error)
    assert "This tool intentionally returns an error for testing" in str(result.content)


async def test_wrong_arguments_are_refused_here_with_the_argument_s_name(everything: McpServer) -> None:
    assert "argument 'prompt': missing" in str(await _call(everything, "test_sampling"))
    refused = str(await _call(everything, "json_schema_2020_12_tool", {"contactMethod": "pigeon", "phone": "1"}))
    assert "'pigeon' is not one of" in refused


async def test_progress_reaches_the_caller(everything: McpServer) -> None:
    heard: list[object] = []
    registry = Registry(await everything.tools())
    await registry.call(ToolCall("h_test_tool_with_progress", {}), ToolContext(report=heard.append))
    steps = [(said.done, said.total, said.message) for said in heard if isinstance(said, Progress)]
    assert steps == [(float(done), 100.0, f"Completed step {done} of 100") for done in (0, 50, 100)]


async def test_resources_are_listed_and_read(everything: McpServer) -> None:
    found = {resource.uri: resource for resource in await everything.resources()}
    text = await everything.read_resource("test://static-text")
    binary = await everything.read_resource("test://static-binary")
    filled = await everything.read_resource("test://template/7/data")
    assert found["test://template/{id}/data"].template
    assert not found["test://static-text"].template
    assert text.content == "This is the content of the static text resource."
    assert binary.attachments[0].data.startswith(b"\x89PNG")
    assert json.loads(str(filled.content))["id"] == "7"


async def test_prompts_are_listed_and_filled_in(everything: McpServer) -> None:
    found = {prompt.name: prompt for prompt in await everything.prompts()}
    messages = await everything.get_prompt("test_prompt_with_arguments", {"arg1": "hay", "arg2": "oats"})
    picture = await everything.get_prompt("test_prompt_with_image")
    assert found["test_prompt_with_arguments"].arguments == (("arg1", True), ("arg2", True))
    assert (messages[0].role, messages[0].text) == ("user", "Prompt with arguments: arg1='hay', arg2='oats'")
    assert picture[0].attachments[0].media_type == "image/png"


async def test_what_a_server_asks_is_refused_unless_somebody_answers(everything: McpServer) -> None:
    for kind in ("elicitation", "sampling"):
        newer = await _call(everything, f"test_input_required_result_{kind}")
        older = await _call(everything, f"test_{kind}", {"message": "Who?", "prompt": "Who?"})
        assert str(newer).startswith("error: ")
        assert f"{kind.title()} not supported" in str(older)
    assert str(await _call(everything, "test_input_required_result_list_roots")).startswith("error: ")


async def _answer(asked: Elicitation) -> dict[str, str | int | float | bool | list[str] | None] | None:
    return None if "color" in asked.message else {next(iter(asked.schema["properties"])): "Ada"}


async def _sample(asked: Sampling) -> str | None:
    return f"{asked.messages[0][1]} Paris."


async def test_what_a_server_asks_reaches_those_who_answer(answered: tuple[McpServer, bool]) -> None:
    server, legacy = answered
    if legacy:
        given = await _call(server, "test_elicitation", {"message": "Who?"})
        declined = await _call(server, "test_elicitation", {"message": "What color?"})
        sampled = await _call(server, "test_sampling", {"prompt": "Capital of France?"})
        assert given == 'User response: action=accept, content={"response":"Ada"}'
        assert declined == "User response: action=decline, content={}"
        assert sampled == "LLM response: Capital of France? Paris."
        return
    assert "Ada" in str(await _call(server, "test_input_required_result_elicitation"))
    capital = await _call(server, "test_input_required_result_sampling")
    assert capital == "Model said: What is the capital of France? Paris."
    declined = await _call(server, "test_input_required_result_multi_round")
    assert "None likes" in str(declined) or "likes None" in str(declined)


async def test_a_stream_that_the_server_ends_in_a_call_is_taken_up_again(everything: McpServer) -> None:
    assert await _call(everything, "test_reconnection") == "Reconnection test completed"


@pytest.mark.parametrize("transport", ["stdio", "streamable-http"])
async def test_lists_of_several_pages_are_read_to_the_end(transport: str) -> None:
    env = example("simple-pagination")
    if transport == "stdio":
        async with McpServer.stdio("h", sys.executable, ["-m", "mcp_simple_pagination"], env=env) as server:
            await _check_pages(server)
        return
    port = free_port()
    with listening(
        ["-m", "mcp_simple_pagination", "--transport", transport, "--port", str(port)], env, port=port
    ) as url:
        async with at(url) as server:
            await _check_pages(server)


async def _check_pages(server: McpServer) -> None:
    assert len(await server.tools()) == 25
    assert len(await server.resources()) == 30
    assert len(await server.prompts()) == 20


@pytest.mark.parametrize("options", [(), ("--json-response",)])
async def test_servers_that_stream_and_that_answer_in_json_work_alike(options: tuple[str, ...]) -> None:
    port = free_port()
    command = ["-m", "mcp_simple_streamablehttp", "--port", str(port), "--log-level", "ERROR", *options]
    with listening(command, example("simple-streamablehttp"), port=port) as url:
        async with at(url, policy=TRUSTED) as server:
            arguments = {"interval": 0.01, "count": 3, "caller": "us"}
            said = await _call(server, "start-notification-stream", arguments)
    assert said == "Sent 3 notifications with 0.01s interval for caller: us"


async def test_servers_without_sessions_and_with_a_single_prompt_or_resource_work() -> None:
    async with McpServer.stdio(
        "h", sys.executable, ["-m", "mcp_simple_prompt"], env=example("simple-prompt")
    ) as server:
        assert [prompt.name for prompt in await server.prompts()] == ["simple"]
        assert await server.tools() == []
    async with McpServer.stdio(
        "h", sys.executable, ["-m", "mcp_simple_resource"], env=example("simple-resource")
    ) as server:
        assert {resource.uri for resource in await server.resources()} >= {"file:///greeting.txt"}
    env = example("structured-output-lowlevel")
    command = ["-m", "mcp_structured_output_lowlevel"]
    async with McpServer.stdio("h", sys.executable, command, env=env, policy=TRUSTED) as server:
        weather = await _call(server, "get_weather", {"city": "Lima"})
        assert isinstance(weather, dict)
        assert "temperature" in json.dumps(weather)


@pytest.mark.parametrize(
    ("file", "tool", "arguments", "expected"),
    [
        ("echo.py", "echo_tool", {"text": "hay"}, "hay"),
        ("simple_echo.py", "echo", {"text": "hay"}, "hay"),
        ("readme-quickstart.py", "sum", {"a": 2, "b": "3"}, "5"),
        ("parameter_descriptions.py", "greet_user", {"name": "Ada"}, "Hello Ada!"),
    ],
)
async def test_the_small_examples_work(file: str, tool: str, arguments: dict[str, object], expected: str) -> None:
    path = EXAMPLES / "mcpserver" / file
    code = f"import runpy; runpy.run_path({str(path)!r})['mcp'].run('stdio')"
    async with McpServer.stdio("h", sys.executable, ["-c", code], policy=TRUSTED) as server:
        assert expected in str(await _call(server, tool, arguments))
