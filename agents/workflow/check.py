"""What can be found wrong with a workflow's graph before it runs."""

import inspect
from collections.abc import Hashable, Iterator, Mapping
from inspect import Parameter
from itertools import product
from typing import Any

from arriero.agents.workflow.fits import fits, values_of
from arriero.agents.workflow.graph import INPUT, Condition, Either, Graph, Loop, Step, hints_of, item_type

_MOST_CASES = 10_000
_OTHER = object()
"""Stands for all values of a type that no condition names."""

Needs = Mapping[tuple[str, str], frozenset[object]]
"""What steps must have given for another one to run, by step and field."""


def problems_of(graph: Graph) -> list[str]:
    """Everything that is wrong with a graph.

    Args:
        graph: The graph.

    Returns:
        One sentence for each problem; none for a graph that can be run.
    """
    problems = [*graph.misfits, *_unknown(graph), *_loops(graph)]
    for step in graph.steps.values():
        problems += _function(step)
        problems += _edges(graph, step)
    problems += _cycles(graph)
    if not graph.returns:
        problems.append("it returns nothing: say what it gives with returns(step)")
    return problems or [*_returned(graph), *_cases(graph)]


def _unknown(graph: Graph) -> Iterator[str]:
    known = {*graph.steps, INPUT}
    for step in graph.steps.values():
        for source in step.sources:
            for name in source.names:
                if name not in known:
                    yield f"step {step.name} takes from {name!r}, which is no step of this workflow"
        if step.when and step.when.step not in graph.steps:
            yield f"step {step.name} runs when {step.when.step!r} gave something, which is no step of this workflow"
    for name in graph.returns:
        if name not in graph.steps:
            yield f"it returns what {name!r} gives, which is no step of this workflow"


def _loops(graph: Graph) -> Iterator[str]:
    bodies: list[tuple[Loop, frozenset[str]]] = []
    for loop in graph.loops:
        label = f"the loop from {loop.first} to {loop.last}"
        body = graph.body(loop)
        if loop.most < 1:
            yield f"{label} has at most {loop.most} rounds: give at least 1"
        if missing := [name for name in (loop.first, loop.last) if name not in graph.steps]:
            yield f"{label} names {missing[0]!r}, which is no step of this workflow"
        elif not body:
            yield f"{label} is none: no way leads from its first step to its last one"
        elif loop.again.step not in body:
            yield f"{label} goes on by what {loop.again.step!r} gave, which is no step in it"
        else:
            yield from _condition(graph, loop.again, label)
            for other, of in bodies:
                if body & of and not (body < of or of < body):
                    yield f"{label} overlaps with the loop from {other.first} to {other.last}: put one inside the other"
            bodies.append((loop, body))


def _function(step: Step[Any]) -> Iterator[str]:
    if not inspect.isroutine(step.function):
        yield f"step {step.name} is made of no function: write one with def"
        return
    kinds = {parameter.kind for parameter in inspect.signature(step.function).parameters.values()}
    if kinds & {Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}:
        yield f"step {step.name} takes what has no name: write each of its parameters with a name, without * and /"
    if step.seconds is not None and not inspect.iscoroutinefunction(step.function):
        yield f"step {step.name} has a longest time, but no way to stop: write it with async def"
    if inspect.isasyncgenfunction(step.function) or inspect.isgeneratorfunction(step.function):
        yield f"step {step.name} is a generator: return one value instead"
    if (
        (step.at_once is not None and step.at_once < 1)
        or step.retry.attempts < 1
        or (step.seconds is not None and step.seconds <= 0)
    ):
        yield f"step {step.name} has no positive number of attempts, of items at once, or of seconds"
    if step.context is None and not hints_of(step.function) and step.function.__annotations__:
        yield f"step {step.name} has annotations that cannot be read: define their types at the top of the module"
        return
    for name, of in [(f"parameter {taken.name}", taken.type) for taken in step.parameters] + [("result", step.gives)]:
        if of is Parameter.empty:
            yield f"the {name} of step {step.name} has no annotation: write its type"
        elif problem := unstorable(of):
            yield f"the {name} of step {step.name} cannot be stored as JSON: {problem}"


def unstorable(of: Any) -> str | None:
    """Why values of a type cannot be stored as JSON; None when they can."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        TypeAdapter(of).json_schema()
    except (PydanticUserError, TypeError) as error:
        return str(error).splitlines()[0]
    return None


def _edges(graph: Graph, step: Step[Any]) -> Iterator[str]:
    taken = step.parameters
    for parameter in taken[len(step.sources) :]:
        if not parameter.optional:
            yield f"parameter {parameter.name} of step {step.name} has no source: give one more"
    if len(step.sources) > len(taken):
        many = f"{len(step.sources)} sources for {len(taken)} parameters"
        yield f"step {step.name} has {many}: leave out what it does not take"
    for position, (source, parameter) in enumerate(zip(step.sources, taken, strict=False)):
        for name in source.names:
            if name != INPUT and name not in graph.steps:
                continue
            given = graph.type_of(name)
            if step.at_once is not None and position == 0:
                item = item_type(given)
                if item is None and given is not Parameter.empty:
                    yield f"step {step.name} runs for each item of {name}, which gives {shown(given)}, no list"
                    continue
                given = item
            if not fits(given, parameter.type):
                yield (
                    f"{name} gives {shown(given)}, but parameter {parameter.name} of step {step.name} is"
                    f" {shown(parameter.type)}"
                )
        if not parameter.optional and set(source.names) <= graph.back(step):
            yield (
                f"parameter {parameter.name} of step {step.name} comes from the round before: give it a default for the"
                " first round"
            )
    if step.when and step.when.step in graph.back(step):
        yield f"step {step.name} runs by what {step.when.step} gave, which comes later: move it after that"
    if step.when and step.when.step in graph.steps:
        yield from _condition(graph, step.when, f"step {step.name}")


def _condition(graph: Graph, condition: Condition, whose: str) -> Iterator[str]:
    if condition.step not in graph.steps:
        return
    of = _field(graph.steps[condition.step].output, condition.of)
    if of is None:
        yield f"{whose} depends on field {condition.of!r} of {condition.step}, which has no such field"
        return
    for value in condition.values:
        possible = values_of(of)
        if not isinstance(value, Hashable):
            yield f"{whose} compares what {condition.step} gave with {value!r}: only what can be hashed is compared"
        elif value not in possible if possible is not None else not fits(type(value), of):
            yield f"{whose} depends on {condition.step} giving {value!r}, which it never does: it gives {shown(of)}"


def _field(of: Any, name: str) -> Any:
    """Type of a field; None where there is no such field."""
    if not name or of in (Any, Parameter.empty):
        return of
    return hints_of(of).get(name) if isinstance(of, type) else None


def _cycles(graph: Graph) -> Iterator[str]:
    for step in graph.steps.values():
        bodies = [graph.body(loop) for loop in graph.loops if loop.first == step.name]
        for name in graph.back(step):
            if not any(name in body for body in bodies):
                yield (
                    f"step {step.name} takes from {name}, which comes later, and no loop that begins with"
                    f" {step.name} bounds how often: declare it with loop(...)"
                )


def _returned(graph: Graph) -> Iterator[str]:
    for name in graph.returns:
        if not fits(given := graph.steps[name].output, graph.gives):
            yield f"it returns what {name} gives, {shown(given)}, but it gives {shown(graph.gives)}"


def _cases(graph: Graph) -> Iterator[str]:
    """Steps that no branch leads to, and branches on which nothing is returned."""
    needs = _Needs(graph)
    lost = [step.name for step in graph.steps.values() if needs.of(step.name) is None]
    if lost:
        yield from (f"step {name} never runs: it needs branches that exclude each other" for name in lost)
        return
    ways = [needs.of(name) or {} for name in graph.returns]
    keys = list(dict.fromkeys(key for way in ways for key in way))
    values = [needs.possible(key) for key in keys]
    cases = 1
    for each in values:
        cases *= len(each)
    if cases > _MOST_CASES:
        return
    for case in product(*values):
        if not any(all(given in way.get(key, (given,)) for key, given in zip(keys, case, strict=True)) for way in ways):
            told = [
                f"{step}{'.' + of if of else ''} gives {'anything else' if value is _OTHER else repr(value)}"
                for (step, of), value in zip(keys, case, strict=True)
            ]
            yield f"it returns nothing when {' and '.join(told)}: add a step for that case to returns(...)"
            return


class _Needs:
    """For each step, what others must have given for it to run."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, Needs | None] = {INPUT: {}}

    def possible(self, key: tuple[str, str]) -> frozenset[object]:
        """Values that a step can give, as far as conditions tell them apart."""
        step, of = key
        steps = self._graph.steps
        few = values_of(_field(steps[step].output, of))
        if few is not None:
            return frozenset(few)
        conditions = [each.when for each in steps.values() if each.when]
        named = [value for when in conditions if (when.step, when.of) == key for value in when.values]
        return frozenset([*named, _OTHER])

    def of(self, name: str) -> Needs | None:
        """The needs of a node; None where they exclude each other."""
        if name not in self._known:
            self._known[name] = self._find(self._graph.steps[name])
        return self._known[name]

    def _find(self, step: Step[Any]) -> Needs | None:
        needs: list[Needs | None] = []
        if when := step.when:
            key = (when.step, when.of)
            named = frozenset(when.values)
            needs += [{key: self.possible(key) - named if when.negated else named}, self.of(when.step)]
        for source, parameter in zip(step.sources, step.parameters, strict=False):
            if not parameter.optional:
                needs.append(self._any(source))
        return _both(needs)

    def _any(self, source: Either[Any]) -> Needs | None:
        """What one of several steps needs at least."""
        ways = [way for name in source.names if (way := self.of(name)) is not None]
        if not ways:
            return None
        shared = set(ways[0]).intersection(*ways)
        return {key: frozenset[object]().union(*(way[key] for way in ways)) for key in shared}


def _both(needs: list[Needs | None]) -> Needs | None:
    together: dict[tuple[str, str], frozenset[object]] = {}
    for need in needs:
        if need is None:
            return None
        for key, values in need.items():
            together[key] = together.get(key, values) & values
    return together if all(together.values()) else None


def shown(of: Any) -> str:
    """A type as people write it."""
    return of.__name__ if isinstance(of, type) and not getattr(of, "__args__", None) else str(of).replace("typing.", "")
