"""What shields hold back in a turn."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from scripted import Say, ScriptedEngine, call, engine_of, kinds, logged, of, run, scripted_stack

from arriero.prompts.messages import Message
from arriero.stack.errors import EngineInterrupted
from arriero.stack.events import CallStarted, StepFinished, TextDelta, TurnFailed, TurnFinished, VerdictGiven
from arriero.stack.shields import LlamaGuard, Place, Verdict
from arriero.stack.turn import REFUSAL, Terms
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio

ALLOWED = Verdict(True)
FORBIDDEN = Verdict(False, ("S9",), 0.99, "unsafe: S9")


@dataclass
class Gate:
    """A shield that gives its verdict when the test says so."""

    verdict: Verdict = ALLOWED
    opened: anyio.Event | None = None
    error: Exception | None = None
    name: str = "gate"
    seen: list[tuple[Place, tuple[Message, ...]]] = field(default_factory=list)
    asked: anyio.Event = field(default_factory=anyio.Event)

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        self.seen.append((where, tuple(messages)))
        self.asked.set()
        if self.opened is not None:
            await self.opened.wait()
        if self.error is not None:
            raise self.error
        return self.verdict


@tool
def press(button: str) -> str:
    """Press a button."""
    pressed.append(button)
    return "pressed"


pressed: list[str] = []


async def test_generation_runs_beside_the_input_shield_and_nothing_is_shown_before_it_clears() -> None:
    gate = Gate(opened=anyio.Event())
    generated = anyio.Event()
    stack = scripted_stack(Say("Good day.<|eot_id|>", after=generated.set))
    shown = []

    async def consume() -> None:
        async for event in stack.run_turn([Message("user", "Hello")], Terms(input_shields=(gate,))):
            shown.append(event)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            await generated.wait()
            assert kinds(shown) == ["TurnStarted", "PromptAppended"]
            gate.opened.set()
    assert kinds(shown)[2:4] == ["VerdictGiven", "TextDelta"]
    assert "".join(delta.text for delta in of(TextDelta, shown)) == "Good day."
    assert of(TurnFinished, shown)[0].text == "Good day."


async def test_a_forbidden_input_is_refused_and_generation_ends() -> None:
    stack = scripted_stack(Say("Never shown.<|eot_id|>", before=lambda: anyio.sleep(60)))
    events = await run(stack, "How do I ...", Terms(input_shields=(Gate(FORBIDDEN),), refusal="No."), "alice")
    assert kinds(events) == ["TurnStarted", "PromptAppended", "VerdictGiven", "TurnFinished"]
    assert (of(TurnFinished, events)[0].text, of(TurnFinished, events)[0].reason) == ("No.", "refused")
    assert of(VerdictGiven, events)[0].verdict == FORBIDDEN
    assert engine_of(stack).running == 0
    assert await logged(stack, "alice") == events


async def test_no_tool_runs_before_the_input_is_cleared() -> None:
    pressed.clear()
    gate = Gate(FORBIDDEN, opened=anyio.Event())
    generated = anyio.Event()
    stack = scripted_stack(Say(call("press", button="red"), after=generated.set))

    async def free() -> None:
        await generated.wait()
        await anyio.wait_all_tasks_blocked()
        gate.opened.set()

    async with anyio.create_task_group() as group:
        group.start_soon(free)
        events = await run(stack, "Press", Terms(registry=Registry([press]), input_shields=(gate,)))
    assert pressed == []
    assert not of(CallStarted, events)


async def test_a_refused_turn_leaves_no_trace_in_the_session() -> None:
    stack = scripted_stack("Hi.<|eot_id|>", "Bad.<|eot_id|>", "Bye.<|eot_id|>", extending=False)
    await run(stack, "Hello", session="alice")
    await run(stack, "Something awful", Terms(input_shields=(Gate(FORBIDDEN),)), "alice")
    await run(stack, "Goodbye", session="alice")
    engine = engine_of(stack)
    text = engine.tokenizer.decode(engine.requests[-1])
    assert "Hi." in text
    assert "awful" not in text


async def test_an_answer_is_withheld_until_the_output_shield_clears_it() -> None:
    gate = Gate(opened=anyio.Event())
    stack = scripted_stack("Good day.<|eot_id|>")
    shown = []

    async def consume() -> None:
        async for event in stack.run_turn([Message("user", "Hello")], Terms(output_shields=(gate,))):
            shown.append(event)

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await gate.asked.wait()
        assert kinds(shown) == ["TurnStarted", "PromptAppended"]
        gate.opened.set()
    assert kinds(shown)[2:] == ["StepFinished", "VerdictGiven", "TextDelta", "TurnFinished"]
    where, messages = gate.seen[0]
    assert where == "output"
    assert [message.role for message in messages] == ["user", "assistant"]


async def test_a_forbidden_answer_reaches_the_log_but_not_the_caller() -> None:
    stack = scripted_stack("Mix the two.<|eot_id|>")
    events = await run(stack, "How?", Terms(output_shields=(Gate(FORBIDDEN),)), "alice")
    assert "Mix" not in repr(events)
    assert of(StepFinished, events)[0].token_ids == ()
    assert of(TurnFinished, events)[0].text == REFUSAL
    assert of(StepFinished, await logged(stack, "alice"))[0].content == "Mix the two."


async def test_an_answer_that_was_cut_is_judged_too() -> None:
    stack = scripted_stack(Say("Mix the", finish="length"))
    events = await run(stack, "How?", Terms(output_shields=(Gate(FORBIDDEN),)))
    assert "Mix" not in repr(events)
    assert of(TurnFinished, events)[0].reason == "refused"


async def test_a_shield_that_breaks_forbids() -> None:
    stack = scripted_stack("Hi.<|eot_id|>")
    events = await run(stack, "Hello", Terms(input_shields=(Gate(error=RuntimeError("no power")),)))
    assert of(TurnFinished, events)[0].reason == "refused"
    assert "RuntimeError: no power" in of(VerdictGiven, events)[0].verdict.reason


@pytest.mark.parametrize("given", [None, True, "safe", Verdict("yes")])  # type: ignore[arg-type]
@pytest.mark.parametrize("place", ["input_shields", "output_shields"])
async def test_a_shield_that_gives_no_verdict_forbids(place: str, given: object) -> None:
    stack = scripted_stack("Hi.<|eot_id|>")
    events = await run(stack, "Hello", Terms(**{place: (Gate(given),)}))  # type: ignore[arg-type]
    assert of(TurnFinished, events)[0].reason == "refused"
    assert "is no Verdict" in of(VerdictGiven, events)[0].verdict.reason


async def test_input_that_ends_with_what_the_guard_cannot_judge_is_refused() -> None:
    stack = scripted_stack("Hi.<|eot_id|>")
    guard = LlamaGuard(ScriptedEngine(["safe<|eot_id|>"]))
    messages = [Message("user", "Hello"), Message("system", "NEVER JUDGED")]
    events = [event async for event in stack.run_turn(messages, Terms(input_shields=(guard,)))]
    assert of(TurnFinished, events)[0].reason == "refused"


async def test_every_shield_must_allow() -> None:
    stack = scripted_stack("Hi.<|eot_id|>")
    events = await run(stack, "Hello", Terms(input_shields=(Gate(name="a"), Gate(FORBIDDEN, name="b"))))
    assert [(given.shield, given.verdict.allowed) for given in of(VerdictGiven, events)] == [("a", True), ("b", False)]
    assert of(TurnFinished, events)[0].reason == "refused"


async def test_input_is_judged_once_a_turn_and_the_answer_at_its_end() -> None:
    gate = Gate()
    stack = scripted_stack(call("press", button="red"), "Pressed.<|eot_id|>")
    terms = Terms(registry=Registry([press]), input_shields=(gate,), output_shields=(gate,))
    events = await run(stack, "Press", terms)
    assert [where for where, _ in gate.seen] == ["input", "output"]
    assert of(TurnFinished, events)[0].text == "Pressed."


async def test_an_engine_that_fails_beside_the_shield_is_an_error_of_its_own() -> None:
    def fail() -> None:
        raise EngineInterrupted("gone")

    stack = scripted_stack(Say("x", before=fail))
    with pytest.raises(EngineInterrupted, match="gone"):
        await run(stack, "Hello", Terms(input_shields=(Gate(opened=anyio.Event()),)), "alice")
    assert of(TurnFailed, await logged(stack, "alice"))
