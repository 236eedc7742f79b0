"""The event log on the command line: which one, and which of its sessions or turns."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import anyio
import typer

from arriero.terminal import tokenizer_at

if TYPE_CHECKING:
    from arriero.prompts.tokens import Tokenizer
    from arriero.stack.log import DatabaseLog, Record, TurnSummary

T = TypeVar("T")

LogAt = Annotated[
    str,
    typer.Option(
        "--log",
        metavar="FILE_OR_DSN",
        envvar="ARRIERO_LOG",
        show_envvar=True,
        help="The event log: a file, or postgresql://...",
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="A session, a turn, or the beginning of one's name.")]


@dataclass(frozen=True, slots=True)
class Found:
    """A session, or a turn of one.

    Args:
        session: The session.
        turns: Its turns, in order; one alone where one was meant.
        whole: Whether the session was meant.
    """

    session: str
    turns: "tuple[TurnSummary, ...]"
    whole: bool

    @property
    def turn(self) -> str | None:
        """The turn that was meant; None for the whole session."""
        return None if self.whole else self.turns[0].turn

    @property
    def states(self) -> dict[str, str]:
        """Where the turns stand, by their ids."""
        return {turn.turn: turn.state for turn in self.turns}

    @property
    def last(self) -> int:
        """Position of the last event of what was meant."""
        return max(turn.last for turn in self.turns)


def in_log(log: str, work: "Callable[[DatabaseLog], Awaitable[T]]", *, new: bool = False) -> T:
    """Do something with a log.

    Args:
        log: The file, or the address of the database.
        work: What to do.
        new: Whether a file may be absent.

    Returns:
        What the work gives.

    Raises:
        typer.BadParameter: There is no such file.
        LogError: The log cannot be opened, or as from the work.
    """
    from arriero.stack.log import open_log

    if not new and not log.startswith(("postgresql://", "postgres://")) and not Path(log).exists():
        raise typer.BadParameter(f"there is no event log at {log}: look at its path", param_hint="--log")

    async def run() -> T:
        opened = open_log(log)
        try:
            return await work(opened)
        finally:
            await opened.aclose()

    return anyio.run(run)


async def find(log: "DatabaseLog", name: str) -> Found:
    """What a name on the command line means.

    Args:
        log: The log.
        name: A session's name, a turn's id, or the beginning of either that fits only one.

    Returns:
        The session, or the turn.

    Raises:
        UnknownSession: Nothing has that name, or several begin like that.
        LogError: The log could not be read.
    """
    from arriero.stack.log import UnknownSession

    turns = await log.turns()
    sessions = {turn.session for turn in turns}
    if name in sessions:
        return _session(name, turns)
    by_name: dict[str, Found] = {}
    for turn in turns:
        if turn.turn.startswith(name):
            by_name.setdefault(turn.turn, Found(turn.session, (turn,), whole=False))
    by_name |= {session: _session(session, turns) for session in sessions if session.startswith(name)}
    if exact := by_name.get(name):
        return exact
    inside = [other for other in by_name if any(other.startswith(f"{run}/") for run in by_name)]
    outer = [found for other, found in by_name.items() if other not in inside]  # a run goes before its agents' turns
    if len(outer) == 1:
        return outer[0]
    if by_name:
        raise UnknownSession(f"{name!r} may mean {', '.join(sorted(by_name)[:4])}: write more of it")
    raise UnknownSession(f"nothing is called {name!r}: `arriero runs list` shows what there is")


async def records_of(log: "DatabaseLog", found: Found) -> "list[Record]":
    """The events of what was found."""
    return await log.read(found.session, found.turn)


def vocabulary(records: "Sequence[Record]", folder: Path | None) -> "Tokenizer | None":
    """The tokenizer that wrote ids.

    Args:
        records: Events with the ids.
        folder: Where it is said to be; None to try the bundled model's.

    Returns:
        The tokenizer; None where it is not known.

    Raises:
        typer.BadParameter: Another one wrote the ids.
    """
    from arriero.models import DEMO
    from arriero.prompts.tokens import Tokenizer
    from arriero.stack.events import TurnStarted

    wrote = {record.event.vocabulary for record in records if isinstance(record.event, TurnStarted)} - {""}
    given = tokenizer_at(folder)
    if given is not None and wrote and given.fingerprint not in wrote:
        raise typer.BadParameter("another tokenizer wrote these ids: give the model's own", param_hint="--tokenizer")
    if given is not None or not wrote:
        return given
    bundled = Tokenizer.from_folder(DEMO)
    return bundled if bundled.fingerprint in wrote else None


def _session(name: str, turns: "list[TurnSummary]") -> Found:
    own = sorted((turn for turn in turns if turn.session == name), key=lambda turn: turn.first)
    return Found(name, tuple(own), whole=True)
