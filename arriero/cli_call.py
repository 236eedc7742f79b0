"""One call of a tool from the command line."""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import typer

from arriero.terminal import one_line
from arriero.toolbox import BUILTINS, Missing, Wanted, builtin, own_tools, registry_of

if TYPE_CHECKING:
    from arriero.prompts.messages import ToolCall
    from arriero.tools import Artifact, Registry, Tool, ToolContext, ToolEvent, ToolResult

_SHOWN_ARGUMENTS = 2_000
_UNSAFE_NAME = re.compile(r"[^\w.\- ]")


@dataclass(slots=True)
class Run:
    """One call, with what was asked and told on the way.

    Args:
        name: The tool's name.
        pairs: Arguments as `key=value`.
        given: Arguments from JSON; those of `pairs` go before them.
        yes: Approve what is asked.
        save: Folder for the tool's files.
        outcome: How the call ended, afterwards.
        attempts: How often the tool was run, afterwards.
        saved: Where files are, by their ids, afterwards.
    """

    name: str
    pairs: list[str]
    given: dict[str, Any]
    yes: bool
    save: Path | None
    outcome: str = ""
    attempts: int = 0
    saved: dict[str, str] = field(default_factory=dict)

    async def run(self, wanted: Wanted) -> "ToolResult":
        """Make the call.

        Args:
            wanted: The tools that the options describe.

        Returns:
            Its result.

        Raises:
            typer.BadParameter: There is no such tool, or a value cannot be used.
        """
        from arriero.prompts.messages import ToolCall

        async with self._offered(wanted) as registry:
            tool = registry.get(self.name)
            if tool is None:
                known = ", ".join([*registry.names, *(name for name in BUILTINS if name not in registry.names)])
                raise typer.BadParameter(
                    f"there is no tool {one_line(self.name)}; there are {known}", param_hint="NAME"
                )
            arguments = self.given | dict(_pair(text, tool) for text in self.pairs)
            if self.save is not None:
                _prepare(self.save)  # before anything is done that could then not be kept
            result = await registry.call(ToolCall(self.name, arguments))
            if self.save is not None:
                for file in result.artifacts:
                    self.saved[file.id] = _save(self.save, file, await registry.artifacts.get(file.id))
            return result

    @asynccontextmanager
    async def _offered(self, wanted: Wanted) -> "AsyncIterator[Registry]":
        """The tools of the options, and the built-in one that is called."""
        async with own_tools(wanted) as own:
            taken = any(tool.name == self.name for tool in own)
            made = [builtin(self.name, wanted)] if self.name in BUILTINS and not taken else []
            if made and isinstance(made[0], Missing):
                raise typer.BadParameter(f"{self.name}: {one_line(made[0].reason)}", param_hint="NAME")
            registry = registry_of(made, own, self._approve, self._hear)
            try:
                yield registry
            finally:
                with anyio.CancelScope(shield=True):
                    await registry.aclose()

    async def _approve(self, call: "ToolCall", tool: "Tool", context: "ToolContext") -> bool:
        from arriero.tools.values import shorten

        if self.yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            typer.echo(f"{tool.name} needs approval: run it on a terminal, or with --yes", err=True)
            return False
        arguments = shorten(json.dumps(dict(call.arguments), ensure_ascii=False), _SHOWN_ARGUMENTS)
        asked = context.question or f"Run {tool.name} with {arguments}?"
        # the event loop would swallow the first Ctrl-C at this prompt
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return typer.confirm(one_line(asked), default=False, err=True)
        finally:
            signal.signal(signal.SIGINT, before)

    def _hear(self, event: "ToolEvent") -> None:
        from arriero.tools import ToolCallFinished, ToolCallProgressed, ToolCallRetried

        if isinstance(event, ToolCallProgressed):
            done = "" if event.done is None else f" {event.done:g}" + (f"/{event.total:g}" if event.total else "")
            typer.secho(one_line(f"{event.message}{done}"), dim=True, err=True)
        elif isinstance(event, ToolCallRetried):
            typer.secho(f"attempt {event.attempt} failed; again in {event.delay:.1f} s", dim=True, err=True)
        elif isinstance(event, ToolCallFinished):
            self.outcome, self.attempts = event.outcome, event.attempts


def read_arguments(text: str | None) -> dict[str, Any]:
    """The arguments that `--json` gives.

    Args:
        text: A JSON object, `@` and the file that holds it, or `-` for standard input; None for none.

    Returns:
        Values by name.

    Raises:
        typer.BadParameter: It cannot be read, or is no JSON object.
    """
    if text is None:
        return {}
    try:
        if text == "-":
            text = sys.stdin.buffer.read().decode()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise typer.BadParameter(
            f"{one_line(text[1:])} cannot be read: {error.strerror}", param_hint="--json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not JSON: {one_line(str(error))}", param_hint="--json") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("give a JSON object of arguments by name", param_hint="--json")
    return value


def _pair(text: str, tool: "Tool") -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{one_line(text)}: write NAME=VALUE", param_hint="KEY=VALUE")
    schema = tool.parameters.get("properties", {}).get(name, {})
    if schema.get("type") == "string" or "enum" in schema:
        return name, value
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def print_result(result: "ToolResult", raw: bool) -> None:
    """Write a result as a model reads it.

    Args:
        result: The result.
        raw: Leave control characters as they are on a terminal, which may then do what a stranger wrote.
    """
    from arriero.prompts.visible import visible

    text = result.content if isinstance(result.content, str) else json.dumps(result.content, ensure_ascii=False)
    if sys.stdout.isatty() and not raw:
        text = visible(text)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _save(folder: Path, file: "Artifact", data: bytes) -> str:
    """Write a file that a tool gave, under a name made from what the tool called it; nothing is overwritten."""
    name = _UNSAFE_NAME.sub("_", file.name.replace("\\", "/").rpartition("/")[2]).lstrip(". ")[:100] or file.id
    stem, suffix = os.path.splitext(name)
    try:
        for number in range(1, 10_000):
            path = folder / (name if number == 1 else f"{stem}-{number}{suffix}")
            try:
                with path.open("xb") as out:
                    out.write(data)
                return str(path)
            except FileExistsError:
                continue
    except OSError as error:
        raise _unwritable(folder, error) from error
    raise typer.BadParameter(f"{folder} is full of files named like {name}", param_hint="--save")


def _unwritable(folder: Path, error: OSError) -> typer.BadParameter:
    return typer.BadParameter(f"{folder} cannot be written: {error.strerror}", param_hint="--save")
