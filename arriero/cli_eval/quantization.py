"""`arriero eval quantization`: is the smaller model worse?"""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from arriero.cli_stack import ApiKey, DialectName, TokenizerFolder, widen_output
from arriero.terminal import named_dialect, one_line, print_json

if TYPE_CHECKING:
    from arriero.evals.quantization import ModelVariant, Plan, QuantizationReport

_FILE = {"exists": True, "dir_okay": False, "readable": True}
_VARIANTS = ("local:arriero-demo@int8", "local:arriero-demo@int4")


def quantization(
    base: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="The baseline: local:FOLDER[@bf16|@int8|@int4], or URL[#MODEL]; NAME= before it."
        ),
    ] = "local:arriero-demo@bf16",
    variants: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", help="What is compared with it, repeatable or with commas. [default: int8, int4]"
        ),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(**_FILE, metavar="FILE", help="Questions. [default: the bundled handbook's]")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(exists=True, help="Their passages, or a folder of documents. [default: beside them]")
    ] = None,
    toolcalls: Annotated[
        Path | None, typer.Option(**_FILE, metavar="FILE", help="Questions with tools. [default: bundled ones]")
    ] = None,
    judge: Annotated[str, typer.Option(help="Judge of the answers, the same for all; none for no judge.")] = "offline",
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Passages to find for each question.")] = 3,
    limit: Annotated[int | None, typer.Option(min=2, help="Ask so many of each, chosen at random.")] = None,
    references: Annotated[int, typer.Option(min=2, help="Items of each kind to compare token by token.")] = 25,
    repeats: Annotated[int, typer.Option(min=0, help="How often the speed is measured.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 512,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 4,
    margin: Annotated[
        float, typer.Option(min=0.0001, max=1, help="Largest loss that still counts as not worse.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap, and of --limit.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep answers there; the same command goes on from them.")
    ] = None,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Ask again what failed before.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE", help="Write a page with every judged answer, side by side.")
    ] = None,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit 1 unless every variant is found not worse, or better.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown, for a model card.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as one JSON object.")] = False,
) -> None:
    """Ask a model and smaller copies of it the same, and say whether they are worse: answers, tool calls, tokens, cost.

    Local copies are made by torchao when they are loaded; what a vLLM server serves is named by its address.
    """
    from arriero.evals.quantization import InvalidVariant, ModelVariant

    if markdown and as_json:
        raise typer.BadParameter("give one of them", param_hint="--markdown and --json")
    try:
        named = [text.strip() for each in variants or _VARIANTS for text in each.split(",")]
        models = [ModelVariant.parse(text) for text in (base, *named)]
    except InvalidVariant as error:
        raise typer.BadParameter(str(error), param_hint="--base and --variants") from error
    names = [one.name for one in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise typer.BadParameter(
            f"two models are called {one_line(twice)}; give one a name of its own, as in other=http://gpu2:8000/v1",
            param_hint="--base and --variants",
        )
    plan = _plan(
        questions,
        corpus,
        toolcalls,
        limit=limit,
        k=k,
        judge=judge,
        references=references,
        repeats=repeats,
        concurrency=concurrency,
        max_tokens=max_tokens,
        margin=margin,
        seed=seed,
    )
    _tell_plan(plan)
    spoken = None if dialect is None else named_dialect(dialect).name
    opened = partial(_open, api_key=api_key, tokenizer=tokenizer, dialect=spoken)
    try:
        report = anyio.run(
            partial(_compared, models, plan, judge, folder=out, opened=opened, retry_errors=retry_errors)
        )
    except KeyboardInterrupt:
        kept = "nothing is kept without --out" if out is None else f"{one_line(str(out))} has what was answered"
        typer.echo(f"stopped: {kept}", err=True)
        raise typer.Exit(1) from None
    _show(report, html, markdown=markdown, as_json=as_json)
    conclusions = {one.conclusion for one in report.comparisons} | {one.conclusion for one in report.flags}
    if fail_if_worse and conclusions & {"worse", "undecided"}:
        raise typer.Exit(1)


def _open(model: "ModelVariant", **how: Any) -> Any:
    return model.open(**how) if model.url is not None else model.open(dialect=how["dialect"])


async def _compared(models: "list[ModelVariant]", plan: "Plan", judge: str, **how: Any) -> "QuantizationReport":
    from arriero.evals.judges.choosing import opened_judge
    from arriero.evals.quantization import compare_quantizations

    if judge == "none" or plan.questions is None:
        return await compare_quantizations(models[0], models[1:], plan, **how)
    async with opened_judge(judge, api_key=os.environ.get("ARRIERO_JUDGE_API_KEY")) as one:
        return await compare_quantizations(models[0], models[1:], replace(plan, judge=one), **how)


def _plan(
    questions: Path | None,
    corpus: Path | None,
    toolcalls: Path | None,
    *,
    limit: int | None,
    k: int,
    judge: str,
    seed: int,
    **how: Any,
) -> "Plan":
    from arriero.cli_eval.toolcalls import some
    from arriero.evals.data import read_questions, sample
    from arriero.evals.judges.choosing import check_judge
    from arriero.evals.quantization import Plan
    from arriero.evals.runs.running import sampled
    from arriero.evals.systems.retrieval import retriever_named
    from arriero.evals.toolcalls import SAMPLE, read_tool_items

    if questions is None and corpus is not None:
        raise typer.BadParameter("say which questions are asked about it", param_hint="--corpus")
    alone = toolcalls is not None and questions is None  # who brings tools alone asks about tools alone
    asked = None if alone else sampled(read_questions(questions or sample("handbook").path, corpus), limit, seed)
    tools = [] if questions is not None and toolcalls is None else read_tool_items(toolcalls or SAMPLE)
    if judge != "none":
        check_judge(judge)
    retriever = retriever_named("bm25", asked.corpus) if asked is not None and asked.corpus else None
    return Plan(tools=some(tools, limit, seed), questions=asked, retriever=retriever, k=k, seed=seed, **how)


def _tell_plan(plan: "Plan") -> None:
    from arriero.evals.toolcalls import planned

    for what, count in (
        ("tool calls", len(plan.tools)),
        ("questions", len(plan.questions.questions if plan.questions else ())),
    ):
        if count:
            typer.echo(f"{what}: {planned(count, margin=plan.margin)}", err=True)


def _show(report: "QuantizationReport", html: Path | None, *, markdown: bool, as_json: bool) -> None:
    from arriero.evals.quantization.report import print_quantization, quantization_to_json, quantization_to_markdown

    if html is not None:
        if not report.flags:
            raise typer.BadParameter("the page is of judged answers, and none were judged", param_hint="--html")
        from arriero.evals.reports import write_comparison_html

        write_comparison_html(report.flags, html)
    if as_json:
        print_json(quantization_to_json(report))
        return
    widen_output()
    if markdown:
        typer.echo(quantization_to_markdown(report), nl=False)
        return
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    print_quantization(report, console)
