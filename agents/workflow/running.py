"""A run of a workflow, while it runs: each node's start and end is on disk before anything follows from it."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Generic, NoReturn, TypeVar, cast

import anyio
from anyio import to_thread

from arriero.agents.wording import node_text
from arriero.agents.workflow.context import NodeContext
from arriero.agents.workflow.errors import Denied, NeedsDecision, NodeError, NothingReturned, UnstorableValue
from arriero.agents.workflow.graph import INPUT, Condition, Graph, Loop, Step, item_type
from arriero.agents.workflow.state import NodeState, Pending, RunState
from arriero.agents.workflow.values import dump, load
from arriero.prompts.messages import JSON
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.events import Event, NodeFailed, NodeFinished, NodeStarted, WorkflowFinished, WorkflowPaused
from arriero.stack.log import EventLog, LogError

Out = TypeVar("Out")

Watch = Callable[[Event], None]
"""Called with each event of a run as soon as it is on disk."""

_UNFINISHED = ("running", "waiting")

Unit = Step[Any] | Loop
"""What is run as one: a step, or a loop with all its rounds."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What a node gave, as it is stored. Each that takes it reads it anew: what one changes, no other one sees."""

    of: Any
    stored: JSON

    def load(self) -> Any:
        return load(self.of, self.stored)


class _Stopped(Exception):
    """A node waits, has failed, or is not begun any more. What needs its output stops too."""


@dataclass(frozen=True, slots=True)
class Run(Generic[Out]):
    """What came of a run, or of a part of it.

    Args:
        id: Its name, under which it is resumed.
        state: Where its nodes stand.
        waiting: What it waits for; nothing when it has finished.
        duration: Seconds of this part.
        value: What it gave; None while it waits.
    """

    id: str
    state: RunState
    waiting: tuple[Pending, ...]
    duration: float
    value: Out | None = None

    @property
    def output(self) -> Out:
        """What the workflow gave.

        Raises:
            NeedsDecision: It waits for decisions.
        """
        if self.waiting:
            raise NeedsDecision(self.id, self.waiting)
        return cast("Out", self.value)


class Running:
    """A run, in this process.

    Args:
        graph: What is run.
        log: Where it is recorded.
        run: Its name.
        length: How many events of it are recorded.
        state: Where it stands.
        deps: What its steps find in their context.
        decisions: What was decided, by id.
        watch: Called with each event.
    """

    def __init__(
        self,
        graph: Graph,
        log: EventLog,
        run: str,
        length: int,
        state: RunState,
        deps: object,
        decisions: Mapping[str, Decision],
        watch: Watch | None,
    ) -> None:
        self.graph, self.log, self.run, self.state = graph, log, run, state
        self.deps, self.decisions, self.watch = deps, decisions, watch
        self.started = time.perf_counter()
        self._length = length
        self._writing = anyio.Lock()
        self._given: dict[str, _Given | None] = {}
        self._stopped: set[str] = set()
        self._pending: list[Pending] = []
        self._failure: NodeError | None = None
        self._failing = anyio.Event()

    async def write(self, *events: Event) -> None:
        """Record events, one commit after the other: their order in the log is that in which they are seen."""
        async with self._writing:
            await self.log.append(self.run, self.run, self._length, events)
            self._length += len(events)
            for event in events:
                self.state.apply(event)
                if self.watch is not None:
                    self.watch(event)

    def check_decisions(self) -> None:
        """Make sure that each decision is for a node that is unfinished, or for a call in it."""
        unfinished = {node_text(*at): at[0] for at, found in self.state.nodes.items() if found.standing in _UNFINISHED}
        for id_, decision in self.decisions.items():
            node = unfinished.get(id_.partition("/")[0])
            if node is None or ("/" in id_ and self.state.waiting and id_ not in self.state.waiting):
                waits = ", ".join(self.state.waiting or unfinished) or "nothing"
                raise InvalidDecision(f"run {self.run!r} does not wait for {id_!r}: it waits for {waits}")
            if "/" in id_:
                at = id_.partition("/")[0]
                if at not in self.decisions and not self.graph.steps[node].idempotent:
                    raise InvalidDecision(f"{id_!r} waits in {at!r}, which would be run again for it: decide both")
                continue
            if decision.choice == "edit":
                raise InvalidDecision(f"{id_!r} is a step, which has no arguments to edit: run, answer or deny it")
            if decision.choice == "answer":
                _answer(id_, self.graph.steps[node].gives, decision.text)

    async def go(self) -> Run[Any]:
        """Run what is left, and record how it ends."""
        assert self.state.started is not None  # noqa: S101  it is the first event of every run
        self._given[INPUT] = _Given(self.graph.takes, self.state.started.input)
        await self._region(frozenset(self.graph.steps), ())
        if self._failure is not None:
            await self._finish(None, _text(self._failure))
            raise self._failure
        if self._pending:
            await self.write(WorkflowPaused(tuple(pending.id for pending in self._pending), self._seconds()))
            return Run(self.run, self.state, tuple(self._pending), self._seconds())
        given = self._first(self.graph.returns)
        if given is None:
            error = NothingReturned(f"none of {', '.join(self.graph.returns)} has run: return from what always runs")
            await self._finish(None, str(error))
            raise error
        try:
            stored = dump(self.graph.gives, given.load())
        except UnstorableValue as error:
            await self._finish(None, str(error))
            raise
        await self._finish(stored, "")
        return Run(self.run, self.state, (), self._seconds(), load(self.graph.gives, stored))

    async def _finish(self, output: JSON, error: str) -> None:
        await self.write(WorkflowFinished(output, error, self._seconds()))

    def _seconds(self) -> float:
        return time.perf_counter() - self.started

    async def _region(self, names: frozenset[str], rounds: tuple[int, ...], within: Loop | None = None) -> None:
        """Run some steps, each as soon as what it takes is there: all of them, or one round of a loop."""
        units = self.graph.units(names, within)
        home = {name: unit for unit, members in units.items() for name in members}
        over = {unit: anyio.Event() for unit in units}
        broken: list[BaseException] = []

        async def work(unit: Unit) -> None:
            try:
                needed = {name for member in units[unit] for name in self.graph.inputs(self.graph.steps[member])}
                for other in {home[name] for name in needed if name in home} - {unit}:
                    await over[other].wait()
                await self._unit(unit, units[unit], rounds)
                over[unit].set()
            except Exception as error:  # a group would wrap it
                broken.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for unit in units:
                group.start_soon(work, unit)
        if broken:
            raise broken[0]

    async def _unit(self, unit: Unit, members: frozenset[str], rounds: tuple[int, ...]) -> None:
        try:
            if isinstance(unit, Loop):
                await self._loop(unit, members, rounds)
            else:
                self._given[unit.name] = await self._step(unit, rounds)
        except _Stopped:
            self._stopped |= members

    async def _loop(self, loop: Loop, members: frozenset[str], rounds: tuple[int, ...]) -> None:
        outside = {name for member in members for name in self.graph.inputs(self.graph.steps[member])} - members
        self._go_on_without(outside)
        for name in members:
            self._given.pop(name, None)
        for number in range(1, loop.most + 1):
            await self._region(members, (*rounds, number), loop)
            self._go_on_without(members)
            if not self._holds(loop.again):
                return

    def _holds(self, condition: Condition) -> bool:
        given = self._given[condition.step]
        return given is not None and condition.holds(given.load())

    def _go_on_without(self, names: set[str] | frozenset[str]) -> None:
        if self._failure is not None or self._stopped & names:
            raise _Stopped

    async def _step(self, step: Step[Any], rounds: tuple[int, ...]) -> _Given | None:
        """What a step gives, or gave before; None where it is skipped."""
        self._go_on_without(set(self.graph.inputs(step)))
        if step.when and not self._holds(step.when):
            return None
        arguments: dict[str, _Given] = {}
        for position, (source, taken) in enumerate(zip(step.sources, step.parameters, strict=False)):
            given = self._first(source.names)
            if given is not None:
                arguments[taken.name] = given
            elif not taken.optional or (step.at_once is not None and position == 0):
                return None
        key = ".".join(map(str, rounds))
        work = self._node if step.at_once is None else self._map
        return _Given(step.output, await work(step, key, arguments))

    def _first(self, names: Sequence[str]) -> _Given | None:
        """What the first of some nodes gave that ran; in the first round of a loop, later ones have not."""
        return next((given for name in names if (given := self._given.get(name)) is not None), None)

    async def _map(self, step: Step[Any], key: str, arguments: Mapping[str, _Given]) -> JSON:
        first = step.parameters[0].name
        items, of = cast("list[JSON]", arguments[first].stored), item_type(arguments[first].of)
        outputs: dict[int, JSON] = {}
        waiting = iter(enumerate(items))
        stopped = False
        broken: list[Exception] = []

        async def work() -> None:
            nonlocal stopped
            try:
                for position, item in waiting:  # the workers share it
                    at = f"{key}.{position + 1}" if key else str(position + 1)
                    try:
                        self._go_on_without(set())
                        given = {**arguments, first: _Given(of, item)}
                        outputs[position] = await self._node(step, at, given, of=len(items))
                    except _Stopped:
                        stopped = True
            except Exception as error:  # a group would wrap it
                broken.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for _ in range(min(step.at_once or 1, len(items))):
                group.start_soon(work)
        if broken:
            raise broken[0]
        if stopped:
            raise _Stopped
        return [outputs[position] for position in range(len(items))]

    async def _node(self, step: Step[Any], key: str, arguments: Mapping[str, _Given], *, of: int = 0) -> JSON:
        """Output of one run of a step: what it gave before, or what its attempts come to."""
        past = self.state.nodes.get((step.name, key))
        if past is not None and past.standing == "finished":
            return past.output
        if past is not None and past.standing in _UNFINISHED:
            return await self._interrupted(step, key, arguments, past, of)
        attempt = past.attempt + 1 if past else 1
        return await self._attempts(step, key, arguments, attempt, past.failures if past else 0, of, resumed=False)

    async def _interrupted(
        self, step: Step[Any], key: str, arguments: Mapping[str, _Given], past: NodeState, of: int
    ) -> JSON:
        """Output of a node that had begun when its process ended."""
        id_ = node_text(step.name, key)
        decision = self.decisions.get(id_)
        if decision is not None and decision.choice == "answer":
            output = _answer(id_, step.gives, decision.text)
            await self.write(NodeFinished(step.name, key, output, 0.0))
            return output
        if decision is not None and decision.choice == "deny":
            reason = f": {decision.text}" if decision.text else ""
            error = Denied(f"{id_} is not to be run again{reason}")
            await self.write(NodeFailed(step.name, key, past.attempt, type(error).__name__, str(error)))
            self._give_up(step, key, past.failures + 1, error)
        if decision is None and not step.idempotent:
            self._ask(step, id_, "had begun when its process ended")
            raise _Stopped
        return await self._attempts(step, key, arguments, past.attempt, past.failures, of, resumed=True)

    async def _attempts(
        self,
        step: Step[Any],
        key: str,
        arguments: Mapping[str, _Given],
        attempt: int,
        failures: int,
        of: int,
        *,
        resumed: bool,
    ) -> JSON:
        while True:
            await self.write(NodeStarted(step.name, key, attempt, of))
            prefix = f"{node_text(step.name, key)}/"
            decisions = {id_[len(prefix) :]: made for id_, made in self.decisions.items() if id_.startswith(prefix)}
            context = NodeContext(self.run, step.name, key, attempt, self.deps, resumed, decisions)
            started = time.perf_counter()
            try:
                output = dump(step.gives, await self._call(step, arguments, context))
            except BaseException as error:
                while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
                    error = error.exceptions[0]  # what a task group in the step has wrapped
                if isinstance(error, (anyio.get_cancelled_exc_class(), LogError, InvalidDecision)):
                    raise error  # the run breaks off here, as if the process had died
                if context.waiting:
                    self._waits(step, key, context.waiting)
                if not isinstance(error, Exception):
                    raise
                failures += 1
                await self._failed(step, key, attempt, error, failures)
                with anyio.move_on_after(step.retry.pause(failures)):
                    await self._failing.wait()
                self._go_on_without(set())
                attempt, resumed = attempt + 1, False
                continue
            if context.waiting:
                self._waits(step, key, context.waiting)
            await self.write(NodeFinished(step.name, key, output, time.perf_counter() - started))
            return output

    def _waits(self, step: Step[Any], key: str, waiting: Sequence[Pending]) -> NoReturn:
        """Stop a step in which a turn waits. To go on with the turn, the step is run from its beginning."""
        self._pending += waiting
        if not step.idempotent:
            self._ask(step, node_text(step.name, key), "is to begin again with the turn that waits in it")
        raise _Stopped from None

    def _ask(self, step: Step[Any], id_: str, why: str) -> None:
        question = f"{id_} {why}, and is not declared idempotent: run it again, give its output, or deny it"
        self._pending.append(Pending(id_, step.name, "interrupted", question))

    async def _failed(self, step: Step[Any], key: str, attempt: int, error: Exception, failures: int) -> None:
        """Record a failure. Raises `_Stopped` when there is no further attempt."""
        await self.write(NodeFailed(step.name, key, attempt, type(error).__name__, _text(error)))
        if isinstance(error, step.retry.on) and failures < step.retry.attempts and self._failure is None:
            return
        self._give_up(step, key, failures, error)

    def _give_up(self, step: Step[Any], key: str, failures: int, error: Exception) -> NoReturn:
        """End the run with this error, when what is running has ended."""
        if self._failure is None:
            self._failure = NodeError(node_text(step.name, key), failures, error)
            self._failure.__cause__ = error
            self._failing.set()
        raise _Stopped

    async def _call(self, step: Step[Any], arguments: Mapping[str, _Given], context: NodeContext[Any]) -> object:
        named = {name: given.load() for name, given in arguments.items()}
        if step.context is not None:
            named[step.context] = context
        with anyio.fail_after(step.seconds):
            if iscoroutinefunction(step.function):
                return await step.function(**named)
            # A thread cannot be cancelled: it is waited for, so that no effect comes after its node has ended.
            given = await to_thread.run_sync(partial(step.function, **named))
            return await given if isawaitable(given) else given


def _text(error: Exception) -> str:
    """What an error says, as it can be stored."""
    return str(error).encode(errors="backslashreplace").decode()


def _answer(id_: str, of: Any, text: str) -> JSON:
    """The output that somebody gave for a step, as it is stored."""
    try:
        return dump(of, load(of, json.loads(text)))
    except (ValueError, UnstorableValue) as error:
        raise InvalidDecision(
            f"the answer for {id_!r} must be its output as JSON, not {text!r:.80}: {error}"
        ) from error
