"""The parts of a workflow's graph: steps, what they take, when they run, loops."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from inspect import Parameter, signature
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from arriero.agents.workflow.context import NodeContext

T = TypeVar("T")

INPUT = "input"
"""Name of the node that stands for what the workflow is given."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How a step that failed is tried again.

    Args:
        attempts: How often it is tried in all.
        wait: Seconds before the second attempt.
        factor: How many times longer each further wait is.
        longest: Seconds of the longest wait.
        on: Which errors it is tried again after; others end it at once.

    Example:
        >>> [Retry(attempts=4, wait=1.0, longest=3.0).pause(attempt) for attempt in (1, 2, 3)]
        [1.0, 2.0, 3.0]
    """

    attempts: int = 3
    wait: float = 1.0
    factor: float = 2.0
    longest: float = 60.0
    on: tuple[type[Exception], ...] = (Exception,)

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt that failed.

        Args:
            attempt: Its number, from 1.

        Returns:
            The seconds.
        """
        try:
            return float(min(self.longest, self.wait * self.factor ** (attempt - 1)))
        except OverflowError:
            return self.longest


@dataclass(frozen=True, slots=True)
class Condition:
    """That a step gave one of some values, or none of them.

    Args:
        step: Name of the step.
        values: The values.
        of: Field of the step's output that is compared; empty for the output itself.
        negated: Whether it must be none of them.
    """

    step: str
    values: tuple[object, ...]
    of: str = ""
    negated: bool = False

    def holds(self, output: object) -> bool:
        """Whether it holds for an output of the step."""
        if self.of:
            output = output[self.of] if isinstance(output, dict) else getattr(output, self.of)
        return (output in self.values) != self.negated

    @property
    def label(self) -> str:
        """What stands on its arrow in a drawing."""
        values = " or ".join(getattr(value, "name", str(value)) for value in self.values)
        return f"{self.of + ': ' if self.of else ''}{'not ' if self.negated else ''}{values}"


@dataclass(frozen=True, slots=True)
class Either(Generic[T]):
    """The first of some steps that ran: where branches join again.

    Args:
        names: Names of the steps.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Input(Generic[T]):
    """What the workflow is given, as a source of its steps."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Steps that run again and again.

    Args:
        first: Name of the step that each round begins with.
        last: Name of the step that each round ends with.
        again: When there is another round.
        most: Most rounds.
    """

    first: str
    last: str
    again: Condition
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class Step(Generic[T]):
    """A step of a workflow. It is called as the function that it was made of.

    Args:
        name: Name of the function.
        function: The function, async or not.
        sources: What its parameters are filled from, in order.
        when: When it runs; None for always.
        retry: How it is tried again.
        seconds: Longest time of an attempt; None for no limit.
        idempotent: Whether it may be run again when its process died in the middle of it.
        at_once: Most items at once where it is run for each item of its first source; None where it is not.
        owner: The graph that it is a step of.
    """

    name: str
    function: Callable[..., Any]
    sources: tuple[Either[Any], ...]
    when: Condition | None = None
    retry: Retry = field(default_factory=lambda: Retry(attempts=1))
    seconds: float | None = None
    idempotent: bool = False
    at_once: int | None = None
    owner: object = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function, outside any workflow."""
        return self.function(*arguments, **named)

    def gave(self, *values: object, of: str = "") -> Condition:
        """The condition that this step gave one of these values.

        Args:
            values: The values.
            of: Field of its output that is compared; empty for the output itself.

        Returns:
            The condition, for `when` of a step or `again` of a loop.
        """
        return Condition(self.name, values, of)

    def gave_other_than(self, *values: object, of: str = "") -> Condition:
        """The condition that this step ran and gave none of these values; see `gave`."""
        return Condition(self.name, values, of, negated=True)

    @property
    def parameters(self) -> "list[Taken]":
        """What the function takes from its sources, the context left out."""
        hints = hints_of(self.function)
        found = [
            Taken(name, hints.get(name, Parameter.empty), parameter.default is not Parameter.empty)
            for name, parameter in signature(self.function).parameters.items()
            if parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        ]
        return [taken for taken in found if not _is_context(taken.type)]

    @property
    def context(self) -> str | None:
        """Name of the parameter that takes the context, if there is one."""
        return next((name for name, type_ in hints_of(self.function).items() if _is_context(type_)), None)

    @property
    def gives(self) -> Any:
        """Type of what the function gives; `Parameter.empty` where it does not say."""
        return hints_of(self.function).get("return", Parameter.empty)

    @property
    def output(self) -> Any:
        """Type of what the step gives: for a parallel map, the list of what the function gives."""
        return self.gives if self.at_once is None else list[self.gives]  # type: ignore[name-defined]


@dataclass(frozen=True, slots=True)
class Taken:
    """A parameter of a step.

    Args:
        name: Its name.
        type: Its annotation; `Parameter.empty` where there is none.
        optional: Whether it has a default, which it takes where its source was skipped.
    """

    name: str
    type: Any
    optional: bool


Source = Step[T] | Either[T] | Input[T] | str
"""Where a step takes a value from: a step, one of several, the workflow's input, or a step that is named."""


def either(*steps: Step[T] | str) -> Either[T]:
    """Whichever of some steps ran, the first of them where several did: where branches join again.

    Args:
        steps: The steps, or their names.

    Returns:
        A source for a step.
    """
    return Either(tuple(step if isinstance(step, str) else step.name for step in steps))


def alternatives(source: Source[Any]) -> Either[Any]:
    """A source as the names of the nodes that it may come from."""
    if isinstance(source, Either):
        return source
    if isinstance(source, Input):
        return Either((INPUT,))
    return either(source)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a function; none where they name what is not there."""
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}


def item_type(of: Any) -> Any:
    """Type of the items of a list type; None for a type that is no list."""
    if get_origin(of) in (list, Sequence) or of is list:
        return next(iter(get_args(of)), Any)
    if get_origin(of) is tuple and len(get_args(of)) == 2 and get_args(of)[1] is ...:
        return get_args(of)[0]
    return None


def _is_context(annotation: Any) -> bool:
    return annotation is NodeContext or get_origin(annotation) is NodeContext


class Graph:
    """Steps and loops of a workflow.

    Args:
        name: The workflow's name.
        takes: Type of what a run is given.
        gives: Type of what a run gives.
    """

    def __init__(self, name: str, takes: Any, gives: Any) -> None:
        self.name, self.takes, self.gives = name, takes, gives
        self.steps: dict[str, Step[Any]] = {}
        self.loops: list[Loop] = []
        self.returns: tuple[str, ...] = ()
        self.misfits: list[str] = []

    def add(self, step: Step[Any], sources: Sequence[Source[Any]]) -> None:
        """Take a step in. What cannot be is kept for the check to tell."""
        if step.name in self.steps or step.name == INPUT:
            self.misfits.append(f"two nodes are called {step.name}: rename one of the functions")
        self.misfits += [
            f"step {step.name} takes from {source.name}, a step of another workflow"
            for source in sources
            if isinstance(source, Step) and source.owner is not self
        ]
        self.steps[step.name] = step

    def type_of(self, name: str) -> Any:
        """Type of what a node gives: a step, or the input."""
        return self.takes if name == INPUT else self.steps[name].output

    def inputs(self, step: Step[Any]) -> list[str]:
        """Names of the nodes that a step waits for in its round, without those of the round before."""
        named = [name for source in step.sources for name in source.names]
        named += [step.when.step] if step.when else []
        return [name for name in dict.fromkeys(named) if name not in self.back(step)]

    def back(self, step: Step[Any]) -> frozenset[str]:
        """Names of the steps that a step takes from in the round before: those that come later, and itself."""
        order = list(self.steps)
        later = order[order.index(step.name) :]
        return frozenset(name for name in _named(step) if name in later)

    def body(self, loop: Loop) -> frozenset[str]:
        """Names of the steps of a loop: all that are on a way from its first to its last, loops on the way included."""
        body = self._between(loop.first, loop.last)
        beyond = self._after(loop.last) - {loop.last}
        size = -1
        while size != len(body):
            size = len(body)
            for inner in self.loops:
                if inner is not loop and inner.first in body and inner.last not in beyond:
                    body |= self._between(inner.first, inner.last)
        return frozenset(body)

    def _between(self, first: str, last: str) -> set[str]:
        before = {last}
        for step in reversed(self.steps.values()):
            if step.name in before and step.name != first:
                before.update(self.inputs(step))
        return self._after(first) & before if first in before else set()

    def _after(self, first: str) -> set[str]:
        after = {first}
        for step in self.steps.values():
            if after & set(self.inputs(step)):
                after.add(step.name)
        return after

    def units(self, names: frozenset[str], within: Loop | None = None) -> dict[Step[Any] | Loop, frozenset[str]]:
        """What is run as one among some steps: a step, or a loop with all of its own.

        Args:
            names: The steps.
            within: The loop whose steps they are; None for those of the whole graph.

        Returns:
            The names of each one's steps.
        """
        bodies = {loop: self.body(loop) for loop in self.loops if loop is not within}
        inner = {loop: body for loop, body in bodies.items() if body <= names}
        outermost = {loop: body for loop, body in inner.items() if not any(body < other for other in inner.values())}
        looped = frozenset[str]().union(*outermost.values())
        units: dict[Step[Any] | Loop, frozenset[str]] = {}
        units |= outermost.items()
        units.update({step: frozenset({name}) for name, step in self.steps.items() if name in names - looped})
        return units

    @property
    def version(self) -> str:
        """Fingerprint of the graph."""
        return sha256(json.dumps(self.parts(), sort_keys=True).encode()).hexdigest()[:16]

    def parts(self) -> dict[str, str]:
        """Fingerprints of the graph's parts, by their names. What the functions do is no part of it."""
        texts = {"takes": _type_text(self.takes), "gives": f"{_type_text(self.gives)} {self.returns}"}
        for step in self.steps.values():
            takes = [(taken.name, _type_text(taken.type), taken.optional) for taken in step.parameters]
            sources = [source.names for source in step.sources]
            texts[f"step {step.name}"] = repr(
                (
                    takes,
                    sources,
                    step.when,
                    step.at_once is not None,
                    _type_text(step.gives),
                )
            )
        for loop in self.loops:
            texts[f"loop {loop.first} to {loop.last}"] = repr((loop.again, loop.most))
        return {name: sha256(text.encode()).hexdigest()[:12] for name, text in texts.items()}


def _named(step: Step[Any]) -> list[str]:
    return [name for source in step.sources for name in source.names] + ([step.when.step] if step.when else [])


def _type_text(of: Any) -> str:
    """A type as text that is the same in every process, its fields included."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return json.dumps(TypeAdapter(of).json_schema(), sort_keys=True)
    except (PydanticUserError, TypeError):
        return repr(of)
