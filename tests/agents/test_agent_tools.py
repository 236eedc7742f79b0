from typing import Any

import pytest
from scripted import call, logged, scripted_stack

from arriero.agents.agent import Agent
from arriero.agents.handoff import handoff
from arriero.tools import Registry, Tool, ToolContext, ToolDefinitionError, tool

pytestmark = pytest.mark.anyio

DONE = "Done.<|eot_id|>"


async def test_an_agents_turn_holds_what_is_logged_and_no_progress() -> None:
    @tool
    async def work(context: ToolContext) -> str:
        """Work."""
        context.progress("working")
        return "done"

    stack = scripted_stack(call("work"), DONE)
    turn = await Agent(stack, tools=[work]).run("Go", session="alice")
    assert list(turn.events) == await logged(stack, "alice")


async def test_an_agent_takes_a_filtered_registry_and_leaves_it_open() -> None:
    closed = []

    async def close() -> None:
        closed.append(True)

    async def handler(arguments: Any, context: ToolContext) -> str:
        return ""

    lent = Tool(name="lent", description="", parameters={}, handler=handler, close=close)
    other = Tool(name="other", description="", parameters={}, handler=handler)
    registry = Registry([lent, other])
    agent = Agent(scripted_stack(DONE), tools=registry.only("lent"))
    assert agent.tools == ("lent",)
    await agent.aclose()
    assert not closed
    await Agent(scripted_stack(DONE), tools=[lent]).aclose()
    assert closed


async def test_a_handoff_is_one_more_tool_beside_those_of_a_lent_registry() -> None:
    async def handler(arguments: Any, context: ToolContext) -> str:
        return ""

    lent = Registry([Tool(name="lent", description="", parameters={}, handler=handler)])
    other = Agent(scripted_stack(), name="other")
    agent = Agent(scripted_stack(), tools=lent, handoffs=[handoff(other)])
    assert agent.tools == ("lent", "transfer_to_other")
    assert lent.names == ("lent",)
    with pytest.raises(ToolDefinitionError, match="transfer_to_other"):
        Agent(scripted_stack(), tools=agent.registry, handoffs=[handoff(other)])
