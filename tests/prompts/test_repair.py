"""What models write beside the documented forms is read where it has one meaning, and said to be repaired."""

from typing import Any

import pytest
from call_writers import parse, pieces, plain, read

from arriero.prompts.calls.repair import Repair
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import ToolCall

F1 = ("f", {"a": 1})
G2 = ("g", {"b": "x"})
OBJECT_F = '{"name": "f", "parameters": {"a": 1}}'
OBJECT_G = '{"name": "g", "parameters": {"b": "x"}}'
TOOLS = ["f", "g", "brave_search"]


@pytest.mark.parametrize("joiner", ["; ", ";", "\n", ", ", ",", "", " ", "\n\n", ";\n", " ;\t", " and ", "\nThen:\n"])
def test_objects_are_read_whatever_joins_them(joiner: str) -> None:
    got = parse(OBJECT_F + joiner + OBJECT_G + "<|eot_id|>", TOOLS)
    assert plain(got.tool_calls) == [F1, G2]
    assert bool(got.repairs) == (joiner.strip(" ;\n\t") != "")


@pytest.mark.parametrize("joiner", ["; ", ";", "\n", "", " ", "\n\n"])
def test_documented_joiners_need_no_repair(joiner: str) -> None:
    assert plain(parse(OBJECT_F + joiner + OBJECT_G + "<|eot_id|>", repair=False).tool_calls) == [F1, G2]


REPAIRED: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "an array of objects": (f"[{OBJECT_F}, {OBJECT_G}]", [F1, G2]),
    "an array after the tag": (f"<|python_tag|>[{OBJECT_F}]", [F1]),
    "a tag before each": (f"<|python_tag|>{OBJECT_F}<|python_tag|>{OBJECT_G}", [F1, G2]),
    "a tag between": (f"{OBJECT_F}<|python_tag|>{OBJECT_G}", [F1, G2]),
    "prose before": (f"I'll look:\n\n{OBJECT_F}", [F1]),
    "prose after": (f"{OBJECT_F}\nThat should do.", [F1]),
    "prose before the tag": (f"I'll look. <|python_tag|>{OBJECT_F}", [F1]),
    "a fence": (f"```json\n{OBJECT_F}\n```", [F1]),
    "a fence with two": (f"```json\n{OBJECT_F}\n{OBJECT_G}\n```", [F1, G2]),
    "two fences": (f"First:\n```json\n{OBJECT_F}\n```\nand\n```\n{OBJECT_G}\n```\n", [F1, G2]),
    "a fence that stays open": (f"```json\n{OBJECT_F}", [F1]),
    "a fence around a list": ("```python\n[f(a=1), g(b='x')]\n```", [F1, G2]),
    "a fence around a bare call": ("```tool_code\nf(a=1)\n```", [F1]),
    "a missing brace": (OBJECT_F[:-1], [F1]),
    "a missing bracket": ("[f(a=1), g(b='x')", [F1, G2]),
    "a missing bracket of an array": (f"[{OBJECT_F}", [F1]),
    "one brace too many": (OBJECT_F + "}", [F1]),
    "a trailing comma": ('{"name": "f", "parameters": {"a": 1,},}', [F1]),
    "single quotes": ("{'name': 'f', 'parameters': {'a': 1}}", [F1]),
    "no quotes around keys": ('{name: "f", parameters: {a: 1}}', [F1]),
    "Python's words": ('{"name": "f", "parameters": {"a": True, "b": None}}', [("f", {"a": True, "b": None})]),
    "a raw line break": ('{"name": "g", "parameters": {"b": "x\ny"}}', [("g", {"b": "x\ny"})]),
    "a raw line break in Python": ("[g(b='x\ny')]", [("g", {"b": "x\ny"})]),
    "a tool called function": ('{"function": "f", "parameters": {"a": 1}}', [F1]),
    "a tool called tool": ('{"tool": "f", "args": {"a": 1}}', [F1]),
    "OpenAI's shape": ('{"type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}', [F1]),
    "parameters in a string": ('{"name": "f", "parameters": "{\\"a\\": 1}"}', [F1]),
    "no parameters": ('{"name": "f"}', [("f", {})]),
    "no parameters but null": ('{"name": "f", "parameters": null}', [("f", {})]),
    "the same twice": ('{"name": "f", "parameters": {"a": 1}, "arguments": {"a": 1}}', [F1]),
    "a call without its list": ("f(a=1)", [F1]),
    "calls without their list": ("f(a=1)\ng(b='x')", [F1, G2]),
    "a call after the tag": ("<|python_tag|>f(a=1)", [F1]),
    "a call in the form of built-in tools": ('<|python_tag|>g.call(b="x")', [G2]),
    "JSON's words in Python": ("[f(a=true, b=[null, false])]", [("f", {"a": True, "b": [None, False]})]),
    "Meta's dicts": ('[f(a={k="v", n=1})]', [("f", {"a": {"k": "v", "n": 1}})]),
    "tuples and sets": ("[f(a=(1, 2), b={'x'})]", [("f", {"a": [1, 2], "b": ["x"]})]),
    "numbers as keys": ("[f(a={1: 2})]", [("f", {"a": {"1": 2}})]),
    "strings side by side": ("[g(b='x' \"y\")]", [("g", {"b": "xy"})]),
    "prefixes": ("[g(b=r'\\d', c=u'x', d=f'y')]", [("g", {"b": "\\d", "c": "x", "d": "y"})]),
    "a surrogate pair": ("[g(b='\\ud83d\\ude00')]", [("g", {"b": "😀"})]),
    "Python's keywords": ("[f(from='x', class=1)]", [("f", {"from": "x", "class": 1})]),
    "leading zeros": ("[f(a=007)]", [("f", {"a": 7})]),
    "quotes inside quotes": ("[g(b='sed -n '1,2p' x')]", [("g", {"b": "sed -n '1,2p' x"})]),
    "apostrophes": ("[g(b='it's John's', c=2)]", [("g", {"b": "it's John's", "c": 2})]),
    "a list in prose": ("Let me see: [f(a=1)]", [F1]),
    "calls without commas": ("[f(a=1)\n g(b='x')]", [F1, G2]),
    "semicolons in a list": ("[f(a=1); g(b='x')]", [F1, G2]),
    "a fence after the tag": (f"<|python_tag|>```json\n{OBJECT_F}\n```", [F1]),
    "another name for a query": ('<|python_tag|>brave_search.call(q="x")', [("brave_search", {"query": "x"})]),
    "a sibling that is no literal": ("[f(a=user), g(b='x')]", [G2]),
    "a function tag after prose": ('Now\n<function=f>{"a": 1}</function>', [F1]),
    "function tags": ('<function=f>{"a": 1}</function>\n<function=g>{"b": "x"}</function>', [F1, G2]),
    "a quoted name": ('<function="f">{"a": 1}</function>', [F1]),
    "a closing tag with a name": ('<function=f>{"a": 1}</function=f>', [F1]),
    "a function tag with no parameters": ("<function=f></function>", [("f", {})]),
    "single quotes in a function tag": ("<function=g>{'b': 'x'}</function>", [G2]),
    "a call without its last bracket": ('<|python_tag|>g.call(b="x"', [G2]),
    "a number in the form of built-in tools": ("<|python_tag|>f.call(a=1)", [F1]),
    "built-in calls with a comma": (
        '<|python_tag|>brave_search.call(query="x"), g.call(b="x")',
        [("brave_search", {"query": "x"}), G2],
    ),
    "text after a call after the tag": (f"<|python_tag|>{OBJECT_F} will do.", [F1]),
    "a brace too many after the tag": (f"<|python_tag|>{OBJECT_F}}}", [F1]),
    "text between two tags": (f"<|python_tag|>{OBJECT_F} and<|python_tag|>{OBJECT_G}", [F1, G2]),
    "a header": (f"<|start_header_id|>assistant<|end_header_id|>\n\n{OBJECT_F}", [F1]),
}


@pytest.mark.parametrize(("text", "calls"), REPAIRED.values(), ids=REPAIRED)
def test_it_is_read_and_reported_and_not_read_without_repair(text: str, calls: list[Any]) -> None:
    got = parse(text + "<|eot_id|>", TOOLS)
    assert plain(got.tool_calls) == calls
    assert got.repairs
    assert got.unknown == ()
    strict = parse(text + "<|eot_id|>", TOOLS, repair=False)
    assert plain(strict.tool_calls) != calls
    assert strict.repairs == ()


NO_CALLS = {
    "a quote that may end": '{"name": "g", "parameters": {"b": "he said "hi" loudly"}}',
    "an odd quote": "[g(b='x 'y', c='z')]",
    "an expression": "[f(a=1+2)]",
    "strings added": "[g(b='x' + 'y')]",
    "a variable": "[f(a=user)]",
    "a call inside": "[f(a=g(b='x'))]",
    "a method": "[g(b='x'.upper())]",
    "positional arguments": "[f(1)]",
    "an argument twice": "[f(a=1, a=2)]",
    "stars": "[f(**{'a': 1})]",
    "a comprehension": "[f(a=1) for _ in range(3)]",
    "an f-string": "[g(b=f'{x}')]",
    "bytes": "[g(b=b'x')]",
    "a complex number": "[f(a=1j)]",
    "not a number": "[f(a=nan)]",
    "too large a number": "[f(a=1e999)]",
    "half a surrogate pair": "[g(b='\\ud83d')]",
    "a list in a list": "[[f(a=1)]]",
    "lists in a list": "[[f(a=1)], [g(b='x')]]",
    "keys that may be the parameters": '{"name": "f", "city": "Paris"}',
    "parameters under a name of their own": '{"tool_name": "f", "tool_arguments": {"a": 1}}',
    "brackets that do not match": "[f(a=1])",
    "two brackets missing": '{"name": "f", "parameters": {"a": 1',
    "different arguments twice": '{"name": "f", "parameters": {"a": 1}, "arguments": {"a": 2}}',
    "arguments that are a list": '{"name": "f", "parameters": [1]}',
    "a name that is a number": '{"name": 1, "parameters": {}}',
    "a mention": "You can call `[f(a=1)]` for that.",
    "a mention without a list": "You can call f(a=1) for that.",
    "a line of code": "x = f(a=1)",
    "a list with a name": "x = [f(a=1)]",
    "an object with a name": f"x={OBJECT_F}",
    "an example in an answer": "f(a=1) gives one.",
    "a person": '{"name": "Alice", "age": 30}',
    "a person without an age": '{"name": "Alice"}',
    "another family's tags": "<function=f>\n<parameter=a>\n1\n</parameter>\n</function>",
}


@pytest.mark.parametrize("text", NO_CALLS.values(), ids=NO_CALLS)
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_what_may_mean_something_else_stays_text_unchanged(text: str, tools: list[str] | None) -> None:
    got = parse(text + "<|eot_id|>", tools)
    assert (got.content, got.tool_calls, got.repairs) == (text, (), ())


@pytest.mark.parametrize(
    "text",
    [
        "{'name': 'rm', 'parameters': {}}",
        '{"name": "rm"}',
        "rm(path='/')",
        "[rm(path=true)]",
        '<|python_tag|>rm.call(path="/")',
        "Now [rm(path='/')]",
        'Now {"name": "rm", "parameters": {}}',
        "```\n[rm(path='/',)]\n``` deletes all",
    ],
)
def test_nothing_is_repaired_into_a_call_to_a_tool_that_was_not_offered(text: str) -> None:
    got = parse(text + "<|eot_id|>", TOOLS)
    assert [call.name for call in got.tool_calls] in ([], ["code_interpreter"])


def test_a_well_formed_call_to_an_unknown_tool_is_reported_and_prose_beside_it_makes_it_text() -> None:
    call = '{"name": "rm", "parameters": {}}'
    assert parse(call + "<|eot_id|>", TOOLS).unknown == (ToolCall("rm", {}),)
    got = parse(call + " deletes all<|eot_id|>", TOOLS)
    assert (got.content, got.tool_calls) == (call + " deletes all", ())


def test_a_repair_says_what_was_done_and_for_which_calls() -> None:
    got = parse("[f(a=true), g(b=user)]<|eot_id|>", TOOLS)
    assert got.repairs == (
        Repair("read true as Python writes it", ("f",)),
        Repair("left out a call to g that cannot be read", ("f",)),
    )


def test_prose_beside_calls_is_the_content() -> None:
    got = parse(f"First. {OBJECT_F}; {OBJECT_G} Done.<|eot_id|>", TOOLS)
    assert (got.content, plain(got.tool_calls)) == ("First.  Done.", [F1, G2])


def test_marks_around_calls_are_no_content() -> None:
    for text in ('<function=f>{"a": 1}</function> Done.', f"```json\n{OBJECT_F}\n``` Done."):
        got = parse(text + "<|eot_id|>", TOOLS)
        assert (got.content, plain(got.tool_calls)) == (" Done.", [F1])


@pytest.mark.parametrize("text", [" ", "\n\n", " Hello ", "\n[1]\n"])
def test_blanks_are_kept_once(text: str) -> None:
    assert parse(text + "<|eot_id|>").content == text


def test_code_beside_text_runs_only_when_the_model_waits_for_its_result() -> None:
    text = "Let me compute. <|python_tag|>print(1)"
    waiting = parse(text + "<|eom_id|>")
    assert plain(waiting.tool_calls) == [("code_interpreter", {"code": "print(1)"})]
    assert waiting.content == "Let me compute. "
    assert parse(text + "<|eot_id|>").tool_calls == ()


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize(
    ("text", "call"),
    {
        "[f( # what's this)]\n a=1, # one, or [\n)]": F1,
        "[f(a=\\\n1)]": F1,
        "[f(a=- 1)]": ("f", {"a": -1}),
        "[погода(город='Уфа')]": ("погода", {"город": "Уфа"}),
    }.items(),
)
def test_what_python_allows_between_brackets_needs_no_repair(text: str, call: Any, repair: bool) -> None:
    for size in (1, 100):
        got, _ = read(Dialect.get("llama3.2").parser(repair=repair), pieces(text + "<|eot_id|>", size))
        assert plain(got.tool_calls) == [call]


def test_code_between_tags_is_kept_whole() -> None:
    for text in (f"print(1)<|python_tag|>{OBJECT_F}", f"print(1)<|python_tag|>print({OBJECT_F})"):
        got = parse(f"<|python_tag|>{text}<|eom_id|>", TOOLS)
        assert plain(got.tool_calls) == [("code_interpreter", {"code": text})]


def test_a_header_is_dropped_where_only_the_syntax_is_named() -> None:
    text = "<|header_start|>assistant<|header_end|>\n\n[f(a=1)]<|eot|>"
    assert plain(parse(text, TOOLS, syntax="llama4").tool_calls) == [F1]


def test_a_whole_built_in_call_needs_no_end_token_where_the_server_took_it_off() -> None:
    text = '<|python_tag|>brave_search.call(query="x")'
    assert plain(parse(text, syntax="llama3-builtin").tool_calls) == [("brave_search", {"query": "x"})]
    assert parse(text).tool_calls == ()
    for cut in (text[:-1], '<|python_tag|>brave_search.call(query="x "y") z")'):
        assert parse(cut, syntax="llama3-builtin").tool_calls == ()


def test_what_was_cut_is_not_repaired() -> None:
    for text in (OBJECT_F[:-1], "[f(a=1)", f"[{OBJECT_F}", "[f(a=1), g(b='x"):
        got = parse(text, TOOLS)
        assert (got.content, got.tool_calls, got.kind) == (text, (), "length")


def test_calls_before_one_that_was_cut_are_kept() -> None:
    got = parse(f"{OBJECT_F}; {OBJECT_G[:-4]}", TOOLS)
    assert (plain(got.tool_calls), got.end, got.kind) == ([F1], "none", "tool_calls")
    assert got.repairs
