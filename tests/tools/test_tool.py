import inspect
import math
import threading
import time
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict  # the form that pydantic takes on Python 3.11

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolArgumentError, ToolDefinitionError, ToolError, ToolTimeout, tool

pytestmark = pytest.mark.anyio


@tool
def exchange_rate(base: str, quote: str, day: date | None = None) -> float:
    """Exchange rate between two
    currencies.

    Not read by the model.

    Args:
        base: ISO 4217 code to convert from.
        quote: ISO 4217 code
            to convert to.
    """
    return 0.5 if day is None else float(day.day)


class Colour(Enum):
    """How it looks."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Order(BaseModel):
    """An order."""

    title: str
    points: list[Point]
    note: str | None = None


class Node(BaseModel):
    children: list["Node"]


class Options(TypedDict):
    depth: int


def properties(function: Any) -> dict[str, Any]:
    found: dict[str, Any] = tool(function).parameters["properties"]
    return found


def test_declaration_has_the_exact_keys_in_order() -> None:
    assert repr(exchange_rate.declaration) == repr(
        {
            "type": "function",
            "function": {
                "name": "exchange_rate",
                "description": "Exchange rate between two currencies.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "base": {"type": "string", "description": "ISO 4217 code to convert from."},
                        "quote": {"type": "string", "description": "ISO 4217 code to convert to."},
                        "day": {"type": "string", "format": "date"},
                    },
                    "required": ["base", "quote"],
                },
            },
        }
    )


def test_numpy_and_rest_docstrings_are_read_too() -> None:
    def numpy(city: str) -> None:
        """Look.

        Parameters
        ----------
        city : str
            Where to
            look.
        """

    def rest(city: str) -> None:
        """Look.

        :param city: Where to
            look.
        """

    for function in (numpy, rest):
        declared = tool(function)
        assert declared.description == "Look."
        assert declared.parameters["properties"]["city"]["description"] == "Where to look."


def test_literals_enums_lists_defaults_and_constraints_are_kept() -> None:
    def search(
        unit: Literal["km", "mi"],
        colour: Colour,
        tags: list[str],
        only: Literal["a"] = "a",
        count: Annotated[int, Field(ge=1, le=5)] = 3,
        until: date = date(2020, 1, 2),
        either: int | str | None = None,
    ) -> None: ...

    assert repr(properties(search)) == repr(
        {
            "unit": {"type": "string", "enum": ["km", "mi"]},
            "colour": {"type": "string", "description": "How it looks.", "enum": ["red", "blue"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "only": {"type": "string", "enum": ["a"], "default": "a"},
            "count": {"type": "integer", "maximum": 5, "minimum": 1, "default": 3},
            "until": {"type": "string", "format": "date", "default": "2020-01-02"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        }
    )


def test_nested_objects_are_written_out_without_references() -> None:
    def place(order: Order, options: Options, prices: dict[str, float]) -> None: ...

    found = properties(place)
    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer", "default": 0}},
        "required": ["x"],
    }
    assert found["order"] == {
        "type": "object",
        "description": "An order.",
        "properties": {
            "title": {"type": "string"},
            "points": {"type": "array", "items": point},
            "note": {"type": "string"},
        },
        "required": ["title", "points"],
    }
    assert found["options"]["properties"] == {"depth": {"type": "integer"}}
    assert found["prices"] == {"type": "object", "additionalProperties": {"type": "number"}}


def test_a_tool_without_parameters_still_declares_an_object() -> None:
    def now() -> str:
        """Say the time."""
        return "noon"

    assert tool(now).parameters == {"type": "object", "properties": {}, "required": []}


def test_a_tool_still_calls_as_the_function_and_keeps_its_signature() -> None:
    assert exchange_rate("EUR", quote="USD") == 0.5
    assert list(inspect.signature(exchange_rate).parameters) == ["base", "quote", "day"]


def _no_type(city) -> None: ...  # type: ignore[no-untyped-def]
def _event(event: threading.Event) -> None: ...
def _nested_event(events: list[threading.Event]) -> None: ...
def _recursive(node: Node) -> None: ...
def _unknown(city: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def _stars(*cities: str) -> None: ...
def _field(city: str = Field(description="x")) -> None: ...


@pytest.mark.parametrize(
    ("function", "texts"),
    [
        (_no_type, ["'city'", "has no type"]),
        (_event, ["'event'", "type threading.Event cannot be described"]),
        (_nested_event, ["'events'", "type list[threading.Event] cannot be described"]),
        (_recursive, ["'node'", "Node", "contains itself"]),
        (_unknown, ["'city'", "Nowhere", "cannot be read"]),
        (_stars, ["'cities'", "name each parameter"]),
        (_field, ["'city'", "Annotated"]),
    ],
)
def test_a_type_that_cannot_be_described_is_refused_naming_parameter_and_type(function: Any, texts: list[str]) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function)
    for text in [function.__name__, *texts]:
        assert text in str(caught.value)


def test_names_and_timeouts_that_cannot_work_are_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="use 1 to 64 letters"):
        tool(lambda: 1)
    with pytest.raises(ToolDefinitionError, match="timeout is 0"):
        tool(timeout=0)(print_nothing)
    for wrong in ("x", None, math.nan, True):
        with pytest.raises(ToolDefinitionError, match=f"timeout is {wrong!r}"):
            tool(timeout=wrong)(print_nothing)  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match="not a function"):
        tool(3)  # type: ignore[call-overload]


@pytest.mark.parametrize("default", [math.nan, math.inf, [1.0, -math.inf]])
def test_a_default_that_strict_json_lacks_is_refused(default: Any) -> None:
    def weigh(load: float | list[float] = default) -> None:
        """Weigh."""

    with pytest.raises(ToolDefinitionError, match="tool 'weigh', parameter 'load': its schema or default"):
        tool(weigh)


def print_nothing() -> None:
    """Do nothing."""


async def test_arguments_are_validated_and_turned_into_python_values() -> None:
    assert await exchange_rate.invoke({"base": "EUR", "quote": "USD", "day": "2024-05-07"}) == "7.0"
    assert await exchange_rate.invoke({"base": "EUR", "quote": "USD", "day": None}) == "0.5"

    @tool
    def corner(order: Order) -> int:
        return order.points[0].x

    assert await corner.invoke({"order": {"title": "t", "points": [{"x": "4"}]}}) == "4"


async def test_argument_errors_name_every_field_and_the_reason() -> None:
    with pytest.raises(ToolArgumentError) as caught:
        await exchange_rate.invoke({"base": "EUR", "day": "soon", "amount": 3})
    text = str(caught.value)
    assert "argument 'quote': missing" in text
    assert "argument 'day': Input should be a valid date" in text
    assert "argument 'amount': unknown; the arguments are base, quote, day" in text
    assert "http" not in text


async def test_argument_errors_name_the_place_inside_an_argument() -> None:
    @tool
    def place(order: Order) -> None: ...

    with pytest.raises(ToolArgumentError, match=r"argument 'order\.points\.0\.x': Input should be a valid integer"):
        await place.invoke({"order": {"title": "t", "points": [{"x": "four"}]}})


async def test_parameters_may_have_names_that_pydantic_uses_and_be_positional_only() -> None:
    @tool
    def odd(schema: str, /, copy: int = 2, *, json: str = "j", _private: int = 1) -> str:
        return f"{schema}{copy}{json}{_private}"

    assert await odd.invoke({"schema": "s", "json": "k"}) == "s2k1"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("as it is", "as it is"),
        (21, "21"),
        (2.5, "2.5"),
        (True, "true"),
        (None, "null"),
        (date(2024, 5, 7), "2024-05-07"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        ({"a": (1, 2), 3: None}, {"a": [1, 2], "3": None}),
        ([date(2024, 5, 7)], ["2024-05-07"]),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Order(title="t", points=[]), {"title": "t", "points": [], "note": None}),
        ({"a": float("nan")}, {"a": "nan"}),
        ("half \ud83d", "half ?"),
        ({}, {}),
    ],
)
async def test_values_become_what_the_model_reads(value: object, read: object) -> None:
    @tool
    async def give() -> object:
        return value

    assert await give.invoke({}) == read


async def test_a_value_that_json_cannot_carry_is_a_tool_error() -> None:
    @tool
    def give() -> object:
        return threading.Lock()

    with pytest.raises(ToolError, match="returned a lock, which JSON cannot carry"):
        await give.invoke({})


async def test_an_async_tool_is_cancelled_at_its_timeout() -> None:
    ended = []

    @tool(timeout=0.05)
    async def slow() -> None:
        """Wait."""
        try:
            await anyio.sleep(60)
        finally:
            ended.append(True)

    with pytest.raises(ToolTimeout, match=r"slow took longer than 0\.05 s"):
        await slow.invoke({})
    assert ended


async def test_a_sync_tool_that_hangs_does_not_hold_the_caller() -> None:
    release = threading.Event()

    @tool(timeout=0.05)
    def stuck() -> None:
        release.wait(20)

    started = time.monotonic()
    with pytest.raises(ToolTimeout):
        await stuck.invoke({})
    release.set()
    assert time.monotonic() - started < 5


async def test_a_timeout_of_the_tools_own_is_not_taken_for_its_deadline() -> None:
    @tool
    async def own() -> None:
        raise TimeoutError("their server")

    with pytest.raises(TimeoutError, match="their server"):
        await own.invoke({})


async def test_sync_tools_run_beside_the_event_loop() -> None:
    barrier = threading.Barrier(2, timeout=10)

    @tool
    def meet() -> int:
        return barrier.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(meet.invoke, {})
        group.start_soon(meet.invoke, {})


async def test_methods_and_callable_objects_can_be_tools() -> None:
    class Shop:
        def price(self, item: str) -> str:
            """Price."""
            return f"{item}: 3"

        async def __call__(self, item: str) -> str:
            return item

    assert await tool(Shop().price).invoke({"item": "tea"}) == "tea: 3"
    assert await tool(name="shop")(Shop()).invoke({"item": "tea"}) == "tea"


@given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    )
)
def test_any_arguments_give_a_value_or_an_error_about_an_argument(arguments: dict[str, Any]) -> None:
    async def invoke() -> None:
        result = await Registry([echo]).call(ToolCall("echo", arguments))
        assert result.error is None or result.error.startswith("argument '")

    anyio.run(invoke)


@tool
async def echo(a: int = 1, b: str = "") -> str:
    """Say it again."""
    return f"{a}{b}"
