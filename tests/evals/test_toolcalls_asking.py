"""Tool-call questions put to a model: one message, several steps, calls that cannot be read, engines that fail."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from arriero import Stack
from arriero.evals.errors import InvalidData
from arriero.evals.runs import RunDiffers
from arriero.evals.toolcalls import (
    SAMPLE,
    ItemScore,
    Prompting,
    ToolCallReport,
    ToolCallSystem,
    ToolItem,
    Variant,
    measure,
    questions_of,
    read_recorded_calls,
    read_tool_items,
    report_of,
    run_toolcalls,
    score_item,
    scored,
)
from arriero.evals.toolcalls.report import tables, toolcalls_to_json, toolcalls_to_markdown
from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import ToolCall
from arriero.stack.errors import EngineInterrupted, EngineRejected
from arriero.testing import Say, scripted_stack

LLAMA = Dialect.get("llama3.1")


def line(**fields: Any) -> dict[str, Any]:
    """An item about a tool `f(x)` with three categories of question."""
    schema = {"type": "dict", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    return {
        "id": "a",
        "category": "simple",
        "question": "f of 1?",
        "tools": [{"name": "f", "parameters": schema}],
    } | fields


def f(*values: int) -> list[dict[str, Any]]:
    return [{"f": {"x": [value]}} for value in values]


def items(tmp_path: Path, *lines: dict[str, Any]) -> tuple[ToolItem, ...]:
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return read_tool_items(file)


def asked(item: ToolItem, *script: Any, prompting: Prompting | None = None) -> tuple[ItemScore, list[str]]:
    """The score of what a scripted model says, and the prompts that it read."""

    async def ask() -> tuple[ItemScore, list[str]]:
        async with scripted_stack(*script) as stack:
            system = ToolCallSystem(stack, [item], prompting or Prompting())
            answer = await system.answer(questions_of([item]).questions[0])
            return score_item(item, answer), [stack.engine.tokenizer.decode(ids) for ids in stack.engine.requests]

    return anyio.run(ask)


def test_a_right_call_is_right_in_all_and_the_item_ends_with_it(tmp_path: Path) -> None:
    (item,) = items(tmp_path, line(accepted=f(1)))
    score, prompts = asked(item, ToolCall("f", {"x": 1}))
    assert (score.right, score.names, score.arguments, score.called) == (True, True, (True,), True)
    assert len(prompts) == 1
    assert '"integer"' in prompts[0]


def test_a_wrong_argument_leaves_the_name_right_and_says_what_is_wrong(tmp_path: Path) -> None:
    (item,) = items(tmp_path, line(accepted=f(1)))
    score, _ = asked(item, ToolCall("f", {"x": 2}))
    assert (score.right, score.names, score.arguments) == (False, True, (False,))
    assert score.problems == ("f.x: 2 is none of [1]",)


def test_where_no_call_is_right_words_are_and_a_call_is_not(tmp_path: Path) -> None:
    (item,) = items(tmp_path, line(category="irrelevance", accepted=[]))
    assert asked(item, "None of the tools can do that.")[0].right
    score, _ = asked(item, ToolCall("f", {"x": 1}))
    assert (score.right, score.problems) == (False, ("f: no call was wanted",))


def test_a_call_that_cannot_be_read_is_counted_and_is_no_call(tmp_path: Path) -> None:
    wanted, unwanted = items(tmp_path, line(accepted=f(1)), line(id="b", category="irrelevance", accepted=[]))
    score, _ = asked(wanted, '{"name": "f", "parameters": {"x": }}')
    assert (score.right, score.called, score.unparsable) == (False, False, True)
    score, _ = asked(unwanted, '{"name": "f", "parameters": {"x": }}')
    assert (score.right, score.unparsable) == (True, True)


def test_a_call_to_a_tool_that_was_not_offered_is_counted(tmp_path: Path) -> None:
    (item,) = items(tmp_path, line(accepted=f(1)))
    score, _ = asked(item, ToolCall("g", {"x": 1}))
    assert (score.right, score.names, score.unoffered, score.unparsable) == (False, False, True, False)


def test_the_results_of_a_step_are_read_before_the_next_one(tmp_path: Path) -> None:
    steps = [{"accepted": f(1), "results": ["7"]}, {"accepted": f(7), "results": ["nine"]}]
    (item,) = items(tmp_path, line(steps=steps))
    score, prompts = asked(item, ToolCall("f", {"x": 1}), ToolCall("f", {"x": 7}), "It is nine.")
    assert (score.right, score.steps, score.multi_step) == (True, (2, 2), True)
    assert prompts[1].startswith(prompts[0])
    assert prompts[1].count('"7"') == 1
    assert "nine" in prompts[2]


def test_calls_of_one_step_may_come_in_any_order_and_one_after_the_other(tmp_path: Path) -> None:
    (item,) = items(tmp_path, line(steps=[{"accepted": f(1, 2), "results": ["one", "two"]}]))
    score, prompts = asked(item, ToolCall("f", {"x": 2}), ToolCall("f", {"x": 1}), "One and two.")
    assert score.right
    assert "two" in prompts[1]
    assert "one" not in prompts[1].split("f of 1?")[1]
    score, prompts = asked(item, [ToolCall("f", {"x": 2}), ToolCall("f", {"x": 1})], "Done.")
    assert score.right
    assert prompts[1].index('"two"') < prompts[1].index('"one"')


@pytest.mark.parametrize(
    ("script", "done"),
    [
        ((ToolCall("f", {"x": 9}),), 0),
        (("I do not know.",), 0),
        ((ToolCall("f", {"x": 1}), "I give up."), 1),
        ((ToolCall("f", {"x": 1}), ToolCall("f", {"x": 1})), 1),
        ((ToolCall("f", {"x": 1}), ToolCall("f", {"x": 7}), ToolCall("f", {"x": 7})), 2),
    ],
)
def test_a_wrong_step_ends_the_item_with_the_steps_before_it_counted(
    tmp_path: Path, script: Sequence[Any], done: int
) -> None:
    steps = [{"accepted": f(1), "results": ["7"]}, {"accepted": f(7), "results": ["nine"]}]
    (item,) = items(tmp_path, line(steps=steps))
    score, prompts = asked(item, *script)
    assert (score.right, score.steps) == (False, (done, 2))
    assert len(prompts) == len(script)


def test_a_later_turn_of_the_user_is_read_after_an_answer_in_words(tmp_path: Path) -> None:
    again = [{"role": "user", "content": "And of 2?"}]
    (item,) = items(tmp_path, line(steps=[{"accepted": []}, {"accepted": f(2), "messages": again}]))
    score, prompts = asked(item, "Which one?", ToolCall("f", {"x": 2}))
    assert score.right
    assert prompts[1].count("And of 2?") == 1


def test_a_system_text_comes_before_that_of_the_item(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "Own text."}, {"role": "user", "content": "f of 1?"}]
    (item,) = items(
        tmp_path, {key: value for key, value in line(accepted=f(1), messages=said).items() if key != "question"}
    )
    _, prompts = asked(item, ToolCall("f", {"x": 1}), prompting=Prompting(system="Be brief."))
    assert "Be brief.\n\nOwn text." in prompts[0]


def found(given: Sequence[ToolItem], *script: Any, folder: Path | None = None, retry: bool = False) -> ToolCallReport:
    async def ask() -> ToolCallReport:
        async with scripted_stack(*script, extending=False) as stack:
            systems = [ToolCallSystem(stack, given, Prompting("plain"))]
            return await run_toolcalls(given, systems, folder=folder, concurrency=1, progress=False, retry_errors=retry)

    return anyio.run(ask)


def test_items_that_fail_are_counted_and_told_and_are_asked_again_only_when_wanted(tmp_path: Path) -> None:
    given = items(tmp_path, line(accepted=f(1)), line(id="b", accepted=f(2)))
    lost = Say("", fault=EngineInterrupted("the server went away"))
    first = found(given, lost, ToolCall("f", {"x": 2}), folder=tmp_path / "run")
    measures = first.variants[0].measures
    assert (measures.items, measures.errors) == (2, 1)
    assert measures.exact is not None
    assert (measures.exact.value, measures.exact.n) == (1.0, 1)
    assert "1 of 2 items have no answer" in first.caveats[0]
    assert "the server went away" in first.caveats[0]
    kept = found(given, folder=tmp_path / "run")  # asks nothing: the script is empty
    assert kept.variants[0].measures == measures
    again = found(given, ToolCall("f", {"x": 1}), folder=tmp_path / "run", retry=True)
    assert again.variants[0].measures.errors == 0
    with pytest.raises(RunDiffers):
        found(items(tmp_path, line(accepted=f(3))), folder=tmp_path / "run")


def test_a_grammar_is_refused_of_an_engine_that_takes_none() -> None:
    async def ask() -> None:
        async with scripted_stack() as stack:
            stack.engine.grammars = False  # type: ignore[attr-defined]
            ToolCallSystem(stack, [], Prompting(grammar=True))

    with pytest.raises(EngineRejected, match="takes no grammar"):
        anyio.run(ask)


def test_recorded_texts_calls_and_messages_are_scored_alike(tmp_path: Path) -> None:
    steps = [{"accepted": f(1), "results": ["7"]}, {"accepted": f(7), "results": ["nine"]}]
    given = items(tmp_path, *(line(id=name, steps=steps) for name in ("texts", "messages", "wrong", "lost")))
    file = tmp_path / "answers.jsonl"
    calls = [[{"name": "f", "arguments": {"x": value}}] for value in (1, 7)]
    openai = [[{"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}], calls[1]]
    written = ['{"name": "f", "parameters": {"x": 1}}<|eot_id|>', '{"name": "f", "parameters": {"x": 7}}', "Nine."]
    rows = [
        {"id": "texts", "texts": written},
        {"id": "messages", "messages": openai},
        {"id": "wrong", "text": written[0]},
        {"id": "lost", "error": "timed out"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    variant = scored("file", {}, given, read_recorded_calls(file, given, LLAMA))
    assert [score.right for score in variant.scores] == [True, True, False, False]
    assert variant.measures.errors == 1
    assert scored("file", {}, given, ()).measures.errors == 4


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"id": "z", "text": "x"}', "id is 'z', which is no item's"),
        ('{"id": "a"}', "neither text, texts, calls, messages nor error"),
        ('{"id": "a", "texts": [1]}', "texts a list of them"),
        ('{"id": "a", "calls": [{"arguments": {}}]}', "needs a non-empty string 'name'"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "x"}', "answered twice"),
    ],
)
def test_bad_recorded_answers_are_named_by_line(tmp_path: Path, row: str, problem: str) -> None:
    given = items(tmp_path, line(accepted=f(1)))
    file = tmp_path / "answers.jsonl"
    file.write_text(row + "\n", encoding="utf-8")
    with pytest.raises(InvalidData, match=problem):
        read_recorded_calls(file, given, LLAMA)


def variant(name: str, wrong: int, count: int = 100, clusters: int = 100) -> Variant:
    scores = tuple(
        ItemScore(
            str(at),
            "simple",
            right=at >= wrong,
            multi_step=False,
            wants_call=True,
            names=True,
            arguments=(True,),
            called=True,
            unparsable=False,
            unoffered=False,
            steps=(1, 1),
            cluster=str(at % clusters),
        )
        for at in range(count)
    )
    return Variant(name, {}, measure(scores), {"simple": measure(scores)}, scores)


def test_variants_are_compared_with_the_first_and_a_wide_interval_is_undecided() -> None:
    report = report_of("set", [variant("plain", 10), variant("brief", 10), variant("wild", 40)])
    assert [one.conclusion for one in report.comparisons] == ["not worse", "worse"]
    assert report.comparisons[1].found.flips[0, 1] == 30
    few = report_of("set", [variant("plain", 1, 10), variant("brief", 2, 10)])
    assert few.comparisons[0].conclusion == "undecided"
    assert any("too few" in caveat for caveat in few.caveats)


def test_items_of_one_document_widen_the_interval() -> None:
    alone, shared = variant("alone", 20), variant("shared", 20, clusters=10)
    assert alone.measures.exact is not None
    assert shared.measures.exact is not None
    assert alone.measures.exact.method == "Wilson"
    assert shared.measures.exact.method == "cluster Wilson"


def test_a_report_is_json_and_markdown_with_every_rate_interval_and_conclusion() -> None:
    report = report_of("set", [variant("plain", 10), variant("wild", 40)])
    told = json.loads(json.dumps(toolcalls_to_json(report)))
    assert told["variants"][1]["measures"]["exact"]["value"] == 0.6
    assert told["comparisons"][0]["flips"] == {"0,0": 60, "0,1": 30, "1,0": 0, "1,1": 10}
    assert "| tool calls right | wild | 90.0 % | 60.0 % | -30.0 |" in toolcalls_to_markdown(report)
    assert [table.title for table in tables(report)] == ["Tool calls: plain", "Tool calls: wild", "Against plain"]


def test_the_bundled_model_calls_its_own_tools_rightly_with_and_without_the_grammar() -> None:
    given = [item for item in read_tool_items(SAMPLE) if item.id.endswith("_2")]

    async def ask() -> ToolCallReport:
        async with Stack.local() as stack:
            systems = [
                ToolCallSystem(stack, given, Prompting(name, grammar=name == "held")) for name in ("free", "held")
            ]
            return await run_toolcalls(given, systems, progress=False)

    report = anyio.run(ask)
    for one in report.variants:
        assert one.measures.right is not None
        assert one.measures.right.value >= 0.75
        assert (one.measures.errors, one.measures.unparsable) == (0, 0)
    assert report.variants[1].system["prompting"] != report.variants[0].system["prompting"]


def test_the_bundled_questions_are_those_that_the_script_makes() -> None:
    from made_toolcalls import lines

    with SAMPLE.open(encoding="utf-8") as file:
        assert [json.loads(each) for each in file] == lines(15)
