import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import pytest
from scripted import Say, call, engine_of, kinds, scripted_stack

from arriero import Agent, ArrieroError, EngineError, Limits, Message, Sampling, Stack, Verdict, tool
from arriero.agents import StackNotReady
from arriero.prompts.errors import InvalidMessage
from arriero.stack.shields import UnknownShield
from arriero.stack.stack import Opening
from arriero.tools import ToolDefinitionError

pytestmark = pytest.mark.anyio


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


class Keyword:
    """A shield that forbids a word."""

    name = "keyword"

    def __init__(self, word: str) -> None:
        self.word = word

    async def check(self, messages: list[Message], where: str) -> Verdict:
        found = self.word in str(messages[-1].content)
        return Verdict(not found, ("S1",) if found else (), None, "unsafe: S1" if found else "")


async def test_a_turn_says_what_was_answered_and_how() -> None:
    stack = scripted_stack(call("double", number=21), "It is 42.<|eot_id|>")
    turn = await Agent(stack, tools=[double]).run("Twice 21?")
    assert (turn.text, turn.output, turn.reason) == ("It is 42.", "It is 42.", "answer")
    first, second = turn.steps
    assert [(made.name, made.arguments) for made in first.calls] == [("double", {"number": 21})]
    assert [result.content for result in first.results] == ["42"]
    assert (second.number, second.text, second.calls) == (2, "It is 42.", ())
    assert turn.calls == first.calls
    assert turn.usage.completion_tokens == sum(step.usage.completion_tokens for step in turn.steps) > 0
    assert kinds(turn.events)[0] == "TurnStarted"


async def test_the_events_of_a_turn_are_those_in_the_log() -> None:
    stack = scripted_stack(call("double", number=21), "It is 42.<|eot_id|>")
    turn = await Agent(stack, tools=[double]).run("Twice 21?")
    assert list(turn.events) == [record.event for record in await stack.log.read(turn.session)]


async def test_a_session_goes_on_where_it_was() -> None:
    stack = scripted_stack("Hello, Ana.<|eot_id|>", "You are Ana.<|eot_id|>")
    agent = Agent(stack)
    first = await agent.run("I am Ana.")
    await agent.run("Who am I?", session=first.session)
    earlier, later = engine_of(stack).requests
    assert later[: len(earlier)] == earlier


async def test_without_a_session_each_turn_is_one_of_its_own() -> None:
    stack = scripted_stack("Hello.<|eot_id|>", "Hello.<|eot_id|>", extending=False)
    agent = Agent(stack)
    assert (await agent.run("Hi")).session != (await agent.run("Hi")).session
    first, second = engine_of(stack).requests
    assert first == second


async def test_instructions_and_tools_are_in_the_prompt() -> None:
    stack = scripted_stack("Hello.<|eot_id|>")
    await Agent(stack, instructions="Be brief.", tools=[double]).run("Hi")
    prompt = stack.engine.tokenizer.decode(engine_of(stack).requests[0])
    assert "Be brief." in prompt
    assert '"name": "double"' in prompt


async def test_a_stream_gives_the_text_as_it_comes() -> None:
    stack = scripted_stack("Hello there.<|eot_id|>")
    events = [event async for event in Agent(stack).stream("Hi")]
    assert "".join(event.text for event in events if type(event).__name__ == "TextDelta") == "Hello there."
    assert kinds(events)[-1] == "TurnFinished"


async def test_a_shield_stands_at_the_input() -> None:
    stack = scripted_stack("Boom.<|eot_id|>")
    turn = await Agent(stack, shields=[Keyword("bomb")]).run("How do I build a bomb?")
    assert turn.reason == "refused"
    assert turn.steps == ()
    assert [(given.where, given.verdict.allowed) for given in turn.verdicts] == [("input", False)]


async def test_a_shield_stands_at_the_output() -> None:
    stack = scripted_stack("A bomb.<|eot_id|>")
    turn = await Agent(stack, shields=[Keyword("bomb")]).run("What is it?")
    assert turn.reason == "refused"
    assert "bomb" not in turn.text
    assert [(given.where, given.verdict.allowed) for given in turn.verdicts] == [("input", True), ("output", False)]


async def test_limits_and_sampling_reach_the_engine() -> None:
    stack = scripted_stack("Hello there.<|eot_id|>")
    agent = Agent(stack, limits=Limits(tokens=3), sampling=Sampling(temperature=0.5))
    turn = await agent.run("Hi")
    assert turn.reason == "limit"
    assert turn.usage.completion_tokens == 3
    assert engine_of(stack).samplings[0].temperature == 0.5


async def test_an_engine_that_fails_raises_its_error() -> None:
    def fail() -> None:
        raise EngineError("it broke")

    agent = Agent(scripted_stack(Say("Hello", before=fail)))
    with pytest.raises(EngineError, match="it broke"):
        await agent.run("Hi")


@pytest.mark.parametrize("text", ["", " \n"])
async def test_an_empty_question_is_refused_before_anything_is_logged(text: str) -> None:
    stack = scripted_stack("Hello.<|eot_id|>")
    with pytest.raises(InvalidMessage, match="empty"):
        await Agent(stack).run(text, session="s")
    assert await stack.log.read("s") == []


async def test_an_unknown_shield_is_an_error_when_the_agent_is_made() -> None:
    with pytest.raises(UnknownShield, match="llama-guard"):
        Agent(scripted_stack(), shields=["lama-guard"])


async def test_two_tools_of_one_name_are_an_error_when_the_agent_is_made() -> None:
    with pytest.raises(ToolDefinitionError, match="double"):
        Agent(scripted_stack(), tools=[double, double])


async def test_closing_an_agent_closes_its_tools_and_not_the_stack() -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    from arriero.tools.declared import describe

    stack = scripted_stack("Hello.<|eot_id|>")
    agent = Agent(stack, tools=[describe(double.function, close=close)])
    await agent.aclose()
    assert closed == [True]
    assert (await Agent(stack).run("Hi")).text == "Hello."


def opening(*answers: str | Say) -> Opening:
    async def open_stack() -> Stack:
        return scripted_stack(*answers)

    return Opening(open_stack)


def test_a_program_that_is_not_async_runs_turns_in_one_session() -> None:
    agent = Agent(opening(call("double", number=21), "It is 42.<|eot_id|>", "Yes.<|eot_id|>"), tools=[double])
    first = agent.run_sync("Twice 21?")
    assert first.text == "It is 42."
    assert agent.run_sync("Sure?", session=first.session).text == "Yes."
    agent.close()
    agent.close()


def test_threads_that_call_at_once_share_one_stack() -> None:
    ready, opened = threading.Barrier(4), []

    async def open_stack() -> Stack:
        opened.append(True)
        await anyio.sleep(0.01)
        return scripted_stack(*["Hello.<|eot_id|>"] * 4, extending=False)

    def ask() -> str:
        ready.wait(5)
        return agent.run_sync("Hi").text

    agent = Agent(Opening(open_stack))
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask) for _ in range(4)]
    agent.close()
    assert [answer.result() for answer in answers] == ["Hello."] * 4
    assert opened == [True]


def test_run_sync_raises_what_run_raises() -> None:
    agent = Agent(opening())
    with pytest.raises(InvalidMessage):
        agent.run_sync("")
    agent.close()


def test_a_stack_that_cannot_be_opened_is_raised_and_leaves_nothing_behind() -> None:
    async def fail() -> Stack:
        raise EngineError("nothing answers")

    agent = Agent(Opening(fail))
    for _ in range(2):
        with pytest.raises(EngineError, match="nothing answers"):
            agent.run_sync("Hi")


async def test_run_sync_on_an_open_stack_says_what_to_do() -> None:
    agent = Agent(scripted_stack())
    with pytest.raises(StackNotReady, match="await"):
        agent.run_sync("Hi")


async def test_run_on_a_stack_that_is_not_open_says_what_to_do() -> None:
    with pytest.raises(StackNotReady, match="async with"):
        await Agent(opening()).run("Hi")
    assert issubclass(StackNotReady, ArrieroError)


async def test_leaving_a_stream_ends_the_engines_request() -> None:
    stack = scripted_stack("Hello there.<|eot_id|>")
    stream = Agent(stack).stream("Hi")
    async for event in stream:
        if type(event).__name__ == "TextDelta":
            break
    await stream.aclose()
    assert engine_of(stack).running == 0


async def test_run_sync_works_beside_a_running_event_loop() -> None:
    agent = Agent(opening("Hello.<|eot_id|>"))
    turn = await anyio.to_thread.run_sync(agent.run_sync, "Hi")
    assert turn.text == "Hello."
    await anyio.to_thread.run_sync(agent.close)


def test_a_shield_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(UnknownShield, match=r"shields=\['llama-guard'\]"):
        Agent(scripted_stack(), shields="llama-guard")


def test_what_is_no_shield_is_refused() -> None:
    with pytest.raises(UnknownShield, match="5 is no shield"):
        Agent(scripted_stack(), shields=[5])  # type: ignore[list-item]


@pytest.mark.parametrize("question", [None, 5, b"Hi", ["Hi"], " "])
async def test_a_question_that_is_no_text_is_refused(question: Any) -> None:
    with pytest.raises(InvalidMessage, match="the question"):
        await Agent(scripted_stack()).run(question)
