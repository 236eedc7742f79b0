"""A durable graph of steps."""

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

from arriero.agents.workflow.check import problems_of
from arriero.agents.workflow.errors import InvalidWorkflow
from arriero.agents.workflow.graph import (
    Condition,
    Either,
    Graph,
    Input,
    Loop,
    Retry,
    Source,
    Step,
    alternatives,
)
from arriero.agents.workflow.run import begin, resume
from arriero.agents.workflow.running import Run, Watch
from arriero.agents.workflow.state import RunState

if TYPE_CHECKING:
    from arriero.stack.decisions import Decision
    from arriero.stack.log import EventLog

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

_ONCE = Retry(attempts=1)


class StepMaker(Protocol):
    """Makes a step of a function, async or not."""

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> Step[T]: ...
    @overload
    def __call__(self, function: Callable[..., T], /) -> Step[T]: ...


class MapMaker(Protocol):
    """Makes a step that runs for each item of a list, of a function, async or not."""

    @overload
    def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> Step[list[T]]: ...
    @overload
    def __call__(self, function: Callable[..., T], /) -> Step[list[T]]: ...


class Workflow(Generic[In, Out]):
    """A graph of steps whose every step is recorded, so that a run goes on where its process died.

    Each step says where its parameters come from. It runs as soon as they are there, beside whatever else can run.

    Args:
        name: Name for people, and for the log.
        takes: Type of what a run is given.
        gives: Type of what a run gives.

    Example:
        >>> import anyio
        >>> from arriero import SQLiteLog
        >>> flow = Workflow("shout", takes=str, gives=list[str])
        >>> @flow.step(flow.input)
        ... def words(text: str) -> list[str]:
        ...     return text.split()
        >>> @flow.map(words, at_once=2)
        ... async def louder(word: str) -> str:
        ...     return word.upper()
        >>> flow.returns(louder)
        >>> async def shout() -> list[str]:
        ...     return (await flow.run("pack the mules", log=SQLiteLog(":memory:"))).output
        >>> anyio.run(shout)
        ['PACK', 'THE', 'MULES']
    """

    def __init__(self, name: str, *, takes: type[In], gives: type[Out]) -> None:
        self.graph = Graph(name, takes, gives)

    def __repr__(self) -> str:
        return f"Workflow(name={self.name!r}, steps={list(self.graph.steps)!r})"

    @property
    def name(self) -> str:
        """Name for people, and for the log."""
        return self.graph.name

    @property
    def input(self) -> Input[In]:
        """What a run is given, as a source for steps."""
        return Input()

    def step(
        self,
        *sources: Source[Any],
        when: Condition | None = None,
        retry: Retry = _ONCE,
        seconds: float | None = None,
        idempotent: bool = False,
    ) -> StepMaker:
        """Make a function a step of the workflow.

        A sync function runs on a thread. A parameter annotated with `NodeContext` is given the context of the run.

        Args:
            sources: What its other parameters are filled from, in order. A step that comes later in a loop is given
                by name. Where a source was skipped, a parameter takes its default, and without one the step is
                skipped too.
            when: When it runs, as in `when=classify.gave("refund")`; None for always.
            retry: How it is tried again when it fails.
            seconds: Longest time of an attempt, after which it has failed with `TimeoutError`; None for no limit.
                For async functions: a thread cannot be stopped.
            idempotent: Whether it may be run again when its process died in the middle of it. That is so where doing
                it twice is doing it once, and where it does nothing but ask agents through its context: their turns
                resume themselves. Of other steps a person decides.

        Returns:
            The decorator.
        """
        return self._maker(sources, when, retry, seconds, idempotent)

    def map(
        self,
        items: Source[Any],
        *sources: Source[Any],
        at_once: int = 8,
        when: Condition | None = None,
        retry: Retry = _ONCE,
        seconds: float | None = None,
        idempotent: bool = False,
    ) -> MapMaker:
        """Make a function a step that runs for each item of a list, several at once.

        Each item is recorded by itself. The step gives the list of what the function gave, in the items' order.

        Args:
            items: Where the list comes from; the function's first parameter is an item of it.
            sources: What its other parameters are filled from, the same for each item.
            at_once: Most items at once.
            when: When it runs; as in `step`.
            retry: How an item is tried again.
            seconds: Longest time of an attempt of an item.
            idempotent: Whether an item may be run again when its process died in the middle of it.

        Returns:
            The decorator.
        """
        return self._maker((items, *sources), when, retry, seconds, idempotent, at_once)

    def _maker(
        self,
        sources: tuple[Source[Any], ...],
        when: Condition | None,
        retry: Retry,
        seconds: float | None,
        idempotent: bool,
        at_once: int | None = None,
    ) -> Callable[[Callable[..., Any]], Step[Any]]:
        wrong = [
            f"{source!r:.80} is no source: give flow.input, a step, either(...), or the name of a step"
            for source in sources
            if not isinstance(source, Step | Either | Input | str)
        ]
        if when is not None and not isinstance(when, Condition):
            wrong.append(f"{when!r:.80} is no condition: give when=step.gave(...)")
        if wrong:
            raise InvalidWorkflow(self.name, wrong)
        taken = tuple(map(alternatives, sources))

        def decorate(function: Callable[..., Any]) -> Step[Any]:
            name = getattr(function, "__name__", repr(function))
            step: Step[Any] = Step(name, function, taken, when, retry, seconds, idempotent, at_once, self.graph)
            self.graph.add(step, sources)
            return step

        return decorate

    def loop(self, first: Step[Any] | str, last: Step[Any] | str, *, again: Condition, most: int) -> None:
        """Run steps again and again: the first one, the last one, and all between them.

        In later rounds the first step's parameters may come from steps of the round before; in the first round they
        take their defaults. Steps outside the loop read what its last round gave.

        Args:
            first: The step that each round begins with.
            last: The step that each round ends with.
            again: When there is another round, as in `again=review.gave(False, of="good")`.
            most: Most rounds. After them the workflow goes on with what the last one gave.
        """
        begins, ends = [step if isinstance(step, str) else step.name for step in (first, last)]
        self.graph.loops.append(Loop(begins, ends, again, most))

    def returns(self, *steps: Step[Any] | str) -> None:
        """Say what a run gives: the output of the first of these steps that ran.

        Args:
            steps: The steps, or their names.
        """
        self.graph.returns = tuple(step if isinstance(step, str) else step.name for step in steps)

    def check(self) -> None:
        """Make sure that the graph can be run. `run` and `resume` do so by themselves.

        Raises:
            InvalidWorkflow: It cannot; the error lists everything that is wrong.

        Example:
            >>> flow = Workflow("lost", takes=str, gives=int)
            >>> @flow.step("nowhere")
            ... def length(text: str) -> int:
            ...     return len(text)
            >>> flow.check()
            Traceback (most recent call last):
            ...
            arriero.agents.workflow.errors.InvalidWorkflow: workflow 'lost' cannot be run:
              - step length takes from 'nowhere', which is no step of this workflow
              - it returns nothing: say what it gives with returns(step)
        """
        if problems := problems_of(self.graph):
            raise InvalidWorkflow(self.name, problems)

    async def run(
        self, given: In, *, log: "EventLog", deps: object = None, run: str | None = None, watch: Watch | None = None
    ) -> Run[Out]:
        """Run the workflow.

        Args:
            given: What it is given.
            log: Where its steps are recorded, as in `log=stack.log`.
            deps: What the steps find as `deps` in their context: agents, clients, settings.
            run: Name of the run, under which it can be resumed; None for a new one.
            watch: Called with each event as soon as it is on disk.

        Returns:
            What came of it: its output, or what it waits for.

        Raises:
            InvalidWorkflow: The graph cannot be run. Nothing was recorded.
            InvalidInput: What it is given is not of its type. Nothing was recorded.
            RunExists: A run of that name was begun before.
            NodeError: A node failed for good. Those that were running were waited for.
            NothingReturned: No step that it returns from has run.
            LogError: A step could not be recorded; what was to follow has not happened.
        """
        self.check()
        return await begin(self.graph, given, log, deps, run, watch)

    async def resume(
        self,
        run: str,
        *,
        log: "EventLog",
        deps: object = None,
        decisions: "Mapping[str, Decision] | None" = None,
        watch: Watch | None = None,
    ) -> Run[Out]:
        """Go on with a run whose process died, that waits, or that failed.

        What has finished is not run again. A node that failed has all its attempts again.

        Args:
            run: Its name.
            log: Where its steps are recorded.
            deps: What the steps find in their context.
            decisions: What was decided, by the ids in `Run.waiting`. An interrupted node is run again with
                `Decision.run()`, has its output given as JSON with `Decision.answer(json)`, or fails with
                `Decision.deny(reason)`.
            watch: Called with each event as soon as it is on disk.

        Returns:
            What came of it.

        Raises:
            InvalidWorkflow: The graph cannot be run.
            UnknownSession: The log has no run of that name.
            WorkflowChanged: The run was begun by another graph.
            NothingToResume: The run has finished.
            InvalidDecision: A decision is for something that does not wait, or of a kind that does not fit.
            SessionBusy: A process that lives is running it.
            NodeError: A node failed for good.
            NothingReturned: No step that it returns from has run.
            LogError: A step could not be recorded.
        """
        self.check()
        return await resume(self.graph, run, log, deps, decisions or {}, watch)

    def mermaid(self, state: RunState | None = None) -> str:
        """Draw the graph in Mermaid's language.

        Args:
            state: A run, whose state colours the nodes.

        Returns:
            A `flowchart`, for GitHub, for documentation, or for https://mermaid.live.

        Raises:
            InvalidWorkflow: The graph cannot be run.
        """
        from arriero.agents.workflow.draw import drawing, mermaid

        self.check()
        return mermaid(drawing(self.graph, state))

    def svg(self, state: RunState | None = None) -> str:
        """Draw the graph as an image that stands by itself, for light and dark pages.

        Args:
            state: A run, whose state colours the nodes.

        Returns:
            The SVG.

        Raises:
            InvalidWorkflow: The graph cannot be run.
        """
        from arriero.agents.workflow.draw import drawing
        from arriero.agents.workflow.svg import svg

        self.check()
        return svg(drawing(self.graph, state))
