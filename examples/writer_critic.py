"""A writer and a critic, who go on until the critic is content, but not for ever.

A durable graph with a loop: each draft and each review is on disk.

arriero run examples/writer_critic.py
python examples/writer_critic.py
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from arriero import Agent, Message, Shield, Stack
from arriero.agents.workflow import NodeContext, Workflow, WorkflowProgress
from arriero.tools import web_search

ANGLES = ["the secret of Mount Harrow", "the height of Mount Orla"]


@dataclass(frozen=True)
class Desk:
    """Who writes, and who judges."""

    writer: Agent
    critic: Shield


@dataclass(frozen=True)
class Draft:
    """What was written, and what is left to write about."""

    question: str
    text: str
    angles: list[str]


@dataclass(frozen=True)
class Review:
    """What the critic says of a draft."""

    good: bool
    objection: str
    draft: Draft


@asynccontextmanager
async def desk(stack: Stack) -> AsyncIterator[Desk]:
    """A writer who searches the web, and Llama Guard as the critic."""
    tools = [web_search(provider="offline")]
    writer = Agent(stack, instructions="Answer with the tools you are given.", tools=tools, name="writer")
    yield Desk(writer, stack.shield("llama-guard"))
    await writer.aclose()


flow = Workflow("note", takes=list[str], gives=Review)


@flow.step(flow.input, "review", idempotent=True)
async def write(at: NodeContext[Desk], angles: list[str], review: Review | None = None) -> Draft:
    """A note on the first angle to which the critic has not objected."""
    first, *left = review.draft.angles if review else angles
    question = f"What is {first}?"
    turn = await at.ask(at.deps.writer, question)
    return Draft(question, turn.text, left or [first])


@flow.step(write, idempotent=True)
async def review(at: NodeContext[Desk], draft: Draft) -> Review:
    """Whether the note may be published."""
    said = [Message("user", draft.question), Message("assistant", draft.text)]
    verdict = await at.deps.critic.check(said, "output")
    return Review(verdict.allowed, verdict.reason, draft)


flow.loop(write, review, again=review.gave(False, of="good"), most=4)
flow.returns(review)
deps = desk  # `arriero runs resume RUN --program` gives it to the steps


async def main(stack: Stack) -> None:
    """Run the graph, and print each review and the note."""
    async with desk(stack) as who:
        with WorkflowProgress() as progress:
            run = await flow.run(ANGLES, log=stack.log, deps=who, watch=progress)
    for (node, key), at in run.state.nodes.items():
        print(f"{node} {key}: {at.output}")
    print(run.output.draft.text if run.output.good else f"nothing: {run.output.objection}")


async def alone() -> None:
    """Run on the bundled model."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1")
        await main(stack)


if __name__ == "__main__":
    anyio.run(alone)
