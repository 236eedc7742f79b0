"""One agent over many inputs: order, failures, limits, and the same work again under its name."""

import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero import Agent, Limits, Stack, tool
from arriero.agents.map import Item, ItemFailed, map_inputs
from arriero.agents.map_progress import MapProgress
from arriero.prompts.errors import InvalidMessage
from arriero.stack.decisions import Decision
from arriero.stack.errors import EngineInterrupted
from arriero.stack.log import EventLog, SessionBusy, open_log
from arriero.stack.terms import InvalidLimit
from arriero.testing import Say, call, scripted_stack, when

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgres"])
async def event_log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    """An empty log of either kind."""
    if request.param == "sqlite":
        log = open_log(tmp_path / "events.sqlite")
    else:
        log = open_log(f"{request.getfixturevalue('postgres_dsn')}?schema=map_{secrets.token_hex(6)}")
    yield log
    await log.aclose()


def answers(*numbers: int, **about: object) -> list:
    return [when(f"mule {number}?", Say(f"Load {number}.", **about)) for number in numbers]


def asking(*numbers: int) -> list[str]:
    return [f"What of mule {number}?" for number in numbers]


async def texts(items: list[Item[str]]) -> list[str]:
    return [item.output for item in items]


async def test_items_come_in_the_order_of_the_inputs_whatever_is_done_first() -> None:
    slow = anyio.Event()
    stack = scripted_stack(
        when("mule 0?", Say("Load 0.", before=slow.wait)), when("mule 1?", Say("Load 1.", after=slow.set))
    )
    items = await map_inputs(Agent(stack), stack, asking(0, 1), progress=False)
    assert [(item.position, item.text, item.output, item.state) for item in items] == [
        (0, "What of mule 0?", "Load 0.", "finished"),
        (1, "What of mule 1?", "Load 1.", "finished"),
    ]
    assert len({item.session for item in items}) == 2


async def test_an_item_that_fails_does_not_stop_the_others() -> None:
    broken = when("mule 1?", Say("Lo", fault=EngineInterrupted("the server went away")))
    stack = scripted_stack(*answers(0, 2), broken)
    first, second, third = await map_inputs(Agent(stack), stack, asking(0, 1, 2), progress=False)
    assert (first.output, third.output) == ("Load 0.", "Load 2.")
    assert (second.state, second.turn, type(second.error)) == ("failed", None, EngineInterrupted)
    with pytest.raises(ItemFailed, match="input 1 failed with EngineInterrupted: the server went away") as failed:
        assert second.output
    assert failed.value.__cause__ is second.error


async def test_no_more_items_run_at_once_than_allowed() -> None:
    most = 0
    stack = scripted_stack()

    async def look() -> None:
        nonlocal most
        most = max(most, stack.engine.running)
        await anyio.sleep(0.001)

    stack.engine.then(*answers(*range(12), before=look))
    await map_inputs(Agent(stack), stack, asking(*range(12)), concurrency=3, progress=False)
    assert most == 3


async def test_inputs_are_read_as_they_are_needed() -> None:
    read = 0

    def without_end() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "What of the mule?"

    stack = scripted_stack(when("mule", "Fine."))
    async with aclosing(aiter(map_inputs(Agent(stack), stack, without_end(), concurrency=2, progress=False))) as items:
        for _ in range(10):
            assert (await anext(items)).output == "Fine."
            await anyio.wait_all_tasks_blocked()
        assert 10 <= read <= 10 + 2 * 5
    assert stack.engine.running == 0


async def test_inputs_may_come_from_an_async_iterator() -> None:
    async def arriving() -> AsyncIterator[str]:
        for text in asking(0, 1):
            await anyio.lowlevel.checkpoint()
            yield text

    stack = scripted_stack(*answers(0, 1))
    assert await texts(await map_inputs(Agent(stack), stack, arriving(), progress=False)) == ["Load 0.", "Load 1."]


async def test_what_reading_the_inputs_raises_comes_after_the_items_before_it() -> None:
    def ending() -> Iterator[str]:
        yield "What of mule 0?"
        raise OSError("the disk is gone")

    stack = scripted_stack(*answers(0))
    async with aclosing(aiter(map_inputs(Agent(stack), stack, ending(), progress=False))) as items:
        assert (await anext(items)).output == "Load 0."
        with pytest.raises(OSError, match="the disk is gone"):
            await anext(items)


async def test_leaving_the_map_ends_what_runs() -> None:
    stack = scripted_stack(*answers(0), *answers(1, 2, before=anyio.sleep_forever))
    async with aclosing(aiter(map_inputs(Agent(stack), stack, asking(0, 1, 2), progress=False))) as items:
        assert (await anext(items)).output == "Load 0."
        assert stack.engine.running == 2
    assert stack.engine.running == 0


async def test_one_text_in_place_of_a_list_is_refused() -> None:
    stack = scripted_stack()
    with pytest.raises(InvalidMessage, match="give a list"):
        map_inputs(Agent(stack), stack, "What of mule 1?")


async def test_a_concurrency_of_nothing_is_refused() -> None:
    stack = scripted_stack()
    with pytest.raises(InvalidLimit, match="concurrency is 0"):
        map_inputs(Agent(stack), stack, [], concurrency=0)


async def test_a_map_of_nothing_is_empty() -> None:
    stack = scripted_stack()
    assert await map_inputs(Agent(stack), stack, [], progress=False) == []


async def test_the_same_name_takes_finished_items_from_the_log(event_log: EventLog) -> None:
    first = scripted_stack(*answers(0, 1), log=event_log)
    before = await map_inputs(Agent(first), first, asking(0, 1), name="loads", progress=False)
    silent = scripted_stack(log=event_log)
    after = await map_inputs(Agent(silent), silent, asking(0, 1), name="loads", progress=False)
    assert silent.engine.requests == []
    assert [item.known for item in before + after] == [False, False, True, True]
    assert [item.turn for item in after] == [item.turn for item in before]


async def test_another_name_is_other_work() -> None:
    stack = scripted_stack(*answers(0))
    await map_inputs(Agent(stack), stack, asking(0), name="loads", progress=False)
    (item,) = await map_inputs(Agent(stack), stack, asking(0), name="others", progress=False)
    assert (item.known, len(stack.engine.requests)) == (False, 2)


async def test_a_changed_list_keeps_what_is_known_of_it() -> None:
    stack = scripted_stack(*answers(0, 1, 2))
    await map_inputs(Agent(stack), stack, asking(0, 1), name="loads", progress=False)
    items = await map_inputs(Agent(stack), stack, asking(2, 1, 0), name="loads", progress=False)
    assert [(item.output, item.known) for item in items] == [("Load 2.", False), ("Load 1.", True), ("Load 0.", True)]


async def test_equal_inputs_have_a_turn_each() -> None:
    stack = scripted_stack(*answers(0))
    items = await map_inputs(Agent(stack), stack, asking(0, 0), name="loads", progress=False)
    assert len({item.session for item in items}) == 2
    again = await map_inputs(Agent(stack), stack, asking(0, 0, 0), name="loads", progress=False)
    assert [item.known for item in again] == [True, True, False]


async def test_a_failed_item_goes_on_behind_its_finished_steps(event_log: EventLog) -> None:
    ran = []

    @tool
    def weigh(mule: int) -> int:
        """Weigh a mule."""
        ran.append(mule)
        return 85

    asked = when("mule 0?", call("weigh", mule=0))
    broken = scripted_stack(asked, Say("It", fault=EngineInterrupted("gone")), log=event_log)
    (failed,) = await map_inputs(Agent(broken, tools=[weigh]), broken, asking(0), name="loads", progress=False)
    assert failed.state == "failed"
    stack = scripted_stack("It weighs 85.", log=event_log)
    (item,) = await map_inputs(Agent(stack, tools=[weigh]), stack, asking(0), name="loads", progress=False)
    assert (item.output, item.known, ran, len(stack.engine.requests)) == ("It weighs 85.", False, [0], 1)
    (known,) = await map_inputs(Agent(stack, tools=[weigh]), stack, asking(0), name="loads", progress=False)
    assert (known.output, known.known) == ("It weighs 85.", True)


async def test_an_item_that_failed_before_its_first_event_is_begun_anew() -> None:
    stack = scripted_stack(*answers(0))
    tiny = scripted_stack(log=stack.log, context_length=8)
    (failed,) = await map_inputs(Agent(tiny), tiny, asking(0), name="loads", progress=False)
    assert failed.state == "failed"
    (item,) = await map_inputs(Agent(stack), stack, asking(0), name="loads", progress=False)
    assert item.output == "Load 0."


async def test_an_item_that_waits_for_a_person_is_told_and_goes_on_when_decided(event_log: EventLog) -> None:
    @tool(sensitive=True)
    def sell(mule: int) -> str:
        """Sell a mule."""
        return "sold"

    stack = scripted_stack(when("mule 0?", call("sell", mule=0)), *answers(1), when("sold", "Done."), log=event_log)
    agent = Agent(stack, tools=[sell])
    waiting, done = await map_inputs(agent, stack, asking(0, 1), name="sales", progress=False)
    assert (waiting.state, done.state) == ("waiting", "finished")
    (asked,) = waiting.turn.waiting
    still, _ = await map_inputs(agent, stack, asking(0, 1), name="sales", progress=False)
    assert (still.state, still.turn.waiting) == ("waiting", waiting.turn.waiting)
    await stack.decide(waiting.session, asked.id, Decision.run())
    sold, known = await map_inputs(agent, stack, asking(0, 1), name="sales", progress=False)
    assert (sold.output, sold.known, known.known) == ("Done.", False, True)


async def test_a_turn_that_reached_a_limit_is_finished() -> None:
    stack = scripted_stack("A long answer about the mule.")
    agent = Agent(stack, limits=Limits(tokens=3))
    (item,) = await map_inputs(agent, stack, asking(0), name="loads", progress=False)
    (known,) = await map_inputs(agent, stack, asking(0), name="loads", progress=False)
    assert (item.state, item.turn.reason, known.known) == ("finished", "limit", True)


async def test_the_deps_of_a_map_reach_the_tools() -> None:
    from arriero.tools import ToolContext

    @tool
    def weigh(context: ToolContext) -> int:
        """Weigh the mule."""
        return context.deps["load"]

    stack = scripted_stack(call("weigh"), "It is 85.")
    (item,) = await map_inputs(Agent(stack, tools=[weigh]), stack, asking(0), deps={"load": 85}, progress=False)
    assert [result.content for result in item.turn.steps[0].results] == ["85"]


async def test_two_maps_of_one_name_at_once_give_each_input_one_turn(event_log: EventLog) -> None:
    stacks = [scripted_stack(*answers(*range(6), delay=0.01), log=event_log) for _ in range(2)]
    found: list[Item[str]] = []

    async def one(stack: Stack, order: int) -> None:
        inputs = asking(*range(6)[::order])
        found.extend(await map_inputs(Agent(stack), stack, inputs, concurrency=2, name="loads", progress=False))

    async with anyio.create_task_group() as group:
        group.start_soon(one, stacks[0], 1)
        group.start_soon(one, stacks[1], -1)
    assert {type(item.error) for item in found} <= {type(None), SessionBusy}
    turns = await event_log.turns()
    assert len(turns) == len({turn.session for turn in turns}) == 6


async def test_what_is_finished_is_read_while_another_process_is_at_it(event_log: EventLog) -> None:
    stack = scripted_stack(*answers(0), log=event_log)
    (done,) = await map_inputs(Agent(stack), stack, asking(0), name="loads", progress=False)
    await event_log.take(f"{done.session}#")
    (known,) = await map_inputs(Agent(stack), stack, asking(0), name="loads", progress=False)
    assert (known.output, known.known) == ("Load 0.", True)


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), max_size=6))
@settings(max_examples=20, deadline=None)
def test_an_input_is_known_as_often_as_it_was_there_before(first: list[int], second: list[int]) -> None:
    async def both() -> list[Item[str]]:
        stack = scripted_stack(*answers(*range(4)))
        await map_inputs(Agent(stack), stack, asking(*first), name="loads", progress=False)
        return await map_inputs(Agent(stack), stack, asking(*second), name="loads", progress=False)

    items = anyio.run(both)
    assert [item.output for item in items] == [f"Load {number}." for number in second]
    assert sum(item.known for item in items) == (Counter(first) & Counter(second)).total()


async def test_progress_is_told_to_a_function() -> None:
    told: list[MapProgress] = []
    stack = scripted_stack(*answers(0), when("mule 1?", Say("", fault=EngineInterrupted("gone"))))
    await map_inputs(Agent(stack), stack, asking(0, 1), concurrency=1, progress=told.append)
    assert told == [
        MapProgress(2, running=1),
        MapProgress(2, done=1),
        MapProgress(2, done=1, running=1),
        MapProgress(2, done=2, failed=1),
    ]
    assert str(told[-1]) == "2 of 2 done, 1 failed"


async def test_a_map_may_be_run_again_and_counts_anew() -> None:
    told: list[MapProgress] = []
    stack = scripted_stack(*answers(0))
    mapped = map_inputs(Agent(stack), stack, asking(0), name="loads", progress=told.append)
    first, again = await mapped, await mapped
    assert [item.known for item in first + again] == [False, True]
    assert told == [
        MapProgress(1, running=1),
        MapProgress(1, done=1),
        MapProgress(1, running=1),
        MapProgress(1, done=1, known=1),
    ]


async def test_a_listener_that_fails_does_not_harm_the_map() -> None:
    def listen(now: MapProgress) -> None:
        raise ZeroDivisionError

    stack = scripted_stack(*answers(0))
    assert await texts(await map_inputs(Agent(stack), stack, asking(0), progress=listen)) == ["Load 0."]


async def test_progress_is_a_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    stack = scripted_stack(*answers(0, 1))
    await map_inputs(Agent(stack), stack, asking(0, 1))
    out, err = capsys.readouterr()
    assert (out, err) == ("", "map: 2 of 2 done\n")


async def test_progress_is_a_bar_on_a_terminal(tmp_path: Path) -> None:
    seen, terminal = os.openpty()
    with program(tmp_path, stderr=terminal) as process:
        os.close(terminal)
        process.communicate(timeout=60)
    text = os.read(seen, 1 << 16).decode()
    os.close(seen)
    assert "\u2501" in text
    assert "2 of 2 done" in text


PROGRAM = """
import os, sys
import anyio
from arriero import Agent, tool
from arriero.agents.map import map_inputs
from arriero.stack.log import open_log
from arriero.testing import Say, call, scripted_stack, when

@tool
def weigh(mule: int) -> int:
    '''Weigh a mule.'''
    with open(sys.argv[2], "a") as file:
        file.write(f"{mule}\\n")
    return 80 + mule

async def hang():
    print("hanging", flush=True)
    await anyio.sleep_forever()

async def main():
    stack = scripted_stack(
        when("mule 0?", "Load 0."),
        when("mule 1?", call("weigh", mule=1)),
        when("81", Say("It weighs 81.", before=hang if "hang" in sys.argv else None)),
        log=open_log(sys.argv[1]),
    )
    inputs = [f"What of mule {number}?" for number in range(2)]
    async for item in map_inputs(Agent(stack, tools=[weigh]), stack, inputs, name="loads"):
        print(item.output, item.known, flush=True)
    await stack.aclose()

anyio.run(main)
"""


def program(folder: Path, *words: str, log: str = "", stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    log = log or str(folder / "events.sqlite")
    command = [sys.executable, "-c", PROGRAM, log, str(folder / "weighed"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


@pytest.mark.parametrize(
    ("how", "store"), [(signal.SIGKILL, "sqlite"), (signal.SIGKILL, "postgres"), (signal.SIGINT, "sqlite")]
)
async def test_a_map_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, how: signal.Signals, store: str, request: pytest.FixtureRequest
) -> None:
    schema = f"?schema=map_{secrets.token_hex(6)}"
    log = request.getfixturevalue("postgres_dsn") + schema if store == "postgres" else ""
    stopped = program(tmp_path, "hang", log=log)
    assert stopped.stdout is not None
    assert {stopped.stdout.readline() for _ in range(2)} == {"hanging\n", "Load 0. False\n"}
    os.kill(stopped.pid, how)
    _, err = stopped.communicate(timeout=20)
    assert stopped.returncode in (-how, 130, 1)
    assert ("KeyboardInterrupt" in err) == (how is signal.SIGINT)
    out, err = program(tmp_path, log=log).communicate(timeout=60)
    assert out == "Load 0. True\nIt weighs 81. False\n", err
    assert "map: 2 of 2 done, 1 known\n" in err
    assert (tmp_path / "weighed").read_text() == "1\n"
