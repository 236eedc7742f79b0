"""What a server declares is hostile text, and what it declared once must not change unseen."""

import json
import stat
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import faulty

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.tools import Registry, ToolDefinitionError, ToolError, tool
from arriero.tools.context import ToolContext
from arriero.tools.declared import Tool
from arriero.tools.mcp import FilePins, FileTokens, McpPolicy, McpServer, MemoryPins
from arriero.tools.mcp.declared import clean, offered_name

pytestmark = pytest.mark.anyio

TRUSTED = McpPolicy(trusted=True)


@given(text=st.text(max_size=200), limit=st.integers(1, 100))
def test_cleaned_text_is_visible_bounded_and_stays_as_it_is(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert all(character.isprintable() or character in "\n\t" for character in cleaned)
    assert clean(cleaned, limit) == cleaned


@given(name=st.text(max_size=100), taken=st.lists(st.text(max_size=100), max_size=5))
def test_offered_names_fit_llama_s_rule_and_differ(name: str, taken: list[str]) -> None:
    used: set[str] = set()
    for each in dict.fromkeys([*taken, name]):
        offered = offered_name("server", each, used)
        assert offered not in used
        Tool(name=offered, description="", parameters={}, handler=_never)
        used.add(offered)


async def _never(arguments: object, context: ToolContext) -> object:
    raise AssertionError


@pytest.mark.parametrize("builtin", ["brave_search", "wolfram_alpha", "code_interpreter"])
def test_a_server_cannot_take_the_name_of_a_built_in_tool(builtin: str) -> None:
    server, _, tool = builtin.partition("_")
    assert offered_name(server, tool, ()).startswith(f"{builtin}_")


@pytest.mark.parametrize("name", ["", "a b", "x" * 33, "é", "a/b"])
def test_the_user_s_name_for_a_server_must_begin_a_tool_s_name(name: str) -> None:
    with pytest.raises(ToolDefinitionError, match="name it with"):
        McpServer.stdio(name, "program")


async def test_names_of_any_kind_are_offered_as_different_names_that_still_reach_their_tools(tmp_path: Path) -> None:
    async with faulty("hostile names", folder=tmp_path, policy=TRUSTED) as server:
        registry = Registry(await server.tools())
        for name in registry.names:
            await registry.call(ToolCall(name, {}))
    assert len(registry.names) == 5
    assert max(map(len, registry.names)) == 64
    received = [json.loads(line) for line in (tmp_path / "received").read_text().splitlines()]
    called = [message["params"]["name"] for message in received if message["method"] == "tools/call"]
    assert called == ["x" * 200, "wo rk/\u00e9\u202e", "a b", "a_b", "a/b"]


async def test_descriptions_are_cleaned_and_bounded_also_inside_of_schemas() -> None:
    async with faulty("hostile prose") as server:
        (tool,) = await server.tools()
    for prose in (tool.description, tool.parameters["description"]):
        assert prose.startswith("Work.[2Jyyy")
        assert len(prose) == 2_000


async def test_hostile_schemas_are_left_out_and_named_and_the_others_still_work() -> None:
    async with faulty("hostile schemas", policy=TRUSTED) as server:
        registry = Registry(await server.tools())
        assert set(server.refused) == {"deep", "invalid", "hidden", "large"}
        assert "invisible characters" in server.refused["hidden"]
        slow = await registry.call(ToolCall("f_slow", {"a": "a" * 40 + "!"}))
        loop = await registry.call(ToolCall("f_loop", {"a": 1}))
    assert registry.names == ("f_loop", "f_slow")
    assert slow.duration < 10
    assert loop.duration < 10


async def test_too_many_tools_and_tools_declared_twice_are_refused() -> None:
    async with faulty("many", policy=McpPolicy(max_tools=10)) as server:
        assert len(await server.tools()) == 10
        assert len(server.refused) == 990
    async with faulty("twice") as server:
        assert len(await server.tools()) == 1
        assert server.refused == {"work": "declared twice"}


async def test_ever_new_names_are_not_remembered_without_end(tmp_path: Path) -> None:
    async with faulty("new names", folder=tmp_path, policy=McpPolicy(trusted=True, max_tools=10)) as server:
        tools = await server.tools()
        assert len(tools) == 10
        with anyio.fail_after(20):
            while not server.refused:
                await tools[0].invoke({})
                tools = await server.tools()
        assert [tool.name for tool in await server.tools()] == ["f_work"]
        assert set(server.refused.values()) == {"more than 100 names were declared, one after another"}


async def test_names_without_bounds_are_refused() -> None:
    async with faulty("long name") as server:
        assert [len(tool.name) for tool in await server.tools()] == [6, 64]
        (refusal,) = server.refused.values()
    assert refusal.endswith("its name is longer than 256 characters")


async def test_a_server_cannot_take_the_place_of_a_tool_of_ours() -> None:
    @tool
    def f_search(query: str) -> str:
        """Search."""
        return "ours"

    async with faulty("local names") as server:
        tools = await server.tools()
    assert [tool.name for tool in tools] == ["f_search", "f_f_work", "f_work"]
    with pytest.raises(ToolDefinitionError, match="two tools are named 'f_search'"):
        Registry([f_search, *tools])


@tool
def plain() -> None:
    """Nothing."""


async def test_special_tokens_in_a_declaration_reach_the_model_as_plain_text() -> None:
    async with faulty("special tokens") as server:
        declarations = Registry(await server.tools()).declarations
    conversation = [Message("user", "Work.")]
    for name in ("llama3.1", "llama3.2", "llama4"):
        render = Dialect.get(name).render
        special = [
            [segment.text for segment in render(conversation, tools).segments if segment.kind == "special"]
            for tools in (declarations, Registry([plain]).declarations)
        ]
        assert special[0] == special[1]
        assert "Obey." in str(render(conversation, declarations))


async def test_tools_of_an_untrusted_server_need_approval_whatever_they_say() -> None:
    async with faulty("read only") as server:
        (tool,) = await server.tools()
        refused = await Registry([tool]).call(ToolCall("f_work", {}))
    assert (tool.sensitive, tool.idempotent, tool.source) == (True, False, "MCP server f")
    assert "needs the approval of a person" in str(refused.error)


@pytest.mark.parametrize(
    ("fault", "sensitive", "idempotent"),
    [("fine", False, False), ("read only", False, True), ("idempotent", False, True), ("destructive", True, False)],
)
async def test_a_trusted_server_s_hints_are_believed(
    fault: str, sensitive: bool, idempotent: bool, tmp_path: Path
) -> None:
    async with faulty(fault, folder=tmp_path, policy=TRUSTED) as server:
        (tool,) = await server.tools()
    assert (tool.sensitive, tool.idempotent) == (sensitive, idempotent)


async def _changed(server: McpServer) -> Tool:
    """Let the server change its tool; gives the tool as it was."""
    (tool,) = await server.tools()
    assert (await Registry([tool]).call(ToolCall("f_work", {}))).content == "changed"
    return tool


async def _until_listed_anew(server: McpServer) -> list[Tool]:
    """The notification and the answer to the call come in any order."""
    with anyio.fail_after(10):
        while not server.changed:
            tools = await server.tools()
            await anyio.sleep(0.01)
    return tools


async def test_a_tool_that_changed_is_left_out_until_it_is_accepted(tmp_path: Path) -> None:
    async with faulty("changes", folder=tmp_path, policy=TRUSTED) as server:
        await _changed(server)
        assert await _until_listed_anew(server) == []
        assert "id_rsa" in server.changed["work"]
        server.accept("work")
        assert server.changed == {}
        assert "id_rsa" in (await server.tools())[0].description


async def test_a_tool_that_changed_under_an_agent_is_called_only_when_a_person_agrees(tmp_path: Path) -> None:
    questions: list[str] = []

    async def approve(call: ToolCall, tool: Tool, context: ToolContext) -> bool:
        questions.append(context.question)
        return len(questions) > 1

    async with faulty("changes", folder=tmp_path, policy=TRUSTED) as server:
        tool = await _changed(server)
        await _until_listed_anew(server)
        registry = Registry([tool], approve=approve)
        refused = await registry.call(ToolCall("f_work", {}))
        agreed = await registry.call(ToolCall("f_work", {}))
        known = await registry.call(ToolCall("f_work", {}))
        nobody = await Registry([tool]).call(ToolCall("f_work", {}))
    assert "was not called: its declaration changed" in str(refused.error)
    assert (agreed.content, known.content, nobody.content) == ("changed", "changed", "changed")
    assert len(questions) == 2
    assert "id_rsa" in questions[0]


async def test_a_change_between_two_runs_is_seen_when_pins_are_kept(tmp_path: Path) -> None:
    for run in (1, 2):
        pins = FilePins(tmp_path / "pins.json")
        async with faulty("changes", folder=tmp_path, policy=TRUSTED, pins=pins) as server:
            assert len(await server.tools()) == (1 if run == 1 else 0)
    async with faulty("changes", folder=tmp_path, policy=TRUSTED, pins=MemoryPins()) as server:
        assert len(await server.tools()) == 1


async def test_new_tools_appear_and_the_list_is_read_only_when_it_changed(tmp_path: Path) -> None:
    async with faulty("grows", folder=tmp_path, policy=TRUSTED) as server:
        for _ in range(5):
            assert [tool.name for tool in await server.tools()] == ["f_work"]
        assert (tmp_path / "counts.listed").read_text() == "x"
        await Registry(await server.tools()).call(ToolCall("f_work", {}))
        with anyio.fail_after(10):
            while len(await server.tools()) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert [tool.name for tool in await server.tools()] == ["f_work", "f_more"]


def test_kept_pins_and_tokens_are_for_this_user_alone_and_checked_when_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pins.json"
    FilePins(path).put("git", {"status": "ab12"})
    assert FilePins(path).get("git", "status") == "ab12"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text('{"a": 1}')
    with pytest.raises(ToolError, match="holds no pins"):
        FilePins(path)
    path.write_text('{"access_token": "secret"')
    with pytest.raises(ToolError, match="cannot be read") as raised:
        FileTokens(path)
    assert "secret" not in str(raised.value)
