"""Workflows: durable graphs of steps."""

from arriero.agents.workflow.context import NodeContext
from arriero.agents.workflow.errors import (
    Denied,
    InvalidInput,
    InvalidWorkflow,
    NeedsDecision,
    NodeError,
    NothingReturned,
    RunExists,
    UnstorableValue,
    WorkflowChanged,
)
from arriero.agents.workflow.graph import Condition, Either, Retry, Step, either
from arriero.agents.workflow.progress import WorkflowProgress
from arriero.agents.workflow.running import Run
from arriero.agents.workflow.state import NodeState, Pending, RunState, read_run
from arriero.agents.workflow.workflow import Workflow

__all__ = [
    "Condition",
    "Denied",
    "Either",
    "InvalidInput",
    "InvalidWorkflow",
    "NeedsDecision",
    "NodeContext",
    "NodeError",
    "NodeState",
    "NothingReturned",
    "Pending",
    "Retry",
    "Run",
    "RunExists",
    "RunState",
    "Step",
    "UnstorableValue",
    "Workflow",
    "WorkflowChanged",
    "WorkflowProgress",
    "either",
    "read_run",
]
