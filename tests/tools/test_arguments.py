"""Everything that a model can invent ends in a result that it can read and in a recorded end."""

import math
from decimal import Decimal
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict  # the form that pydantic takes on Python 3.11

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, Tool, ToolCallFinished, ToolContext, ToolEvent, tool
from arriero.tools.arguments import MOST_CHARS

pytestmark = pytest.mark.anyio


class Box(TypedDict, total=False):
    size: int


class Order(BaseModel):
    title: str = Field(max_length=10)
    boxes: list[Box] = []
    extra: dict[str, Any] = {}


@tool
async def ship(order: Order, note: str = "", weight: float = 1.0, count: int = 1) -> str:
    """Ship an order."""
    return f"{order.title} {note} {weight} {count}"


async def answer(arguments: Any, name: Any = "ship", tools: tuple[Tool, ...] = (ship,)) -> tuple[str, ToolCallFinished]:
    events: list[ToolEvent] = []
    result = await Registry(tools, on_event=events.append).call(ToolCall(name, arguments))
    end = events[-1]
    assert isinstance(end, ToolCallFinished)
    assert result.content == f"error: {result.error}"
    assert len(str(result.content)) < 2_100
    str(result.content).encode()
    return str(result.error), end


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def nested_dicts(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


GOOD = {"title": "tea"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (None, "the arguments must be a JSON object with a value for each parameter, not null"),
        ([GOOD], "the arguments must be a JSON object with a value for each parameter, not a list"),
        ('{"order": {}}', "the arguments must be a JSON object with a value for each parameter, not a text"),
        (7, "the arguments must be a JSON object with a value for each parameter, not a number"),
        (True, "the arguments must be a JSON object with a value for each parameter, not a truth value"),
        ({1: GOOD}, "the arguments must have names that are texts, not a number"),
        ({}, "argument 'order': missing"),
        ({"order": GOOD, "nöte": ""}, "argument 'nöte': unknown; did you mean 'note'?"),
        ({"order": GOOD, "zzz": ""}, "argument 'zzz': unknown; the arguments are order, note, weight, count"),
        ({"order": "tea"}, "argument 'order': Input should be a valid dictionary or instance of Order"),
        ({"order": {"title": None}}, "argument 'order.title': Input should be a valid string"),
        ({"order": {"title": "x" * 11}}, "argument 'order.title': String should have at most 10 characters"),
        ({"order": GOOD | {"boxes": [{"size": 1}, {"size": "big"}]}}, "argument 'order.boxes.1.size': Input should"),
        ({"order": GOOD, "count": 1.5}, "argument 'count': Input should be a valid integer, got a number with a"),
        ({"order": GOOD, "count": "9" * 5_000}, "argument 'count': Unable to parse input string as an integer"),
        ({"order": GOOD, "count": 10**400}, "argument 'count': a number of more than 1024 bits; give a smaller one"),
        ({"order": GOOD, "weight": math.nan}, "argument 'weight': nan is no number of JSON; give a finite one"),
        ({"order": GOOD | {"extra": {"a": [-math.inf]}}}, "argument 'order': -inf is no number of JSON"),
        ({"order": GOOD, "note": "half \ud83d"}, "argument 'note': holds half of a surrogate pair"),
        ({"order": GOOD | {"extra": {"\udc00": 1}}}, "argument 'order': holds half of a surrogate pair"),
        ({"order": GOOD, "note": b"bytes"}, "argument 'note': a bytes is no JSON value"),
        ({"order": GOOD, "note": Decimal(1)}, "argument 'note': a Decimal is no JSON value"),
        ({"order": GOOD | {"extra": {2: 3}}}, "argument 'order': the names in an object must be texts"),
        ({"order": GOOD, "note": nested(65)}, "argument 'note': nested more than 64 levels deep"),
        ({"order": GOOD, "note": nested(100_000)}, "argument 'note': nested more than 64 levels deep"),
        ({"order": nested_dicts(100_000)}, "argument 'order': nested more than 64 levels deep"),
        ({"order": GOOD, "note": "x" * MOST_CHARS}, "argument 'note': too long; all arguments together may"),
        ({"order": GOOD, "note": [0] * MOST_CHARS}, "argument 'note': too long"),
        ({"order": GOOD, "note": [[""] * 1_000] * 1_000}, "argument 'note': too long"),
        ({"order": GOOD, "x" * 2_000_000: 1}, f"argument '{'x' * 64}…': too long"),
        ({"order": GOOD, "a\nb\x00\ud800": 1}, "argument 'a b␀?': unknown"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_in_words_that_name_them(arguments: Any, problem: str) -> None:
    said, end = await answer(arguments)
    assert said.startswith(problem)
    assert (end.outcome, end.tool) == ("bad arguments", "ship")
    assert end.attempts in (0, 1)


async def test_a_thousand_wrong_arguments_give_five_problems() -> None:
    said, _ = await answer({"order": {"boxes": [{"size": "x"}] * 1_000}} | {f"{n}": n for n in range(1_000)})
    assert said.count("argument '") == 5


async def test_a_hundred_thousand_unknown_names_are_answered_at_once() -> None:
    with anyio.fail_after(5):
        said, _ = await answer({f"name{n}": 1 for n in range(100_000)})
    assert said.count("argument '") <= 5


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("shipp", "there is no tool 'shipp'; did you mean 'ship'?"),
        ("SHIP", "there is no tool 'SHIP'; did you mean 'ship'?"),
        ("functions.ship", "there is no tool 'functions.ship'; the tools are ship"),
        ("", "there is no tool ''; the tools are ship"),
        ("a\nb\x00c\ud800", "there is no tool 'a b␀c?'; the tools are ship"),
        ("x" * 1_000_000, f"there is no tool '{'x' * 64}…'; the tools are ship"),
        (None, "there is no tool 'None'; the tools are ship"),
        (["ship"], "there is no tool \"['ship']\"; the tools are ship"),
        ("__class__", "there is no tool '__class__'; the tools are ship"),
    ],
)
async def test_a_name_that_nobody_has_is_answered_with_what_may_be_meant(name: Any, problem: str) -> None:
    said, end = await answer({}, name)
    assert said == problem
    assert (end.outcome, end.attempts) == ("unknown tool", 0)
    assert len(end.tool) <= 65


async def test_nul_and_newlines_reach_the_tool_as_they_are() -> None:
    @tool
    async def length(text: str) -> int:
        """Count letters."""
        return len(text)

    assert (await Registry([length]).call(ToolCall("length", {"text": "a\0b\nc"}))).content == "5"


async def test_bounds_hold_for_tools_that_check_nothing_themselves() -> None:
    async def handler(arguments: Any, context: ToolContext) -> str:
        raise AssertionError("reached")

    bare = Tool(name="bare", description="", parameters={"type": "object"}, handler=handler)
    said, _ = await answer({"a": nested(100_000)}, "bare", (bare,))
    assert said == "argument 'a': nested more than 64 levels deep; give a flatter value"


wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()))
    | st.binary()
    | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=10,
)


@given(wild | st.fixed_dictionaries({}, optional=dict.fromkeys(("order", "note", "weight", "count"), wild)))
def test_whatever_the_arguments_are_there_is_a_result(arguments: Any) -> None:
    async def call() -> None:
        events: list[ToolEvent] = []
        result = await Registry([ship], on_event=events.append).call(ToolCall("ship", arguments))
        assert isinstance(events[-1], ToolCallFinished)
        assert events[-1].outcome in ("completed", "bad arguments")
        str(result.content).encode()

    anyio.run(call)
