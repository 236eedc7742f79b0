"""A planner makes tasks of a question, workers do them side by side, a counter puts the results together.

Plain Python: agents are called in async functions and gathered.

arriero run examples/planner.py
python examples/planner.py
"""

import asyncio
import re

from arriero import Agent, Stack, tool
from arriero.tools import code_interpreter, knowledge_search

QUESTION = "Compare the load of Zuri, Bramble and Juniper."


async def plan(stack: Stack, question: str) -> list[str]:
    """The tasks that a question comes to: what the planner calls for."""
    tasks: list[str] = []

    @tool
    def find_load(mule: str) -> str:
        """Find the load of a mule.

        Args:
            mule: Name of the mule.
        """
        tasks.append(f"What is the load of {mule}?")
        return "planned"

    await Agent(stack, instructions="Use the tools. Be brief.", tools=[find_load], name="planner").run(question)
    return tasks


async def work(stack: Stack, tasks: list[str]) -> list[str]:
    """What the documents say to each task."""
    worker = Agent(
        stack, instructions="Answer from the documents and cite them.", tools=[knowledge_search()], name="worker"
    )
    return [turn.text for turn in await asyncio.gather(*map(worker.run, tasks))]


async def total(stack: Stack, findings: list[str]) -> str:
    """The sum of the numbers that were found."""
    counter = Agent(stack, instructions="Use the tools. Be brief.", tools=[code_interpreter()], name="counter")
    *numbers, last = re.findall(r"\d+(?= kilograms)", " ".join(findings))
    turn = await counter.run(f"What is the sum of {', '.join(numbers)} and {last}?")
    await counter.aclose()
    return turn.text


async def main(stack: Stack) -> None:
    """Plan, work, count; print each."""
    tasks = await plan(stack, QUESTION)
    findings = await work(stack, tasks)
    print(QUESTION, *tasks, *findings, await total(stack, findings), sep="\n  ")


async def alone() -> None:
    """Run on the bundled model."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1")
        await main(stack)


if __name__ == "__main__":
    asyncio.run(alone())
