"""`arriero eval compare`: two systems or more on the same questions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arriero.cli_eval.report import AsJson, AsMarkdown, HtmlTo, console, judging_of
from arriero.cli_stack import widen_output
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arriero.evals.comparing import RunComparison
    from arriero.evals.evaluation import Evaluation
    from arriero.evals.runs import Subject

By = Literal["labels", "judge"]


def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The baseline: folder of a run, file of items, or FILE@MODEL of it.")
    ],
    candidates: Annotated[list[str], typer.Argument(metavar="CANDIDATE...", help="What is compared with it.")],
    margin: Annotated[
        float, typer.Option(min=0.0001, max=0.9999, help="Increase of the rate that still counts as not worse.")
    ] = 0.02,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Whose judgements; human for people's. [default: those that there are, else offline]"
        ),
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(help="Whether labels or the judge decide. [default: labels, where every pair has them]"),
    ] = None,
    pair: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Field of the items that pairs them. [default: their id]")
    ] = None,
    random_labels: Annotated[
        bool | None,
        typer.Option(
            "--random-labels/--chosen-labels",
            help="Whether the labelled answers were chosen at random: only then they correct the judge's difference."
            " [default: random where `eval calibrate` chose them, or all are labelled]",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 5_000,
    html: HtmlTo = None,
    markdown: AsMarkdown = False,
    as_json: AsJson = False,
    items: Annotated[bool, typer.Option("--items", help="With --json: every pair too.")] = False,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit with 1 where a candidate is worse.")
    ] = False,
    fail_if_undecided: Annotated[
        bool,
        typer.Option("--fail-if-undecided", help="Exit with 1 unless each candidate is better, or not worse."),
    ] = False,
) -> None:
    """Say whether systems differ on the same questions, and whether the difference is small enough.

    "Not significant" is not "equal": a candidate is not worse only where the whole interval stays below --margin.
    Judgements of one judge decide, corrected by the pairs that people labelled; or labels, where every pair has them.
    """
    from arriero.evals.comparing import compare_runs

    if items and not as_json:
        raise typer.BadParameter("pairs are written as JSON: give --json too", param_hint="--items")
    if markdown and as_json:
        raise typer.BadParameter("leave --json out, or --markdown", param_hint="--markdown")
    if judge == "human":
        if by == "judge":
            raise typer.BadParameter("what people said are labels: leave it out", param_hint="--by")
        by = "labels"
    first = _evaluated(base, judge, by, random_labels)
    others = [_evaluated(name, judge, by, random_labels) for name in candidates]
    _announce(first, len(others), margin)
    found = compare_runs(first, others, margin=margin, by=by, pair=pair, draws=draws)
    _show(found, html=html, markdown=markdown, as_json=as_json, items=items)
    failing = {"worse"} if fail_if_worse else set()
    failing |= {"worse", "undecided"} if fail_if_undecided else set()
    failed = [f"{one.candidate} is {one.conclusion}" for one in found if one.conclusion in failing]
    if failed:
        typer.echo(f"failed: {one_line(', '.join(failed))}", err=True)
        raise typer.Exit(1)


def _evaluated(name: str, judge: str | None, by: By | None, random_labels: bool | None) -> "Evaluation":
    from arriero.evals.runs import Judging
    from arriero.evals.runs.evaluating import evaluate_subject

    subject = _subject(name)
    if by == "labels" and judge is None and len(subject.judgings) != 1:  # no judge is needed, nor is any asked
        return evaluate_subject(subject, Judging("none", 0.5), random_labels=random_labels)
    return evaluate_subject(subject, judging_of(subject, judge), random_labels=random_labels)


def _subject(name: str) -> "Subject":
    """A run, a file, or what one model wrote of a file."""
    from dataclasses import replace

    from arriero.evals.runs import read_subject

    path, _, model = name.rpartition("@")
    if Path(name).exists() or not path:
        return read_subject(name)
    subject = read_subject(path)
    items = tuple(item for item in subject.items if item.model == model)
    if not items:
        known = sorted({item.model for item in subject.items if item.model})
        raise typer.BadParameter(
            f"no item of {path} is of the model {model!r}; there are {', '.join(known) or 'no models'}"
        )
    return replace(subject, name=model, items=items)


def _announce(base: "Evaluation", candidates: int, margin: float) -> None:
    """What so many questions can show, before anybody sees what they do show."""
    from arriero.evals.planning import Plan

    count = len(base.items)
    documents = len({one.item.doc_id or one.item.id for one in base.items})
    plan = Plan(rate=_expected(base), per_document=max(1.0, count / documents), candidates=candidates)
    typer.echo(
        f"{count:,} questions of {documents:,} documents: a difference shows from about"
        f" {100 * plan.smallest(count):.1f} points on; to show that a system is not worse by more than"
        f" {100 * margin:g} takes about {plan.items_for_margin(margin):,} questions.",
        err=True,
    )


def _expected(base: "Evaluation") -> float:
    """The baseline's rate as a plan takes it: of nobody's labels, or all of one kind, a tenth."""
    known = base.answers.corrected
    return min(0.9, max(0.02, known.value)) if known is not None else 0.1


def _show(found: "Sequence[RunComparison]", *, html: Path | None, markdown: bool, as_json: bool, items: bool) -> None:
    from arriero.evals.reports import (
        comparison_to_json,
        comparison_to_markdown,
        print_comparison,
        write_comparison_html,
    )

    if html is not None:
        write_comparison_html(found, html)
        typer.echo(f"{one_line(str(html))} has every pair", err=True)
    widen_output()
    if as_json:
        print_json(comparison_to_json(found, items=items))
    elif markdown:
        typer.echo(comparison_to_markdown(found), nl=False)
    else:
        print_comparison(found, console())
