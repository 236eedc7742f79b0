"""Handoffs: who has the conversation, what is carried over, and who goes on with it later."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import call, engine_of, of, scripted_stack

from arriero import Agent, Message, SQLiteLog, Stack, tool
from arriero.agents import UnusableOutput
from arriero.agents.handoff import UnknownAgent, handoff, holder
from arriero.stack.decisions import Decision
from arriero.stack.events import HandedOff, TranscriptRewritten, TurnStarted
from arriero.stack.summary import ASKED
from arriero.tools import ToolDefinitionError

pytestmark = pytest.mark.anyio

TRANSFER = call("transfer_to_billing")


@tool
def bill(number: int) -> str:
    """Get a bill."""
    return f"bill {number}: 40 pesos"


def crew(stack: Stack, **settings: Any) -> Agent[Any, Any]:
    billing = Agent(stack, instructions="You know all bills.", tools=[bill], name="billing")
    return Agent(stack, instructions="You are the first.", handoffs=[handoff(billing, **settings)], name="triage")


def asked(stack: Stack, number: int) -> str:
    return engine_of(stack).tokenizer.decode(engine_of(stack).requests[number])


async def test_the_other_agent_answers_in_the_same_turn_with_its_own_instructions_and_tools() -> None:
    stack = scripted_stack(TRANSFER, call("bill", number=7), "40 pesos.<|eot_id|>")
    turn = await crew(stack).run("What does bill 7 say?", session="s1")
    assert turn.text == "40 pesos."
    assert of(HandedOff, turn.events) == [HandedOff(1, "billing")]
    (rewritten,) = of(TranscriptRewritten, turn.events)
    assert (rewritten.reason, rewritten.policy) == ("handoff", "all")
    first, second = asked(stack, 0), asked(stack, 1)
    assert "You are the first." in first
    assert '"transfer_to_billing"' in first
    assert '"bill"' not in first
    assert "You know all bills." in second
    assert "You are the first." not in second
    assert "What does bill 7 say?" in second


async def test_the_next_turn_is_the_other_agents_also_in_another_process(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite")
    await crew(scripted_stack(TRANSFER, "Yes?<|eot_id|>", log=log)).run("A bill, please.", session="s1")
    await log.aclose()

    log = SQLiteLog(tmp_path / "log.sqlite")
    stack = scripted_stack("Bill 7.<|eot_id|>", log=log)
    turn = await crew(stack).run("Number 7.", session="s1")
    assert of(TurnStarted, turn.events)[0].agent == "billing"
    assert not of(TranscriptRewritten, turn.events)
    assert "You know all bills." in asked(stack, 0)
    await log.aclose()


async def test_an_agent_that_nobody_knows_is_an_error_before_anything_is_logged(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite")
    await crew(scripted_stack(TRANSFER, "Yes?<|eot_id|>", log=log)).run("A bill, please.", session="s1")
    length = await log.length("s1")
    stack = scripted_stack("Hm.<|eot_id|>", log=log)
    other = Agent(stack, name="other", handoffs=[handoff(Agent(stack, name="refunds"))])
    with pytest.raises(UnknownAgent, match="held by the agent 'billing', and 'other' hands over to none"):
        await other.run("Number 7.", session="s1")
    assert await log.length("s1") == length
    await log.aclose()


async def test_the_holder_is_found_along_a_chain_of_handoffs() -> None:
    stack = scripted_stack()
    last = Agent(stack, name="last")
    middle = Agent(stack, name="middle", handoffs=[handoff(last)])
    first = Agent(stack, name="first", handoffs=[handoff(middle)])
    assert holder(first, "last") is last
    assert holder(first, "first") is first
    assert holder(first, "") is first


async def test_two_agents_may_hand_over_to_each_other() -> None:
    stack = scripted_stack(TRANSFER, call("back"), "Here I am again.<|eot_id|>")
    agents: list[Agent[Any, Any]] = []
    billing = Agent(stack, name="billing", instructions="B", handoffs=[handoff(lambda: agents[0], name="back")])
    agents.append(Agent(stack, name="triage", instructions="A", handoffs=[handoff(billing)]))
    turn = await agents[0].run("A bill!", session="s1")
    assert [event.agent for event in of(HandedOff, turn.events)] == ["billing", "triage"]
    assert turn.text == "Here I am again."
    with pytest.raises(UnknownAgent):
        holder(agents[0], "nobody")


async def test_an_agent_that_takes_over_answers_with_the_type_of_the_one_that_was_asked() -> None:
    stack = scripted_stack(TRANSFER, "7<|eot_id|>")
    for output in (str, bool):
        billing = Agent(stack, name="billing", output=output)
        triage = Agent(stack, name="triage", output=int, handoffs=[handoff(billing)])
        with pytest.raises(UnusableOutput, match=f"'billing', which may take over, with .*{output.__name__}"):
            await triage.run("My bill!")
    assert not engine_of(stack).requests
    billing = Agent(stack, name="billing", output=int)
    triage = Agent(stack, name="triage", output=int, handoffs=[handoff(billing)])
    assert (await triage.run("My bill!")).output == 7


async def test_an_agent_that_takes_over_calls_first_where_it_must() -> None:
    @tool(sensitive=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    stack = scripted_stack(TRANSFER, call("pay"), "Paid.<|eot_id|>")
    billing = Agent(stack, name="billing", tools=[pay], tool_choice="required")
    triage = Agent(stack, name="triage", handoffs=[handoff(billing)])
    assert (await triage.run("Pay!", session="s1")).reason == "paused"
    await triage.resume("s1", decisions={"2.0": Decision.run()})
    assert [sampling.grammar is not None for sampling in engine_of(stack).samplings] == [False, True, False]


async def test_agents_of_one_name_cannot_hand_over_to_each_other() -> None:
    stack = scripted_stack()
    with pytest.raises(ToolDefinitionError, match="same name"):
        await Agent(stack, handoffs=[handoff(Agent(stack))]).run("Hi")


def test_what_is_no_handoff_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match=r"handoff\(agent\)"):
        Agent(scripted_stack(), handoffs=[Agent(scripted_stack())])  # type: ignore[list-item]


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="give name="):
        handoff(lambda: Agent(Stack.local()))


async def test_a_summary_of_what_was_before_is_carried_over() -> None:
    stack = scripted_stack(
        "Hello, Ana.<|eot_id|>", TRANSFER, "The user is Ana.<|eot_id|>", "40 pesos.<|eot_id|>", extending=False
    )
    agent = crew(stack, carry="summary")
    await agent.run("I am Ana, and I live in Salta.", session="s1")
    turn = await agent.run("What is my bill?", session="s1")
    (rewritten,) = of(TranscriptRewritten, turn.events)
    contents = [message.content for message in rewritten.messages]
    assert contents[:4] == ["You know all bills.", ASKED, "The user is Ana.", "What is my bill?"]
    assert "Salta" not in asked(stack, 3)


async def test_a_function_makes_what_is_carried_over_and_sees_no_system_message() -> None:
    seen: list[Message] = []

    async def last_question(messages: Sequence[Message]) -> list[Message]:
        seen.extend(messages)
        return [message for message in messages if message.role == "user"][-1:]

    stack = scripted_stack(TRANSFER, "40 pesos.<|eot_id|>")
    turn = await crew(stack, carry=last_question).run("My bill!", session="s1")
    (rewritten,) = of(TranscriptRewritten, turn.events)
    assert [message.content for message in rewritten.messages] == ["You know all bills.", "My bill!"]
    assert rewritten.policy == "last_question"
    assert all(message.role != "system" for message in seen)


async def test_names_and_descriptions_are_what_the_model_reads() -> None:
    stack = scripted_stack("Hm.<|eot_id|>")
    billing = Agent(stack, name="billing")
    other = Agent(stack, name="other agent")
    given = [handoff(billing), handoff(other, name="other", description="For all else.")]
    declared = [entry.tool.declaration["function"] for entry in given]
    assert [(one["name"], one["description"]) for one in declared] == [
        ("transfer_to_billing", "Hand the conversation over to billing."),
        ("other", "For all else."),
    ]
    with pytest.raises(ToolDefinitionError, match="use 1 to 64 letters"):
        handoff(other)
