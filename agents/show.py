"""Turns for people and for programs to read, event by event."""

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from arriero.agents.agent import Agent
from arriero.agents.turn import Turn
from arriero.prompts.messages import JSON, ToolCall
from arriero.prompts.visible import visible
from arriero.stack.engine import Usage
from arriero.stack.event_json import to_json
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    Event,
    LimitReached,
    PromptAppended,
    StepFinished,
    TextDelta,
    TurnFailed,
    TurnFinished,
    TurnStarted,
    VerdictGiven,
)

if TYPE_CHECKING:
    from rich.console import Console

_LABEL = 10
_RESULT_LINES = 8
_LINE_CHARS = 160


def call_text(call: ToolCall) -> str:
    """A call on one line, as Python would write it.

    Example:
        >>> call_text(ToolCall("web_search", {"query": "Mount Orla"}))
        'web_search(query="Mount Orla")'
    """
    arguments = ", ".join(f"{name}={_json(value)}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"


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

    def note(self, kind: str, text: str | None) -> None:
        """Say something about it; None is the good news that there is nothing to say."""
        ...


async def show_turn(agent: Agent, text: str, presenter: Presenter, *, session: str | None = None) -> Turn:
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
    session, events = session or uuid4().hex, list[Event]()
    async with aclosing(agent.stream(text, session=session)) as stream:
        async for event in stream:
            presenter.show(event)
            if not isinstance(event, TextDelta):
                events.append(event)
    return Turn.of(events, session)


class JSONLines:
    """Writes events as JSON objects.

    Args:
        write: Writes one object.

    Example:
        >>> JSONLines(print).show(TextDelta(1, "hi"))
        {'v': 1, 'kind': 'TextDelta', 'step': 1, 'text': 'hi'}
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

    def note(self, kind: str, text: str | None) -> None:
        """Write a note as an object of that kind."""
        self._write(self._about | {"kind": kind, "text": text})


class Screen:
    """Writes the events of turns for people to read, each as soon as it is there.

    Args:
        console: Where to write. Colour is its decision.
        steps: Whether to show the engine's part too: prompts, steps, tokens and times.

    Example:
        >>> from rich.console import Console
        >>> screen = Screen(Console(width=80))
        >>> screen.show(TextDelta(1, "The result is 42."))
          answer    The result is 42.
        >>> screen.show(TurnFinished("The result is 42.", "answer", Usage(40, 6), 0.25))
        <BLANKLINE>
          done      answer, 40 tokens read, 6 written, 0.25 s
    """

    def __init__(self, console: "Console", *, steps: bool = True) -> None:
        self._console = console
        self._steps = steps
        self._open = False
        self._title: str | None = None

    def begin(self, name: str, text: str) -> None:
        """Write what the next turn is about, once it has begun."""
        self._title = f"{name}: {text}" if name else text

    def note(self, kind: str, text: str | None) -> None:
        """Write a note, if there is something to say."""
        if text:
            self._line(kind, text, "red")

    def show(self, event: Event) -> None:
        """Write an event."""
        if self._title is not None:
            self._close_line()
            self._write(f"\n{self._title}", "bold")
            self._title = None
        match event:
            case TurnStarted():
                return
            case PromptAppended(step, token_ids):
                self._engine("prompt", f"step {step}: {len(token_ids)} tokens appended")
            case TextDelta(_, text):
                self._stream(text)
            case StepFinished(step, _, _, _, _, usage, duration):
                self._engine("model", f"step {step}: {_tokens(usage)}, {_time(duration)}")
            case CallStarted(_, call):
                self._line("call", call_text(call), "cyan")
            case CallProgressed(_, call, message, done, total):
                self._engine("progress", _progress(call.name, message, done, total))
            case CallFinished(_, result):
                note = f"{result.call.name}: {'failed, ' if result.error else ''}{_time(result.duration)}"
                self._line("result", _shown(result.content), "red" if result.error else "", note)
            case VerdictGiven(where, verdict, duration, shield):
                said = "safe" if verdict.allowed else verdict.reason
                score = "" if verdict.score is None else f" ({verdict.score:.2f})"
                style = "green" if verdict.allowed else "red"
                self._line("verdict", f"{where}: {said}{score}", style, f"{shield}: {_time(duration)}")
            case LimitReached(limit, detail):
                self._line("limit", f"{limit}: {detail}", "yellow")
            case TurnFailed(error, message):
                self._line("failed", f"{error}: {message}", "red")
            case TurnFinished(text, reason, usage, duration):
                self._finish(text if reason == "refused" else "", f"{reason}, {_tokens(usage)}, {_time(duration)}")
            case _:
                return

    def _finish(self, unshown: str, note: str) -> None:
        if unshown:
            self._line("answer", unshown, "")
        self._engine("done", note)
        self._close_line()

    def _engine(self, label: str, text: str) -> None:
        if self._steps:
            self._line(label, text, "dim")

    def _stream(self, text: str) -> None:
        if not self._open:
            self._write(f"  {'answer':<{_LABEL}}" if self._steps else "", "dim", end="")
            self._open = True
        self._write(text.replace("\n", "\n" + " " * (_LABEL + 2 if self._steps else 0)), "", end="")

    def _line(self, label: str, text: str, style: str, note: str = "") -> None:
        self._close_line()
        first, *others = text.split("\n")
        self._write(f"  {label:<{_LABEL}}", "dim", end="")
        self._write(first, style)
        for other in others:
            self._write(" " * (_LABEL + 2) + other, style)
        if note and self._steps:
            self._write(" " * (_LABEL + 2) + note, "dim")

    def _close_line(self) -> None:
        if self._open:
            self._open = False
            self._write("", "")

    def _write(self, text: str, style: str, *, end: str = "\n") -> None:
        text = visible(text)
        self._console.print(text, style=style, end=end, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shown(content: JSON) -> str:
    text = content if isinstance(content, str) else _json(content)
    lines = [line if len(line) <= _LINE_CHARS else line[: _LINE_CHARS - 1] + "…" for line in text.split("\n")]
    if len(lines) > _RESULT_LINES:
        lines[_RESULT_LINES - 1 :] = [f"… {len(lines) - _RESULT_LINES + 1} more lines"]
    return "\n".join(lines)


def _progress(tool: str, message: str, done: float | None, total: float | None) -> str:
    amount = "" if done is None else f" {done:g}" + ("" if total is None else f" of {total:g}")
    return f"{tool}{amount}" + (f": {message}" if message else "")


def _tokens(usage: Usage) -> str:
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    return f"{usage.prompt_tokens} tokens read{cached}, {usage.completion_tokens} written"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
