"""Turns for people and for programs to read, event by event."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from arriero.agents.agent import Agent
from arriero.agents.turn import Turn
from arriero.agents.wording import Line, Tone, call_text, line_of, time_text
from arriero.prompts.visible import visible
from arriero.stack.event_json import to_json
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    DecisionAsked,
    Event,
    TextDelta,
    TurnFinished,
    TurnPaused,
)

if TYPE_CHECKING:
    from rich.console import Console

_LABEL = 10
STYLES: Mapping[Tone, str] = {
    "": "",
    "call": "cyan",
    "good": "green",
    "bad": "red",
    "waits": "yellow",
    "quiet": "dim",
}
"""Colours of a terminal."""


class Presenter(Protocol):
    """Shows turns, each event as soon as it is there."""

    def begin(self, name: str, text: str) -> None:
        """A turn follows.

        Args:
            name: Short name of what it belongs to.
            text: What it is about.
        """
        ...

    def show(self, event: Event) -> None:
        """Show an event of it."""
        ...

    def note(self, kind: str, text: str | None, tone: Tone = "bad") -> None:
        """Say something about it; None is the good news that there is nothing to say."""
        ...


async def show_turn(
    agent: Agent[Any, Any], text: str, presenter: Presenter, *, session: str | None = None
) -> Turn[Any]:
    """Run one turn and show it.

    Args:
        agent: Who is asked.
        text: What the user says.
        presenter: Shows the events as they happen.
        session: Session to begin or continue; None for a new one.

    Returns:
        What came of it.

    Raises:
        ArrieroError: As from `Agent.run`.
    """
    session = session or uuid4().hex
    return Turn.of(await show_events(agent.stream(text, session=session), presenter), session, agent.reader)


async def show_events(events: AsyncGenerator[Event, None], presenter: Presenter) -> list[Event]:
    """Show a turn that runs.

    Args:
        events: Its events, as they come.
        presenter: Shows them.

    Returns:
        Those that are logged.

    Raises:
        ArrieroError: As from `Agent.stream`.
    """
    seen = list[Event]()
    async with aclosing(events) as stream:
        async for event in stream:
            presenter.show(event)
            if not isinstance(event, TextDelta | CallProgressed):
                seen.append(event)
    return seen


class JSONLines:
    """Writes events as JSON objects.

    Args:
        write: Writes one object.

    Example:
        >>> JSONLines(print).show(TextDelta(1, "hi"))
        {'v': 2, 'kind': 'TextDelta', 'step': 1, 'text': 'hi'}
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        self._write = write
        self._about: dict[str, Any] = {}

    def begin(self, name: str, text: str) -> None:
        """The name goes into each object that follows."""
        self._about = {"workflow": name} if name else {}

    def show(self, event: Event) -> None:
        """Write an event as it is stored, and `TextDelta` likewise."""
        self._write(self._about | json.loads(to_json(event)))

    def note(self, kind: str, text: str | None, tone: Tone = "bad") -> None:
        """Write a note as an object of that kind."""
        self._write(self._about | {"kind": kind, "text": text})


class Screen:
    """Writes the events of turns for people to read, each as soon as it is there.

    Args:
        console: Where to write. Colour is its decision.
        steps: Whether to show the engine's part too: prompts, steps, tokens and times.
        folded: Whether a call takes one line, without its result.
        asks: Whether somebody is asked for the decisions that a turn waits for, and so hears of them in that way.

    Example:
        >>> from rich.console import Console
        >>> from arriero.stack.engine import Usage
        >>> screen = Screen(Console(width=80))
        >>> screen.show(TextDelta(1, "The result is 42."))
          answer    The result is 42.
        >>> screen.show(TurnFinished("The result is 42.", "answer", Usage(40, 6), 0.25))
        <BLANKLINE>
          done      answer, 40 tokens read, 6 written, 0.25 s
    """

    def __init__(self, console: "Console", *, steps: bool = True, folded: bool = False, asks: bool = False) -> None:
        self._console = console
        self._asks = asks
        self._steps = steps
        self._folded = folded
        self._open = False
        self._calling: tuple[int, int] | None = None
        self._title: str | None = None

    def begin(self, name: str, text: str) -> None:
        """Write what the next turn is about, once it has begun."""
        self._title = f"{name}: {text}" if name else text

    def note(self, kind: str, text: str | None, tone: Tone = "bad") -> None:
        """Write a note, if there is something to say."""
        if text:
            self._line(Line(kind, text, tone))

    def show(self, event: Event) -> None:
        """Write an event."""
        if self._title is not None:
            self._close_line()
            self._write(f"\n{self._title}", "bold")
            self._title = None
        if isinstance(event, TextDelta):
            self._stream(event.text)
            return
        if self._folded and isinstance(event, CallStarted | CallFinished):
            self._fold(event)
            return
        line = line_of(event)
        if isinstance(event, TurnFinished) and event.reason == "refused" and event.text:
            self._line(Line("answer", event.text))
        if self._asks and isinstance(event, DecisionAsked | TurnPaused):
            line = None
        if line is not None and (self._steps or not line.inner):
            self._line(line)
        if isinstance(event, TurnFinished):
            self._close_line()

    def _fold(self, event: CallStarted | CallFinished) -> None:
        """A call in one line: its time comes at its end, unless something else was written meanwhile."""
        if isinstance(event, CallStarted):
            self._close_line()
            self._write(f"  {call_text(event.call)}", "cyan", end="")
            self._open, self._calling = True, (event.step, event.position)
            return
        if self._calling != (event.step, event.position):
            self._close_line()
            self._write(f"  {event.result.call.name}", "cyan", end="")
        took = time_text(event.result.duration)
        self._write(f"  failed, {took}" if event.result.error else f"  {took}", "red" if event.result.error else "dim")
        self._open, self._calling = False, None

    def _stream(self, text: str) -> None:
        if self._calling:
            self._close_line()
        if not self._open:
            self._write(f"  {'answer':<{_LABEL}}" if self._steps else "", "dim", end="")
            self._open = True
        self._write(text.replace("\n", "\n" + " " * (_LABEL + 2 if self._steps else 0)), "", end="")

    def _line(self, line: Line) -> None:
        self._close_line()
        first, *others = line.text.split("\n")
        self._write(f"  {line.label:<{_LABEL}}", "dim", end="")
        self._write(first, STYLES[line.tone])
        for other in others:
            self._write(" " * (_LABEL + 2) + other, STYLES[line.tone])
        if line.note and self._steps:
            self._write(" " * (_LABEL + 2) + line.note, "dim")

    def _close_line(self) -> None:
        if self._open:
            self._open, self._calling = False, None
            self._write("", "")

    def _write(self, text: str, style: str, *, end: str = "\n") -> None:
        text = visible(text)
        self._console.print(text, style=style, end=end, markup=False, highlight=False, emoji=False, soft_wrap=True)
