"""Arguments checked by schemas that may be hostile."""

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.tools.errors import ToolArgumentError, ToolDefinitionError
from arriero.tools.json_schema import schema_check

BACKTRACKING = "^(a+)+$"
LONG = "a" * 40 + "b"


def refused(schema: dict[str, Any], arguments: dict[str, Any]) -> str:
    with pytest.raises(ToolArgumentError) as caught:
        schema_check(schema, name="lookup")(arguments)
    return str(caught.value)


def test_a_missing_argument_is_named() -> None:
    assert refused({"required": ["city"]}, {}) == "lookup: argument 'city': missing"


def test_a_missing_inner_argument_is_named_by_its_path() -> None:
    schema = {"properties": {"place": {"type": "object", "required": ["city"]}}}
    assert refused(schema, {"place": {}}) == "lookup: argument 'place.city': missing"


def test_a_mistyped_argument_is_named() -> None:
    schema = {"properties": {"places": {"type": "array", "items": {"type": "string"}}}}
    assert refused(schema, {"places": ["Lima", 3]}) == "lookup: argument 'places.1': 3 is not of type 'string'"


def test_an_unknown_argument_is_named() -> None:
    assert "'town' was unexpected" in refused({"properties": {}, "additionalProperties": False}, {"town": "Lima"})


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(refused({"properties": {"n": {"type": "integer"}}}, {"n": "x" * 100_000})) < 300


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        ("integer", "3", 3),
        ("number", "3.5", 3.5),
        ("boolean", "true", True),
        ("boolean", "True", True),
        ("array", "[1, 2]", [1, 2]),
        ("object", '{"a": 1}', {"a": 1}),
    ],
)
def test_a_value_written_as_text_is_read_as_the_type_wanted(kind: str, written: str, read: object) -> None:
    assert schema_check({"properties": {"value": {"type": kind}}}, name="lookup")({"value": written}) == {"value": read}


@pytest.mark.parametrize("written", ["true", "1.5", "three", "[", "9" * 5000])
def test_text_that_is_no_integer_stays_text_and_is_refused(written: str) -> None:
    assert "is not of type 'integer'" in refused({"properties": {"value": {"type": "integer"}}}, {"value": written})


def test_text_stays_text_where_text_is_wanted() -> None:
    check = schema_check({"properties": {"value": {"type": "string"}}}, name="lookup")
    assert check({"value": "3"}) == {"value": "3"}


JSON_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=4)


@given(st.dictionaries(st.text(max_size=9), JSON_VALUES, max_size=4))
def test_a_schema_that_wants_nothing_changes_nothing(arguments: dict[str, Any]) -> None:
    assert schema_check({}, name="lookup")(arguments) == arguments


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": 3},
        {"type": "text"},
        {"properties": {"value": {"pattern": "["}}},
        {"properties": {"value": {"minimum": "one"}}},
        {"properties": {"value": {"pattern": "a{99999999999999999999}"}}},
        {"$schema": ["https://json-schema.org/draft/2020-12/schema"]},
    ],
)
def test_what_is_no_schema_is_refused_at_once(schema: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError, match="lookup: its parameters are no JSON schema"):
        schema_check(schema, name="lookup")


def test_a_deep_schema_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"not": schema}
    with pytest.raises(ToolDefinitionError, match="nested deeper"):
        schema_check(schema, name="lookup")


def test_a_huge_schema_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="characters"):
        schema_check({"description": "x" * 600_000}, name="lookup")


def test_a_schema_of_very_many_parts_is_refused() -> None:
    doubled: list[Any] = []
    for _ in range(40):
        doubled = [doubled, doubled]
    for schema in ({"oneOf": [{"type": "object"}] * 20_000}, {"default": doubled}):
        with pytest.raises(ToolDefinitionError, match="more than 5000 parts"):
            schema_check(schema, name="lookup")


def test_references_inside_of_the_schema_are_followed() -> None:
    schema = {"$defs": {"size": {"type": "integer"}}, "properties": {"size": {"$ref": "#/$defs/size"}}}
    assert "is not of type 'integer'" in refused(schema, {"size": "large"})


@pytest.mark.parametrize("reference", ["http://127.0.0.1:1/schema", "file:///etc/passwd", "#/$defs/none", "other"])
def test_references_to_the_outside_are_not_followed(reference: str) -> None:
    message = refused({"properties": {"size": {"$ref": reference}}}, {"size": 1})
    assert "which it does not contain" in message


def test_a_schema_that_contains_itself_ends() -> None:
    assert "too deep" in refused({"$ref": "#"}, {"size": 1})


def test_a_schema_that_doubles_at_every_reference_ends() -> None:
    steps = {f"s{step}": {"allOf": [{"$ref": f"#/$defs/s{step + 1}"}] * 2} for step in range(40)}
    schema = {"$defs": {**steps, "s40": {"type": "string"}}, "properties": {"size": {"$ref": "#/$defs/s0"}}}
    started = time.perf_counter()
    assert schema_check(schema, name="lookup") is not None
    message = refused(schema, {"size": "text"})
    assert "too deep" in message
    assert time.perf_counter() - started < 5


def nested_unevaluated(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"allOf": [schema], "unevaluatedProperties": False, "properties": {"size": {}}}
    return schema


def everything_repeated(times: int) -> dict[str, Any]:
    large = {"allOf": [{"properties": {f"p{number}": {}}} for number in range(500)]}
    return {"$defs": {"large": large}, "allOf": [{"$ref": "#/$defs/large"}] * times}


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (nested_unevaluated(28), {"size": 1}),
        (everything_repeated(2000), {"p0": 1}),
        ({"properties": {"size": {"anyOf": [{"type": "string"}] * 2000}}}, {"size": [1] * 50_000}),
        ({"properties": {"size": {"items": {"enum": [*range(50_000)]}}}}, {"size": [0] * 50_000}),
    ],
    ids=["each level looks at all below it", "one part many times", "each error repeats the value", "a long list"],
)
def test_a_check_that_would_take_hours_is_given_up(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert "too large or too deep" in refused(schema, arguments)


@pytest.mark.parametrize("items", [[{"id": number} for number in range(20_000)], [True, 1, "1", None, [1], 1.5]])
def test_many_items_are_seen_to_be_unique(items: list[Any]) -> None:
    check = schema_check({"properties": {"list": {"uniqueItems": True}}}, name="lookup")
    assert check({"list": items}) == {"list": items}
    assert "non-unique" in refused({"properties": {"list": {"uniqueItems": True}}}, {"list": [*items, items[0]]})


def test_a_part_that_names_another_draft_is_bounded_like_the_rest() -> None:
    inner = {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": BACKTRACKING}
    assert "does not match" in refused({"properties": {"text": inner}}, {"text": LONG})


def test_a_parameter_may_be_called_like_the_keyword_for_drafts() -> None:
    assert "argument '$schema'" in refused({"properties": {"$schema": {"type": "string"}}}, {"$schema": 1})


@pytest.mark.parametrize("number", [10**400, math.inf])
def test_a_number_that_cannot_be_checked_is_refused(number: float) -> None:
    assert "cannot be checked" in refused({"properties": {"size": {"multipleOf": 0.1}}}, {"size": number})


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({"properties": {"text": {"pattern": BACKTRACKING}}}, {"text": LONG}),
        ({"properties": {"text": {"propertyNames": {"pattern": BACKTRACKING}}}}, {"text": {LONG: 1}}),
    ],
)
def test_a_pattern_takes_linear_time(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    started = time.perf_counter()
    assert "does not match" in refused(schema, arguments)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("rest", [{"additionalProperties": False}, {"unevaluatedProperties": False}])
def test_patterns_of_names_are_left_to_the_server(rest: dict[str, Any]) -> None:
    check = schema_check({"patternProperties": {BACKTRACKING: {}}, **rest}, name="lookup")
    assert check({LONG: 1}) == {LONG: 1}


def test_a_pattern_that_needs_backtracking_is_left_to_the_server() -> None:
    check = schema_check({"properties": {"text": {"pattern": "(?=a)b"}}}, name="lookup")
    assert check({"text": "c"}) == {"text": "c"}


def test_not_a_number_is_a_number_to_json_schema_and_does_no_harm() -> None:
    check = schema_check({"properties": {"size": {"type": "number"}}}, name="lookup")
    assert math.isnan(check({"size": math.nan})["size"])
