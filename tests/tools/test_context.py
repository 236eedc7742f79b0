"""Functions of every form as tools: what they are given, what they say while they run, what becomes of their value."""

import functools
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Optional

import anyio
import pytest
from pydantic import BaseModel

from arriero.prompts.messages import ToolCall
from arriero.tools import (
    Attachment,
    Progress,
    Registry,
    Tool,
    ToolArgumentError,
    ToolContext,
    ToolDefinitionError,
    ToolError,
    ToolOutput,
    ToolResult,
    tool,
)

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


async def called(what: Tool, /, **arguments: Any) -> tuple[ToolResult, list[str], Registry]:
    """A call's result, the messages of its progress, and the registry with its files."""
    heard: list[str] = []

    def hear(said: object) -> None:
        assert isinstance(said, Progress)
        heard.append(said.message)

    registry = Registry([what])
    return await registry.call(ToolCall(what.name, arguments), ToolContext(report=hear)), heard, registry


# --- the context


@tool
async def who(context: ToolContext, greeting: str) -> str:
    """Say who.

    Args:
        context: Not for the model.
        greeting: What to say.
    """
    return f"{greeting} {context.session} {context.run} {context.call_id}"


@tool(name="who")
def who_sync(context: ToolContext, /, greeting: str) -> str:
    """Say who."""
    return f"{greeting} {context.session} {context.run} {context.call_id}"


@tool(name="who")
def who_quoted(context: "ToolContext", greeting: str) -> str:
    """Say who."""
    return f"{greeting} {context.session} {context.run} {context.call_id}"


class Desk:
    @staticmethod
    def plain(context: ToolContext, greeting: str) -> str:
        return f"{greeting} {context.session} {context.run} {context.call_id}"

    def method(self, context: ToolContext, greeting: str) -> str:
        return self.plain(context, greeting)


@pytest.mark.parametrize("form", [who, who_sync, who_quoted, tool(name="who")(Desk().method)])
async def test_the_context_is_injected_and_not_declared(form: Tool) -> None:
    assert list(form.parameters["properties"]) == ["greeting"]
    context = ToolContext(session="alice", run="t1", call_id="c1")
    result = await Registry([form]).call(ToolCall("who", {"greeting": "hi"}), context)
    assert result.content == "hi alice t1 c1"
    refused = await Registry([form]).call(ToolCall("who", {"greeting": "hi", "context": {"session": "bob"}}), context)
    assert str(refused.error).startswith("argument 'context': unknown")


def _second(number: int, context: ToolContext) -> None: ...
def _twice(context: ToolContext, other: ToolContext) -> None: ...
def _keyword(*, context: ToolContext) -> None: ...
def _optional(context: Optional[ToolContext]) -> None: ...  # noqa: UP045 - the old form too
def _or_none(context: ToolContext | None) -> None: ...


@pytest.mark.parametrize("function", [_second, _twice, _keyword, _optional, _or_none])
def test_a_context_that_is_not_the_first_parameter_alone_is_refused(function: Any) -> None:
    with pytest.raises(ToolDefinitionError, match="must be the first parameter, alone and by position"):
        tool(function)


async def test_nobody_hears_and_nobody_answers_outside_of_a_registry() -> None:
    context = ToolContext()
    context.progress("working", 1, 2)
    with pytest.raises(ToolError, match="nobody can be asked"):
        await context.approve("Go on?")
    assert context.count_tokens("twelve chars") == 4


# --- the forms


class Shop:
    """A shop."""

    def price(self, item: str) -> str:
        """Price of an item.

        Args:
            item: The item.
        """
        return f"{item}: 3"

    async def __call__(self, item: str) -> str:
        """Sell an item."""
        return f"sold {item}"


async def test_methods_and_objects_are_described_by_their_docstrings() -> None:
    price, sell = tool(Shop().price), tool(name="sell")(Shop())
    assert (price.description, sell.description) == ("Price of an item.", "Sell an item.")
    assert price.parameters["properties"]["item"]["description"] == "The item."
    assert (await called(sell, item="tea"))[0].content == "sold tea"
    with pytest.raises(ToolDefinitionError, match="'self': this is a method of no object"):
        tool(Shop.price)


async def test_what_a_partial_has_filled_in_is_not_the_models_to_see_or_change() -> None:
    def fetch(key: str, page: int, *, city: str = "Rome", token: str = "") -> str:
        """Fetch a page."""
        return f"{key} {page} {city} {token}"

    filled = tool(functools.partial(functools.partial(fetch, "k1"), token="secret"))
    assert (filled.name, filled.description) == ("fetch", "Fetch a page.")
    assert list(filled.parameters["properties"]) == ["page", "city"]
    assert "secret" not in repr(filled.declaration)
    assert (await called(filled, page=2))[0].content == "k1 2 Rome secret"
    with pytest.raises(ToolArgumentError, match="'token': unknown"):
        await filled.invoke({"page": 2, "token": "mine"})


async def test_a_sync_function_may_give_what_is_to_be_awaited() -> None:
    async def later() -> str:
        return "later"

    @tool
    def promise() -> Awaitable[str]:
        """Promise."""
        return later()

    assert (await called(promise))[0].content == "later"


# --- progress


@tool
def count(to: int) -> Generator[Progress | str, None, int]:
    """Count."""
    for number in range(to):
        yield Progress(f"at {number}", number, to)
    yield "nearly there"
    return to


@tool(name="count")
async def count_async(to: int) -> AsyncIterator[Any]:
    """Count."""
    for number in range(to):
        yield Progress(f"at {number}", number, to)
    yield "nearly there"
    yield to


class Counter:
    async def __call__(self, to: int) -> AsyncIterator[Any]:
        async for value in count_async(to):
            yield value


@pytest.mark.parametrize("form", [count, count_async, tool(name="count")(Counter())])
async def test_a_generator_tells_of_its_progress_and_ends_with_its_result(form: Tool) -> None:
    result, heard, _ = await called(form, to=2)
    assert result.content == "2"
    assert heard[:3] == ["at 0", "at 1", "nearly there"]


async def test_a_generator_without_a_return_gives_the_last_value_that_is_no_progress() -> None:
    @tool
    def drafts() -> Iterator[Any]:
        """Write."""
        yield {"text": "a"}
        yield {"text": "ab"}
        yield Progress("polished")

    @tool
    def silent() -> Iterator[Any]:
        """Say nothing."""
        yield from ()

    assert (await called(drafts))[0].content == {"text": "ab"}
    assert (await called(silent))[0].content == "null"


@pytest.mark.parametrize("form", ["sync", "async"])
async def test_a_generator_is_closed_when_its_call_is_given_up(form: str) -> None:
    closed = threading.Event()

    @tool(timeout=0.1, name="endless")
    def endless() -> Iterator[str]:
        """Go on and on."""
        try:
            while True:
                threading.Event().wait(0.01)
                yield "more"
        finally:
            closed.set()

    @tool(timeout=0.1, name="endless")
    async def endless_async() -> AsyncIterator[str]:
        """Go on and on."""
        try:
            while True:
                await anyio.sleep(0.01)
                yield "more"
        finally:
            closed.set()

    result, heard, _ = await called(endless if form == "sync" else endless_async)
    assert "took longer than 0.1 s" in str(result.error)
    assert "more" in heard
    assert await anyio.to_thread.run_sync(closed.wait, 5)


async def test_what_a_generator_raises_is_a_failure() -> None:
    @tool
    def breaks() -> Iterator[str]:
        """Break."""
        yield "working"
        raise ValueError("broken")

    result, heard, _ = await called(breaks)
    assert (result.error, heard) == ("ValueError: broken", ["working"])


# --- values


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Report(BaseModel):
    title: str
    day: date


@dataclass
class Load:
    mule: str
    kilos: float


def give(value: object) -> Tool:
    @tool(name="give")
    async def give() -> object:
        """Give."""
        return value

    return give


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (Report(title="hay", day=date(2024, 5, 7)), {"title": "hay", "day": "2024-05-07"}),
        (Load("Zuri", 85.5), {"mule": "Zuri", "kilos": 85.5}),
        ([Load("Zuri", float("inf"))], [{"mule": "Zuri", "kilos": "inf"}]),
        (ToolOutput({"day": date(2024, 5, 7)}), {"day": "2024-05-07"}),
        (ToolOutput(""), ""),
        (frozenset({1}), [1]),
        (deep(200), deep(200)),
    ],
)
async def test_models_dataclasses_and_outputs_become_json(value: object, content: object) -> None:
    result, _, _ = await called(give(value))
    assert (result.content, result.error, result.artifacts) == (content, None, ())


@pytest.mark.parametrize(
    ("value", "name", "media_type"),
    [
        (b"plain", "data.bin", "application/octet-stream"),
        (bytearray(PNG), "image.png", "image/png"),
        (memoryview(b"\xff\xd8\xff\xe0"), "image.jpg", "image/jpeg"),
        (b"%PDF-1.7", "document.pdf", "application/pdf"),
        (Attachment("load.csv", "text/csv", b"Zuri,85"), "load.csv", "text/csv"),
    ],
)
async def test_bytes_and_attachments_become_files_that_the_model_is_told_of(
    value: Any, name: str, media_type: str
) -> None:
    data = value.data if isinstance(value, Attachment) else bytes(value)
    result, _, registry = await called(give(value))
    (kept,) = result.artifacts
    assert (kept.name, kept.media_type, kept.size) == (name, media_type, len(data))
    assert result.content == f"file {name} ({media_type}, {len(data)} bytes), artifact {kept.id}"
    assert await registry.artifacts.get(kept.id) == data


async def test_files_inside_of_other_values_leave_their_names_there() -> None:
    value = {"charts": [Attachment("a.png", "image/png", PNG), {"b": (b"x", 1)}], "n": 2}
    result, _, _ = await called(give(value))
    assert result.content == {"charts": ["[file a.png]", {"b": ["[file data.bin]", 1]}], "n": 2}
    assert [kept.name for kept in result.artifacts] == ["a.png", "data.bin"]


async def test_an_output_keeps_its_own_text_beside_its_files_and_may_be_a_failure() -> None:
    output = ToolOutput("completed", (Attachment("a.png", "image/png", PNG),), error="exit status 1")
    result, _, _ = await called(give(output))
    assert (result.content, result.error, len(result.artifacts)) == ("completed", "exit status 1", 1)


async def test_a_picture_of_pillow_becomes_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    import PIL.Image as pillow  # noqa: N813 - the module

    result, _, registry = await called(give(pillow.new("RGB", (2, 2))))
    (kept,) = result.artifacts
    assert kept.media_type == "image/png"
    assert (await registry.artifacts.get(kept.id)).startswith(b"\x89PNG")
    monkeypatch.delitem(sys.modules, "PIL.Image")
    assert "which JSON cannot carry" in str((await called(give(pillow.new("RGB", (2, 2)))))[0].error)


def circular() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


UNCARRIED = {
    "lock": threading.Lock(),
    "circular": circular(),
    "deep": deep(100_000),
    "inside": {"a": object()},
    "huge number": 10**5_000,
    "huge number inside": [10**5_000],
    "201 levels": deep(201),
    "output": ToolOutput(object()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("value", UNCARRIED.values(), ids=UNCARRIED)
async def test_a_value_that_json_cannot_carry_is_a_failure_that_says_so(value: object) -> None:
    result, _, _ = await called(give(value))
    assert "JSON cannot carry" in str(result.error)
