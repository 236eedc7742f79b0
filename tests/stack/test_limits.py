import anyio
import pytest
from scripted import Say, call, engine_of, logged, of, run, scripted_stack

from arriero.prompts.errors import ArrieroError
from arriero.stack.engine import InvalidSampling, Sampling
from arriero.stack.events import CallFinished, CallStarted, Event, LimitReached, StepFinished, TurnFinished
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
