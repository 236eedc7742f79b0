"""Graphs of steps run in the order of what they take, and give what they say."""

from dataclasses import dataclass
from typing import Literal

import anyio
import pytest

from arriero.agents.workflow import (
    InvalidInput,
    NodeError,
    NothingReturned,
    Retry,
    RunExists,
    Workflow,
    either,
    read_run,
)
from arriero.stack.events import Event, NodeFailed, NodeStarted
from arriero.stack.log import EventLog

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Draft:
    text: str
    good: bool = False


async def events_of(log: EventLog, run: str) -> list[Event]:
    return [record.event for record in await log.read(run)]


async def test_a_step_runs_when_what_it_takes_is_there(log: EventLog) -> None:
    flow = Workflow("sum", takes=int, gives=int)

    @flow.step(flow.input)
    async def twice(number: int) -> int:
        return 2 * number

    @flow.step(flow.input)
    def thrice(number: int) -> int:
        return 3 * number

    @flow.step(twice, thrice)
    async def together(one: int, other: int) -> int:
        return one + other

    flow.returns(together)
    run = await flow.run(7, log=log)
    assert run.output == 35
    assert thrice(2) == 6


async def test_steps_that_do_not_need_each_other_run_side_by_side(log: EventLog) -> None:
    flow = Workflow("meet", takes=int, gives=int)
    here, there = anyio.Event(), anyio.Event()

    @flow.step(flow.input)
    async def one(number: int) -> int:
        here.set()
        await there.wait()
        return number

    @flow.step(flow.input)
    async def other(number: int) -> int:
        there.set()
        await here.wait()
        return number

    @flow.step(one, other)
    def both(one: int, other: int) -> int:
        return one + other

    flow.returns(both)
    with anyio.fail_after(5):
        assert (await flow.run(2, log=log)).output == 4


def branching() -> Workflow[int, str]:
    flow = Workflow("sign", takes=int, gives=str)

    @flow.step(flow.input)
    def sign(number: int) -> Literal["plus", "minus", "zero"]:
        return "zero" if number == 0 else "plus" if number > 0 else "minus"

    @flow.step(flow.input, when=sign.gave("plus"))
    def above(number: int) -> str:
        return f"{number} above"

    @flow.step(flow.input, when=sign.gave("minus"))
    def below(number: int) -> str:
        return f"{-number} below"

    @flow.step(either(above, below))
    def told(text: str = "at nothing") -> str:
        return f"it is {text}"

    flow.returns(told)
    return flow


@pytest.mark.parametrize(("number", "text"), [(3, "it is 3 above"), (-2, "it is 2 below"), (0, "it is at nothing")])
async def test_a_branch_runs_on_its_condition_alone(log: EventLog, number: int, text: str) -> None:
    run = await branching().run(number, log=log, run="r")
    assert run.output == text
    started = {event.node for event in await events_of(log, "r") if isinstance(event, NodeStarted)}
    assert started == {"sign", "told", *({"above"} if number > 0 else {"below"} if number < 0 else set())}


async def test_a_map_runs_for_each_item_and_never_more_than_its_limit_at_once(log: EventLog) -> None:
    flow = Workflow("squares", takes=list[int], gives=list[int])
    running, most = 0, 0
    full = anyio.Event()

    @flow.map(flow.input, at_once=3)
    async def square(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        running -= 1
        return number * number

    flow.returns(square)
    with anyio.fail_after(5):
        run = await flow.run(list(range(10)), log=log, run="r")
    assert run.output == [number * number for number in range(10)]
    assert most == 3
    assert run.state.items == {"square": 10}
    assert run.state.finished("square") == 10


async def test_a_map_over_nothing_gives_nothing(log: EventLog) -> None:
    flow = Workflow("squares", takes=list[int], gives=list[int])

    @flow.map(flow.input)
    def square(number: int) -> int:
        return number * number

    flow.returns(square)
    assert (await flow.run([], log=log)).output == []


def writing(most: int, good_at: int) -> Workflow[str, Draft]:
    flow = Workflow("writing", takes=str, gives=Draft)

    @flow.step(flow.input, "review")
    def write(topic: str, review: Draft | None = None) -> str:
        return f"{review.text}, better" if review else topic

    @flow.step(write)
    def review(text: str) -> Draft:
        return Draft(text, text.count("better") >= good_at)

    flow.loop(write, review, again=review.gave(False, of="good"), most=most)
    flow.returns(review)
    return flow


@pytest.mark.parametrize(
    ("most", "good_at", "draft"),
    [
        (5, 0, Draft("mules", True)),
        (5, 2, Draft("mules, better, better", True)),
        (3, 9, Draft("mules, better, better", False)),
    ],
)
async def test_a_loop_goes_on_while_its_condition_holds_and_no_longer_than_its_most(
    log: EventLog, most: int, good_at: int, draft: Draft
) -> None:
    run = await writing(most, good_at).run("mules", log=log, run="r")
    assert run.output == draft
    keys = [event.key for event in await events_of(log, "r") if isinstance(event, NodeStarted)]
    assert keys == [str(number) for number in range(1, draft.text.count("better") + 2) for _ in "wr"]


async def test_a_loop_within_a_loop_begins_anew_in_each_round(log: EventLog) -> None:
    flow = Workflow("nested", takes=int, gives=list[int])

    @flow.step(flow.input, "collect")
    def begin(number: int, so_far: list[int] | None = None) -> list[int]:
        return so_far or []

    @flow.step(begin, "count")
    def count(so_far: list[int], number: int = 0) -> int:
        return number + 1

    @flow.step(count)
    def small(number: int) -> bool:
        return number < 2

    @flow.step(begin, count)
    def collect(so_far: list[int], number: int) -> list[int]:
        return [*so_far, number]

    @flow.step(collect)
    def enough(so_far: list[int]) -> bool:
        return len(so_far) == 3

    flow.loop(count, small, again=small.gave(True), most=9)
    flow.loop(begin, enough, again=enough.gave(False), most=9)
    flow.returns(collect)
    assert (await flow.run(0, log=log)).output == [2, 2, 2]


async def test_a_step_is_tried_again_by_its_policy(log: EventLog) -> None:
    flow = Workflow("shaky", takes=int, gives=int)
    tries = 0

    @flow.step(flow.input, retry=Retry(attempts=3, wait=0.0, on=(OSError,)))
    async def shaky(number: int) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError(f"no answer {tries}")
        return number

    flow.returns(shaky)
    assert (await flow.run(7, log=log, run="r")).output == 7
    failed = [event for event in await events_of(log, "r") if isinstance(event, NodeFailed)]
    assert [(event.attempt, event.error, event.message) for event in failed] == [
        (1, "OSError", "no answer 1"),
        (2, "OSError", "no answer 2"),
    ]


@pytest.mark.parametrize(("error", "attempts"), [(OSError, 2), (ValueError, 1)])
async def test_a_step_that_fails_for_good_says_what_and_how_often(
    log: EventLog, error: type[Exception], attempts: int
) -> None:
    flow = Workflow("broken", takes=int, gives=int)

    @flow.step(flow.input, retry=Retry(attempts=2, wait=0.0, on=(OSError,)))
    def broken(number: int) -> int:
        raise error("no")

    flow.returns(broken)
    with pytest.raises(NodeError, match=rf"node broken failed.*: {error.__name__}: no") as caught:
        await flow.run(7, log=log, run="r")
    assert caught.value.attempts == attempts
    assert isinstance(caught.value.__cause__, error)
    state = await read_run(log, "r")
    assert (state.standing, state.of_node("broken")) == ("failed", "failed")


async def test_a_step_that_takes_too_long_has_failed(log: EventLog) -> None:
    flow = Workflow("slow", takes=int, gives=int)

    @flow.step(flow.input, seconds=0.01)
    async def slow(number: int) -> int:
        await anyio.sleep_forever()
        return number

    flow.returns(slow)
    with pytest.raises(NodeError, match="TimeoutError"):
        await flow.run(7, log=log)


async def test_what_runs_beside_a_failure_is_waited_for_and_nothing_new_begins(log: EventLog) -> None:
    flow = Workflow("half", takes=int, gives=int)
    failed = anyio.Event()

    @flow.step(flow.input)
    async def bad(number: int) -> int:
        failed.set()
        raise OSError("no")

    @flow.step(flow.input)
    async def good(number: int) -> int:
        await failed.wait()
        await anyio.lowlevel.checkpoint()
        return number

    @flow.step(good, bad)
    def both(one: int, other: int) -> int:
        return one + other

    @flow.step(good)
    def after(number: int) -> int:
        return number

    flow.returns(both)
    with pytest.raises(NodeError):
        await flow.run(7, log=log, run="r")
    state = await read_run(log, "r")
    assert {node: state.of_node(node) for node in ("bad", "good", "both", "after")} == {
        "bad": "failed",
        "good": "finished",
        "both": None,
        "after": None,
    }


async def test_an_input_of_another_type_is_refused_before_anything_is_recorded(log: EventLog) -> None:
    with pytest.raises(InvalidInput, match="'sign' takes something else"):
        await branching().run("three", log=log, run="r")  # type: ignore[arg-type]
    assert await log.length("r") == 0


async def test_a_name_is_for_one_run(log: EventLog) -> None:
    await branching().run(1, log=log, run="r")
    with pytest.raises(RunExists, match="'r'"):
        await branching().run(1, log=log, run="r")


async def test_a_workflow_whose_branches_all_end_without_output_says_so(log: EventLog) -> None:
    flow = Workflow("word", takes=str, gives=str)

    @flow.step(flow.input)
    def word(text: str) -> Draft:
        return Draft(text, text == "mule")

    @flow.step(word, when=word.gave("mule", of="text"))
    def known(draft: Draft) -> str:
        return draft.text

    @flow.step(word, when=word.gave_other_than("mule", of="text"))
    def unknown(draft: Draft) -> str:
        return "?"

    flow.returns(known, unknown)
    assert (await flow.run("mule", log=log)).output == "mule"
    assert (await flow.run("cat", log=log)).output == "?"


async def test_each_event_is_seen_once_it_is_on_disk(log: EventLog) -> None:
    seen: list[Event] = []
    await branching().run(1, log=log, run="r", watch=seen.append)
    assert seen == await events_of(log, "r")


async def test_a_map_whose_list_was_skipped_is_skipped(log: EventLog) -> None:
    flow = Workflow("skipped", takes=list[int], gives=list[int])

    @flow.step(flow.input)
    def many(numbers: list[int]) -> bool:
        return len(numbers) > 1

    @flow.step(flow.input, when=many.gave(True))
    def chosen(numbers: list[int]) -> list[int]:
        return numbers

    @flow.map(chosen)
    def each(number: int = 7) -> int:
        return number

    flow.returns(each)
    assert (await flow.run([1, 2], log=log)).output == [1, 2]
    with pytest.raises(NothingReturned):
        await flow.run([1], log=log)


async def test_no_further_attempt_begins_once_another_step_has_failed_for_good(log: EventLog) -> None:
    flow = Workflow("both", takes=int, gives=int)
    failed = anyio.Event()

    @flow.step(flow.input, retry=Retry(attempts=2, wait=60.0))
    async def patient(number: int) -> int:
        failed.set()
        raise OSError("not yet")

    @flow.step(flow.input)
    async def broken(number: int) -> int:
        await failed.wait()
        raise OSError("for good")

    @flow.step(patient, broken)
    def join(one: int, other: int) -> int:
        return one + other

    flow.returns(join)
    with anyio.fail_after(5), pytest.raises(NodeError, match="node broken failed: OSError: for good"):
        await flow.run(1, log=log, run="r")
    assert [at.attempt for at in (await read_run(log, "r")).nodes.values()] == [1, 1]


def test_waits_grow_to_the_longest_and_stay_there() -> None:
    assert Retry(attempts=9999, wait=1.0, longest=60.0).pause(5000) == 60.0
