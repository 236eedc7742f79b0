"""What users write, for the type checker, which `make lint` runs over it. It is never run itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_type

from pydantic import BaseModel

from arriero import Agent, Stack, Tool, Turn, tool
from arriero.agents import Answer, Context, Steps, Template
from arriero.agents.map import Item
from arriero.tools import ToolContext


@dataclass
class Guest:
    """What the agents of a hotel are given."""

    name: str


class Report(BaseModel):
    """What an agent answers."""

    text: str


def greeting(context: Context[Guest]) -> str:
    """Instructions."""
    return f"You help {context.deps.name}."


async def later(context: Context[Guest]) -> str:
    """Instructions that wait."""
    return greeting(context)


def offered(context: Context[Guest], choice: Tool) -> bool:
    """A predicate on tools."""
    return choice.name == context.deps.name


@tool
def book(context: ToolContext[Guest], room: int) -> str:
    """A tool that knows the guest."""
    assert_type(context.deps, Guest)
    return f"{room} for {context.deps.name}"


async def infers(stack: Stack) -> None:
    """The types of agents are inferred from what they are made of."""
    assert_type(Agent(stack), Agent[None, str])
    assert_type(Agent(stack, instructions="Be brief."), Agent[None, str])
    assert_type(Agent(stack, output=Report), Agent[None, Report])
    assert_type(Agent(stack, output=list[Report]), Agent[None, list[Report]])
    assert_type(Agent(stack, output=Answer(Report, by="grammar")), Agent[None, Report])
    assert_type(Agent(stack, output=Answer[int | None](int | None)), Agent[None, int | None])
    optional: Answer[int | None] = Answer(int | None)
    assert_type(Agent(stack, output=optional), Agent[None, int | None])
    templated: Agent[Guest] = Agent(stack, instructions=Template("{{ deps.name }}"))
    assert_type(templated, Agent[Guest, str])
    assert_type(Agent(stack, instructions=greeting), Agent[Guest, str])
    assert_type(Agent(stack, instructions=later, output=Report), Agent[Guest, Report])
    assert_type(Agent(stack, tools_when=offered), Agent[Guest, str])
    assert_type(Agent[Guest](stack, instructions=Template("{{ deps.name }}")), Agent[Guest, str])
    assert_type(Agent[Guest, Report](stack, output=Report), Agent[Guest, Report])


async def gives(stack: Stack) -> None:
    """Turns have the output's type."""
    agent = Agent(stack, instructions=greeting, output=Report)
    turn = await agent.run("Hi", deps=Guest("Ana"))
    assert_type(turn, Turn[Report])
    assert_type(turn.output, Report)
    assert_type(turn.output.text, str)
    assert_type(await agent.resume("s1", deps=Guest("Ana")), Turn[Report])
    assert_type(agent.run_sync("Hi", deps=Guest("Ana")).output, Report)
    async with agent.iterate("Hi", deps=Guest("Ana")) as steps:
        assert_type(steps, Steps[Report])
        assert_type(steps.turn.output, Report)
    async for item in agent.map(["Hi"], deps=Guest("Ana")):
        assert_type(item, Item[Report])
    assert_type((await Agent(stack).run("Hi")).output, str)


def takes(stack: Stack, run: Callable[[str], Awaitable[object]]) -> None:
    """What does not fit is an error; a comment for one that is none is an error itself."""
    Agent(stack, instructions=greeting).run_sync("Hi", deps="Ana")  # type: ignore[arg-type]
    Agent[str](stack, instructions=greeting)  # type: ignore[arg-type]
    Agent[None, int](stack, output=Report)  # type: ignore[arg-type]
    Agent(stack, output=5)  # type: ignore[arg-type]
    run("Hi")
