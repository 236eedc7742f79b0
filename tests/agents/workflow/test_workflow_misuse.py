"""What is no step, no source or no condition is told in the words of the graph."""

from functools import partial
from typing import Any

import pytest

from arriero.agents.workflow import Condition, InvalidWorkflow, Workflow


def problems(flow: Workflow[Any, Any]) -> tuple[str, ...]:
    with pytest.raises(InvalidWorkflow) as caught:
        flow.check()
    return caught.value.problems


def test_a_source_and_a_condition_are_what_the_graph_has() -> None:
    flow = Workflow("misused", takes=str, gives=str)

    def plain(text: str) -> str:
        return text

    with pytest.raises(InvalidWorkflow, match=r"plain.* is no source: give flow.input, a step"):
        flow.step(plain)  # type: ignore[arg-type]
    with pytest.raises(InvalidWorkflow, match=r"True is no condition: give when=step\.gave"):
        flow.step(flow.input, when=True)  # type: ignore[arg-type]


def taking_no_name(text: str, /) -> str:
    return text


def taking_many(*texts: str) -> str:
    return "".join(texts)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (partial(taking_many, "a"), "is made of no function: write one with def"),
        (taking_no_name, "step taking_no_name takes what has no name"),
        (taking_many, "step taking_many takes what has no name"),
    ],
)
def test_a_step_is_a_function_whose_parameters_have_names(function: Any, problem: str) -> None:
    flow = Workflow("shapes", takes=str, gives=str)
    flow.returns(flow.step(flow.input)(function))
    assert problem in problems(flow)[0]


def test_only_what_can_be_stopped_has_a_longest_time() -> None:
    flow = Workflow("thread", takes=str, gives=str)

    @flow.step(flow.input, seconds=1.0)
    def hangs(text: str) -> str:
        return text

    flow.returns(hangs)
    assert problems(flow) == ("step hangs has a longest time, but no way to stop: write it with async def",)


def test_conditions_compare_earlier_steps_with_values_that_can_be_told_apart() -> None:
    flow = Workflow("conditions", takes=str, gives=str)

    @flow.step(flow.input, when=Condition("later", (True,)))
    def early(text: str) -> list[str]:
        return [text]

    @flow.step(flow.input, when=early.gave(["a"]))
    def later(text: str) -> bool:
        return True

    flow.returns("later")
    assert "step early runs by what later gave, which comes later: move it after that" in problems(flow)
    assert "step later compares what early gave with ['a']: only what can be hashed is compared" in problems(flow)


def test_a_map_of_none_at_once_is_told() -> None:
    flow = Workflow("none", takes=list[str], gives=list[str])

    @flow.map(flow.input, at_once=0)
    def each(text: str) -> str:
        return text

    flow.returns(each)
    assert problems(flow) == ("step each has no positive number of attempts, of items at once, or of seconds",)
