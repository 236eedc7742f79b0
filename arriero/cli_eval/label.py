"""`arriero eval label`: a page on which people label items, or labels from elsewhere."""

import getpass
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from arriero.evals.human.agreement import Agreement
    from arriero.evals.items import GroundingItem
    from arriero.evals.labels import Consensus, Label
    from arriero.evals.runs import Subject

SubjectAt = Annotated[
    Path, typer.Argument(exists=True, readable=True, metavar="SUBJECT", help="Folder of a run, or a file of items.")
]
Annotator = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Who labels; repeat it for two people. [default: your user name]"),
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port of the page. [default: a free one]", show_default=False)
]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Open no browser; only say where the page is.")]
NoPage = Annotated[bool, typer.Option("--no-page", help="No page: only say what the labels say.")]


def label(
    subject: SubjectAt,
    annotator: Annotator = None,
    items: Annotated[int, typer.Option(min=1, help="How many items to label, chosen at random.")] = 100,
    seed: Annotated[
        int | None, typer.Option(help="Another seed, other items. [default: that of the calibration, else 0]")
    ] = None,
    disputed: Annotated[
        bool, typer.Option("--disputed", help="Only items on which people differ, for a further person to settle.")
    ] = False,
    show_judge: Annotated[
        str | None,
        typer.Option(metavar="JUDGE", help="Show what this judge said. People follow it: not for calibrating it."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--import", exists=True, dir_okay=False, metavar="FILE", help="Add labels from a CSV or JSON lines instead."
        ),
    ] = None,
    port: Port = 0,
    no_open: NoOpen = False,
    no_page: NoPage = False,
    as_json: Annotated[bool, typer.Option("--json", help="What the labels say, as one JSON object.")] = False,
) -> None:
    """Label items on a local page, by keyboard, alone or in pairs.

    Labels are on disk at once; Ctrl-C stops, and a later call goes on. An imported file has the columns id and label
    (1 hallucinated, 0 supported, ? cannot say), and may have annotator and note.
    """
    from arriero.evals.runs import read_subject

    found = read_subject(subject)
    if source is not None:
        _import(found, source, annotator)
    elif not no_page:
        chosen = _disputed(found) if disputed else sample_of(found, items, seed)
        serve(found, chosen, names_of(annotator), port=port, no_open=no_open, judge=show_judge, settling=disputed)
    from arriero.evals.labels import consensus, read_labels

    labels = read_labels(found.labels_path)
    agreed = agreement_of(labels, found.items)
    print_labels(consensus(labels), agreed, found.labels_path, as_json)


def sample_of(subject: "Subject", size: int, seed: int | None) -> "Sequence[GroundingItem]":
    """A random sample of a subject's items, the one that its calibration goes on with if there is one."""
    from arriero.evals.calibrating import read_plan
    from arriero.evals.human.labelling import in_random_order

    plan = read_plan(subject.path)
    by_id = {item.id: item for item in subject.items}
    if seed is None and plan is not None:
        return [by_id[id_] for id_ in plan.ids[: max(size, len(plan.ids))] if id_ in by_id]
    return in_random_order(subject.items, seed=seed or 0)[:size]


def names_of(annotators: list[str] | None) -> list[str]:
    """Who labels: those given, else the user."""
    if annotators:
        return annotators
    try:
        return [getpass.getuser()]
    except (KeyError, OSError):
        return ["me"]


def serve(
    subject: "Subject",
    items: "Sequence[GroundingItem]",
    annotators: Sequence[str],
    *,
    port: int,
    no_open: bool,
    judge: str | None = None,
    settling: bool = False,
) -> None:
    """Serve the page until everybody has finished, or Ctrl-C."""
    import webbrowser

    import anyio

    from arriero.evals.human.labelling import Labelling
    from arriero.evals.human.server import serve_labelling

    judgements = _judgements(subject, judge)
    labelling = Labelling(subject.name, tuple(items), subject.labels_path, judgements, settling)

    def announce(annotator: str, address: str) -> None:
        left = len(items) - len(labelling.said(annotator))
        typer.echo(f"{one_line(annotator)}: {left} of {len(items)} items to label at {address}", err=True)

    async def run() -> None:
        typer.echo("Ctrl-C ends it; labels are kept as they are given.", err=True)
        visit = None if no_open or not _has_screen() else webbrowser.open
        await serve_labelling(labelling, annotators, port=port, announce=announce, visit=visit)

    try:
        anyio.run(run)
    except KeyboardInterrupt:
        typer.echo("", err=True)


def _has_screen() -> bool:
    """Whether a browser would have a window: one for terminals would take over this one."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def agreement_of(labels: "Sequence[Label]", items: "Sequence[GroundingItem]") -> "Agreement | None":
    """How far people agree; None where too few items have two labels."""
    from arriero.evals.errors import EvalError
    from arriero.evals.human.agreement import agreement

    try:
        return agreement(labels, documents={item.id: item.doc_id or item.id for item in items})
    except EvalError:
        return None


def print_labels(said: "Consensus", agreed: "Agreement | None", path: Path, as_json: bool) -> None:
    """Write what labels say."""
    if as_json:
        print_json(labels_json(said, agreed) | {"file": str(path)})
        return
    values = list(said.labels.values())
    for name, count in said.annotators.items():
        typer.echo(f"{one_line(name)}: {count} items labelled")
    typer.echo(f"{values.count(1)} hallucinated, {values.count(0)} supported, {len(said.unsure)} nobody can say")
    print_agreement(agreed)
    if said.disputed:
        shown = ", ".join(map(one_line, said.disputed[:10])) + (", ..." if len(said.disputed) > 10 else "")
        typer.echo(f"{len(said.disputed)} disputed: {shown}")
        typer.echo("a further person settles them: arriero eval label ... --disputed --annotator NAME", err=True)


def print_agreement(agreed: "Agreement | None") -> None:
    """Write how far people agree, where that is known."""
    if agreed is None:
        return
    names = " and ".join(map(one_line, agreed.annotators))
    typer.echo(f"{names} on {agreed.items} items: alike {agreed.raw}")
    for name, one in (
        ("Cohen's kappa", agreed.kappa),
        ("Krippendorff's alpha", agreed.alpha),
        ("Gwet's AC1", agreed.ac1),
    ):
        text = (
            "undefined: all labels are the same" if one is None else f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]"
        )
        typer.echo(f"  {name}: {text}")


def labels_json(said: "Consensus", agreed: "Agreement | None") -> dict[str, Any]:
    """What labels say, as JSON values."""
    values = list(said.labels.values())
    return {
        "annotators": dict(said.annotators),
        "hallucinated": values.count(1),
        "supported": values.count(0),
        "cannot_say": list(said.unsure),
        "disputed": list(said.disputed),
        "agreement": None if agreed is None else json.loads(json.dumps(asdict(agreed))),
    }


def _import(subject: "Subject", source: Path, annotators: list[str] | None) -> None:
    from arriero.evals.human.importing import labels_from
    from arriero.evals.labels import append_label, read_labels

    if annotators is not None and len(annotators) > 1:
        raise typer.BadParameter("give one name, for rows that have none", param_hint="--annotator")
    name = annotators[0] if annotators else None
    labels = labels_from(source, {item.id for item in subject.items}, annotator=name)
    there = {(one.item_id, one.annotator): (one.value, one.note) for one in read_labels(subject.labels_path)}
    new = [one for one in labels if there.get((one.item_id, one.annotator)) != (one.value, one.note)]
    if new:
        append_label(subject.labels_path, *new)
    typer.echo(f"{len(new)} labels added, {len(labels) - len(new)} were there already", err=True)


def _disputed(subject: "Subject") -> "Sequence[GroundingItem]":
    from arriero.evals.human.server import CannotLabel
    from arriero.evals.labels import consensus

    wanted = set(consensus(subject.labels).disputed)
    if not wanted:
        raise CannotLabel("nothing is disputed: two people must have labelled the same items, and differ")
    return [item for item in subject.items if item.id in wanted]


def _judgements(subject: "Subject", judge: str | None) -> "dict[str, Any]":
    if judge is None:
        return {}
    if judge not in subject.judgings:
        known = ", ".join(subject.judgings) or "none"
        raise typer.BadParameter(
            f"{one_line(judge)} has judged nothing here (judges that have: {known})", param_hint="--show-judge"
        )
    return dict(subject.judgings[judge].judgements)
