"""The commands that go on with turns: resume, and decide about calls that wait."""

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
    presenter,
    stack_of,
)
from arriero.terminal import one_line, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arriero.agents.turn import Waiting
    from arriero.stack.decisions import Decision
    from arriero.stack.log import DatabaseLog

Program = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help="Python file that defines agent(stack). [default: the agent of `arriero chat`]",
    ),
]
By = Annotated[str, typer.Option(help="Who decides.")]


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
    """Go on with a turn that waits, or that its process left when it died.

    What it waits for is asked on standard input, unless --decide says it. Exit code 1 if the turn did not end with an
    answer or a refusal.
    """
    from arriero.agents.chat import go_on

    decisions = _decisions(decide or (), by)
    session = in_log(log, lambda opened: _conversation(opened, name))
    opening = stack_of(engine, url, model, tokenizer, dialect, api_key, log)
    make = agent_maker(program) if program else chat_agent(bundled=url is None and model is None)
    shown = presenter(as_json)
    if not go_on(opening, make, shown, session=session, decisions=decisions, complain=complain):
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
    from arriero.agents.asking import waiting_calls

    made = _decisions(decisions or (), by)

    async def record(opened: "DatabaseLog") -> "tuple[Waiting, ...]":
        session = await _conversation(opened, name)
        if made:
            await _record(opened, session, made)
        return await waiting_calls(opened, session)

    waiting = in_log(log, record)
    for call in waiting:
        if as_json:
            print_json(_waiting(call))
        else:
            typer.echo(f"{call.id}  {call.asked}  {one_line(call.question or call.call.name)}")
    if not waiting and not as_json:
        typer.echo("no call waits", err=True)


async def _conversation(log: "DatabaseLog", name: str) -> str:
    """The session of that name; misuse if it is the run of a workflow, which only its program can go on with."""
    from arriero.stack.events import WorkflowStarted

    session = (await find(log, name)).session
    for record in await log.read(session):
        if isinstance(record.event, WorkflowStarted):
            flow = f"{session!r} is a run of the workflow {record.event.workflow!r}"
            raise typer.BadParameter(f"{flow}: its program goes on with it, by flow.resume", param_hint="ID")
    return session


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
