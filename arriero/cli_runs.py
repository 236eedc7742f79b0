"""The commands about runs: what happened, forks, pruning, export and import."""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal
from uuid import uuid4

import typer

from arriero import cli_replay, cli_resume
from arriero.cli_log import Id, LogAt, find, in_log, records_of, vocabulary
from arriero.cli_stack import Json, widen_output
from arriero.terminal import example, one_line, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from arriero.cli_log import Found
    from arriero.prompts.tokens import Tokenizer
    from arriero.stack.log import DatabaseLog, Pruned, Record, TurnSummary

runs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Runs: list them, look at one, resume, decide, fork, replay, prune, export, import.",
    epilog=example("arriero runs list --log runs.sqlite", "arriero runs show alice --log runs.sqlite"),
)

State = Literal["running", "waiting", "interrupted", "finished"]

_ID_CHARS = 8
_WIDE = 240
_ROOMY = 80
_GAP = 2
_COLUMNS = ("session", "turn", "state", "agent", "steps", "calls", "tokens", "age")
_NEEDED = (0, 1, 2, 7)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STATE_STYLES = {"answer": "green", "finished": "green", "running": "cyan"}
_STATE_STYLES |= dict.fromkeys(("waiting", "interrupted"), "yellow")


@runs.command("list", epilog=example("arriero runs list", "arriero runs list --state waiting --log runs.sqlite --json"))
def list_runs(
    log: LogAt,
    state: Annotated[State | None, typer.Option(help="Only turns that stand there.")] = None,
    session: Annotated[str | None, typer.Option(help="Only turns of this session.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most turns to list.")] = 50,
    as_json: Json = False,
) -> None:
    """List turns and runs of workflows, the latest first."""

    async def read(opened: "DatabaseLog") -> "list[TurnSummary]":
        return await opened.turns(session)

    found = [turn for turn in in_log(log, read) if state in (None, turn.state)]
    if as_json:
        for turn in found[:limit]:
            print_json(_summary(turn))
        return
    if found:
        _print_turns(found[:limit])
    else:
        typer.echo("there are none", err=True)
    if len(found) > limit:
        typer.echo(f"and {len(found) - limit} more: --limit shows more of them", err=True)


@runs.command(
    epilog=example(
        "arriero runs show alice",
        "arriero runs show 4f2a --full",
        "arriero runs show alice --html alice.html --tokenizer models/llama",
    )
)
def show(
    name: Id,
    log: LogAt,
    full: Annotated[bool, typer.Option("--full", help="Write long texts whole.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="PAGE", help="Write it as an HTML page.")] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder of the tokenizer that wrote the ids, for their texts. [default: the bundled, if so]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a session or a turn: a tree with times, tokens, verdicts, calls, results and decisions."""
    from arriero.agents.tree import print_tree, tree

    async def read(opened: "DatabaseLog") -> "tuple[Found, list[Record]]":
        found = await find(opened, name)
        return found, await records_of(opened, found)

    found, records = in_log(log, read)
    if html is not None:
        _write_page(html, found, records, vocabulary(records, tokenizer))
    elif as_json:
        for record in records:
            print_json(_record(record))
    else:
        print_tree(_console(), tree(records, found.states), full=full)


runs.command(
    epilog=example(
        "arriero runs resume alice --program examples/custom_tool.py",
        "arriero runs resume alice --decide 2.0=run --decide '2.1=deny:not that one'",
    )
)(cli_resume.resume)
runs.command(
    epilog=example("arriero runs decide alice 2.0=run", 'arriero runs decide alice \'2.0=edit:{"path": "b"}\' --by ana')
)(cli_resume.decide)


runs.command(
    epilog=example("arriero runs replay alice", "arriero runs replay alice --watch --speed 2"),
)(cli_replay.replay)


@runs.command(epilog=example("arriero runs fork alice", "arriero runs fork alice --at 7 --into alice-again"))
def fork(
    name: Id,
    log: LogAt,
    at: Annotated[int | None, typer.Option(min=0, help="Last event to copy. [default: the last]")] = None,
    into: Annotated[str | None, typer.Option(help="Name of the new session. [default: a new one]")] = None,
    as_json: Json = False,
) -> None:
    """Begin a session as a copy of another one, up to one of its events."""
    from arriero.stack.log import LogConflict

    async def copy(opened: "DatabaseLog") -> dict[str, Any]:
        found = await find(opened, name)
        seq = found.last if at is None else at
        new = into or f"{found.session}-{uuid4().hex[:_ID_CHARS]}"
        if await opened.length(new):
            raise LogConflict(f"there is a session {new!r} already: give another name as --into")
        await opened.fork(found.session, seq, new)
        return {"session": new, "of": found.session, "at": seq}

    made = in_log(log, copy)
    print_json(made) if as_json else typer.echo(one_line(made["session"]))


@runs.command(
    epilog=example("arriero runs prune --older-than 30d --dry-run", "arriero runs prune --redact-after 7d --yes")
)
def prune(
    log: LogAt,
    older_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Delete sessions without an event for so long: 12h, 30d, 4w.")
    ] = None,
    redact_after: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Remove texts and ids from sessions after so long.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Session to leave as it is, or a pattern; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete old sessions, or remove their texts. Turns that are not over stay."""
    from arriero.stack.log import Retention
    from arriero.stack.log import prune as prune_log

    if older_than is None and redact_after is None:
        raise typer.BadParameter("say what is old: give --older-than, --redact-after or both")
    retention = Retention(
        delete_after=_seconds(older_than, "--older-than"),
        redact_after=_seconds(redact_after, "--redact-after"),
        keep=frozenset(keep or ()),
    )
    now = time.time()
    planned = in_log(log, partial(prune_log, retention=retention, now=now, dry_run=True))
    if not dry_run and not yes and (planned.deleted or planned.redacted):
        _tell_pruned(planned, "would be", err=True)
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here: give --yes, or --dry-run", param_hint="--yes")
        typer.confirm("Do it?", abort=True, err=True)
    done = planned if dry_run else in_log(log, partial(prune_log, retention=retention, now=now))
    if as_json:
        print_json({"dry_run": dry_run} | asdict(done))
    else:
        _tell_pruned(done, "would be" if dry_run else "")


@runs.command(
    epilog=example("arriero runs export alice > alice.jsonl", "arriero runs export --output all.jsonl"),
)
def export(
    log: LogAt,
    names: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Sessions. [default: all of the log]")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to. [default: standard output]")] = None,
) -> None:
    """Write sessions as JSON lines, which `runs import` reads."""
    from arriero.stack.log import export_session

    async def write(opened: "DatabaseLog", file: BinaryIO) -> None:
        sessions = dict.fromkeys([(await find(opened, name)).session for name in names or ()])
        for session in sessions or sorted({turn.session for turn in await opened.turns()}):
            async for line in export_session(opened, session):
                file.write(line.rstrip("\n").encode("utf-8", "surrogatepass") + b"\n")

    with _written(output) as file:
        in_log(log, partial(write, file=file))
        file.flush()


@runs.command("import", epilog=example("arriero runs import alice.jsonl", "arriero runs import a.jsonl --into again"))
def import_runs(
    log: LogAt,
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE", help="What was exported; - for a pipe.")],
    into: Annotated[str | None, typer.Option(help="Name of the session here, where the file holds one.")] = None,
    as_json: Json = False,
) -> None:
    """Read sessions that `runs export` wrote, each whole or not at all. One that the log has already is an error."""
    from arriero.stack.log import import_sessions

    lines = map(_text, file)
    rename = None if into is None else lambda _: into
    sessions = in_log(log, partial(import_sessions, lines=lines, rename=rename), new=True)
    for session in sessions:
        print_json({"session": session}) if as_json else typer.echo(one_line(session))


def _text(line: bytes) -> str:
    from arriero.stack.log import InvalidExport

    try:
        return line.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise InvalidExport(f"the export is not UTF-8: {error}; give a file that `runs export` wrote") from error


def _seconds(span: str | None, option: str) -> float | None:
    """Seconds of a span such as 12h or 30d."""
    if span is None:
        return None
    fits = _SPAN.fullmatch(span.strip())
    if fits is None:
        raise typer.BadParameter(f"{span!r} is no span of time: write 90s, 30m, 12h, 30d or 4w", param_hint=option)
    return float(fits[1]) * _SECONDS[fits[2]]


def _tell_pruned(pruned: "Pruned", would_be: str, *, err: bool = False) -> None:
    for what, sessions in (("deleted", pruned.deleted), ("redacted", pruned.redacted)):
        noun = "session" if len(sessions) == 1 else "sessions"
        typer.echo(" ".join(filter(None, (f"{len(sessions)} {noun}", would_be, what))), err=err)
    typer.echo(f"{pruned.events} events, {pruned.bytes:,} bytes", err=err)
    if pruned.busy:
        typer.echo(f"left alone, as they were continued meanwhile: {one_line(', '.join(pruned.busy))}", err=True)


def _record(record: "Record") -> dict[str, Any]:
    from arriero.stack.event_json import to_json

    at = {"session": record.session, "turn": record.turn, "seq": record.seq, "time": record.time}
    return at | {"event": json.loads(to_json(record.event))}


def _write_page(page: Path, found: "Found", records: "Sequence[Record]", tokenizer: "Tokenizer | None") -> None:
    from arriero.agents.page import session_page

    text = session_page(found.session, records, tokenizer=tokenizer, states=found.states)
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{page} cannot be written: {error.strerror}", param_hint="--html") from error


@contextmanager
def _written(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        with output.open("wb") as file:
            yield file
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}", param_hint="--output") from error


def _summary(turn: "TurnSummary") -> dict[str, Any]:
    usage = turn.usage
    return {
        "session": turn.session,
        "turn": turn.turn,
        "state": turn.state,
        "reason": turn.reason,
        "agent": turn.agent,
        "started": turn.started,
        "updated": turn.updated,
        "steps": turn.steps,
        "calls": turn.calls,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cached_tokens": usage.cached_tokens,
        "first": turn.first,
        "last": turn.last,
        "redacted": turn.redacted,
    }


def _print_turns(turns: "Sequence[TurnSummary]") -> None:
    from rich.table import Table
    from rich.text import Text

    from arriero.agents.wording import age_text

    console, now = _console(), time.time()
    rows = []
    for turn in turns:
        tokens = turn.usage.prompt_tokens + turn.usage.completion_tokens
        figures = [str(turn.steps), str(turn.calls), f"{tokens:,}"]
        names = [
            one_line(turn.session),
            one_line(turn.turn)[:_ID_CHARS],
            turn.reason or turn.state,
            one_line(turn.agent),
        ]
        rows.append([*names, *figures, age_text(now - turn.updated)])
    # where there is no room for all, what finds a turn and says how it stands goes before the rest
    shown = [at for at in range(len(_COLUMNS)) if at in _NEEDED or console.width >= _ROOMY]
    widths = [max(len(_COLUMNS[at]), *(len(row[at]) for row in rows)) + _GAP for at in shown[1:]]
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for at in shown:
        widest = max(_ID_CHARS, console.width - sum(widths)) if at == 0 else None
        justify: Literal["left", "right"] = "left" if at < _COLUMNS.index("steps") else "right"
        table.add_column(_COLUMNS[at], no_wrap=True, overflow="ellipsis", max_width=widest, justify=justify)
    for row in rows:
        styles = ["bold", "dim", _STATE_STYLES.get(row[2], "red"), "", "", "", "", ""]
        table.add_row(*(Text(row[at], styles[at]) for at in shown))
    console.print(table)


def _console() -> "Console":
    from rich.console import Console

    widen_output()
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    # where nobody looks no line is broken: what reads it goes by lines
    return console if console.is_terminal else Console(file=sys.stdout, highlight=False, markup=False, width=_WIDE)
