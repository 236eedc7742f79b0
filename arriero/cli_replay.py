"""The command that runs a session again from its log, without a model."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arriero.cli_log import Id, LogAt, find, in_log, vocabulary
from arriero.cli_stack import Json, presenter
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from arriero.stack.log import DatabaseLog
    from arriero.stack.replay import Difference, Replay


def replay(
    name: Id,
    log: LogAt,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of the tokenizer that wrote the ids. [default: the bundled model's, if it did]"),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it as it was streamed; nothing is compared.")] = False,
    speed: Annotated[
        float | None, typer.Option(min=0.01, help="With --watch: how many times as fast as it was. [default: at once]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a session again from its log, without a model and without tools, and compare all that comes of it.

    Exit code 1 if something came out in another way.
    """
    if speed is not None and not watch:
        raise typer.BadParameter("it is for watching: give --watch too", param_hint="--speed")
    if watch:
        in_log(log, partial(_watch, name=name, speed=speed, as_json=as_json))
        return
    done = in_log(log, partial(_replay, name=name, tokenizer=tokenizer))
    if as_json:
        print_json(asdict(done) | {"exact": done.exact, "differences": [_told(one) for one in done.differences]})
    else:
        turns = f"{done.turns} {'turn' if done.turns == 1 else 'turns'}"
        same = "came out as they are logged" if done.exact else "were compared"
        typer.echo(
            f"{one_line(done.session)}: {turns}, {done.compared} events {same}, {done.given} were taken as given"
        )
        for one in done.differences:
            typer.echo(f"event {one.seq} of turn {one_line(one.turn)}: {one_line(one.problem)}")
    if not done.exact:
        raise typer.Exit(1)


async def _replay(log: "DatabaseLog", name: str, tokenizer: Path | None) -> "Replay":
    from arriero.stack.events import WorkflowStarted
    from arriero.stack.replay import replay as run_again

    found = await find(log, name)
    records = await log.read(found.session)
    if workflow := next((each.event.workflow for each in records if isinstance(each.event, WorkflowStarted)), ""):
        what = (
            f"{found.session!r} is a run of the workflow {workflow!r}, which no model wrote: replay its agents' turns"
        )
        raise typer.BadParameter(what, param_hint="ID")
    wrote = vocabulary(records, tokenizer)
    if wrote is None:
        raise typer.BadParameter("a tokenizer that is not known here wrote the ids: give it", param_hint="--tokenizer")
    return await run_again(log, found.session, wrote)


async def _watch(log: "DatabaseLog", name: str, speed: float | None, as_json: bool) -> None:
    from arriero.stack.replay import replay_events

    found = await find(log, name)
    shown = presenter(as_json)
    async for event in replay_events(log, found.session, found.turn, speed=speed):
        shown.show(event)


def _told(difference: "Difference") -> dict[str, Any]:
    """A difference for programs: the events by their kinds, as they may be long."""
    kinds = {
        side: None if event is None else type(event).__name__
        for side, event in (("recorded", difference.recorded), ("produced", difference.produced))
    }
    return {"turn": difference.turn, "seq": difference.seq, "problem": difference.problem} | kinds
