"""What is wrong with a graph is told before it runs, all of it at once."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from arriero.agents.workflow import InvalidWorkflow, NodeContext, Retry, Workflow, either
from arriero.agents.workflow.fits import fits


@dataclass(frozen=True)
class Ticket:
    text: str
    urgent: bool = False


class Opaque:
    """Nothing that pydantic reads."""


def problems(flow: Workflow[Any, Any]) -> tuple[str, ...]:
    with pytest.raises(InvalidWorkflow) as caught:
        flow.check()
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_all_problems_are_told_at_once() -> None:
    flow = Workflow("wrong", takes=str, gives=int)

    @flow.step("nowhere")
    def lost(text: str) -> int:
        return len(text)

    @flow.step(flow.input)
    def two(text: str, other: str) -> int:
        return len(text + other)

    @flow.step(flow.input)
    def typed(number: int) -> int:
        return number

    flow.returns(typed)
    assert problems(flow) == (
        "step lost takes from 'nowhere', which is no step of this workflow",
        "parameter other of step two has no source: give one more",
        "input gives str, but parameter number of step typed is int",
    )


def test_a_workflow_says_what_it_returns() -> None:
    flow = Workflow("silent", takes=str, gives=int)

    @flow.step(flow.input)
    def length(text: str) -> int:
        return len(text)

    assert problems(flow) == ("it returns nothing: say what it gives with returns(step)",)
    flow.returns("size")
    assert problems(flow) == ("it returns what 'size' gives, which is no step of this workflow",)
    flow.returns(length)
    flow.check()


def test_what_is_returned_is_of_the_type_that_is_given() -> None:
    flow = Workflow("typed", takes=str, gives=str)

    @flow.step(flow.input)
    def length(text: str) -> int:
        return len(text)

    flow.returns(length)
    assert problems(flow) == ("it returns what length gives, int, but it gives str",)


def test_a_cycle_needs_a_loop_that_bounds_it() -> None:
    flow = Workflow("round", takes=str, gives=str)

    @flow.step(flow.input, "second")
    def first(text: str, before: str | None = None) -> str:
        return text

    @flow.step(first)
    def second(text: str) -> str:
        return text

    flow.returns(second)
    (problem,) = problems(flow)
    assert problem.startswith("step first takes from second, which comes later, and no loop that begins with first")
    flow.loop(first, second, again=second.gave("more"), most=3)
    flow.check()


def test_what_comes_from_the_round_before_needs_a_default_for_the_first_round() -> None:
    flow = Workflow("round", takes=str, gives=str)

    @flow.step("second")
    def first(before: str) -> str:
        return before

    @flow.step(first)
    def second(text: str) -> str:
        return text

    flow.loop(first, second, again=second.gave("more"), most=3)
    flow.returns(second)
    (problem,) = problems(flow)
    assert problem.startswith("parameter before of step first comes from the round before: give it a default")


def test_loops_lie_within_each_other_or_apart() -> None:
    flow = Workflow("crossed", takes=bool, gives=bool)

    @flow.step(flow.input)
    def a(yes: bool) -> bool:
        return yes

    @flow.step(a)
    def b(yes: bool) -> bool:
        return yes

    @flow.step(b)
    def c(yes: bool) -> bool:
        return yes

    flow.loop(a, b, again=b.gave(True), most=2)
    flow.loop(b, c, again=c.gave(True), most=2)
    flow.returns(c)
    assert problems(flow) == ("the loop from b to c overlaps with the loop from a to b: put one inside the other",)


@pytest.mark.parametrize(
    ("first", "last", "again", "most", "problem"),
    [
        ("a", "z", "b", 2, "the loop from a to z names 'z', which is no step of this workflow"),
        ("b", "a", "b", 2, "the loop from b to a is none: no way leads from its first step to its last one"),
        ("b", "b", "a", 2, "the loop from b to b goes on by what 'a' gave, which is no step in it"),
        ("a", "b", "b", 0, "the loop from a to b has at most 0 rounds: give at least 1"),
    ],
)
def test_a_loop_has_a_beginning_an_end_a_condition_and_a_bound(
    first: str, last: str, again: str, most: int, problem: str
) -> None:
    flow = Workflow("loops", takes=bool, gives=bool)

    @flow.step(flow.input)
    def a(yes: bool) -> bool:
        return yes

    @flow.step(a)
    def b(yes: bool) -> bool:
        return yes

    flow.loop(first, last, again={"a": a, "b": b}[again].gave(True), most=most)
    flow.returns(b)
    assert problems(flow) == (problem,)


def test_a_step_that_needs_branches_which_exclude_each_other_never_runs() -> None:
    flow = Workflow("split", takes=Ticket, gives=str)

    @flow.step(flow.input)
    def kind(ticket: Ticket) -> Literal["refund", "question"]:
        return "refund"

    @flow.step(kind, when=kind.gave("refund"))
    def refund(kind: str) -> str:
        return kind

    @flow.step(kind, when=kind.gave_other_than("refund"))
    def answer(kind: str) -> str:
        return kind

    @flow.step(refund, answer)
    def both(one: str, other: str) -> str:
        return one + other

    flow.returns(refund, answer)
    assert problems(flow) == ("step both never runs: it needs branches that exclude each other",)


def test_a_condition_that_never_holds_is_told() -> None:
    flow = Workflow("never", takes=Ticket, gives=str)

    @flow.step(flow.input)
    def kind(ticket: Ticket) -> Literal["refund", "question"]:
        return "refund"

    @flow.step(flow.input, when=kind.gave("refunds"))
    def refund(ticket: Ticket) -> str:
        return ticket.text

    @flow.step(flow.input)
    def same(ticket: Ticket) -> Ticket:
        return ticket

    @flow.step(flow.input, when=same.gave(True, of="urgency"))
    def quick(ticket: Ticket) -> str:
        return ticket.text

    flow.returns(refund)
    assert problems(flow) == (
        "step refund depends on kind giving 'refunds', which it never does: it gives Literal['refund', 'question']",
        "step quick depends on field 'urgency' of same, which has no such field",
    )


def test_a_case_in_which_nothing_is_returned_is_told() -> None:
    flow = Workflow("case", takes=Ticket, gives=str)

    @flow.step(flow.input)
    def kind(ticket: Ticket) -> Literal["refund", "question", "thanks"]:
        return "refund"

    @flow.step(kind, when=kind.gave("refund", "thanks"))
    def act(kind: str) -> bool:
        return True

    @flow.step(kind, when=act.gave(True))
    def done(kind: str) -> str:
        return kind

    @flow.step(kind, when=kind.gave("question"))
    def answer(kind: str) -> str:
        return kind

    flow.returns(done, answer)
    (problem,) = problems(flow)
    assert "it returns nothing when" in problem
    assert "act gives False" in problem
    flow.returns(either_of := done, answer, kind)
    assert either_of is done
    flow.check()


def test_a_map_runs_over_a_list() -> None:
    flow = Workflow("map", takes=str, gives=list[str])

    @flow.map(flow.input)
    def each(letter: str) -> str:
        return letter

    flow.returns(each)
    assert problems(flow) == ("step each runs for each item of input, which gives str, no list",)


def test_what_a_step_takes_and_gives_has_a_type_that_can_be_stored() -> None:
    flow = Workflow("types", takes=str, gives=Any)  # type: ignore[arg-type]

    @flow.step(flow.input)
    def untyped(text):  # type: ignore[no-untyped-def]
        return text

    @flow.step(flow.input)
    def opaque(text: str) -> Opaque:
        return Opaque()

    flow.returns(opaque)
    first, second, third = problems(flow)
    assert first == "the parameter text of step untyped has no annotation: write its type"
    assert second == "the result of step untyped has no annotation: write its type"
    assert third.startswith("the result of step opaque cannot be stored as JSON")


def test_the_context_needs_no_source() -> None:
    flow = Workflow("context", takes=str, gives=str)

    @flow.step(flow.input)
    def where(context: NodeContext[None], text: str) -> str:
        return context.run + text

    flow.returns(where)
    flow.check()


def test_steps_of_another_workflow_are_no_sources_and_names_are_for_one_step() -> None:
    other, flow = Workflow("other", takes=str, gives=str), Workflow("mine", takes=str, gives=str)

    @other.step(other.input)
    def theirs(text: str) -> str:
        return text

    def named(text: str) -> str:
        return text

    mine = flow.step(flow.input)(named)
    flow.step(theirs)(named)
    flow.returns(mine)
    assert problems(flow)[:2] == (
        "two nodes are called named: rename one of the functions",
        "step named takes from theirs, a step of another workflow",
    )


def test_numbers_of_a_step_are_positive() -> None:
    flow = Workflow("numbers", takes=str, gives=str)

    @flow.step(flow.input, retry=Retry(attempts=0))
    def never(text: str) -> str:
        return text

    flow.returns(never)
    assert problems(flow) == ("step never has no positive number of attempts, of items at once, or of seconds",)


def test_a_generator_is_no_step() -> None:
    flow = Workflow("many", takes=str, gives=str)

    @flow.step(flow.input)
    def letters(text: str) -> str:  # type: ignore[misc]
        yield from text

    flow.returns(letters)
    assert problems(flow)[0] == "step letters is a generator: return one value instead"


def test_either_is_typed_by_all_that_it_may_be() -> None:
    flow = Workflow("either", takes=Ticket, gives=str)

    @flow.step(flow.input)
    def urgent(ticket: Ticket) -> bool:
        return ticket.urgent

    @flow.step(flow.input, when=urgent.gave(True))
    def now(ticket: Ticket) -> str:
        return ticket.text

    @flow.step(flow.input, when=urgent.gave(False))
    def later(ticket: Ticket) -> int:
        return len(ticket.text)

    @flow.step(either(now, later))
    def told(text: str) -> str:
        return text

    flow.returns(told)
    assert problems(flow) == ("later gives int, but parameter text of step told is str",)


@pytest.mark.parametrize(
    ("given", "wanted", "whether"),
    [
        (int, float, True),
        (float, int, False),
        (bool, int, True),
        (str, object, True),
        (list[int], list[float], True),
        (list[int], list[str], False),
        (list[int], set[int], False),
        (tuple[int, ...], tuple[int, int], False),
        (tuple[int, int], tuple[int, ...], True),
        (tuple[int, str], tuple[int, ...], False),
        (dict[str, int], dict[str, float], True),
        (dict[str, int], dict[int, int], False),
        (int, int | None, True),
        (int | None, int, False),
        (None, int | None, True),
        (Literal["a"], Literal["a", "b"], True),
        (Literal["a", "c"], Literal["a", "b"], False),
        (str, Literal["a"], False),
        (Literal["a", 1], str, False),
        (list, list[int], True),
        (Any, int, True),
    ],
)
def test_whether_one_type_fits_where_another_is_wanted(given: Any, wanted: Any, whether: bool) -> None:
    assert fits(given, wanted) is whether
