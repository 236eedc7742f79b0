"""Whatever the graph, a run gives what its steps one after the other give, also when it was broken off on the way."""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from failing_log import FailingLog
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.agents.workflow import Workflow
from arriero.agents.workflow.check import problems_of
from arriero.stack.log import LogError, SQLiteLog


@dataclass(frozen=True)
class Planned:
    """A step: what it takes from (0 is the input), whether it maps, and the step on whose oddness it runs."""

    takes: tuple[int, ...]
    maps: bool
    when: int
    odd: bool


@st.composite
def graphs(draw: st.DrawFn) -> list[Planned]:
    planned: list[Planned] = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        takes = tuple(draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3)))
        when = draw(st.integers(0, number - 1)) if draw(st.booleans()) else 0
        planned.append(Planned(takes, draw(st.booleans()), when, draw(st.booleans())))
    return planned


def one_after_the_other(planned: list[Planned], given_: int) -> int | None:
    values: list[int | None] = [given_]
    for number, step in enumerate(planned, 1):
        arguments = [values[source] for source in step.takes]
        runs = step.when == 0 or (values[step.when] is not None and (values[step.when] % 2 == 1) == step.odd)  # type: ignore[operator]
        if not runs or None in arguments:
            values.append(None)
        elif step.maps:
            first, *others = arguments
            values.append(sum(each + sum(others) + number for each in range(first % 4)))  # type: ignore[operator, arg-type]
        else:
            values.append(sum(arguments) + number)  # type: ignore[arg-type]
    return next((value for value in reversed(values) if value is not None), None)


def built(planned: list[Planned], ran: Counter[str]) -> Workflow[int, int]:
    flow = Workflow("any", takes=int, gives=int)
    names = ["input"]
    for number, step in enumerate(planned, 1):
        sources = [flow.input if source == 0 else names[source] for source in step.takes]
        when = None
        if step.when:
            odd = made(flow, f"odd{number}", 1, lambda value: value % 2 == 1, ran, bool)([names[step.when]])
            when = odd.gave(step.odd)
        if step.maps:
            items = made(flow, f"items{number}", 1, lambda value: list(range(value % 4)), ran, list[int])
            item = items([sources[0]], when=when)
            each = made(flow, f"each{number}", len(sources), lambda *a, n=number: sum(a) + n, ran, int, maps=True)
            total = made(flow, f"total{number}", 1, sum, ran, int, of=list[int])
            names.append(total([each([item, *sources[1:]])]).name)
        else:
            plain = made(flow, f"plain{number}", len(sources), lambda *a, n=number: sum(a) + n, ran, int)
            names.append(plain(sources, when=when).name)
    flow.returns(*(name for name in reversed(names) if name != "input"), made_input(flow, ran))
    return flow


def made_input(flow: Workflow[int, int], ran: Counter[str]) -> str:
    step = made(flow, "same", 1, lambda value: value, ran, int)([flow.input])
    return str(step.name)


def made(
    flow: Workflow[int, int],
    name: str,
    count: int,
    work: Callable[..., object],
    ran: Counter[str],
    gives: object,
    *,
    maps: bool = False,
    of: object = int,
) -> Callable[..., object]:
    async def function(**arguments: object) -> object:
        ran[f"{name} {arguments}" if maps else name] += 1
        await anyio.lowlevel.checkpoint()
        return work(*arguments.values())

    names = [f"a{number}" for number in range(count)]
    function.__name__ = name
    function.__annotations__ = dict.fromkeys(names, of) | {"return": gives}
    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in names]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    kind = flow.map if maps else flow.step
    return lambda sources, when=None: kind(*sources, when=when, idempotent=True)(function)


@settings(deadline=None, max_examples=40)
@given(graphs(), st.integers(0, 9), st.integers(1, 30), st.sampled_from(["before", "after"]))
def test_a_run_gives_what_its_steps_give_one_after_the_other(
    planned: list[Planned], given_: int, at: int, when: str
) -> None:
    if problems := problems_of(built(planned, Counter()).graph):
        assert all("never runs" in problem for problem in problems)
        return
    ran: Counter[str] = Counter()

    async def broken_off_and_resumed() -> int:
        log = FailingLog(SQLiteLog(":memory:"), at, when, times=999)  # type: ignore[arg-type]
        flow = built(planned, ran)
        try:
            return (await flow.run(given_, log=log, run="r")).output
        except LogError:
            log.at = 0
            if await log.length("r"):
                state = [record.event for record in await log.read("r")]
                if type(state[-1]).__name__ == "WorkflowFinished":
                    return int(state[-1].output)  # type: ignore[attr-defined]
                return (await flow.resume("r", log=log)).output
            return (await flow.run(given_, log=log, run="r")).output
        finally:
            await log.aclose()

    assert anyio.run(broken_off_and_resumed) == one_after_the_other(planned, given_)
    assert all(times <= 2 for times in ran.values())
