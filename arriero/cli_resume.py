"""The commands that go on with turns and workflows: resume, and decide about what waits."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arriero.cli_log import Id, LogAt, find, in_log
from arriero.cli_stack import (
    ApiKey,
    DialectName,
    Engine,
    Json,
    Model,
    TokenizerFolder,
    Url,
    agent_maker,
    chat_agent,
    complain,
    later,
    presenter,
    stack_of,
)
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arriero.agents.agent import Agent
    from arriero.agents.turn import Waiting
    from arriero.stack.decisions import Decision
    from arriero.stack.log import DatabaseLog, Record
    from arriero.stack.stack import Stack

Program = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="Python file that defines agent(stack), or a workflow as flow and deps(stack)."
        " [default: the agent of `arriero chat`]",
    ),
]
By = Annotated[str, typer.Option(metavar="NAME", help="Who decides.")]


def resume(
    name: Id,
    log: LogAt,
    program: Program = None,
    decide: Annotated[
        list[str] | None,
        typer.Option(metavar="CALL=DECISION", help="2.0=run, deny:REASON, edit:{JSON} or answer:TEXT; repeatable."),
    ] = None,
    by: By = "",
    engine: Engine = None,
    url: Url = None,
    model: Model = None,
    tokenizer: TokenizerFolder = None,
    dialect: DialectName = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Go on with a turn or a workflow that waits, or that its process left when it died.

    What it waits for is asked on standard input, unless --decide says it. Exit code 1 if the turn did not end with an
    answer or a refusal, or the workflow did not finish.
    """
    from arriero.agents.chat import go_on
    from arriero.agents.flow import go_on_with_run, load_flow
    from arriero.agents.program import UnusableProgram

    decisions = _decisions(decide or (), by)
    session, records = in_log(log, partial(_found, name=name))
    opening = stack_of(engine, url, model, tokenizer, dialect, api_key, log)
    shown, how = presenter(as_json, asks=True), partial(later, log, program)
    if workflow := _workflow(records):
        if program is None:
            raise typer.BadParameter(
                f"{session!r} is a run of the workflow {workflow!r}: give the file that defines it",
                param_hint="--program",
            )
        try:
            flow = load_flow(program)
        except UnusableProgram as error:
            raise typer.BadParameter(str(error), param_hint="--program") from error
        well = go_on_with_run(opening, flow, shown, run=session, decisions=decisions, later=how)
    else:
        make = agent_maker(program) if program else _chat_agent(session, records, bundled=url is None and model is None)
        well = go_on(opening, make, shown, session=session, decisions=decisions, complain=complain, later=how)
    if not well:
        raise typer.Exit(1)


def decide(
    name: Id,
    log: LogAt,
    decisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="CALL=DECISION", help="2.0=run, deny:REASON, edit:{JSON} or answer:TEXT."),
    ] = None,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Record decisions about calls that wait, and list what still waits.

    Nothing is run: the turn goes on at the next `arriero runs resume`.
    """
    made = _decisions(decisions or (), by)
    waiting = in_log(log, partial(_decide, name=name, made=made))
    for call in waiting:
        if as_json:
            print_json(_waiting(call))
        else:
            typer.echo(f"{call.id}  {call.asked}  {one_line(call.question or call.call.name)}")
    if not waiting and not as_json:
        typer.echo("no call waits", err=True)


async def _decide(log: "DatabaseLog", name: str, made: "Mapping[str, Decision]") -> "list[Waiting]":
    """Record decisions; gives what waits then."""
    from arriero.agents.asking import waiting_calls

    session, records = await _found(log, name)
    inner = _inner(session, records) if _workflow(records) else {"": session}
    unknown = [id_ for id_ in made if id_.rpartition(":")[0] not in inner]
    if unknown:
        says = "decide about a step that was interrupted with `arriero runs resume`, by --decide"
        raise typer.BadParameter(f"no turn of {session!r} has {unknown[0]!r}; {says}", param_hint="CALL=DECISION")
    waiting: list[Waiting] = []
    for place, one in inner.items():
        prefix = f"{place}:" if place else ""
        own = {id_.removeprefix(prefix): made[id_] for id_ in made if id_.rpartition(":")[0] == place}
        if own:
            await _record(log, one, own)
        waiting += [replace(call, id=prefix + call.id) for call in await waiting_calls(log, one)]
    return waiting


async def _found(log: "DatabaseLog", name: str) -> "tuple[str, list[Record]]":
    session = (await find(log, name)).session
    return session, await log.read(session)


def _workflow(records: "Sequence[Record]") -> str:
    """Name of the workflow whose run it is; empty for a conversation."""
    from arriero.stack.events import WorkflowStarted

    started = (record.event for record in records if isinstance(record.event, WorkflowStarted))
    return next((event.workflow for event in started), "")


def _inner(run: str, records: "Sequence[Record]") -> dict[str, str]:
    """Sessions of a run's turns that wait, by their names in its ids."""
    from arriero.agents.wording import node_text
    from arriero.agents.workflow import RunState

    state = RunState.of(record.event for record in records)
    attempts = {node_text(*at): node.attempt for at, node in state.nodes.items()}
    sessions = {}
    for id_ in state.waiting:
        node, _, rest = id_.partition("/")
        name, colon, _ = rest.rpartition(":")
        if colon:
            again = f".{attempts[node]}" if attempts[node] > 1 else ""
            sessions[f"{node}/{name}"] = f"{run}/{node}{again}/{name}"
    return sessions


def _chat_agent(session: str, records: "Sequence[Record]", *, bundled: bool) -> "Callable[[Stack], Agent[Any, Any]]":
    """What makes the agent of `arriero chat`; misuse if another one has the session."""
    from arriero.stack.events import TurnStarted

    names = {record.event.agent for record in records if isinstance(record.event, TurnStarted)} - {"", "agent"}
    if names:
        what = f"the agent {min(names)!r} has session {session!r}: give the file that defines it"
        raise typer.BadParameter(what, param_hint="--program")
    return chat_agent(bundled=bundled)


async def _record(log: "DatabaseLog", session: str, decisions: "Mapping[str, Decision]") -> None:
    from arriero.stack.sessions import Sessions
    from arriero.stack.turn import check_open
    from arriero.stack.waiting import given

    sessions = Sessions(log)
    async with sessions.open(session) as tape:
        turn = check_open(tape)
        await sessions.log_events(tape, turn.id, given(turn, decisions))


def _decisions(texts: "list[str] | tuple[()]", by: str) -> "dict[str, Decision]":
    from arriero.agents.asking import read_decisions
    from arriero.stack.decisions import InvalidDecision

    try:
        return read_decisions(texts, by=by)
    except InvalidDecision as error:
        raise typer.BadParameter(str(error), param_hint="CALL=DECISION") from error


def _waiting(call: "Waiting") -> dict[str, Any]:
    written = {"name": call.call.name, "arguments": dict(call.call.arguments)}
    return {"id": call.id, "asked": call.asked, "question": call.question, "call": written}
