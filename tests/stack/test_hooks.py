"""What an agent may change about a turn while it runs: hooks, sampling, terms, handoffs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from scripted import call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.engine import Sampling
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    HandedOff,
    LimitReached,
    MessageAdded,
    StepFinished,
    TextDelta,
    TranscriptRewritten,
    TurnFailed,
    TurnFinished,
)
from arriero.stack.loop import InvalidHook
from arriero.stack.shields import Verdict
from arriero.stack.tape import fold
from arriero.stack.terms import Handoff, Hooks
from arriero.stack.turn import Limits, Terms
from arriero.tools import Registry, ToolContext, ToolResult, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"
ran: list[int] = []


@tool
async def double(number: int) -> int:
    """Double a number."""
    ran.append(number)
    return 2 * number


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


TOOLS = Registry([double])
DOUBLE = call("double", number=4)


async def test_messages_of_a_hook_are_read_before_the_step() -> None:
    async def remind(step: int) -> Sequence[Message]:
        return [Message("user", f"step {step}, be brief")]

    stack = scripted_stack(DOUBLE, DONE)
    events = await run(stack, "Go", Terms(registry=TOOLS, hooks=Hooks(before_step=remind)), "alice")
    first, second = (engine_of(stack).tokenizer.decode(request) for request in engine_of(stack).requests)
    assert "step 1, be brief" in first
    assert second.index('"8"') < second.index("step 2, be brief")
    assert [(event.source, event.step) for event in of(MessageAdded, events)] == [("hook", 0), ("hook", 1)]
    messages = fold("alice", await stack.log.read("alice")).messages
    assert [message.role for message in messages] == ["user", "user", "assistant", "tool", "user", "assistant"]


async def test_a_hook_may_change_a_call_before_it_runs_and_answer_another_one() -> None:
    async def other(step: int, calls: Sequence[ToolCall]) -> Sequence[ToolCall | ToolResult]:
        first, second = calls
        return [replace(first, arguments={"number": 7}), ToolResult(second, "known")]

    stack = scripted_stack(DOUBLE.removesuffix("<|eot_id|>") + "; " + DOUBLE, DONE)
    events = await run(stack, "Go", Terms(registry=TOOLS, hooks=Hooks(before_calls=other)), "alice")
    assert ran == [7]
    assert [event.call.arguments for event in of(CallStarted, events)] == [{"number": 7}]
    contents = {event.position: event.result.content for event in of(CallFinished, events)}
    assert contents == {0: "14", 1: "known"}
    text = engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])
    assert text.index("14") < text.index("known")


async def test_a_hook_may_change_results_before_the_model_reads_them() -> None:
    async def masked(step: int, results: Sequence[ToolResult]) -> Sequence[ToolResult]:
        return [replace(result, content="***") for result in results]

    stack = scripted_stack(DOUBLE, DONE)
    await run(stack, "Go", Terms(registry=TOOLS, hooks=Hooks(after_calls=masked)), "alice")
    assert [event.result.content for event in of(CallFinished, await logged(stack, "alice"))] == ["***"]
    assert "***" in engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])


@pytest.mark.parametrize("hook", ["before_calls", "after_calls"])
async def test_a_hook_that_gives_too_few_ends_the_turn_with_its_error(hook: str) -> None:
    async def none(step: int, some: object) -> list[ToolCall]:
        return []

    stack = scripted_stack(DOUBLE)
    with pytest.raises(InvalidHook, match=f"{hook} gave 0 in the place of 1"):
        await run(stack, "Go", Terms(registry=TOOLS, hooks=Hooks(**{hook: none})), "alice")  # type: ignore[arg-type]
    assert of(TurnFailed, await logged(stack, "alice"))[0].error == "InvalidHook"


async def test_an_answer_that_is_not_accepted_is_followed_by_another_step() -> None:
    async def digits(text: str) -> Message | None:
        return None if text.isdigit() else Message("user", "Digits only.")

    stack = scripted_stack("Eight.<|eot_id|>", "8<|eot_id|>")
    events = await run(stack, "Double 4", Terms(hooks=Hooks(accept=digits)), "alice")
    assert of(MessageAdded, events)[0].source == "output"
    assert of(TurnFinished, events)[0].text == "8"
    assert "Eight.<|eot_id|>" in engine_of(stack).tokenizer.decode(engine_of(stack).requests[1])


async def test_an_answer_that_is_never_accepted_ends_at_the_limit() -> None:
    async def never(text: str) -> Message | None:
        return Message("user", "Again.")

    stack = scripted_stack(*["No.<|eot_id|>"] * 3)
    events = await run(stack, "Go", Terms(hooks=Hooks(accept=never), limits=Limits(steps=3)))
    assert (of(LimitReached, events)[0].limit, len(of(StepFinished, events))) == ("steps", 3)


async def test_an_answer_that_is_not_accepted_is_not_shown_where_a_shield_withholds_it() -> None:
    class Allows:
        name = "allows"

        async def check(self, messages: object, where: object) -> Verdict:
            return Verdict(True)

    async def second(text: str) -> Message | None:
        return None if text == "Good." else Message("user", "Again.")

    stack = scripted_stack("Bad.<|eot_id|>", "Good.<|eot_id|>")
    events = await run(stack, "Go", Terms(hooks=Hooks(accept=second), output_shields=(Allows(),)))
    assert "Bad" not in repr(events)
    assert "".join(event.text for event in of(TextDelta, events)) == "Good."


async def test_each_step_is_sampled_as_the_terms_say() -> None:
    def colder(step: int, terms: Terms) -> Sampling:
        return replace(terms.sampling, temperature=1.0 / step)

    stack = scripted_stack(DOUBLE, DONE)
    await run(stack, "Go", Terms(registry=TOOLS, constrain=colder))
    assert [sampling.temperature for sampling in engine_of(stack).samplings] == [1.0, 0.5]


async def test_other_terms_may_hold_from_a_step_on() -> None:
    async def without_tools(step: int, terms: Terms) -> Terms:
        return terms if step == 1 else replace(terms, registry=Registry())

    stack = scripted_stack(DOUBLE, DONE)
    events = await run(stack, "Go", Terms(registry=TOOLS, hooks=Hooks(terms=without_tools)), "alice")
    (rewritten,) = of(TranscriptRewritten, events)
    assert (rewritten.reason, rewritten.tools) == ("tools", ())
    assert [message.role for message in rewritten.messages] == ["user", "assistant", "tool"]
    assert of(TurnFinished, events)[0].text == "Done."


@tool
async def to_expert(why: str) -> str:
    """Hand over to the expert."""
    return "The expert takes over."


async def expert() -> Terms:
    return Terms(instructions="You are the expert.", agent="expert", registry=TOOLS)


def handing(**settings: object) -> Terms:
    handoff = Handoff("expert", expert, **settings)  # type: ignore[arg-type]
    registry = Registry([to_expert])
    return Terms(instructions="You are the clerk.", agent="clerk", registry=registry, handoffs={"to_expert": handoff})


async def test_another_agent_takes_the_conversation_over_with_its_own_terms() -> None:
    stack = scripted_stack(call("to_expert", why="hard"), DOUBLE, DONE)
    events = await run(stack, "Double 4", handing(), "alice")
    assert ran == [4]
    assert [event.agent for event in of(HandedOff, events)] == ["expert"]
    (rewritten,) = of(TranscriptRewritten, events)
    assert (rewritten.reason, rewritten.policy) == ("handoff", "all")
    assert [message.role for message in rewritten.messages] == ["system", "user", "assistant", "tool"]
    assert rewritten.messages[0].content == "You are the expert."
    assert engine_of(stack).requests[1] == list(rewritten.token_ids)
    tape = fold("alice", await stack.log.read("alice"))
    assert tape.agent == "expert"
    assert kinds(events).index("HandedOff") == kinds(events).index("CallFinished") + 1


async def test_an_agent_may_take_over_a_summary_only() -> None:
    async def summary(messages: Sequence[Message]) -> Sequence[Message]:
        assert messages[0].role == "user"
        return [Message("user", f"{len(messages)} messages; double 4")]

    stack = scripted_stack(call("to_expert", why="hard"), DONE)
    events = await run(stack, "Double 4", handing(carry=summary), "alice")
    (rewritten,) = of(TranscriptRewritten, events)
    assert [message.content for message in rewritten.messages] == ["You are the expert.", "3 messages; double 4"]
    assert rewritten.policy == "summary"


async def test_the_agent_that_took_over_goes_on_in_the_next_turn_without_a_rewrite() -> None:
    stack = scripted_stack(call("to_expert", why="hard"), DONE, "Bye.<|eot_id|>", "Hello.<|eot_id|>")
    await run(stack, "Double 4", handing(), "alice")
    assert not of(TranscriptRewritten, await run(stack, "And?", await expert(), "alice"))
    back = of(TranscriptRewritten, await run(stack, "Clerk?", handing(), "alice"))
    assert [event.reason for event in back] == ["handoff"]
    assert back[0].messages[0].content == "You are the clerk."


async def test_a_refused_turn_takes_a_handoff_back() -> None:
    class Forbids:
        name = "forbids"

        async def check(self, messages: object, where: object) -> Verdict:
            return Verdict(False)

    async def guarded() -> Terms:
        return replace(await expert(), output_shields=(Forbids(),))

    terms = replace(handing(), handoffs={"to_expert": Handoff("expert", guarded)})
    stack = scripted_stack("Hi.<|eot_id|>", call("to_expert", why="hard"), DONE, "Yes.<|eot_id|>")
    await run(stack, "Hello", terms, "alice")
    before = fold("alice", await stack.log.read("alice"))
    assert of(TurnFinished, await run(stack, "Hard", terms, "alice"))[0].reason == "refused"
    after = fold("alice", await stack.log.read("alice"))
    assert (after.ids, after.messages, after.agent) == (before.ids, before.messages, "clerk")
    assert not of(TranscriptRewritten, await run(stack, "Well?", terms, "alice"))


async def test_tools_find_what_the_agents_caller_gave() -> None:
    @tool
    async def whose(context: ToolContext) -> str:
        """Whose is it?"""
        return str(context.deps)

    stack = scripted_stack(call("whose"), DONE)
    events = await run(stack, "Go", Terms(registry=Registry([whose]), deps="ana"))
    assert of(CallFinished, events)[0].result.content == "ana"
