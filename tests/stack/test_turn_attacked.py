"""Engines, hooks, shields and callers that do what they should not."""

from collections.abc import AsyncGenerator, Sequence

import anyio
import pytest
from scripted import Say, call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.engine import Delta, Sampling
from arriero.stack.errors import ContextTooLong, EngineInterrupted
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    Event,
    MessageAdded,
    StepFinished,
    TranscriptRewritten,
    TurnFailed,
    TurnFinished,
    TurnPaused,
)
from arriero.stack.log import SessionBusy, SQLiteLog
from arriero.stack.shields import Verdict
from arriero.stack.stack import Stack
from arriero.stack.terms import Handoff, Hooks
from arriero.stack.turn import Limits, Terms
from arriero.testing import ScriptedEngine
from arriero.tools import Registry, ToolResult, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


@tool(pure=True)
async def look() -> str:
    """Look."""
    return "seen"


@tool(sensitive=True)
async def pay() -> str:
    """Pay."""
    return "paid"


BOTH = call("look").removesuffix("<|eot_id|>") + "; " + call("pay")
TOOLS = Registry([look, pay])


async def resumed(stack: Stack, terms: Terms, **decisions: Decision) -> list[Event]:
    named = {name.removeprefix("at_").replace("_", "."): decision for name, decision in decisions.items()}
    return [event async for event in stack.resume("alice", terms, decisions=named)]


async def test_what_is_said_while_the_input_is_judged_is_judged_too() -> None:
    class Strict:
        name = "strict"
        told = False

        async def check(self, messages: Sequence[Message], where: object) -> Verdict:
            if not self.told:
                self.told = True
                await stack.say("alice", Message("user", "awful"))
                return Verdict(True)
            return Verdict("awful" not in str(messages[-1].content))

    stack = scripted_stack("First.<|eot_id|>", "Never shown.<|eot_id|>")
    events = await run(stack, "Go", Terms(input_shields=(Strict(),)), "alice")
    assert of(TurnFinished, events)[0].reason == "refused"
    assert "Never shown" not in repr(events)


@pytest.mark.parametrize("how", ["fails", "cancelled", "late"])
async def test_results_of_calls_begun_early_are_not_logged_without_the_message_that_has_them(how: str) -> None:
    async def ends() -> None:
        await anyio.wait_all_tasks_blocked()  # the early call has its result
        if how == "cancelled":
            await stack.cancel("alice")
        if how == "fails":
            raise EngineInterrupted("gone")
        await anyio.sleep(60)

    stack = scripted_stack(Say(BOTH, after=ends))
    terms = Terms(registry=TOOLS, limits=Limits(seconds=0.3 if how == "late" else 300.0))
    events: list[Event] = []
    try:
        await run(stack, "Go", terms, "alice", events)
    except EngineInterrupted:
        assert how == "fails"
    assert isinstance(events[-1], TurnFinished)
    assert not of(CallFinished, await logged(stack, "alice"))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Message("user", "word " * 3000), ContextTooLong),
        (Message("user", [object()]), InvalidMessage),
        (Message("nobody", "Hi"), InvalidMessage),  # type: ignore[arg-type]
    ],
)
async def test_what_no_prompt_can_hold_is_refused_when_it_is_said(message: Message, error: type[Exception]) -> None:
    async def say() -> None:
        with pytest.raises(error):
            await stack.say("alice", message)

    stack = scripted_stack(Say(DONE, before=say), "Again.<|eot_id|>")
    await run(stack, "Go", session="alice")
    assert not of(MessageAdded, await logged(stack, "alice"))
    assert of(TurnFinished, await run(stack, "And?", session="alice"))[0].text == "Again."


async def test_a_check_of_the_answer_that_gives_no_message_does_not_spoil_the_session() -> None:
    async def no_message(text: str) -> Message:
        return "Again, please."  # type: ignore[return-value]

    stack = scripted_stack("One.<|eot_id|>", "Two.<|eot_id|>")
    with pytest.raises(Exception, match=r".") as raised:
        await run(stack, "Go", Terms(hooks=Hooks(accept=no_message)), "alice")
    assert of(TurnFailed, await logged(stack, "alice"))[0].error == type(raised.value).__name__
    assert of(TurnFinished, await run(stack, "And?", session="alice"))[0].text == "Two."


async def test_a_conversation_is_carried_over_once_whatever_is_said_meanwhile() -> None:
    carried: list[int] = []

    @tool
    async def over() -> str:
        """Hand over."""
        return "over"

    async def expert() -> Terms:
        return Terms(instructions="Expert.", agent="expert")

    async def short(messages: Sequence[Message]) -> Sequence[Message]:
        carried.append(len(messages))
        await stack.say("alice", Message("user", "Hurry!"))
        return [Message("user", "In short: go")]

    terms = Terms(agent="clerk", registry=Registry([over]), handoffs={"over": Handoff("expert", expert, short)})
    stack = scripted_stack(call("over"), DONE)
    events = await run(stack, "Go", terms, "alice")
    assert carried == [3]
    (rewritten,) = of(TranscriptRewritten, events)
    assert [message.content for message in rewritten.messages] == ["Expert.", "In short: go", "Hurry!"]


async def test_who_cancels_when_the_turn_has_paused_ends_it() -> None:
    stack = scripted_stack(BOTH, DONE)
    events: list[Event] = []
    async for event in stack.run_turn([Message("user", "Go")], Terms(registry=TOOLS), session="alice"):
        events.append(event)
        if isinstance(event, TurnPaused):
            assert await stack.cancel("alice")
            assert not await stack.cancel("alice")
    assert kinds(events)[-2:] == ["TurnPaused", "TurnFinished"]
    assert not await stack.cancel("alice")
    assert of(TurnFinished, await run(stack, "And?", Terms(registry=TOOLS), "alice"))[0].reason == "answer"


class Hides:
    """A hook that has a say in what the model reads."""

    def __init__(self) -> None:
        self.seen: list[list[object]] = []

    async def __call__(self, step: int, results: Sequence[ToolResult]) -> Sequence[ToolResult]:
        self.seen.append([result.content for result in results])
        return [ToolResult(result.call, "hidden") for result in results]


async def test_a_hook_has_its_say_about_each_result_once_also_where_the_turn_pauses() -> None:
    hides = Hides()
    terms = Terms(registry=TOOLS, hooks=Hooks(after_calls=hides))
    stack = scripted_stack(BOTH, DONE)
    await run(stack, "Go", terms, "alice")
    await resumed(stack, terms, at_1_1=Decision.run())
    assert [event.result.content for event in of(CallFinished, await logged(stack, "alice"))] == ["hidden", "hidden"]
    assert hides.seen == [["seen"], ["paid"]]


async def test_a_result_that_the_hook_has_not_seen_is_read_by_nobody_when_the_turn_is_cancelled() -> None:
    @tool
    async def slow() -> str:
        """Take long."""
        await anyio.wait_all_tasks_blocked()
        await stack.cancel("alice")
        await anyio.sleep(60)
        return ""

    terms = Terms(registry=Registry([look, slow]), hooks=Hooks(after_calls=Hides()))
    stack = scripted_stack(call("look").removesuffix("<|eot_id|>") + "; " + call("slow"), DONE)
    await run(stack, "Go", terms, "alice")
    await run(stack, "And?", terms, "alice")
    assert "seen" not in engine_of(stack).prompts[-1]


async def test_calls_that_were_cancelled_have_results_where_others_of_their_message_have() -> None:
    @tool
    async def slow() -> str:
        """Take long."""
        await anyio.wait_all_tasks_blocked()
        await stack.cancel("alice")
        await anyio.sleep(60)
        return ""

    terms = Terms(registry=Registry([look, slow]))
    stack = scripted_stack(call("slow").removesuffix("<|eot_id|>") + "; " + call("look"), DONE)
    await run(stack, "Go", terms, "alice")
    await run(stack, "And?", terms, "alice")
    before, after = engine_of(stack).prompts[-1].split("seen")
    assert before.count("error: the turn ended before this call had a result") == 1
    assert "the turn ended" not in after


@pytest.mark.parametrize("hook", ["before_calls", "after_calls"])
async def test_a_hook_that_gives_something_else_is_refused_before_it_is_logged(hook: str) -> None:
    async def texts(step: int, ones: Sequence[object]) -> Sequence[object]:
        return ["text" for _ in ones]

    stack = scripted_stack(call("look"), DONE)
    hooks = Hooks(**{hook: texts})  # type: ignore[arg-type]
    with pytest.raises(ArrieroError, match=f"{hook} gave 1 \\(str\\) in the place of 1"):
        await run(stack, "Go", Terms(registry=TOOLS, hooks=hooks), "alice")
    await run(stack, "And?", Terms(registry=TOOLS), "alice")


class BreaksOnClosing(ScriptedEngine):
    """An engine whose requests cannot be closed."""

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        try:
            async for delta in super().generate(prompt_ids, sampling):
                yield delta
        finally:
            raise OSError("the connection is gone")


async def test_an_engine_that_cannot_close_its_request_does_not_hide_what_ends_the_turn() -> None:
    async def cancel() -> None:
        await stack.cancel("alice")
        await anyio.sleep(60)

    log = SQLiteLog(":memory:")
    engine = BreaksOnClosing(["One.<|eot_id|>", Say("Two.<|eot_id|>", after=cancel)], log=log)
    stack = Stack(engine, engine.dialect, log=log)
    assert of(TurnFinished, await run(stack, "Go", session="alice"))[0].text == "One."
    assert of(TurnFinished, await run(stack, "Go", session="alice"))[0].reason == "cancelled"


@pytest.mark.parametrize("after", range(9))
async def test_an_engine_may_break_at_any_token(after: int) -> None:
    class Breaks(ScriptedEngine):
        async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
            at = 0
            async for delta in super().generate(prompt_ids, sampling):
                if at == after and len(self.requests) == 1:
                    raise EngineInterrupted("gone")
                at += 1
                yield delta

    log = SQLiteLog(":memory:")
    engine = Breaks(["A word.<|eot_id|>", DONE], log=log)
    stack = Stack(engine, engine.dialect, log=log)
    with pytest.raises(EngineInterrupted):
        await run(stack, "Go", session="alice")
    assert kinds(await logged(stack, "alice"))[-2:] == ["TurnFailed", "TurnFinished"]
    assert of(TurnFinished, await run(stack, "Go", session="alice"))[0].text == "Done."


async def test_a_call_of_a_tool_that_is_gone_is_asked_about_for_it_may_have_run() -> None:
    stack = scripted_stack(call("look"), DONE)
    await run(stack, "Go", Terms(registry=TOOLS), "alice")
    events = await logged(stack, "alice")
    log = SQLiteLog(":memory:")
    await log.append("alice", "t1", 0, events[: kinds(events).index("CallStarted") + 1])
    other = scripted_stack(DONE, log=log)
    more = await resumed(other, Terms())
    assert [event.asked for event in of(DecisionAsked, more)] == ["interrupted"]
    more = await resumed(other, Terms(), at_1_0=Decision.answer("seen"))
    assert of(TurnFinished, more)[0].reason == "answer"


async def test_of_two_resumes_at_once_one_wins() -> None:
    stack = scripted_stack(BOTH, DONE)
    terms = Terms(registry=TOOLS)
    await run(stack, "Go", terms, "alice")
    outcomes: list[str] = []

    async def resume() -> None:
        try:
            outcomes.append(kinds(await resumed(stack, terms, at_1_1=Decision.run()))[-1])
        except (SessionBusy, InvalidDecision) as error:
            outcomes.append(type(error).__name__)

    async with anyio.create_task_group() as group:
        group.start_soon(resume)
        group.start_soon(resume)
    assert sorted(outcomes) == ["SessionBusy", "TurnFinished"]
    assert len(of(CallStarted, await logged(stack, "alice"))) == 2


@pytest.mark.parametrize("hook", ["terms", "before_step", "before_calls", "after_calls", "accept", "decide"])
async def test_a_hook_that_raises_ends_the_turn_and_leaves_a_session_that_goes_on(hook: str) -> None:
    async def broken(*_: object) -> object:
        raise RuntimeError("out of order")

    hooks = {} if hook == "decide" else {hook: broken}
    terms = Terms(registry=TOOLS, decide=broken if hook == "decide" else None, hooks=Hooks(**hooks))  # type: ignore[arg-type]
    stack = scripted_stack("Hi.<|eot_id|>", *([BOTH] if hook not in ("accept", "terms", "before_step") else []), DONE)
    await run(stack, "Hello", Terms(registry=TOOLS), "alice")
    with pytest.raises(RuntimeError, match="out of order"):
        await run(stack, "Go", terms, "alice")
    stack.engine.then(DONE)
    assert of(TurnFinished, await run(stack, "And?", Terms(registry=TOOLS), "alice"))[0].reason == "answer"


@pytest.mark.parametrize("hook", ["before_calls", "after_calls"])
@pytest.mark.parametrize("content", [float("nan"), object(), "\ud800"])
async def test_a_result_of_a_hooks_that_no_prompt_can_hold_does_not_spoil_the_session(
    hook: str, content: object
) -> None:
    async def odd(step: int, ones: Sequence[ToolCall | ToolResult]) -> Sequence[ToolResult]:
        return [ToolResult(one if isinstance(one, ToolCall) else one.call, content) for one in ones]  # type: ignore[arg-type]

    stack = scripted_stack(call("look"), DONE)
    with pytest.raises(InvalidMessage):
        await run(stack, "Go", Terms(registry=TOOLS, hooks=Hooks(**{hook: odd})), "alice")  # type: ignore[arg-type]
    assert isinstance((await logged(stack, "alice"))[-1], TurnFinished)
    assert of(TurnFinished, await run(stack, "And?", Terms(registry=TOOLS), "alice"))[0].reason == "answer"


async def test_a_message_with_calls_that_a_limit_forbids_is_logged_with_the_end_of_its_turn() -> None:
    """Between the two a kill would leave calls that a resumed turn runs."""

    class Allows:
        name = "allows"

        async def check(self, messages: Sequence[Message], where: object) -> Verdict:
            return Verdict(True)

    stack = scripted_stack('I look. {"name": "look", "parameters": {}}<|eot_id|>', dialect="llama3.2")
    terms = Terms(registry=TOOLS, limits=Limits(calls_per_tool={"look": 0}), output_shields=(Allows(),))
    events = await run(stack, "Go", terms, "alice")
    assert of(StepFinished, await logged(stack, "alice"))[0].tool_calls
    assert kinds(events)[-3:] == ["StepFinished", "LimitReached", "TurnFinished"]
    assert "I look" not in repr(events)


@pytest.mark.parametrize("messages", ["Hello", [{"role": "user", "content": "Hello"}], []])
async def test_a_turn_begins_with_messages_only(messages: object) -> None:
    stack = scripted_stack(DONE)
    with pytest.raises(InvalidMessage, match="at least one Message"):
        [event async for event in stack.run_turn(messages, session="alice")]  # type: ignore[arg-type]
    assert await logged(stack, "alice") == []


async def test_a_cancelled_turn_does_not_wait_for_an_early_call_that_does_not_listen() -> None:
    started, ended = anyio.Event(), anyio.Event()

    @tool(pure=True)
    async def deaf() -> str:
        """Do not listen."""
        started.set()
        with anyio.CancelScope(shield=True):
            await ended.wait()
        return ""

    stack = scripted_stack(Say(call("deaf").removesuffix("<|eot_id|>") + "; " + call("deaf"), after=started.wait))
    terms = Terms(registry=Registry([deaf]), limits=Limits(calls_per_tool={"deaf": 1}))
    with anyio.fail_after(5):
        async for event in stack.run_turn([Message("user", "Go")], terms, session="alice"):
            if isinstance(event, TurnFinished):
                assert not ended.is_set()
                ended.set()
    assert ended.is_set()
