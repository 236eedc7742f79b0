"""Which calls count as right: the rules of the Berkeley Function Calling Leaderboard."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.errors import InvalidData
from arriero.evals.toolcalls import match_call, pair_calls, read_tool_items
from arriero.evals.toolcalls.items import Accepted
from arriero.prompts.messages import ToolCall

BFCL = Path(__file__).parents[1] / "data" / "bfcl"


def tool(name: str = "f", required: tuple[str, ...] = (), **types: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in types.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def listing(of: str | list[str]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": of}}


RULES: list[tuple[str, Any, list[Any], Any, bool]] = [
    ("texts without case", "string", ["New York"], "NEW york", True),
    ("texts without spaces and punctuation", "string", ["April 1, 2024"], "april-1.2024", True),
    ("texts with either quote", "string", ["it's"], 'it"s', True),
    ("texts with other punctuation", "string", ["a:b"], "ab", False),
    ("a number for a text", "string", ["5"], 5, False),
    ("a text for a number", "integer", [5], "5", False),
    ("an integer", "integer", [5, 6], 6, True),
    ("a float for an integer", "integer", [5], 5.0, False),
    ("a truth value for an integer", "integer", [1], True, False),
    ("an integer for a float", "number", [5.0], 5, True),
    ("a float", "number", [0.5], 0.5, True),
    ("a truth value", "boolean", [True], True, True),
    ("a number for a truth value", "boolean", [True], 1, False),
    ("a list in order", listing("string"), [["Ana", "Bo"]], ["ana", "bo."], True),
    ("a list out of order", listing("string"), [["Ana", "Bo"]], ["bo", "ana"], False),
    ("one of several lists", listing("integer"), [[1], [1, 2]], [1, 2], True),
    ("a list of other items", listing("integer"), [[1, 2]], ["1", "2"], False),
    ("an empty list where it may be left out", listing("integer"), [[1], ""], [], True),
    ("an empty text where it may be left out", "string", ["x", ""], "", True),
    ("an object", "object", [{"a": [1], "b": ["x", ""]}], {"a": 1}, True),
    ("an object that lacks a key", "object", [{"a": [1], "b": ["x"]}], {"a": 1}, False),
    ("an object with a key too many", "object", [{"a": [1]}], {"a": 1, "c": 2}, False),
    ("a list of objects", listing("object"), [[{"a": [1]}, {"a": [2, 3]}]], [{"a": 1}, {"a": 3}], True),
    ("a list of fewer objects", listing("object"), [[{"a": [1]}, {"a": [2]}]], [{"a": 1}], False),
    ("a variable's name in place of a number", "integer", ["count"], "count", True),
    ("a variable's name in other letters", "integer", ["count"], "Count", False),
    ("null where it is accepted", "string", [None], None, True),
    ("null where it is not", "string", ["x"], None, False),
    ("anything, by what is accepted", {}, [3], 3, True),
]


@pytest.mark.parametrize(
    ("kind", "accepted", "value", "right"), [rule[1:] for rule in RULES], ids=[r[0] for r in RULES]
)
def test_a_value_is_right_by_the_rules_of_its_type(kind: Any, accepted: list[Any], value: Any, right: bool) -> None:
    found = match_call(ToolCall("f", {"x": value}), {"f": {"x": accepted}}, tool(x=kind))
    assert found.exact == right
    assert found.right == (("x",) if right else ())


def test_an_argument_may_be_left_out_only_where_an_empty_text_is_accepted_and_it_is_not_required() -> None:
    accepted: Accepted = {"f": {"x": [1], "y": [2, ""], "z": [3]}}
    found = match_call(ToolCall("f", {"x": 1}), accepted, tool(x="integer", y="integer", z="integer"))
    assert (found.right, found.wrong) == (("x", "y"), {"z": "absent"})
    required = match_call(
        ToolCall("f", {"x": 1}), {"f": {"x": [1], "y": [""]}}, tool("f", ("y",), x="integer", y="string")
    )
    assert required.wrong == {"y": "absent"}


def test_an_argument_that_nobody_wanted_makes_a_call_wrong() -> None:
    found = match_call(ToolCall("f", {"x": 1, "y": 2}), {"f": {"x": [1]}}, tool(x="integer", y="integer"))
    assert not found.exact
    assert found.wrong == {"y": "not wanted"}


def test_a_call_of_another_tool_has_nothing_right() -> None:
    found = match_call(ToolCall("g", {"x": 1}), {"f": {"x": [1]}}, tool(x="integer"))
    assert (found.name, found.right, list(found.wrong)) == (False, (), ["x"])


@settings(deadline=None)
@given(st.permutations(range(4)), st.permutations(range(4)))
def test_parallel_calls_are_right_in_any_order(made: list[int], wanted: list[int]) -> None:
    calls = [ToolCall("f", {"x": number}) for number in made]
    assert pair_calls(calls, [{"f": {"x": [number]}} for number in wanted], [tool(x="integer")]).exact


def test_a_call_too_few_or_too_many_is_not_exact_and_keeps_the_rest_paired() -> None:
    accepted = [{"f": {"x": [1]}}, {"f": {"x": [2]}}]
    few = pair_calls([ToolCall("f", {"x": 2})], accepted, [tool(x="integer")])
    assert few.pairs[0] is None
    assert few.pairs[1] is not None
    assert few.pairs[1][1].exact
    many = pair_calls([ToolCall("f", {"x": n}) for n in (2, 1, 3)], accepted, [tool(x="integer")])
    assert many.surplus == (2,)
    assert not any((few.exact, many.exact, few.names, many.names))


def test_the_reference_calls_of_bfcl_are_accepted_but_for_the_questions_that_accept_nothing_valid() -> None:
    with (BFCL / "items.jsonl").open(encoding="utf-8") as file:
        references = {line["id"]: line["reference_calls"] for line in map(json.loads, file)}
    items = read_tool_items(BFCL / "items.jsonl")
    refused = []
    for item in items:
        calls = [ToolCall(call["name"], call["arguments"]) for call in references[item.id]]
        if not pair_calls(calls, item.steps[0].accepted, item.tools).exact:
            refused.append(item.id)
    assert {item.category for item in items} >= {"live_multiple", "parallel_multiple", "live_irrelevance"}
    assert refused == ["bfcl-simple_python_200"]  # accepts an argument's absence that the tool requires


def test_types_are_named_as_in_json_schema_and_names_keep_their_dots() -> None:
    items = read_tool_items(BFCL / "items.jsonl")
    text = json.dumps([item.tools for item in items])
    assert not any(f'"type": "{name}"' in text for name in ("dict", "float", "tuple", "any"))
    assert any("." in tool["function"]["name"] for item in items for tool in item.tools)


AGAIN = '{"accepted": [{"f": {}}]}'
BAD = [
    (
        f'{{"id": "a", "question": "Q?", "tools": [{{"name": "f"}}], "steps": [{AGAIN}, {AGAIN}]}}',
        r"steps\[0\]: no results",
    ),
    ('{"category": "simple"}', "id is None"),
    ("nothing", "is no JSON"),
    ('{"id": "a", "question": "Q?", "tools": [{"name": "f"}], "accepted": [{"g": {}}]}', "'g' is none of the tools"),
    (
        '{"id": "a", "question": "Q?", "tools": [{"name": "f"}], "accepted": [{"f": {"x": 1}}]}',
        "a list of right values",
    ),
    ('{"id": "a", "question": "Q?", "tools": {}, "accepted": []}', "tools is dict"),
    ('{"id": "a", "question": "Q?", "tools": [], "accepted": [{}]}', r"accepted\[0\]: 0 names"),
    ('{"id": "a", "messages": [], "tools": [], "accepted": []}', "messages: none"),
    ('{"id": "a", "messages": [{"role": "judge"}], "tools": [], "accepted": []}', "unknown role"),
    (
        '{"id": "a", "category": "irrelevance", "question": "Q?", "tools": [{"name": "f"}], "accepted": [{"f": {}}]}',
        "wants no call",
    ),
    (
        '{"id": "a", "question": "Q?", "tools": [{"name": "f"}], "steps": [{"accepted": [{"f": {}}], "results": []}]}',
        r"steps\[0\]: results: give a list of 1",
    ),
    (
        '{"id": "a", "question": "Q?", "tools": [{"name": "f"}], "steps": [{"accepted": [{"f": {}}]}, {}]}',
        r"steps\[1\]: accepted is absent",
    ),
    (
        '{"id": "a", "question": "Q?", "tools": [{"name": "f"}], "steps": [{"accepted": []}, {"accepted": []}]}',
        r"steps\[1\]: nothing to read",
    ),
    (
        '{"id": "a", "question": "Q?", "tools": [{"name": "f"}], "accepted": [{"f": {"x": [[{"y": 1}]]}}]}',
        "a list of right values",
    ),
    ('{"id": "a", "question": "Q?", "tools": [{"name": "f", "parameters": {"required": 1}}]}', "required a list"),
    ('{"id": "a", "question": "Q?", "tools": [{"name": "f", "parameters": {"required": [1]}}]}', "must hold names"),
    ('{"id": "\\ud800", "question": "Q?", "tools": [], "accepted": []}', "half of a surrogate pair"),
]


@pytest.mark.parametrize(("line", "problem"), BAD)
def test_a_bad_line_is_named_with_its_number_and_what_is_wrong(tmp_path: Path, line: str, problem: str) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text('{"id": "good", "question": "Q?", "tools": [], "accepted": []}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InvalidData, match=problem) as caught:
        read_tool_items(file)
    assert f"{file}:3: " in str(caught.value)


def test_all_bad_lines_are_named_up_to_twenty_and_ids_must_differ(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text("[]\n" * 25, encoding="utf-8")
    with pytest.raises(InvalidData, match="and 5 more"):
        read_tool_items(file)
    same = '{"id": "a", "question": "Q?", "tools": [], "accepted": []}\n'
    file.write_text(same * 2, encoding="utf-8")
    with pytest.raises(InvalidData, match=r":2: id: 'a' stands in line 1"):
        read_tool_items(file)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(InvalidData, match="holds no lines"):
        read_tool_items(file)
    with pytest.raises(InvalidData, match="cannot be read"):
        read_tool_items(tmp_path / "absent.jsonl")


def test_lines_end_where_json_lines_end_and_files_may_be_packed(tmp_path: Path) -> None:
    line = {"id": "a", "question": "Line\u2028separators, \u0085 and all?", "tools": [], "accepted": []}
    file = tmp_path / "calls.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8-sig") as out:
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
    (item,) = read_tool_items(file)
    assert item.messages[0].content == line["question"]


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), None, [[]], {"y": [{}]}, "\ud800"])
@pytest.mark.parametrize("schema", ["number", {"type": ["array", "null"]}, listing(["string"])])
def test_whatever_a_model_gives_is_compared(value: Any, schema: Any) -> None:
    declared = tool(x=schema)
    assert not match_call(ToolCall("f", {"x": value}), {"f": {"x": [[1], 2.5]}}, declared).exact
