from typing import Any

import anyio
import pytest
from scripted import Say, call, engine_of, logged, of, run, scripted_stack

from arriero.prompts.errors import ArrieroError
from arriero.stack.compaction import DropOldestResults
from arriero.stack.engine import InvalidSampling, Sampling
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    Event,
    LimitReached,
    StepFinished,
    TranscriptRewritten,
    TurnFinished,
)
from arriero.stack.terms import Price
from arriero.stack.turn import Limits, Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio


@tool
def again(text: str) -> str:
    """Say it again."""
    return text


AGAIN = call("again", text="more")


def terms(**limits: float) -> Terms:
    return Terms(registry=Registry([again]), limits=Limits(**limits))  # type: ignore[arg-type]


def reached(events: list[Event]) -> str:
    limit, finished = of(LimitReached, events)[0], of(TurnFinished, events)[0]
    assert finished.reason == "limit"
    assert events[-1] == finished
    return limit.limit


async def test_steps() -> None:
    events = await run(scripted_stack(*[AGAIN] * 5), "Go", terms(steps=3))
    assert reached(events) == "steps"
    assert len(of(StepFinished, events)) == 3
    assert len(of(CallFinished, events)) == 2


async def test_calls() -> None:
    twice = AGAIN.removesuffix("<|eot_id|>") + "; " + AGAIN
    events = await run(scripted_stack(*[twice] * 5), "Go", terms(calls=3))
    assert reached(events) == "calls"
    assert len(of(CallStarted, events)) == 2


async def test_tokens_of_the_whole_turn() -> None:
    events = await run(scripted_stack(*[AGAIN] * 9), "Go", terms(tokens=130))
    assert reached(events) == "tokens"
    assert of(TurnFinished, events)[0].usage.completion_tokens <= 130


async def test_tokens_of_one_message_cut_it_and_what_was_said_is_kept() -> None:
    stack = scripted_stack("A very long answer indeed.<|eot_id|>")
    events = await run(stack, "Go", Terms(sampling=Sampling(max_tokens=6)))
    assert reached(events) == "tokens"
    assert of(TurnFinished, events)[0].text == "A very"


async def test_seconds_while_the_model_generates() -> None:
    stack = scripted_stack(Say("Late.<|eot_id|>", before=lambda: anyio.sleep(60)))
    events = await run(stack, "Go", terms(seconds=0.05), "alice")
    assert reached(events) == "seconds"
    assert engine_of(stack).closed_early == 1
    assert reached(await logged(stack, "alice")) == "seconds"


async def test_seconds_while_a_tool_runs() -> None:
    @tool
    async def slow() -> str:
        """Take long."""
        await anyio.sleep(60)
        return "late"

    stack = scripted_stack(call("slow"))
    events = await run(stack, "Go", Terms(registry=Registry([slow]), limits=Limits(seconds=0.2)))
    assert reached(events) == "seconds"
    assert of(CallStarted, events)
    assert not of(CallFinished, events)


async def test_a_result_that_does_not_fit_the_context() -> None:
    @tool
    def novel() -> str:
        """Write a novel."""
        return "word " * 500

    stack = scripted_stack(call("novel"), context_length=1500)
    events = await run(stack, "Go", Terms(registry=Registry([novel])))
    assert reached(events) == "context"
    assert len(of(CallFinished, events)) == 1


async def test_an_answer_that_fills_the_context() -> None:
    stack = scripted_stack("word " * 500, context_length=600)
    assert reached(await run(stack, "Go")) == "context"


async def test_no_step_asks_for_more_than_is_left() -> None:
    stack = scripted_stack(AGAIN, "Done.<|eot_id|>", context_length=1200)
    await run(stack, "Go", terms(tokens=200))
    engine = engine_of(stack)
    for prompt, sampling in zip(engine.requests, engine.samplings, strict=True):
        assert len(prompt) + sampling.max_tokens <= 1200
    assert engine.samplings[1].max_tokens < engine.samplings[0].max_tokens == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 2**70), ("seed", 0.5), ("max_tokens", 1.5), ("max_tokens", True), ("top_p", "1"), ("temperature", None)],
)
def test_a_sampling_value_of_the_wrong_kind_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidSampling, match=f"^{field} of the sampling is"):
        Sampling(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", ["steps", "calls", "tokens", "seconds"])
def test_a_limit_below_one_is_refused_by_name(limit: str) -> None:
    with pytest.raises(ArrieroError, match=f"limit {limit} is 0"):
        Limits(**{limit: 0})  # type: ignore[arg-type]


async def test_calls_of_one_tool() -> None:
    limits = Limits(calls_per_tool={"again": 2, "other": 1})
    events = await run(scripted_stack(*[AGAIN] * 5), "Go", Terms(registry=Registry([again]), limits=limits))
    assert reached(events) == "calls_per_tool"
    assert len(of(CallStarted, events)) == 2
    assert of(LimitReached, events)[0].detail == "3 of 2 calls of again"


async def test_cost() -> None:
    price = Price(prompt=1.0, completion=1.0)
    stack = scripted_stack(*[AGAIN] * 5)
    first = await run(stack, "Go", Terms(registry=Registry([again]), limits=Limits(steps=2)))
    of_one = price.of(of(StepFinished, first)[0].usage)
    terms = Terms(registry=Registry([again]), limits=Limits(cost=1.5 * of_one), price=price)
    events = await run(scripted_stack(*[AGAIN] * 5), "Go", terms)
    assert reached(events) == "cost"
    assert len(of(StepFinished, events)) == 2


async def test_the_same_call_with_the_same_result() -> None:
    events = await run(scripted_stack(*[AGAIN] * 9), "Go", terms(repeats=2))
    assert reached(events) == "repeats"
    assert len(of(CallFinished, events)) == 3
    assert "again gave the same 3 times in a row" in of(LimitReached, events)[0].detail


async def test_the_same_call_with_other_results_is_no_loop() -> None:
    answers = iter("abcdef")

    @tool
    def poll() -> str:
        """Look whether it is there."""
        return next(answers)

    stack = scripted_stack(*[call("poll")] * 5, "Done.<|eot_id|>")
    events = await run(stack, "Go", Terms(registry=Registry([poll]), limits=Limits(repeats=1)))
    assert of(TurnFinished, events)[0].reason == "answer"


async def test_results_that_do_not_fit_are_left_out_of_the_next_turn() -> None:
    @tool
    def novel() -> str:
        """Write a novel."""
        return "word " * 500

    stack = scripted_stack(call("novel"), "Hi.<|eot_id|>", context_length=1500)
    await run(stack, "Go", Terms(registry=Registry([novel])), "alice")
    events = await run(stack, "Hello", Terms(registry=Registry([novel])), "alice")
    assert of(TurnFinished, events)[0].reason == "answer"


@tool
def page(number: int) -> str:
    """Read a page."""
    return f"page {number} " * 40


PAGES = Registry([page])


async def test_a_conversation_that_becomes_too_long_is_shortened_as_the_terms_say() -> None:
    stack = scripted_stack(*[call("page", number=at) for at in range(6)], "Read.<|eot_id|>", context_length=2400)
    limits = Limits(steps=9)
    terms = Terms(registry=PAGES, compaction=DropOldestResults(keep_turns=0), limits=limits, instructions="Read.")
    events = await run(stack, "Go", terms, "alice")
    assert of(TurnFinished, events)[0].text == "Read."
    rewritten = of(TranscriptRewritten, events)
    assert {(event.reason, event.policy) for event in rewritten} == {("compaction", "drop-oldest-results")}
    assert all(event.dropped > 0 for event in rewritten)
    assert all(event.messages[0].content == "Read." for event in rewritten)
    engine = engine_of(stack)
    assert all(len(prompt) + 512 <= 2400 for prompt in engine.requests)


async def test_a_conversation_that_cannot_be_shortened_enough_ends_at_the_limit() -> None:
    stack = scripted_stack(*[call("page", number=at) for at in range(6)], context_length=1500)
    terms = Terms(registry=PAGES, compaction=DropOldestResults(keep_turns=2), limits=Limits(steps=9))
    assert reached(await run(stack, "Go", terms)) == "context"


async def test_a_session_that_became_too_long_is_shortened_when_the_next_turn_begins() -> None:
    stack = scripted_stack(*[f"{'word ' * 60}<|eot_id|>"] * 9, context_length=1500)
    terms = Terms(compaction=DropOldestResults(keep_turns=1), sampling=Sampling(max_tokens=310))
    for turn in range(6):
        events = await run(stack, f"Go on {turn}", terms, "alice")
        assert of(TurnFinished, events)[0].reason == "answer"
    assert of(TranscriptRewritten, await logged(stack, "alice"))


@pytest.mark.parametrize("limits", [{"cost": 0}, {"cost": -1.0}, {"calls_per_tool": {"again": -1}}])
def test_a_limit_that_makes_no_sense_is_refused_by_name(limits: dict[str, Any]) -> None:
    with pytest.raises(ArrieroError, match=f"limit {next(iter(limits))}"):
        Limits(**limits)


async def test_a_tool_that_may_not_be_called_ends_the_turn_when_it_is() -> None:
    limits = Limits(calls_per_tool={"again": 0})
    events = await run(scripted_stack(AGAIN), "Go", Terms(registry=Registry([again]), limits=limits))
    assert reached(events) == "calls_per_tool"
    assert not of(CallStarted, events)
