"""What can be wrong with a workflow and its runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arriero.prompts.errors import ArrieroError

if TYPE_CHECKING:
    from arriero.agents.workflow.state import Pending


class InvalidWorkflow(ArrieroError):
    """A workflow's graph cannot be run.

    Args:
        workflow: The workflow's name.
        problems: Everything that is wrong with it.
    """

    def __init__(self, workflow: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        listed = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"workflow {workflow!r} cannot be run:{listed}")


class WorkflowChanged(ArrieroError):
    """A run was begun by another graph than the one that is to resume it.

    Args:
        run: The run.
        changes: What is different, part by part.
    """

    def __init__(self, run: str, changes: Sequence[str]) -> None:
        self.changes = tuple(changes)
        super().__init__(
            f"run {run!r} was begun by another graph: {'; '.join(self.changes)}. Resume it with the graph that began"
            " it, or begin a new run"
        )


class InvalidInput(ArrieroError, ValueError):
    """What a workflow was given is not of its input type."""


class RunExists(ArrieroError):
    """A run of that name was begun before: resume it, or give another name."""


class NodeError(ArrieroError):
    """A node of a workflow failed for good; what it raised is the cause.

    Args:
        node: The node, with which run of it failed.
        attempts: How often it was tried.
        error: What it raised last.
    """

    def __init__(self, node: str, attempts: int, error: BaseException) -> None:
        self.node = node
        self.attempts = attempts
        tried = "" if attempts == 1 else f" after {attempts} attempts"
        super().__init__(f"node {node} failed{tried}: {type(error).__name__}: {error}")


class UnstorableValue(ArrieroError, TypeError):
    """A node gave a value that is not of its declared type, or cannot be written as JSON."""


class Denied(ArrieroError):
    """Somebody decided that an interrupted node is not to be run again."""


class NothingReturned(ArrieroError):
    """No step that the workflow returns from has run."""


class NeedsDecision(ArrieroError):
    """A workflow has no output yet: it waits for decisions.

    Args:
        run: The run.
        waiting: What it waits for.
    """

    def __init__(self, run: str, waiting: "Sequence[Pending]") -> None:
        self.waiting = tuple(waiting)
        listed = "".join(f"\n  - {pending.id}: {pending.question}" for pending in self.waiting)
        super().__init__(f"run {run!r} waits; resume it with a decision for each of these:{listed}")
