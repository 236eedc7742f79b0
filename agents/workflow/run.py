"""Runs of workflows: where they begin and where they go on."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import anyio

from arriero.agents.workflow.errors import InvalidInput, RunExists, UnstorableValue, WorkflowChanged
from arriero.agents.workflow.graph import Graph
from arriero.agents.workflow.running import Run, Running, Watch
from arriero.agents.workflow.state import RunState, changes
from arriero.agents.workflow.values import dump
from arriero.stack.decisions import Decision
from arriero.stack.events import TurnResumed, WorkflowStarted
from arriero.stack.log import EventLog, UnknownSession
from arriero.stack.sessions import NothingToResume


async def begin(
    graph: Graph, given: object, log: EventLog, deps: object, run: str | None, watch: Watch | None
) -> Run[Any]:
    """Begin a run; see `Workflow.run`."""
    run = run or uuid4().hex
    try:
        stored = dump(graph.takes, given)
    except UnstorableValue as error:
        raise InvalidInput(f"workflow {graph.name!r} takes something else: {error}") from error
    await log.take(run)
    try:
        if length := await log.length(run):
            raise RunExists(f"the log has a session {run!r} of {length} events: resume it, or give another name")
        running = Running(graph, log, run, 0, RunState(), deps, {}, watch)
        parts = graph.parts()
        await running.write(WorkflowStarted(graph.name, graph.version, stored, parts))
        return await running.go()
    finally:
        with anyio.CancelScope(shield=True):
            await log.release(run)


async def resume(
    graph: Graph, run: str, log: EventLog, deps: object, decisions: Mapping[str, Decision], watch: Watch | None
) -> Run[Any]:
    """Go on with a run; see `Workflow.resume`."""
    await log.take(run)
    try:
        records = await log.read(run)
        state = RunState.of(record.event for record in records)
        if state.started is None:
            raise UnknownSession(f"the log has no run {run!r}: look at its name, and at which log this is")
        if changed := changes(state.started.nodes, graph.parts()):
            raise WorkflowChanged(run, changed)
        if state.standing == "finished":
            raise NothingToResume(f"run {run!r} has finished: begin a new one")
        running = Running(graph, log, run, len(records), state, deps, decisions, watch)
        running.check_decisions()
        await running.write(TurnResumed())
        return await running.go()
    finally:
        with anyio.CancelScope(shield=True):
            await log.release(run)
