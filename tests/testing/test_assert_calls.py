"""What `assert_calls` lets pass, and how it says what is different."""

from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.prompts.messages import ToolCall
from arriero.stack.engine import Usage
from arriero.stack.events import Event, StepFinished
from arriero.testing import assert_calls, call

FARO, BEJA = call("weather", town="Faro"), call("weather", town="Beja")


def made(*steps: list[ToolCall]) -> list[Event]:
    return [StepFinished(n, (), "", tuple(calls), "end_of_turn", Usage(), 0.1) for n, calls in enumerate(steps, 1)]


@pytest.mark.parametrize(
    "expected",
    [[FARO, BEJA], ["weather", "weather"], [FARO, "weather"], [call("weather", town=ANY), BEJA]],
    ids=["whole", "names", "mixed", "any argument"],
)
def test_what_is_expected_passes(expected: list[Any]) -> None:
    assert_calls(made([FARO], [BEJA]), expected)
    assert_calls(made([FARO, BEJA]), expected)


def test_the_order_may_be_left_open() -> None:
    with pytest.raises(AssertionError):
        assert_calls(made([FARO], [BEJA]), [BEJA, FARO])
    assert_calls(made([FARO], [BEJA]), [BEJA, FARO], in_order=False)
    assert_calls(made([FARO], [BEJA]), ["weather", FARO], in_order=False)


@pytest.mark.parametrize(
    ("steps", "expected", "shown"),
    [
        ([[FARO]], [FARO, BEJA], "  weather(town='Faro')\n- weather(town='Beja')"),
        ([[FARO], [BEJA]], [BEJA], "+ weather(town='Faro')\n  weather(town='Beja')"),
        ([[FARO]], ["route"], "- route(...)\n+ weather(town='Faro')"),
        ([[FARO]], [], "+ weather(town='Faro')"),
        ([], [FARO], "- weather(town='Faro')"),
    ],
)
def test_a_difference_is_shown_line_by_line(steps: list[Any], expected: list[Any], shown: str) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_calls(made(*steps), expected)
    assert shown in str(failed.value)


CALLS = st.lists(st.sampled_from([FARO, BEJA, call("route"), call("route", to="Faro")]), max_size=6)


@given(CALLS, CALLS)
def test_calls_pass_if_and_only_if_they_are_equal(some: list[ToolCall], others: list[ToolCall]) -> None:
    for in_order, same in ((True, some == others), (False, sorted(map(repr, some)) == sorted(map(repr, others)))):
        try:
            assert_calls(made(some), others, in_order=in_order)
        except AssertionError as error:
            assert not same
            lines = str(error).splitlines()[1:-1]
            assert sum(line[0] in " +" for line in lines) == len(some)
            assert sum(line[0] in " -" for line in lines) == len(others)
        else:
            assert same
