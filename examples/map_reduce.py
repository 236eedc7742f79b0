"""Ask one thing of many documents, side by side, and make one answer of all.

A durable graph: each document's answer is on disk, and a run whose process died goes on with the others.

arriero run examples/map_reduce.py
python examples/map_reduce.py
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from arriero import Agent, Stack
from arriero.agents.workflow import NodeContext, Retry, Workflow, WorkflowProgress
from arriero.tools import code_interpreter, knowledge_search

MULES = ["Zuri", "Bramble", "Juniper"]


@dataclass(frozen=True)
class Crew:
    """Who does it."""

    reader: Agent
    counter: Agent


@asynccontextmanager
async def crew(stack: Stack) -> AsyncIterator[Crew]:
    """An agent that reads the handbook, and one that calculates."""
    reader = Agent(
        stack, instructions="Answer from the documents and cite them.", tools=[knowledge_search()], name="reader"
    )
    counter = Agent(stack, instructions="Use the tools. Be brief.", tools=[code_interpreter()], name="counter")
    yield Crew(reader, counter)
    await reader.aclose()
    await counter.aclose()


flow = Workflow("loads", takes=list[str], gives=str)


@flow.map(flow.input, at_once=4, retry=Retry(attempts=2), idempotent=True)
async def read(at: NodeContext[Crew], mule: str) -> int:
    """What the handbook says of one mule."""
    turn = await at.ask(at.deps.reader, f"What is the load of {mule}?")
    found = re.search(r"is (\d+) kilograms", turn.text)
    if found is None:
        raise ValueError(f"no load of {mule}: {turn.text}")
    return int(found[1])


@flow.step(read, idempotent=True)
async def add(at: NodeContext[Crew], loads: list[int]) -> str:
    """What all of them carry together."""
    *first, last = map(str, loads)
    turn = await at.ask(at.deps.counter, f"What is the sum of {', '.join(first)} and {last}?")
    return turn.text


flow.returns(add)
deps = crew  # `arriero runs resume RUN --program` gives it to the steps


async def main(stack: Stack) -> None:
    """Run the graph, and print how it went."""
    async with crew(stack) as who:
        with WorkflowProgress() as progress:
            run = await flow.run(MULES, log=stack.log, deps=who, watch=progress)
    print(f"What do {', '.join(MULES)} carry? {run.output}")
    print(flow.mermaid(run.state))


async def alone() -> None:
    """Run on the bundled model."""
    async with Stack.local() as stack:  # Stack.local(log="runs.sqlite") keeps the run for flow.resume(...)
        await main(stack)


if __name__ == "__main__":
    anyio.run(alone)
