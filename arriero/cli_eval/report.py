"""`arriero eval report`: what a run or a file of items says, for people, machines, model cards and pipelines."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arriero.cli_stack import widen_output
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from arriero.evals.evaluation import Evaluation
    from arriero.evals.runs import Judging, Subject

HtmlTo = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="Write a page with every answer.")
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Markdown, for a model card or a pull request.")]
AsJson = Annotated[bool, typer.Option("--json", help="All figures as one JSON object.")]
FailAbove = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        min=0,
        max=1,
        help="Exit with 1 where the interval of the corrected rate reaches above this share, such as 0.05,"
        " or where there is no corrected rate.",
    ),
]

_WIDE = 120


def report(
    subject: Annotated[
        Path, typer.Argument(exists=True, readable=True, metavar="SUBJECT", help="Folder of a run, or a file of items.")
    ],
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Whose judgements; human for people's. [default: those that there are, else offline]"
        ),
    ] = None,
    html: HtmlTo = None,
    markdown: AsMarkdown = False,
    as_json: AsJson = False,
    items: Annotated[bool, typer.Option("--items", help="With --json: every item too.")] = False,
    random_labels: Annotated[
        bool | None,
        typer.Option(
            "--random-labels/--chosen-labels",
            help="Whether the labelled answers were chosen at random, which decides how the rate is corrected."
            " [default: random where `eval calibrate` chose them, or all are labelled]",
        ),
    ] = None,
    fail_above: FailAbove = None,
) -> None:
    """Say how often it hallucinates, with an interval, corrected for the judge; and all else that is known.

    Judgements and labels are read from the run's folder or from beside the file. Where there are no judgements the
    offline judge gives them.
    """
    from arriero.evals.runs import read_subject
    from arriero.evals.runs.evaluating import evaluate_subject

    check_form(markdown=markdown, as_json=as_json, items=items)
    found = read_subject(subject)
    evaluation = evaluate_subject(found, judging_of(found, judge), random_labels=random_labels)
    show(evaluation, html=html, markdown=markdown, as_json=as_json, items=items, fail_above=fail_above)


def check_form(*, markdown: bool, as_json: bool, items: bool) -> None:
    """Refuse options that do not go together, before anything long is begun."""
    if markdown and as_json:
        raise typer.BadParameter("leave --json out, or --markdown", param_hint="--markdown")
    if items and not as_json:
        raise typer.BadParameter("items are written as JSON: give --json too", param_hint="--items")


def show(
    evaluation: "Evaluation",
    *,
    html: Path | None = None,
    markdown: bool = False,
    as_json: bool = False,
    items: bool = False,
    fail_above: float | None = None,
) -> None:
    """Show an evaluation as options ask for; exit with 1 where its rate is not known to be low enough."""
    from arriero.evals.reports import print_report, to_json, to_markdown, too_high, write_html

    if html is not None:
        write_html(evaluation, html)
        typer.echo(f"{one_line(str(html))} has every answer", err=True)
    widen_output()
    if as_json:
        print_json(to_json(evaluation, items=items))
    elif markdown:
        typer.echo(to_markdown(evaluation), nl=False)
    else:
        print_report(evaluation, console())
    if fail_above is not None and (why := too_high(evaluation, fail_above)) is not None:
        typer.echo(f"failed: {one_line(why)}", err=True)
        raise typer.Exit(1)


def judging_of(subject: "Subject", name: str | None) -> "Judging":
    """The judgements that an option names, or that there are; the offline judge's where there are none."""
    known = ", ".join(subject.judgings)
    if name == "human":
        import anyio

        from arriero.evals.human.judging import judged_by_people

        return anyio.run(judged_by_people, subject)
    if name is not None and name in subject.judgings:
        return subject.judgings[name]
    if name is None and len(subject.judgings) == 1:
        return next(iter(subject.judgings.values()))
    if name is None and subject.judgings:
        raise typer.BadParameter(f"several have judged it: name one of {known}", param_hint="--judge")
    if name not in (None, "offline"):
        raise typer.BadParameter(
            f"{name} has judged nothing here (judges that have: {known or 'none'}): `arriero eval judge` asks it",
            param_hint="--judge",
        )
    return _judged_offline(subject)


def _judged_offline(subject: "Subject") -> "Judging":
    """Judge here and now. Nothing is kept: that is what `arriero eval judge` is for."""
    from dataclasses import replace

    import anyio

    from arriero.evals.judges.offline import OfflineJudge
    from arriero.evals.runs.judging import judge_of

    judge = OfflineJudge()
    said = anyio.run(judge.judge, subject.items)
    return replace(judge_of(judge), judgements={one.item_id: one for one in said})


def console() -> "Console":
    """Standard output; where nobody looks it has one width and no colours."""
    from rich.console import Console

    found = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    return found if found.is_terminal else Console(file=sys.stdout, highlight=False, markup=False, width=_WIDE)
