"""Arguments become what the tool declares, when that loses nothing and has one meaning."""

from typing import Any

import pytest
from call_writers import parse

from arriero.prompts.calls.coercion import Coercion

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "float"},
        "on": {"type": "boolean"},
        "zip": {"type": "string"},
        "many": {"type": "array", "items": {"type": "integer"}},
        "inner": {"type": "dict", "properties": {"n": {"type": "integer"}}},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"type": ["integer", "string"]},
        "unclear": {"type": ["integer", "boolean"]},
        "some": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
        "one_of": {"type": "integer", "enum": [1, 2]},
        "word": {"enum": ["1", 1]},
        "there": {"$ref": "#/$defs/N"},
        "untyped": {},
        "odd": {"type": "whatever"},
    },
    "additionalProperties": {"type": "integer"},
    "$defs": {"N": {"type": "integer"}},
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}


def _coerced(name: str, value: str) -> tuple[Any, tuple[Coercion, ...]]:
    got = parse(f"[f({name}={value})]<|eot_id|>", [TOOL])
    return got.tool_calls[0].arguments[name], got.coercions


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("n", "'10'", 10),
        ("n", "' -3 '", -3),
        ("n", "'10.0'", 10),
        ("x", "'2.50'", 2.5),
        ("x", "'7'", 7),
        ("x", "'1e3'", 1000.0),
        ("on", "'True'", True),
        ("on", "'false'", False),
        ("many", "'[1, 2]'", [1, 2]),
        ("many", "['1', 2]", [1, 2]),
        ("inner", "'{\"n\": 1}'", {"n": 1}),
        ("inner", "{'n': '4'}", {"n": 4}),
        ("maybe", "'5'", 5),
        ("maybe", "'null'", None),
        ("unclear", "'7'", 7),
        ("unclear", "'true'", True),
        ("some", "['3']", [3]),
        ("one_of", "'2'", 2),
        ("there", "'8'", 8),
        ("surprise", "'9'", 9),
    ],
)
def test_text_that_can_mean_nothing_else_takes_the_declared_type(name: str, value: str, wanted: Any) -> None:
    got, coercions = _coerced(name, value)
    assert (got, type(got)) == (wanted, type(wanted))
    assert coercions
    assert {coercion.call for coercion in coercions} == {"f"}
    assert all(coercion.path[0] == name for coercion in coercions)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("n", "'10.5'", "10.5"),
        ("n", "'010'", "010"),
        ("n", "'ten'", "ten"),
        ("n", "''", ""),
        ("n", "'1_000'", "1_000"),
        ("n", "True", True),
        ("n", "2.5", 2.5),
        ("x", "'nan'", "nan"),
        ("x", "'1e999'", "1e999"),
        ("x", "'0.12345678901234567890'", "0.12345678901234567890"),
        ("on", "'1'", "1"),
        ("on", "'yes'", "yes"),
        ("zip", "'02139'", "02139"),
        ("zip", "10", 10),
        ("either", "'10'", "10"),
        ("many", "'1, 2'", "1, 2"),
        ("inner", "'[1]'", "[1]"),
        ("inner", "'{\"n\": NaN}'", '{"n": NaN}'),
        ("one_of", "'3'", "3"),
        ("word", "'1'", "1"),
        ("untyped", "'1'", "1"),
        ("odd", "'1'", "1"),
    ],
)
def test_what_would_be_lost_or_guessed_stays_as_it_was_written(name: str, value: str, kept: Any) -> None:
    got, coercions = _coerced(name, value)
    assert (got, type(got), coercions) == (kept, type(kept), ())


def test_a_coercion_tells_where_it_was_made_and_what_stood_there() -> None:
    got = parse("[f(inner={'n': '4'}, many=[1, '2'])]<|eot_id|>", [TOOL])
    assert got.coercions == (Coercion("f", ("inner", "n"), "4", 4), Coercion("f", ("many", 1), "2", 2))
    assert got.repairs == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []},
        {"properties": {"n": 3}},
        {"properties": {"n": {"$ref": "#/nowhere"}}},
        {"properties": {"n": {"$ref": "#/properties/n"}}},
        {"properties": {"n": {"type": [1, {}]}}},
        {"properties": {"n": {"anyOf": [3, None]}}},
        {"anyOf": 3, "enum": 3},
    ],
)
def test_a_schema_that_cannot_be_understood_changes_nothing(schema: Any) -> None:
    got = parse("[f(n='1')]<|eot_id|>", [{"name": "f", "parameters": schema}])
    assert (got.tool_calls[0].arguments, got.coercions) == ({"n": "1"}, ())


def test_names_and_declarations_may_be_mixed() -> None:
    got = parse("[g(n='1'), f(n='1')]<|eot_id|>", ["g", TOOL])
    assert [call.arguments for call in got.tool_calls] == [{"n": "1"}, {"n": 1}]
    assert got.unknown == ()


def test_coercion_needs_no_repair() -> None:
    got = parse("[f(n='1')]<|eot_id|>", [TOOL], repair=False)
    assert got.tool_calls[0].arguments == {"n": 1}
