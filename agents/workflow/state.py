"""Where a run of a workflow stands: a fold over its events."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from arriero.agents.wording import node_text
from arriero.prompts.messages import JSON, ToolCall
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
    from arriero.stack.log import EventLog

Standing = Literal["running", "finished", "failed", "waiting"]
"""Where a node, or a run, stands. A node of a run whose process died is still `running`."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Something in a run that waits for a decision.

    Args:
        id: Its name in the run, which `Workflow.resume` wants.
        node: The step that waits.
        asked: What is to be decided: as of a turn's calls, where `interrupted` may also be of the step itself.
        question: What a person reads.
        session: Session of the agent's turn that waits; empty where the step itself was interrupted.
        call: The call that waits; None where the step itself was interrupted.
    """

    id: str
    node: str
    asked: Literal["approval", "interrupted", "answer"]
    question: str
    session: str = ""
    call: ToolCall | None = None


@dataclass(slots=True)
class NodeState:
    """Where a run of a node stands.

    Args:
        standing: Running, finished, failed or waiting.
        attempt: Number of its latest attempt.
        failures: How many attempts failed since the run was last given up.
        output: What it gave.
        error: What its latest failure said.
        duration: Seconds that it took.
    """

    standing: Standing
    attempt: int = 1
    failures: int = 0
    output: JSON = None
    error: str = ""
    duration: float = 0.0


@dataclass(slots=True)
class RunState:
    """Where a run stands.

    Args:
        started: Its first event; None as long as there is none.
        nodes: Its nodes' runs, by name of the node and key.
        items: How many items the parallel maps run for, by name of the node.
        standing: Where the run stands as a whole.
        waiting: Ids of what it waits for.
        output: What it gave.
        error: What went wrong.

    Example:
        >>> state = RunState.of([NodeStarted("read", "1", 1, of=2), NodeFinished("read", "1", "a note", 0.5)])
        >>> state.nodes["read", "1"].standing, state.of_node("read")
        ('finished', 'running')
    """

    started: WorkflowStarted | None = None
    nodes: dict[tuple[str, str], NodeState] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    standing: Standing = "running"
    waiting: tuple[str, ...] = ()
    output: JSON = None
    error: str = ""
    _counts: dict[str, Counter[Standing]] = field(default_factory=dict, repr=False, compare=False)
    _rounds: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "RunState":
        """Fold a run's events.

        Args:
            events: The events, in order.

        Returns:
            The state.
        """
        state = cls()
        for event in events:
            state.apply(event)
        return state

    def apply(self, event: Event) -> None:
        """Take in the run's next event. Events of other kinds change nothing."""
        match event:
            case WorkflowStarted():
                self.started = event
            case NodeStarted(node, key, attempt, of):
                failures = self.nodes[node, key].failures if (node, key) in self.nodes else 0
                self.items[node] = of
                self._put(node, key, NodeState("running", attempt, failures))
                self.standing, self.waiting, self.error = "running", (), ""
            case NodeFinished(node, key, output, duration):
                attempt = self.nodes[node, key].attempt if (node, key) in self.nodes else 1
                self._put(node, key, NodeState("finished", attempt, output=output, duration=duration))
            case NodeFailed(node, key, attempt, error, message):
                before = self.nodes.get((node, key)) or NodeState("running")
                failures = before.failures + 1
                self._put(node, key, NodeState("failed", attempt, failures, error=f"{error}: {message}"))
            case WorkflowPaused(waiting):
                self.standing, self.waiting = "waiting", waiting
                stopped = {id_.partition("/")[0] for id_ in waiting}
                for (node, key), at in self.nodes.items():
                    if at.standing == "running" and node_text(node, key) in stopped:
                        self._put(node, key, replace(at, standing="waiting"))
            case WorkflowFinished(output, error):
                self.standing, self.output, self.error = "failed" if error else "finished", output, error
                for at in self.nodes.values():
                    at.failures = 0
            case _:
                return

    def of_node(self, node: str) -> Standing | None:
        """Where a node stands with all its runs; None where it has not run."""
        if node not in self._counts:
            return None
        standings: tuple[Standing, ...] = ("failed", "waiting", "running")
        for standing in standings:
            if self._counts[node][standing]:
                return standing
        return "running" if self.runs(node) < self.items.get(node, 0) else "finished"

    def finished(self, node: str) -> int:
        """How many runs of a node have finished: of a parallel map, in its latest round."""
        return self._counts[node]["finished"] if node in self._counts else 0

    def runs(self, node: str) -> int:
        """How many runs of a node have begun: of a parallel map, in its latest round."""
        return self._counts[node].total() if node in self._counts else 0

    def _put(self, node: str, key: str, at: NodeState) -> None:
        """Keep where a run of a node stands, and count: a map may have thousands."""
        latest = key.rpartition(".")[0]
        if self.items.get(node) and self._rounds.get(node) != latest:
            self._rounds[node], self._counts[node] = latest, Counter()
        counts = self._counts.setdefault(node, Counter())
        if before := self.nodes.get((node, key)):
            counts[before.standing] -= 1
        counts[at.standing] += 1
        self.nodes[node, key] = at


async def read_run(log: "EventLog", run: str) -> RunState:
    """Where a run stands, from its log.

    Args:
        log: The log.
        run: Name of the run.

    Returns:
        The state, for `Workflow.mermaid` and `Workflow.svg`; an empty one where there is no such run.

    Raises:
        LogError: The log could not be read.
    """
    return RunState.of(record.event for record in await log.read(run))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What is different between the parts of two graphs."""
    return [
        f"{name} is {'new' if name not in before else 'gone' if name not in after else 'another one'}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
