"""`arriero eval quantization`: the bundled model in three precisions, and models that cannot be compared."""

import json
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner, Result

from arriero.cli import app
from arriero.evals.errors import EvalError
from arriero.evals.quantization import ModelVariant, Plan, QuantizationReport, compare_quantizations
from arriero.evals.quantization.report import quantization_to_json, quantization_to_markdown
from arriero.evals.toolcalls import SAMPLE, read_tool_items
from arriero.prompts.messages import ToolCall
from arriero.stack.errors import EngineInterrupted
from arriero.stack.stack import Opening
from arriero.testing import Answer, Say, scripted_opening


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", "quantization", *map(str, arguments)])


def test_the_bundled_model_in_bf16_int8_and_int4_is_compared_in_all_and_undecided_where_items_are_few(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.html"
    options = ("--limit", 2, "--references", 2, "--repeats", 1, "--max-tokens", 12)
    done = run(*options, "--out", tmp_path / "run", "--html", page, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    base, int8, int4 = told["variants"]
    assert [one["facts"]["quantization"] for one in (base, int8, int4)] == ["bf16", "int8", "int4"]
    assert base["memory"]["packed"] > int8["memory"]["packed"] > int4["memory"]["packed"]
    assert int4["memory"]["held"] > int4["memory"]["packed"]
    assert base["agreement"] is None
    assert 0 < int8["agreement"]["divergence"]["value"] < int4["agreement"]["divergence"]["value"]
    assert int8["agreement"]["exact"]
    assert all(one["speed"]["tokens_per_second"] > 0 for one in told["variants"])
    assert {one["measure"] for one in told["comparisons"]} >= {"refuses rightly", "answers as accepted"}
    assert {one["conclusion"] for one in told["comparisons"]} == {"undecided"}
    assert len(told["hallucination"]["comparisons"]) == 2
    assert "tool calls: 2 items are too few" in done.stderr
    assert "arriero-demo@int8: tool calls\n" in done.stderr
    assert "arriero-demo@int4" in page.read_text("utf-8")
    assert (tmp_path / "run" / "answers" / "arriero-demo@int8" / "answers.jsonl").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--base", "llama"), "names no model"),
        (("--variants", "local:arriero-demo@bf16"), "two models are called arriero-demo@bf16"),
        (("--base", "http://a/v1#llama", "--variants", "http://b/v1#llama"), "two models are called llama"),
        (("--variants", "=local:arriero-demo"), "no name before"),
        (("--markdown", "--json"), "give one of them"),
        (("--corpus", SAMPLE), "say which questions are asked"),
    ],
)
def test_misuse_is_told(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


ITEMS = [item for item in read_tool_items(SAMPLE) if item.category == "simple"][:3]


def right(count: int) -> list[ToolCall]:
    accepted = [next(iter(item.steps[0].accepted[0].items())) for item in ITEMS[:count]]
    return [ToolCall(name, {key: values[0] for key, values in arguments.items()}) for name, arguments in accepted]


def compared(candidate: Sequence[Answer], *, tokenizer: str | None = None) -> QuantizationReport:
    """A right baseline against another script. The baseline is asked twice: its answers are the references, too."""
    spoken: dict[str, Sequence[Answer]] = {"base": right(3) * 3, "other": candidate}

    def opened(model: ModelVariant) -> Opening:
        more = {"tokenizer": tokenizer} if tokenizer and model.name == "other" else {}
        return scripted_opening(*spoken[model.name], extending=False, **more)

    plan = Plan(tools=ITEMS, references=3, repeats=0, concurrency=1, places=8)
    models = ModelVariant("base"), ModelVariant("other")
    return anyio.run(lambda: compare_quantizations(models[0], models[1:], plan, opened=opened, progress=False))


def test_models_of_other_vocabularies_are_compared_by_their_answers_alone() -> None:
    from arriero.models import DEMO

    report = compared(right(3) * 3, tokenizer=str(DEMO))
    assert report.variants[1].agreement is None
    assert report.variants[1].apart == "its tokenizer is not the baseline's"
    assert any("tokens were not compared" in caveat for caveat in report.caveats)
    assert report.comparisons[0].items == 3


def test_items_that_one_model_failed_on_are_left_out_by_name() -> None:
    lost = Say("", fault=EngineInterrupted("the server went away"))
    report = compared([*right(2), lost, *right(3) * 2])
    assert (report.comparisons[0].items, report.comparisons[0].left_out) == (2, 1)
    assert any("1 tool-call items have no answer" in caveat for caveat in report.caveats)
    assert report.variants[1].memory is None
    assert "reports no probabilities" in str(report.variants[1].apart)
    told = json.loads(json.dumps(quantization_to_json(report)))
    assert told["comparisons"][0]["left_out"] == 1
    assert "| weights, MB | not known | not known |" in quantization_to_markdown(report)


def test_nothing_to_ask_and_one_model_alone_are_refused() -> None:
    one, other = ModelVariant("one"), ModelVariant("other")
    with pytest.raises(EvalError, match="nothing is asked"):
        anyio.run(lambda: compare_quantizations(one, [other], Plan()))
    with pytest.raises(EvalError, match="give two or more"):
        anyio.run(lambda: compare_quantizations(one, [], Plan(tools=ITEMS)))
