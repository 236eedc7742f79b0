import asyncio
import sys
from typing import Any

import anyio
import pytest

from arriero.prompts.messages import ToolCall
from arriero.tools import Cache, Registry, Tool, ToolContext, ToolDefinitionError, ToolError, ToolGroup, tool

pytestmark = pytest.mark.anyio


@tool
def double(number: float) -> float:
    """Double a number."""
    return 2 * number


@tool(name="fail")
def failing(how: str) -> object:
    """Fail."""
    match how:
        case "refuse":
            raise ToolError("no rate for 1850")
        case "exit":
            sys.exit(3)
        case "silent":
            raise KeyError
        case "long":
            return "a" * 300 + "b" * 300
        case "long list":
            return ["a"] * 100
        case "stop":
            raise StopIteration
        case _:
            raise ValueError(f"bad \ud83d {how}")


async def test_a_result_keeps_the_call_and_its_id() -> None:
    call = ToolCall("double", {"number": 4}, id="call-7")
    result = await Registry([double]).call(call)
    assert (result.call, result.content, result.error, result.source) == (call, "8.0", None, None)
    assert 0 <= result.duration < 5


async def test_an_unknown_tool_gives_a_result_that_names_the_offered_ones() -> None:
    result = await Registry([double, failing]).call(ToolCall("triple", {}))
    assert result.error == "there is no tool 'triple'; the tools are double, fail"
    assert result.content == f"error: {result.error}"
    assert (await Registry().call(ToolCall("triple", {}))).error == "there is no tool 'triple'; no tools are offered"


async def test_bad_arguments_give_a_result_phrased_for_the_model() -> None:
    result = await Registry([double]).call(ToolCall("double", {"number": "four"}))
    assert str(result.content).startswith("error: argument 'number': Input should be a valid number")


@pytest.mark.parametrize(
    ("how", "content"),
    [
        ("refuse", "error: no rate for 1850"),
        ("exit", "error: SystemExit: 3"),
        ("silent", "error: KeyError"),
        ("other", "error: ValueError: bad ? other"),
    ],
)
async def test_what_a_tool_raises_becomes_a_result(how: str, content: str) -> None:
    result = await Registry([failing]).call(ToolCall("fail", {"how": how}))
    assert result.content == content
    assert result.error == content.removeprefix("error: ")


async def test_stop_iteration_from_a_tool_is_isolated_too() -> None:
    result = await Registry([failing]).call(ToolCall("fail", {"how": "stop"}))
    assert "StopIteration" in str(result.content)


async def test_a_timeout_becomes_a_result() -> None:
    @tool(timeout=0.05)
    async def slow() -> None:
        await anyio.sleep(60)

    result = await Registry([slow]).call(ToolCall("slow", {}))
    assert result.content == "error: slow took longer than 0.05 s and was stopped"


async def test_cancellation_passes_through_a_call() -> None:
    reached = []

    @tool
    async def slow() -> None:
        await anyio.sleep(60)

    with anyio.move_on_after(0.05):
        await Registry([slow]).call(ToolCall("slow", {}))
        reached.append(True)
    assert not reached


async def test_a_long_result_loses_its_middle_and_the_whole_is_kept() -> None:
    registry = Registry([failing], max_result_tokens=150, count_tokens=len)
    result = await registry.call(ToolCall("fail", {"how": "long"}))
    (kept,) = result.artifacts
    text = str(result.content)
    assert len(text) <= 150
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert f"artifact {kept.id}" in text
    assert await registry.artifacts.get(kept.id) == b"a" * 300 + b"b" * 300
    cut_list = await registry.call(ToolCall("fail", {"how": "long list"}))
    assert str(cut_list.content).startswith('["a", "a"')
    assert (cut_list.artifacts[0].name, cut_list.artifacts[0].media_type) == ("fail.json", "application/json")


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="two tools are named 'double'"):
        Registry([double, tool(name="double")(failing.function)])


def test_a_bare_function_is_refused_with_the_remedy() -> None:
    with pytest.raises(ToolDefinitionError, match="put @tool on the function"):
        Registry([failing.function])  # type: ignore[list-item]


def test_builtins_are_listed_but_not_declared() -> None:
    async def handler(arguments: Any, context: ToolContext) -> str:
        return ""

    code = Tool(name="code_interpreter", description="", parameters={}, handler=handler, builtin="code_interpreter")
    registry = Registry([double, code])
    assert registry.builtins == ("code_interpreter",)
    assert registry.declarations == [double.declaration]
    assert registry.names == ("double", "code_interpreter")


async def test_closing_closes_every_tool_also_when_one_fails() -> None:
    closed = []

    def closable(name: str, problem: Exception | None) -> Tool:
        async def handler(arguments: Any, context: ToolContext) -> str:
            return ""

        async def close() -> None:
            closed.append(name)
            if problem:
                raise problem

        return Tool(name=name, description="", parameters={}, handler=handler, close=close)

    with pytest.raises(ExceptionGroup):
        await Registry([closable("a", OSError("x")), closable("b", None), double]).aclose()
    assert closed == ["a", "b"]


async def test_a_tool_that_cancels_itself_has_failed() -> None:
    @tool
    async def give_up() -> None:
        raise asyncio.CancelledError("enough")

    @tool
    async def await_what_was_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    registry = Registry([give_up, await_what_was_cancelled])
    assert (await registry.call(ToolCall("give_up", {}))).content == "error: CancelledError: enough"
    assert (await registry.call(ToolCall("await_what_was_cancelled", {}))).content == "error: CancelledError"


async def test_a_task_cancelled_by_asyncio_itself_stays_cancelled() -> None:
    begun = anyio.Event()

    @tool
    async def slow() -> None:
        begun.set()
        await anyio.sleep(60)

    task = asyncio.ensure_future(Registry([slow]).call(ToolCall("slow", {})))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_tool_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="one tool, 'double': give a list"):
        Registry(double)  # type: ignore[arg-type]


# --- groups, filters, names


def named(name: str, **options: Any) -> Tool:
    async def handler(arguments: Any, context: ToolContext) -> str:
        return name

    return Tool(name=name, description="", parameters={"type": "object"}, handler=handler, **options)


def test_groups_are_flattened_and_known() -> None:
    registry = Registry([double, ToolGroup("files", [named("read"), named("write", sensitive=True)])])
    assert registry.names == ("double", "read", "write")
    assert registry.groups == ("files",)
    assert [tool.group for tool in registry] == [None, "files", "files"]


def test_a_namespaced_group_avoids_a_clash() -> None:
    with pytest.raises(ToolDefinitionError, match=r"two tools are named 'read', in group .a. and .*namespaced"):
        Registry([ToolGroup("a", [named("read")]), ToolGroup("b", [named("read")])])
    registry = Registry([ToolGroup("a", [named("read")]), ToolGroup("b", [named("read")], namespaced=True)])
    assert registry.names == ("read", "b_read")
    with pytest.raises(ToolDefinitionError, match="use 1 to 64 letters"):
        ToolGroup("a group", [named("read")], namespaced=True)
    with pytest.raises(ToolDefinitionError, match="put @tool on the function"):
        ToolGroup("a", [print])  # type: ignore[list-item]


async def test_a_renamed_tool_is_declared_and_called_by_its_new_name() -> None:
    registry = Registry([double, double.renamed("twice")])
    assert [declared["function"]["name"] for declared in registry.declarations] == ["double", "twice"]
    assert (await registry.call(ToolCall("twice", {"number": 2}))).content == "4.0"
    assert double.renamed("twice")(3) == 6


async def test_an_agent_can_be_given_fewer_tools() -> None:
    registry = Registry([double, ToolGroup("files", [named("read"), named("write", sensitive=True)])])
    assert registry.only("files").names == ("read", "write")
    assert registry.only("double", "read").names == ("double", "read")
    assert registry.without("files").names == ("double",)
    assert registry.without(lambda tool: tool.sensitive).names == ("double", "read")
    assert registry.only("files").without("write").names == ("read",)
    assert registry.only().names == ()
    refused = await registry.only("read").call(ToolCall("double", {"number": 1}))
    assert refused.error == "there is no tool 'double'; the tools are read"
    with pytest.raises(ToolDefinitionError, match="there is no tool or group 'file'; did you mean 'files'"):
        registry.only("file")


async def test_what_was_filtered_shares_limits_and_files() -> None:
    runs = []

    @tool(pure=True, cache=Cache())
    async def load() -> bytes:
        """Load."""
        runs.append(True)
        return b"hay"

    registry = Registry([load, double])
    kept = (await registry.call(ToolCall("load", {}))).artifacts[0]
    assert (await registry.only("load").call(ToolCall("load", {}))).artifacts == (kept,)
    assert await registry.without("load").artifacts.get(kept.id) == b"hay"
    assert len(runs) == 1


# --- the Llama format's own names


async def test_a_call_by_llamas_name_reaches_the_tool_that_is_registered_for_it() -> None:
    search = named("my_search", builtin="brave_search")
    registry = Registry([search, named("solve", builtin="wolfram_alpha"), named("python", builtin="code_interpreter")])
    for name, reached in {
        "brave_search": "my_search",
        "my_search": "my_search",
        "web_search": "my_search",
        "wolfram_alpha": "solve",
        "code_interpreter": "python",
    }.items():
        result = await registry.call(ToolCall(name, {"query": "hay"}))
        assert (result.content, result.call.name) == (reached, name)
        assert name in registry.called
    assert registry.names == ("my_search", "solve", "python")
    assert registry.builtins == ("brave_search", "wolfram_alpha", "code_interpreter")


async def test_a_search_answers_to_llamas_name_also_where_it_was_declared() -> None:
    assert (await Registry([named("web_search")]).call(ToolCall("brave_search", {}))).content == "web_search"
    assert (await Registry([named("brave_search")]).call(ToolCall("web_search", {}))).content == "brave_search"
    both = Registry([named("brave_search"), named("web_search")])
    assert (await both.call(ToolCall("brave_search", {}))).content == "brave_search"
    assert "no tool" in str((await Registry([named("other")]).call(ToolCall("brave_search", {}))).error)


def test_two_tools_cannot_answer_to_one_of_llamas_names() -> None:
    with pytest.raises(ToolDefinitionError, match="'a' and 'b' both answer to 'brave_search'"):
        Registry([named("a", builtin="brave_search"), named("b", builtin="brave_search")])
    with pytest.raises(ToolDefinitionError, match="both answer to 'brave_search'"):
        Registry([named("brave_search"), named("b", builtin="brave_search")])


@pytest.mark.parametrize("option", ["max_result_tokens", "concurrency"])
def test_numbers_that_are_not_positive_are_refused(option: str) -> None:
    with pytest.raises(ToolDefinitionError, match=f"{option} is 0"):
        Registry([double], **{option: 0})  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match=f"{option} is 0"):
        tool(**{option: 0})(double.function)  # type: ignore[call-overload]
