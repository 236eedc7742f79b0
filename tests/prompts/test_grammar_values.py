"""Schemas as grammars: what fits is taken, what does not is not."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matching import rule, takes
from pydantic import BaseModel, Field

from arriero.prompts.grammar import Grammar, GrammarNotExpressible, Limits, answer_grammar
from arriero.prompts.grammar.ebnf import charset, literal, one_of
from arriero.prompts.grammar.numbers import Bounds, integer_between, number_between

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
WHOLE = st.integers(-(10**14), 10**14)
PLACES = st.decimals(-(10**6), 10**6, places=4)


def written(value: Any, *, ascii_only: bool = False) -> str:
    """JSON as a model may write it: what would be a special token is an escape."""
    return json.dumps(value, ensure_ascii=ascii_only).replace("<|", "\\u003c|")


def of(schema: Mapping[str, Any] | bool, **limits: Any) -> Grammar:
    return answer_grammar(schema, limits=Limits(**limits))


def obj(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


@given(TEXT, st.booleans())
def test_any_text_can_be_written(text: str, ascii_only: bool) -> None:
    assert takes(of({"type": "string"}), written(text, ascii_only=ascii_only))


@given(TEXT, st.integers(0, 12), st.integers(0, 12))
def test_a_text_is_as_long_as_its_schema_says(text: str, least: int, more: int) -> None:
    grammar = of({"type": "string", "minLength": least, "maxLength": least + more})
    assert takes(grammar, json.dumps(text).replace("<", "\\u003c")) == (least <= len(text) <= least + more)


@pytest.mark.parametrize(
    "text", ['"', '"a', 'a"', '"a"b"', '"\n"', '"\\x41"', '"\\ud800"', '"\\u12"', '"<|eot_id|>"', '"\\"']
)
def test_what_is_no_text_of_json_is_not_taken(text: str) -> None:
    assert not takes(of({"type": "string"}), text)


@given(st.integers(-2000, 2000), st.integers(0, 3000), st.integers(-6000, 6000))
def test_an_integer_is_taken_within_its_bounds_alone(low: int, width: int, value: int) -> None:
    grammar = rule(integer_between(Bounds(Decimal(low), Decimal(low + width))) or "")
    for number in (value, low - 1, low, low + width, low + width + 1):
        assert takes(grammar, str(number)) == (low <= number <= low + width)
    assert not takes(grammar, f"0{abs(value)}")


@given(
    st.decimals(-50, 50, places=2), st.decimals(0, 60, places=3), st.decimals(-120, 120, places=4),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_a_number_is_taken_within_its_bounds_alone(
    low: Decimal, width: Decimal, value: Decimal, above: bool, below: bool
) -> None:
    high = low + width
    expression = number_between(Bounds(low, high, above, below))
    fitting = [
        number
        for number in (value, low, high, (low + high) / 2, low - Decimal("0.001"), high + Decimal("0.001"))
        if (low < number if above else low <= number) and (number < high if below else number <= high)
    ]
    if expression is None:
        assert not fitting
        return
    for number in (value, low, high, (low + high) / 2, low - Decimal("0.001"), high + Decimal("0.001")):
        assert takes(rule(expression), f"{number:f}") == (number in fitting)
        assert takes(rule(expression), f"{number:f}0") == (number in fitting and "." in f"{number:f}")


@given(WHOLE, PLACES)
def test_numbers_without_bounds_are_taken(whole: int, places: Decimal) -> None:
    assert takes(of({"type": "integer"}), str(whole))
    assert takes(of({"type": "number"}), f"{places:f}")
    assert takes(of({"type": "number"}), f"{places:f}e-7")
    assert not takes(of({"type": "integer"}), f"{places:f}")


@pytest.mark.parametrize(
    "text", ["", "-", "+1", "01", "1.", ".5", "1e", "1e999", "NaN", "Infinity", "0x1", "1_000", "1,0"]
)
def test_what_is_no_number_of_json_is_not_taken(text: str) -> None:
    assert not takes(of({"type": "number"}), text)


@given(WHOLE, TEXT, st.lists(st.booleans(), max_size=4), st.sampled_from(["red", "grün", None, 3]))
def test_objects_are_taken_with_their_properties_in_order(
    whole: int, text: str, flags: list[bool], choice: str | int | None
) -> None:
    grammar = of(
        obj(
            {
                "n": {"type": "integer"},
                "inner": obj({"größe": {"type": "string"}}, "größe"),
                "flags": {"type": "array", "items": {"type": "boolean"}},
                "choice": {"enum": ["red", "grün", None, 3]},
            },
            "inner",
            "choice",
        )
    )
    whole_object = {"n": whole, "inner": {"größe": text}, "flags": flags, "choice": choice}
    assert takes(grammar, written(whole_object))
    assert takes(grammar, written(whole_object).replace(": ", ":"))
    without = {key: value for key, value in whole_object.items() if key not in ("n", "flags")}
    assert takes(grammar, written(without))
    assert not takes(grammar, written(dict(reversed(whole_object.items()))))
    assert not takes(grammar, written({**whole_object, "more": 1}))
    assert not takes(grammar, written({**whole_object, "n": str(whole)}))
    assert not takes(grammar, written({**whole_object, "choice": "blue"}))
    assert not takes(grammar, written({key: value for key, value in whole_object.items() if key != "inner"}))
    assert not takes(grammar, written(whole_object)[:-1])


@given(st.integers(0, 6), st.integers(0, 4), st.integers(0, 3))
def test_an_array_has_as_many_items_as_its_schema_says(count: int, least: int, more: int) -> None:
    grammar = of({"type": "array", "items": {"const": 1}, "minItems": least, "maxItems": least + more})
    assert takes(grammar, written([1] * count)) == (least <= count <= least + more)


@given(st.integers(0, 5), st.integers(0, 3))
def test_a_tuple_begins_with_its_own_items(count: int, least: int) -> None:
    schema = {"type": "array", "prefixItems": [{"const": 0}, {"const": 1}], "items": {"const": 2}, "minItems": least}
    assert takes(of(schema), written([0, 1, 2, 2, 2][:count])) == (count >= least)
    assert takes(of({**schema, "items": False, "minItems": 0}), written([0, 1, 2][:count])) == (count <= 2)
    assert not takes(of(schema), written([1, 0]))


@given(
    st.recursive(
        st.none() | st.booleans() | WHOLE | TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
        max_leaves=8,
    )
)
def test_any_value_is_taken_where_the_schema_says_nothing(value: Any) -> None:
    assert takes(of({}), written(value))
    assert takes(of(obj({"x": True}, "x")), written({"x": value}))


@pytest.mark.parametrize(
    ("schema", "fitting", "others"),
    [
        ({"type": "boolean"}, ["true", "false"], ["True", "1", '"true"', ""]),
        ({"type": ["string", "null"]}, ['""', "null"], ["None", "0"]),
        ({"type": "integer", "nullable": True}, ["5", "null"], ['"5"']),
        ({"const": {"a": [1, "x"]}}, ['{"a": [1, "x"]}'], ['{"a": [1]}']),
        ({"enum": [1, "1", None], "type": "integer"}, ["1"], ['"1"', "null"]),
        ({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}, ["1", "[1]"], ["[[1]]"]),
        ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, ["1", "null"], ['"1"']),
        ({"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 5}]}, ["3", "5"], ["2", "6"]),
        ({"type": "integer", "minimum": 1, "maximum": 20, "multipleOf": 7}, ["7", "14"], ["1", "8", "21"]),
        ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 4}, ["2", "3"], ["1", "4"]),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1}, ["1", "0.5"], ["0", "1.1"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"a": 1, "b": 2}'], ['{"a": "1"}']),
        ({"type": "object", "additionalProperties": False}, ["{}"], ['{"a": 1}']),
        ({"type": "object", "patternProperties": {"^x_": {"type": "null"}}}, ['{"x_1": null}'], ['{"y": null}']),
        ({"type": "array", "items": [{"type": "null"}], "additionalItems": False}, ["[null]", "[]"], ["[1]"]),
        ({"properties": {"a": {"type": "integer"}}}, ["{}", '{"a": 1}'], ["[]", '{"a": null}']),
        ({"type": "dict", "properties": {"x": {"type": "float"}}, "required": ["x"]}, ['{"x": 1.5}'], ["{}"]),
        ({"type": "object", "required": ["q"]}, ['{"q": [null]}'], ["{}"]),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2}, ['{"a": 1, "b": 2}'], ['{"a": 1}']),
        ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"', '""']),
        ({"type": "string", "pattern": "^[^a-y]\\d{2,3}(?:x|y\\.)?$"}, ['"z12"', '"Ö123y."'], ['"a12"', '"z12yz"']),
        ({"type": "string", "pattern": '^"\\\\<\\|$'}, ['"\\"\\\\\\u003c|"'], ['"\\"\\\\<|"']),
        ({"type": "string", "format": "date"}, ['"2024-02-29"', '"1999-12-31"'], ['"2023-02-29"', '"2023-13-01"']),
        ({"type": "string", "format": "ipv4"}, ['"10.0.255.1"'], ['"10.0.256.1"', '"10.0.1"']),
        ({"type": "string", "format": "uuid"}, ['"12345678-1234-1234-1234-123456789abc"'], ['"1234"']),
    ],
)  # fmt: skip
def test_what_fits_the_schema_is_taken_and_nothing_else(schema: Any, fitting: list[str], others: list[str]) -> None:
    grammar = of(schema)
    assert [text for text in fitting if not takes(grammar, text)] == []
    assert [text for text in others if takes(grammar, text)] == []
    assert grammar.notes == ()


@given(st.dates(), st.times(), st.sampled_from(["Z", "+02:00", "-11:30"]))
def test_every_date_and_time_can_be_written(day: date, time: Any, zone: str) -> None:
    assert takes(of({"type": "string", "format": "date"}), f'"{day.isoformat()}"')
    assert takes(of({"type": "string", "format": "date-time"}), f'"{day.isoformat()}T{time.isoformat()}{zone}"')


class Node(BaseModel):
    label: Annotated[str, Field(max_length=4)]
    children: list["Node"] = []


class Answer(BaseModel):
    kind: Literal["tree"]
    root: Node
    score: Annotated[float, Field(ge=0, le=1)] | None = None


def test_a_pydantic_type_that_holds_itself_ends_at_the_depth_allowed() -> None:
    leaf = {"label": "c", "children": []}
    answer = {"kind": "tree", "root": {"label": "a", "children": [{"label": "b", "children": [leaf]}]}, "score": 0.5}
    Answer.model_validate(answer)
    assert takes(answer_grammar(Answer), written(answer))
    assert not takes(answer_grammar(Answer, limits=Limits(depth=4)), written(answer))
    assert not takes(answer_grammar(Answer), written({**answer, "kind": "bush"}))
    assert answer_grammar(Answer).notes == ()


def test_limits_bound_texts_lists_and_maps() -> None:
    grammar = of({}, string=2, items=1, depth=2)
    assert takes(grammar, '{"a": ["bc"]}')
    for text in ('"abc"', "[1, 2]", '{"a": 1, "b": 2}', "[[[1]]]"):
        assert not takes(grammar, text)


def test_a_schemas_own_minimum_wins_over_a_limit() -> None:
    assert takes(of({"type": "string", "minLength": 3}, string=1), '"abc"')
    assert takes(of({"type": "array", "items": {}, "minItems": 2}, items=0), "[1, 2]")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "format": "iri"}, "format 'iri' is not enforced"),
        ({"type": "string", "pattern": "(a)\\1"}, r"pattern '(a)\\1' is not enforced (\1)"),
        ({"pattern": "^(?=a)b"}, "pattern '^(?=a)b' is not enforced (a group with options or a look-around)"),
        ({"pattern": "^a+$", "maxLength": 3}, "the length of a text with pattern '^a+$' is not enforced"),
        ({"type": "array", "items": {}, "uniqueItems": True}, "'uniqueItems' is not enforced"),
        ({"type": "integer", "multipleOf": 3}, "'multipleOf' 3 is not enforced"),
        ({"type": "integer", "not": {"const": 3}}, "'not' is not enforced"),
        ({"oneOf": [{"minimum": 3}, {"maximum": 5}]}, "a value may fit several alternatives of 'oneOf'"),
        ({"type": "object", "minProperties": 2}, "the number of entries is not enforced: a key may come twice"),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}},
            "properties without a name of their own in the schema are never written",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_noted_or_when_strict_refused(schema: Any, said: str) -> None:
    assert of(schema).notes == (f"the answer: {said}",)
    with pytest.raises(GrammarNotExpressible) as caught:
        answer_grammar(schema, strict=True)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (False, "no value fits"),
        ({"enum": []}, "no value fits"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "no value fits"),
        ({"type": "string", "minLength": 2, "maxLength": 1}, "no value fits"),
        ({"$ref": "#"}, "go in a circle"),
        ({"$ref": "#/$defs/X", "$defs": {"X": obj({"x": {"$ref": "#/$defs/X"}}, "x")}}, "no value fits .* 12 levels"),
        ({"$ref": "#/$defs/Y"}, "leads nowhere"),
        ({"$ref": "other.json"}, "leads out of the schema"),
        ({"type": "decimal"}, "unknown type 'decimal'"),
        ({"const": float("nan")}, "strict JSON"),
        ({"const": "\ud800"}, "surrogate"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "'pattern' is asked for twice"),
        ({"anyOf": [{"$ref": "#"}]}, "no value fits"),
    ],
)  # fmt: skip
def test_a_schema_that_allows_nothing_or_cannot_be_read_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(GrammarNotExpressible, match=said):
        of(schema)


def test_a_type_without_a_schema_is_refused() -> None:
    with pytest.raises(GrammarNotExpressible, match="cannot be described as a JSON schema"):
        answer_grammar(type("Odd", (), {}))


@given(TEXT)
def test_literals_and_classes_take_their_own_characters(text: str) -> None:
    assert takes(rule(literal(text)), text)
    for character in text:
        assert takes(rule(one_of(charset(text, "0a"))), character)
