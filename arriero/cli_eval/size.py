"""`arriero eval size`: how many labels and questions a wanted answer needs, before anything is run."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from arriero.terminal import print_json

if TYPE_CHECKING:
    from arriero.evals.planning import Plan

_SHARE = {"min": 0.0001, "max": 0.9999}


def size(
    rate: Annotated[float, typer.Option(help="Rate of hallucination that is expected.", **_SHARE)] = 0.1,
    width: Annotated[
        float | None, typer.Option(help="How wide the rate's interval may be, such as 0.1 for 10 points.", **_SHARE)
    ] = None,
    labels: Annotated[int | None, typer.Option(min=1, help="Answers that people label.")] = None,
    difference: Annotated[
        float | None, typer.Option(help="Smallest difference between two systems worth finding.", **_SHARE)
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Increase of the rate that still counts as not worse.", **_SHARE)
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Questions that the systems answer.")] = None,
    flipped: Annotated[
        float | None,
        typer.Option(help="Share of questions on which two systems differ. [default: rate x (1 - rate)]", **_SHARE),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Correlation of the judge's scores with labels. [default: several]"),
    ] = None,
    per_document: Annotated[float, typer.Option(min=1, help="Questions to one document.")] = 1,
    alike: Annotated[float, typer.Option(min=0, max=1, help="How alike answers about one document are.")] = 0.2,
    candidates: Annotated[int, typer.Option(min=1, help="Systems compared with one baseline.")] = 1,
    power: Annotated[float, typer.Option(help="How often what is there is to be found.", **_SHARE)] = 0.8,
    level: Annotated[float, typer.Option(help="How often an interval is to hold the truth.", **_SHARE)] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say how many labels and questions are needed, or what those that there are can show.

    Give a width for the number of labels, a difference or a margin for the number of questions; or --labels and --items
    for what they show. Without any it tells of a width of 0.1 and of 5 points.
    """
    from arriero.evals.planning import AGREEMENTS, Plan

    plan = Plan(
        rate=rate,
        flipped=flipped,
        per_document=per_document,
        alike=alike,
        candidates=candidates,
        power=power,
        level=level,
    )
    if all(wanted is None for wanted in (width, labels, difference, margin, items)):
        width, difference, margin = 0.1, 0.05, 0.05
    judges = AGREEMENTS if agreement is None else ((f"a judge of agreement {agreement:g}", agreement),)
    found: dict[str, Any] = {}
    if width is not None:
        found["labels_for_width"] = {str(value): plan.labels(width, value) for _, value in judges}
    if labels is not None:
        found["width_of_labels"] = {str(value): plan.width(labels, value) for _, value in judges}
    if difference is not None:
        found["items_for_difference"] = plan.items(difference)
    if margin is not None:
        found["items_for_margin"] = plan.items_for_margin(margin)
    if items is not None:
        found |= {"smallest_difference": plan.smallest(items), "smallest_margin": plan.margin(items)}
    if as_json:
        asked = {"width": width, "labels": labels, "difference": difference, "margin": margin, "items": items}
        print_json({name: value for name, value in asked.items() if value is not None} | _assumed(plan) | found)
        return
    for line in _lines(plan, found, dict(judges), width, labels, difference, margin, items):
        typer.echo(line)


def _lines(
    plan: "Plan",
    found: dict[str, Any],
    judges: dict[str, float],
    width: float | None,
    labels: int | None,
    difference: float | None,
    margin: float | None,
    items: int | None,
) -> list[str]:
    lines, points = [], "{:g} points".format
    often = f"in {10 * plan.power:g} of 10 such studies"
    if width is not None:
        needed = ", ".join(f"{found['labels_for_width'][str(at)]:,} with {name}" for name, at in judges.items())
        lines.append(f"For an interval of {points(100 * width)}, label so many answers, chosen at random: {needed}.")
    if labels is not None:
        wide = ", ".join(f"{100 * found['width_of_labels'][str(at)]:.1f} with {name}" for name, at in judges.items())
        lines.append(f"{labels:,} labels give an interval of so many points: {wide}.")
    if difference is not None:
        needed = f"{found['items_for_difference']:,}"
        lines.append(
            f"To find a difference of {points(100 * difference)} {often}, both must answer {needed} questions."
        )
    if margin is not None:
        needed = f"{found['items_for_margin']:,}"
        lines.append(
            f"To show {often} that a system as good as the baseline is not worse by more than"
            f" {points(100 * margin)}, both must answer {needed} questions."
        )
    if items is not None:
        lines.append(
            f"{items:,} questions show {often} a difference from {100 * found['smallest_difference']:.1f} points on,"
            f" and that a system as good is not worse by more than {100 * found['smallest_margin']:.1f} points."
        )
    return [*lines, _assumptions(plan)]


def _assumptions(plan: "Plan") -> str:
    text = f"Taken for granted: {100 * plan.rate:g} % hallucinated, two systems differ on {100 * plan.flips:.1f} %"
    if plan.effect > 1:
        text += f", answers about one document are alike by {plan.alike:g}, which takes {plan.effect:.1f} times as many"
    if plan.candidates > 1:
        text += f", {plan.candidates} systems against one baseline"
    return f"{text}; a judge's agreement is its correlation with labels. Comparisons count labels, or a perfect judge."


def _assumed(plan: "Plan") -> dict[str, Any]:
    return {
        "rate": plan.rate,
        "flipped": plan.flips,
        "design_effect": plan.effect,
        "candidates": plan.candidates,
        "power": plan.power,
        "level": plan.level,
    }
