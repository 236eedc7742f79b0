"""`arriero eval run`: put questions to a system, judge its answers, report."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from arriero.cli_eval.judges import CalibrationFile, JudgeKey, JudgeName
from arriero.cli_eval.report import AsJson, AsMarkdown, FailAbove, HtmlTo, check_form, show
from arriero.cli_eval.under_test import Found, UnderTest, opened
from arriero.cli_stack import ApiKey, DialectName, Engine, Model, TokenizerFolder, Url
from arriero.terminal import one_line

if TYPE_CHECKING:
    from arriero.evals.evaluation import Evaluation
    from arriero.evals.items import QuestionSet
    from arriero.evals.runs import RunFolder, Subject
    from arriero.evals.systems.system import System

_READABLE = {"exists": True, "readable": True}


def run(
    questions: Annotated[
        Path | None,
        typer.Argument(metavar="QUESTIONS", help="Questions, JSON lines or CSV. [default: the bundled handbook's]"),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(**_READABLE, dir_okay=False, help="Passages. [default: the corpus beside QUESTIONS]")
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(**_READABLE, file_okay=False, help="A folder of documents in place of a corpus.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the run. [default: runs/QUESTIONS-SYSTEM]")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="FILE.py[:NAME]", help="Ask the agent that agent(stack), or NAME, makes.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask any OpenAI-compatible server, with --model.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(**_READABLE, dir_okay=False, help="Take recorded answers: id, answer, passages.")
    ] = None,
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    retriever: Annotated[Found, typer.Option(help="How passages are found.")] = "bm25",
    k: Annotated[int, typer.Option("-k", min=1, help="Passages to find for each question.")] = 3,
    prompt: Annotated[
        Path | None, typer.Option(**_READABLE, dir_okay=False, help="File with the system text. [default: our own]")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy. [default: 0]")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer. [default: 512]")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="Run a local model in bf16, int8 or int4; of a server, what it is, to record.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The model's revision, where the server does not say.")] = None,
    judge: JudgeName = "offline",
    judge_key: JudgeKey = None,
    calibration: CalibrationFile = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at once, of each worker with --ray.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first generation, and of --limit.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Generations for each question.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many questions, chosen at random.")] = None,
    cache: Annotated[Path | None, typer.Option(metavar="FILE", help="Answers that runs share.")] = None,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Ask again what failed before.")] = False,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Answer on a Ray cluster; auto is the one running here.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers on the cluster.")] = 2,
    html: HtmlTo = None,
    markdown: AsMarkdown = False,
    as_json: AsJson = False,
    fail_above: FailAbove = None,
) -> None:
    """Put questions to a system, judge its answers, and say how often they hallucinate.

    Without options the bundled model answers questions about the bundled handbook. The same command goes on where a
    run was left, even after kill -9. The folder gets report.html and report.json.
    """
    check_form(markdown=markdown, as_json=as_json, items=False)
    if judge == "none" and (html is not None or markdown or as_json or fail_above is not None):
        raise typer.BadParameter("without a judge there is no report, nor a rate to hold", param_hint="--judge")
    asked, file = _questions(questions, corpus, documents, limit, seed)
    test = UnderTest(
        engine=engine,
        url=url,
        model=model,
        tokenizer=tokenizer,
        dialect=dialect,
        api_key=api_key,
        agent=agent,
        endpoint=endpoint,
        answers=answers,
        retriever=retriever,
        k=k,
        instructions=None if prompt is None else _text(prompt),
        temperature=temperature,
        max_tokens=max_tokens,
        revision=revision,
        quantization=quantization,
        corpus=asked.corpus,
    )
    test.check(repeats)
    _check_judge(judge)
    folder = out or Path("runs") / f"{asked.name}-{test.name}"
    answering = partial(
        _answered,
        test,
        asked,
        folder,
        ray=ray,
        workers=workers,
        concurrency=concurrency,
        seed=seed,
        repeats=repeats,
        cache=cache,
        retry_errors=retry_errors,
        file=file,
    )
    _tell_size(asked)
    try:
        kept, evaluation = anyio.run(_run, answering, judge, calibration, judge_key, seed)
    except KeyboardInterrupt:
        typer.echo(f"stopped: what was answered is in {one_line(str(folder))}; the same command goes on", err=True)
        raise typer.Exit(1) from None
    _tell_errors(kept)
    if evaluation is None:
        typer.echo(f"answered: {one_line(str(kept.path))}", err=True)
        raise typer.Exit(0 if kept.items() else 1)
    _write_reports(evaluation, kept.path)
    show(evaluation, html=html, markdown=markdown, as_json=as_json, fail_above=fail_above)


def _questions(
    file: Path | None, corpus: Path | None, documents: Path | None, limit: int | None, seed: int
) -> "tuple[QuestionSet, Path]":
    from arriero.evals.data import read_questions, sample
    from arriero.evals.runs.running import sampled

    if corpus is not None and documents is not None:
        raise typer.BadParameter("give one of them", param_hint="--corpus and --documents")
    if file is None and (corpus or documents) is not None:
        raise typer.BadParameter("say which questions are asked about them", param_hint="QUESTIONS")
    if file is not None and not file.exists():
        raise typer.BadParameter(f"there is no {file}", param_hint="QUESTIONS")
    path = sample("handbook").path if file is None else file
    return sampled(read_questions(path, corpus or documents), limit, seed), path


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read as UTF-8 text: {error}", param_hint="--prompt") from error


def _check_judge(name: str) -> None:
    from arriero.evals.errors import EvalError
    from arriero.evals.judges.choosing import check_judge

    if name == "none":
        return
    try:
        check_judge(name)
    except EvalError as error:
        raise typer.BadParameter(f"{one_line(str(error))}, or none", param_hint="--judge") from error


async def _answered(
    test: UnderTest,
    asked: "QuestionSet",
    folder: Path,
    *,
    ray: str | None,
    workers: int,
    concurrency: int,
    **how: Any,
) -> "RunFolder":
    from arriero.evals.runs.running import run_system

    if ray is None:
        async with opened(test) as system:
            _tell_unasked(system, asked)
            return await run_system(folder, system, asked, concurrency=concurrency, **how)
    from arriero.evals.runs.cluster import connected, on_ray

    with connected(ray):
        async with on_ray(partial(opened, test), workers=workers, concurrency=concurrency) as system:
            return await run_system(folder, system, asked, concurrency=workers * concurrency, **how)


async def _run(
    answering: Any, judge: str, calibration: Path | None, key: str | None, seed: int
) -> "tuple[RunFolder, Evaluation | None]":
    from arriero.evals.judges.choosing import opened_judge
    from arriero.evals.runs import judge_run, read_subject
    from arriero.evals.runs.evaluating import evaluate_subject

    kept: RunFolder = await answering()
    if judge == "none" or not kept.items():
        return kept, None
    async with opened_judge(judge, api_key=key, calibration=calibration) as judging_by:
        judging = await judge_run(kept, judging_by)
    subject: Subject = read_subject(kept.path)
    return kept, evaluate_subject(subject, judging, seed=seed)


def _tell_size(asked: "QuestionSet") -> None:
    """What so many questions can show, before anybody knows what they do show."""
    from arriero.evals.planning import Plan

    count, documents = len(asked.questions), len({one.doc_id or one.id for one in asked.questions})
    if count:
        typer.echo(Plan(per_document=max(1.0, count / documents)).expectation(count), err=True)


def _tell_unasked(system: "System", asked: "QuestionSet") -> None:
    from arriero.evals.systems.recorded import RecordedSystem

    if not isinstance(system, RecordedSystem):
        return
    if unasked := sorted(system.ids - {question.id for question in asked.questions}):
        typer.echo(
            f"{len(unasked)} of {len(system.ids)} recorded answers are to questions that are not asked, such as"
            f" {one_line(unasked[0])}",
            err=True,
        )


def _tell_errors(kept: "RunFolder") -> None:
    errors = [answer for answer in kept.answers().values() if answer.error is not None]
    if errors:
        first = f"{errors[0].question_id}: {errors[0].error}"
        typer.echo(
            f"{len(errors)} of {len(kept.answers())} questions have no answer, such as {one_line(first)};"
            " --retry-errors asks them again",
            err=True,
        )


def _write_reports(evaluation: "Evaluation", folder: Path) -> None:
    from arriero.evals.reports import ReportNotWritten, to_json, write_html

    file = folder / "report.json"
    try:
        file.write_text(json.dumps(to_json(evaluation), ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ReportNotWritten(f"{file} cannot be written: {error.strerror}") from error
    write_html(evaluation, folder / "report.html")
    typer.echo(f"{one_line(str(folder / 'report.html'))} has every answer", err=True)
