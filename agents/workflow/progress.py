"""Progress of a run, for a terminal and for a log file."""

from contextlib import ExitStack
from copy import deepcopy
from types import TracebackType
from typing import TYPE_CHECKING, Self

from arriero.agents.wording import node_text, time_text
from arriero.agents.workflow.state import RunState
from arriero.prompts.visible import visible
from arriero.stack.events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_STYLES = {"running": "cyan", "finished": "green", "failed": "red", "waiting": "yellow"}


class WorkflowProgress:
    """Shows how far a run is: one row for each step on a terminal, one line for each event elsewhere.

    Args:
        console: Where to write; None for stderr.
        state: Where the run stood when it is gone on with: what `read_run` gives, or `Run.state`.

    Example:
        >>> import anyio
        >>> from rich.console import Console
        >>> from arriero import SQLiteLog
        >>> from arriero.agents.workflow import Workflow
        >>> flow = Workflow("double", takes=int, gives=int)
        >>> @flow.step(flow.input)
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> flow.returns(double)
        >>> async def watched() -> None:
        ...     with WorkflowProgress(Console(width=80)) as progress:
        ...         await flow.run(21, log=SQLiteLog(":memory:"), watch=progress)
        >>> anyio.run(watched)
        double has begun
        double: begun
        double: finished, ... ms
        finished, ... ms
    """

    def __init__(self, console: "Console | None" = None, *, state: RunState | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._state = deepcopy(state) if state else RunState()
        self._rows: dict[str, TaskID] = {}
        self._bars: Progress | None = None
        self._closing = ExitStack()

    def __call__(self, event: Event) -> None:
        """Take in the run's next event; give this object to `run` or `resume` as `watch`."""
        self._state.apply(event)
        if self._bars is None:
            if text := _line(event):
                self._console.print(visible(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
        elif isinstance(event, NodeStarted | NodeFinished | NodeFailed):
            self._row(self._bars, event.node)
        elif isinstance(event, WorkflowPaused):
            for node in self._rows:
                self._row(self._bars, node)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[said]}"))
            bars = Progress(*columns, TimeElapsedColumn(), console=self._console)
            self._bars = self._closing.enter_context(bars)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()
        self._bars = None

    def _row(self, bars: "Progress", node: str) -> None:
        state = self._state
        standing = state.of_node(node) or "running"
        of = state.items.get(node) or state.runs(node)
        done = state.finished(node)
        said = f"[{_STYLES[standing]}]{f'{done} of {of}' if of > 1 else standing}[/]"
        if node not in self._rows:
            self._rows[node] = bars.add_task(visible(node), total=of, said=said)
        bars.update(self._rows[node], completed=done, total=of, said=said)


def _line(event: Event) -> str:
    match event:
        case WorkflowStarted(workflow):
            return f"{workflow} has begun"
        case NodeStarted(node, key, attempt, of):
            again = f", attempt {attempt}" if attempt > 1 else ""
            return f"{node_text(node, key)}: begun{f', of {of}' if of else ''}{again}"
        case NodeFinished(node, key, _, duration):
            return f"{node_text(node, key)}: finished, {time_text(duration)}"
        case NodeFailed(node, key, _, error, message):
            return f"{node_text(node, key)}: failed with {error}: {' '.join(message.split())}"
        case WorkflowPaused(waiting):
            return f"waits for {', '.join(waiting)}"
        case WorkflowFinished(_, error, duration):
            return f"failed: {' '.join(error.split())}" if error else f"finished, {time_text(duration)}"
        case _:
            return ""
