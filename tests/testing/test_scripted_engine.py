"""The scripted engine behaves as a real one: ids in, ids out, and nothing that a session sent may change."""

from typing import Any

import anyio
import pytest
from scripted import of, run

from arriero import Agent, tool
from arriero.models import DEMO
from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.engine import Sampling
from arriero.stack.errors import ContextTooLong, EngineInterrupted, EngineUnavailable
from arriero.stack.events import StepFinished, TranscriptRewritten, TurnFinished
from arriero.stack.log import SQLiteLog
from arriero.stack.stack import Stack
from arriero.testing import Asked, Say, ScriptedEngine, ScriptError, call, scripted_opening, scripted_stack, when
from arriero.testing.calls import written

pytestmark = pytest.mark.anyio


CALLING = [key for key, dialect in DIALECTS.items() if dialect.calls.untagged]
SPOKEN = sorted({name for name, _ in CALLING})


@tool(pure=True)
def weather(town: str, days: int = 1) -> str:
    """The weather of a town.

    Args:
        town: The town.
        days: How many days ahead.
    """
    return f"sunny in {town} for {days}"


def test_all_llamas_that_know_tools_are_among_those_tried() -> None:
    assert set(SPOKEN) == {"llama3.1", "llama3.2", "llama3.2-vision", "llama3.3", "llama4"}


@pytest.mark.parametrize(("name", "source"), CALLING)
@pytest.mark.parametrize(
    "calls",
    [
        [call("weather", town="Faro")],
        [call("weather", town='Évora "centro"\n', days=3)],
        [call("weather", town="Faro"), call("weather", town="Beja", days=2)],
    ],
    ids=["one", "with quotes", "two"],
)
def test_a_call_is_written_so_that_the_dialect_reads_it_back(name: str, source: str, calls: list[ToolCall]) -> None:
    dialect = Dialect.get(name, source)
    read = dialect.parse(written(dialect, calls).text, [weather.declaration])
    assert [(made.name, made.arguments) for made in read.tool_calls] == [(one.name, one.arguments) for one in calls]
    assert read.end in ("end_of_turn", "end_of_message")


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize("tokenizer", [None, DEMO], ids=["bytes", "demo"])
async def test_an_agent_calls_a_tool_and_answers_in_every_dialect(dialect: str, tokenizer: Any) -> None:
    if tokenizer is not None and dialect == "llama4":
        tokenizer = None  # the demo's vocabulary has no special tokens of Llama 4
    script = [call("weather", town="Faro"), "It is sunny."]
    async with scripted_stack(*script, dialect=dialect, tokenizer=tokenizer) as stack:
        turn = await Agent(stack, tools=[weather]).run("How is it in Faro?")
    assert turn.text == "It is sunny."
    assert [result.content for step in turn.steps for result in step.results] == ["sunny in Faro for 1"]


@pytest.mark.parametrize("dialect", ["llama2", "llama3"])
async def test_a_dialect_without_tools_answers_with_text_alone(dialect: str) -> None:
    stack = scripted_stack("Hi.", call("weather", town="Faro"), dialect=dialect)
    assert (await Agent(stack).run("Hello", session="alice")).text == "Hi."
    with pytest.raises(InvalidMessage, match="knows no tools"):
        await Agent(stack).run("And now?", session="alice")


async def test_the_dialect_is_that_of_the_tokenizers_folder() -> None:
    async with scripted_stack("Hi.", tokenizer=DEMO) as stack, Stack.local() as local:
        assert stack.dialect == local.dialect
        assert stack.engine.tokenizer.fingerprint == local.engine.tokenizer.fingerprint


async def test_text_that_ends_no_message_is_ended_as_a_turn() -> None:
    stack = scripted_stack("It is sunny.")
    (said,) = of(StepFinished, await run(stack, "How is it?"))
    assert stack.engine.tokenizer.decode(said.token_ids) == "It is sunny.<|eot_id|>"


async def test_nothing_is_said_after_a_token_that_ends_the_message() -> None:
    stack = scripted_stack("Sunny.<|eot_id|> And windy.")
    (said,) = of(StepFinished, await run(stack, "How is it?"))
    assert stack.engine.tokenizer.decode(said.token_ids) == "Sunny.<|eot_id|>"


async def test_an_argument_that_spells_a_special_token_stays_text() -> None:
    stack = scripted_stack(call("weather", town="<|eot_id|>"), "Where?")
    turn = await Agent(stack, tools=[weather]).run("Go")
    assert turn.calls[0].arguments == {"town": "<|eot_id|>"}


async def test_rules_answer_whatever_the_order() -> None:
    async with scripted_stack(
        when("is it in Faro", call("weather", town="Faro")),
        when("is it in Beja", call("weather", town="Beja")),
        when("sunny in Faro", "Sunny there."),
        when("sunny in Beja", "Sunny here."),
    ) as stack:
        agent = Agent(stack, tools=[weather])
        texts: dict[str, str] = {}

        async def ask(town: str) -> None:
            texts[town] = (await agent.run(f"How is it in {town}?")).text

        async with anyio.create_task_group() as group:
            for town in ("Beja", "Faro"):
                group.start_soon(ask, town)
    assert texts == {"Beja": "Sunny here.", "Faro": "Sunny there."}


async def test_a_rule_sees_what_came_since_the_model_spoke() -> None:
    seen: list[Asked] = []

    def any_request(asked: Asked) -> bool:
        seen.append(asked)
        return False

    stack = scripted_stack(when(any_request, "Never."), call("weather", town="Faro"), "Sunny.", "Bye.")
    agent = Agent(stack, tools=[weather])
    await agent.run("How is it?", session="alice")
    await agent.run("Thanks!", session="alice")
    assert "How is it?" in seen[0].new
    assert "sunny in Faro for 1" in seen[1].new
    assert "How is it?" not in seen[1].new
    assert "Thanks!" in seen[2].new
    assert "Sunny." not in seen[2].new
    assert seen[2].prompt == stack.engine.prompts[2]


async def test_a_rule_may_make_its_answer_of_the_request() -> None:
    stack = scripted_stack(when(lambda asked: True, lambda asked: asked.new[-5:]))
    assert (await Agent(stack).run("What is the word: mules")).text == "mules"


async def test_a_rule_may_be_used_up() -> None:
    stack = scripted_stack(when("Hello", "Once.", times=1), "Then this.")
    assert [(await Agent(stack).run(f"Hello {n}")).text for n in range(2)] == ["Once.", "Then this."]


async def test_a_script_that_is_over_says_what_was_asked() -> None:
    stack = scripted_stack("Hi.")
    await run(stack, "Hello")
    with pytest.raises(ScriptError, match=r"no answer to request 2, which came with .*How are you"):
        await run(stack, "How are you?")
    stack.engine.then("Fine.")
    assert of(TurnFinished, await run(stack, "And now?"))[0].text == "Fine."
    assert stack.engine.unsaid == ()


async def generated(engine: ScriptedEngine, prompt: list[int]) -> list[int]:
    return [id_ async for delta in engine.generate(prompt, Sampling()) for id_ in delta.token_ids]


async def test_a_request_that_changes_what_was_said_is_refused() -> None:
    engine = ScriptedEngine(["Hi.", "Bye."])
    prompt = engine.encode("<|begin_of_text|>Hello")
    said = await generated(engine, prompt)
    with pytest.raises(ScriptError, match=r"does not extend the one before: after .*HelloH' it has 'o' where 'i.'"):
        await generated(engine, [*prompt, *engine.encode("Ho")])
    assert await generated(engine, [*prompt, *said, 1]) == engine.encode("Bye.")


async def test_another_conversation_is_no_change() -> None:
    engine = ScriptedEngine(["Hi.", "Ho.", "Bye."])
    one, other = engine.encode("One"), engine.encode("Other")
    first = await generated(engine, one)
    await generated(engine, other)
    assert await generated(engine, [*one, *first, 7]) == engine.encode("Bye.")


@pytest.mark.parametrize("logged", [True, False])
async def test_a_rewritten_transcript_is_fine_where_the_log_says_so(logged: bool) -> None:
    stack = scripted_stack("Hi.", "Bye.")
    await run(stack, "Hello", session="alice")
    ids = [*stack.engine.requests[0], 5, 6]
    if logged:
        rewritten = TranscriptRewritten("compaction", "mine", (Message("user", "Hello"),), tuple(ids))
        await stack.log.append("alice", "t", await stack.log.length("alice"), [rewritten])
        assert await generated(stack.engine, ids)
        return
    with pytest.raises(ScriptError, match="TranscriptRewritten"):
        await generated(stack.engine, ids)


@pytest.mark.parametrize("fault", [EngineUnavailable("nobody there"), EngineInterrupted("broke off")])
async def test_a_fault_ends_the_answer_after_its_text(fault: Exception) -> None:
    stack = scripted_stack(Say("The mule ", fault=fault), "Still here.")
    events: list[Any] = []
    with pytest.raises(type(fault)):
        await run(stack, "Go", session="alice", into=events)
    assert "".join(event.text for event in events if type(event).__name__ == "TextDelta") == "The mule "
    assert of(TurnFinished, await run(stack, "Go on", session="alice"))[0].text == "Still here."


async def test_an_answer_takes_its_time() -> None:
    stack = scripted_stack(Say("abc", delay=0.05, pace=0.02))
    (end,) = of(TurnFinished, await run(stack, "Go"))
    assert end.duration >= 0.05 + 3 * 0.02


async def test_a_prompt_that_fills_the_context_is_refused_as_by_a_real_engine() -> None:
    engine = ScriptedEngine(["Hi."], context_length=4)
    with pytest.raises(ContextTooLong):
        await generated(engine, [1, 2, 3, 4])


async def test_a_script_may_run_on_a_log_that_others_wrote() -> None:
    log = SQLiteLog(":memory:")
    await run(scripted_stack("Hi.", log=log), "Hello", session="alice")
    stack = scripted_stack("Bye.", log=log)
    await run(stack, "Go", session="alice")
    assert "Hi.<|eot_id|>" in stack.engine.prompts[0]


def test_a_program_without_async_runs_on_a_script() -> None:
    agent = Agent(scripted_opening(call("weather", town="Faro"), "Sunny."), tools=[weather])
    try:
        assert agent.run_sync("How is it?").text == "Sunny."
    finally:
        agent.close()
