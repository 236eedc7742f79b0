"""Calls that start while the model writes, and results that are logged before the others are there."""

from dataclasses import dataclass, field

import anyio
import pytest
from scripted import Say, call, kinds, logged, of, run, scripted_stack

from arriero.prompts.messages import Message
from arriero.stack.events import CallFinished, CallStarted, LimitReached, TurnFinished
from arriero.stack.terms import Hooks
from arriero.stack.turn import Limits, Terms
from arriero.tools import Registry, Tool, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


@dataclass
class Bench:
    """Tools that tell when they run."""

    ran: anyio.Event = field(default_factory=anyio.Event)
    cancelled: anyio.Event = field(default_factory=anyio.Event)
    times: int = 0

    def look(self, *, pure: bool = False, idempotent: bool = False, sensitive: bool = False) -> Tool:
        @tool(pure=pure, idempotent=idempotent, sensitive=sensitive)
        async def look(place: str) -> str:
            """Look."""
            self.times += 1
            self.ran.set()
            return f"seen {place}"

        return look

    def stare(self) -> Tool:
        @tool(pure=True)
        async def stare(place: str) -> str:
            """Stare for ever."""
            self.ran.set()
            try:
                await anyio.sleep(60)
            finally:
                self.cancelled.set()
            return ""

        return stare


TWO = call("look", place="a").removesuffix("<|eot_id|>") + "; " + call("look", place="b")


async def test_a_pure_call_runs_while_the_model_writes_the_next_one() -> None:
    bench = Bench()
    stack = scripted_stack(Say(TWO, after=bench.ran.wait), DONE)
    with anyio.fail_after(5):
        events = await run(stack, "Go", Terms(registry=Registry([bench.look(pure=True)])), "alice")
    assert bench.times == 2
    assert [event.result.content for event in of(CallFinished, events)] == ["seen a", "seen b"]
    assert kinds(await logged(stack, "alice"))[2:5] == ["StepFinished", "CallStarted", "CallStarted"]


@pytest.mark.parametrize("effects", [{}, {"idempotent": True}, {"pure": True, "sensitive": True}])
async def test_no_other_call_runs_before_its_message_is_logged(effects: dict[str, bool]) -> None:
    bench = Bench()
    ran: list[bool] = []
    stack = scripted_stack(Say(TWO, after=lambda: ran.append(bench.ran.is_set())), DONE)
    await run(stack, "Go", Terms(registry=Registry([bench.look(**effects)])))
    assert ran == [False]


async def test_work_that_was_begun_early_is_cancelled_when_the_message_breaks_off() -> None:
    bench = Bench()
    text = call("stare", place="a").removesuffix("<|eot_id|>") + "; " + call("stare", place="b")

    async def breaks() -> None:
        await bench.ran.wait()
        raise RuntimeError("the engine broke")

    stack = scripted_stack(Say(text, after=breaks))
    with anyio.fail_after(5), pytest.raises(RuntimeError, match="broke"):
        await run(stack, "Go", Terms(registry=Registry([bench.stare()])), "alice")
    assert bench.cancelled.is_set()
    assert not of(CallStarted, await logged(stack, "alice"))


async def test_no_call_is_begun_early_that_a_limit_forbids() -> None:
    bench = Bench()
    stack = scripted_stack(TWO)
    events = await run(stack, "Go", Terms(registry=Registry([bench.look(pure=True)]), limits=Limits(steps=1)))
    assert of(LimitReached, events)[0].limit == "steps"
    assert bench.times == 0


async def test_no_call_is_begun_early_that_a_hook_may_change() -> None:
    bench = Bench()
    ran: list[bool] = []
    stack = scripted_stack(Say(TWO, after=lambda: ran.append(bench.ran.is_set())), DONE)

    async def same(step: int, calls: object) -> object:
        return calls

    terms = Terms(registry=Registry([bench.look(pure=True)]), hooks=Hooks(before_calls=same))  # type: ignore[arg-type]
    await run(stack, "Go", terms)
    assert ran == [False]
    assert bench.times == 2


async def test_quick_results_are_logged_while_a_slow_call_still_runs() -> None:
    go_on = anyio.Event()

    @tool
    async def slow() -> str:
        """Take long."""
        await go_on.wait()
        return "slow"

    @tool
    async def quick() -> str:
        """Be quick."""
        return "quick"

    stack = scripted_stack(call("slow").removesuffix("<|eot_id|>") + "; " + call("quick"), DONE)
    positions = []
    with anyio.fail_after(5):
        async for event in stack.run_turn(
            [Message("user", "Go")], Terms(registry=Registry([slow, quick])), session="a"
        ):
            if isinstance(event, CallFinished):
                positions.append(event.position)
                assert (await logged(stack, "a")).count(event) == 1
                go_on.set()
    assert positions == [1, 0]
    messages = [record.event for record in await stack.log.read("a")]
    assert of(TurnFinished, messages)[0].reason == "answer"
