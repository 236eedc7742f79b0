"""`arriero eval calibrate`: items to label at random, the page, and the rate corrected for the judge."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arriero.cli_eval.judges import CalibrationFile, JudgeKey, JudgeName
from arriero.cli_eval.label import Annotator, NoOpen, NoPage, Port, SubjectAt, names_of, serve
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from arriero.evals.calibrating import Calibrated, Plan
    from arriero.evals.reports.figures import Table
    from arriero.evals.runs import Judging, Subject


def calibrate(
    subject: SubjectAt,
    judge_name: JudgeName = "offline",
    judge_key: JudgeKey = None,
    calibration: CalibrationFile = None,
    labels: Annotated[
        int, typer.Option(min=1, help="How many items to label: 100 to 200; more later go on with the same order.")
    ] = 150,
    seed: Annotated[
        int | None, typer.Option(help="Another seed, other items. [default: that of the last time, else 0]")
    ] = None,
    annotator: Annotator = None,
    fit: Annotated[
        Path | None,
        typer.Option(dir_okay=False, metavar="FILE", help="Write what makes the judge's scores probabilities."),
    ] = None,
    port: Port = 0,
    no_open: NoOpen = False,
    no_page: NoPage = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was found, as one JSON object.")] = False,
) -> None:
    """Say how good a judge is, and how often it hallucinates once the judge's errors are taken out.

    Chooses items at random, opens the page to label them, and says what the labels say. Ctrl-C ends the labelling; a
    later call goes on with it. Exit code 1 where the rate cannot be corrected by this judge.
    """
    from arriero.evals.calibrating import calibrate as calibrate_judge
    from arriero.evals.calibrating import choose, fit_scores, read_plan, write_plan
    from arriero.evals.runs import read_subject

    if fit is not None and calibration is not None:
        raise typer.BadParameter("fit the judge's own scores: leave --calibration out", param_hint="--fit")
    found = read_subject(subject)
    judging = judging_by(found, judge_name, judge_key, calibration)
    scored = [item for item in found.items if (one := judging.judgements.get(item.id)) and one.score is not None]
    plan = choose(scored, labels, seed=seed, earlier=read_plan(subject))
    write_plan(subject, plan)
    if not no_page:
        _label(found, plan, annotator, port=port, no_open=no_open)
        found = read_subject(subject)
    calibrated = calibrate_judge(found, judging)
    _print_json(calibrated) if as_json else _print(calibrated)
    if fit is not None:
        fit_scores(found, judging).save(fit)
        typer.echo(f"{one_line(str(fit))} makes the judge's scores probabilities: --calibration reads it", err=True)
    if calibrated.rate.refused is not None:
        raise typer.Exit(1)


def judging_by(subject: "Subject", name: str, api_key: str | None = None, calibration: Path | None = None) -> "Judging":
    """What a judge says of all items: what is there, and for the others it is asked now."""
    kept = subject.judgings.get(name)
    if kept is not None and calibration is None and all(item.id in kept.judgements for item in subject.items):
        return kept
    import anyio

    from arriero.evals.errors import EvalError
    from arriero.evals.judges.choosing import check_judge, opened_judge
    from arriero.evals.runs.judging import judge_subject

    try:
        check_judge(name)
    except EvalError as error:
        there = f" (judgements here: {', '.join(subject.judgings)})" if subject.judgings else ""
        raise typer.BadParameter(one_line(f"{error}{there}"), param_hint="--judge") from error

    async def judged() -> "Judging":
        async with opened_judge(name, api_key=api_key, calibration=calibration) as chosen:
            return await judge_subject(subject, chosen)

    return anyio.run(judged)


def _label(subject: "Subject", plan: "Plan", annotators: list[str] | None, *, port: int, no_open: bool) -> None:
    """Have people label what is not labelled yet; all of it again, where somebody is named who has not."""
    from arriero.evals.human.labelling import Labelling
    from arriero.evals.runs.evaluating import labels_of

    by_id = {item.id: item for item in subject.items}
    chosen = tuple(by_id[id_] for id_ in plan.ids if id_ in by_id)
    labelling = Labelling(subject.name, chosen, subject.labels_path)
    spoken = {label.item_id for label in subject.labels} | set(labels_of(subject)[0])
    names = names_of(annotators)
    done = all(labelling.done(name) for name in names) if annotators else spoken.issuperset(plan.ids)
    if not done:
        typer.echo(f"to label: {plan}", err=True)
        serve(subject, chosen, names, port=port, no_open=no_open)


def _print(found: "Calibrated") -> None:
    from rich.text import Text

    from arriero.cli_eval.report import console
    from arriero.cli_stack import widen_output
    from arriero.evals.reports.figures import headline, tables
    from arriero.evals.reports.terminal import print_tables

    widen_output()
    out = console()
    head, rate = headline(found.evaluation), found.rate
    out.print(Text(head.sentence, "bold" if rate.corrected is not None else "bold yellow"))
    for text in (head.how, head.flagged, _counts(found)):
        out.print(Text(one_line(text)))
    if rate.refused is not None and rate.corrected is not None:
        out.print(Text(one_line(f"Not corrected by means of the judge: {rate.refused}"), "bold yellow"))
    # of the evaluation only what labels decide; `arriero eval report` has the rest
    brief = replace(found.evaluation, kinds=(), documents=(), answering=None, retrieval=None, citations=None, causes={})
    own = (_agreement(found), _forecast(found))
    print_tables([*tables(brief), *(table for table in own if table is not None)], found.evaluation.caveats, out)


def _counts(found: "Calibrated") -> str:
    parts = [f"Labels of {found.plan or 'all items that have one'}"]
    if found.came_along:
        parts.append(f"{found.came_along} came with the items")
    if found.unlabelled:
        parts.append(f"{len(found.unlabelled)} not labelled yet")
    if found.disputed:
        parts.append(f"{len(found.disputed)} disputed (a further person settles them: `arriero eval label --disputed`)")
    if found.unsure:
        parts.append(f"of {len(found.unsure)} nobody could say")
    return "; ".join(parts) + "."


def _agreement(found: "Calibrated") -> "Table | None":
    from arriero.evals.reports.figures import Table

    agreed = found.agreement
    if agreed is None:
        return None
    named = {"alike": agreed.raw, "Cohen's kappa": agreed.kappa, "Krippendorff's alpha": agreed.alpha}
    named["Gwet's AC1"] = agreed.ac1
    rows = [
        (name, f"{one.value:.2f}", f"{one.low:.2f} to {one.high:.2f}", f"{one.n:,}")
        for name, one in named.items()
        if one is not None
    ]
    note = "1 is full agreement, 0 what chance gives; where nearly all items are of one kind, AC1 says more than kappa."
    return Table(
        f"How far {' and '.join(agreed.annotators)} agree", ("", "estimate", "interval", "of"), tuple(rows), note
    )


def _forecast(found: "Calibrated") -> "Table | None":
    from arriero.evals.reports.figures import Table

    if not found.forecast or found.rate.corrected is None:
        return None
    now = (f"{found.rate.labelled:,} (now)", f"{100 * found.rate.corrected.width:.1f} points")
    rows = [now, *((f"{one.labels:,}", f"about {100 * one.width:.1f} points") for one in found.forecast)]
    note = "About; where documents are few, more documents bring more than more labels."
    return Table("What more labels would bring", ("labels", "width of the interval"), tuple(rows), note)


def _print_json(found: "Calibrated") -> None:
    import pydantic

    from arriero.evals.calibrating import Calibrated
    from arriero.evals.reports.figures import headline

    adapter = pydantic.TypeAdapter(Calibrated)
    values: dict[str, Any] = adapter.dump_python(found, mode="json", exclude={"evaluation", "said"})
    evaluation = found.evaluation
    rate = pydantic.TypeAdapter(type(found.rate)).dump_python(found.rate, mode="json")
    head = {"headline": headline(evaluation).sentence, "judge": dict(evaluation.judge), "rate": rate}
    said = {"annotators": dict(found.said.annotators), "caveats": list(evaluation.caveats)}
    print_json({"format": "arriero.calibration", "version": 1} | head | values | said)
