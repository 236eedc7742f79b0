"""What happens in a run of a workflow. These events are members of the union in `arriero.stack.events`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from arriero.prompts.messages import JSON


@dataclass(frozen=True, slots=True)
class WorkflowStarted:
    """A workflow began.

    Args:
        workflow: Its name.
        version: Fingerprint of its graph.
        input: What it was given.
        nodes: Fingerprints of the graph's parts, by their names.
    """

    workflow: str
    version: str
    input: JSON
    nodes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node of a workflow is about to run. It is on disk before the node is touched.

    Args:
        node: Name of the node.
        key: Which run of it this is, where a loop or a parallel map runs it often.
        attempt: Number of the attempt, from 1.
        of: How many items a parallel map runs the node for; 0 where it is no map.
    """

    node: str
    key: str
    attempt: int = 1
    of: int = 0


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A node gave its output.

    Args:
        node: Name of the node.
        key: Which run of it this is.
        output: What it gave.
        duration: Seconds.
    """

    node: str
    key: str
    output: JSON
    duration: float


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """An attempt of a node failed.

    Args:
        node: Name of the node.
        key: Which run of it this is.
        attempt: Number of the attempt, from 1.
        error: Name of the error's class.
        message: The error's text.
    """

    node: str
    key: str
    attempt: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkflowPaused:
    """The workflow waits for decisions, and the process may end. It goes on with `resume`.

    Args:
        waiting: What it waits for: names of interrupted nodes, and of their agents' calls.
        duration: Seconds of the process that paused it.
    """

    waiting: tuple[str, ...]
    duration: float


@dataclass(frozen=True, slots=True)
class WorkflowFinished:
    """A workflow is over.

    Args:
        output: What it gave; None where it failed.
        error: What went wrong; empty where nothing did.
        duration: Seconds of the process that ended it.
    """

    output: JSON
    error: str
    duration: float
