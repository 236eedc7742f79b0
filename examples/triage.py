"""Support: a front desk answers or hands over, a person approves what cannot be undone, the case is closed.

A durable graph: while it waits for the approval, the process may end. Another one goes on with it, days later.

arriero run examples/triage.py
python examples/triage.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import anyio

from arriero import Agent, Message, Stack, tool
from arriero.agents.handoff import handoff
from arriero.agents.workflow import NodeContext, Workflow, WorkflowProgress
from arriero.stack.decisions import Decision

TICKETS = ("What is the status of P-113?", "Please cancel the booking with booking B-17.")


@tool
def get_status(parcel: str) -> str:
    """Get the status of a parcel.

    Args:
        parcel: The parcel.
    """
    return "at the Salda Pass"


@tool(sensitive=True)
def cancel_booking(booking: str) -> str:
    """Cancel a booking.

    Args:
        booking: The booking.
    """
    return "confirmed"


@dataclass(frozen=True)
class Case:
    """A ticket and what came of it."""

    ticket: str
    answer: str
    solved: bool


async def question_only(messages: Sequence[Message]) -> Sequence[Message]:
    """What the bookings agent takes over: what the customer said."""
    return [message for message in messages if message.role == "user"]


def front_desk(stack: Stack) -> Agent:
    """An agent that knows parcels, and hands over what is about bookings."""
    instructions = "Answer with the tools you are given."
    bookings = Agent(stack, instructions=instructions, tools=[cancel_booking], name="bookings")
    to_bookings = handoff(bookings, name="cancel_booking", description="Cancel a booking.", carry=question_only)
    return Agent(
        stack,
        instructions=instructions,
        tools=[get_status],
        handoffs=[to_bookings],
        tool_choice="required",
        name="front-desk",
    )


flow = Workflow("triage", takes=str, gives=str)


@flow.step(flow.input, idempotent=True)
async def answer(at: NodeContext[Agent], ticket: str) -> Case:
    """What the front desk, or who it hands over to, answers."""
    turn = await at.ask(at.deps, ticket)
    done = all(result.error is None for step in turn.steps for result in step.results)
    return Case(ticket, turn.text, turn.reason == "answer" and done)


@flow.step(answer)
def outcome(case: Case) -> Literal["solved", "open"]:
    """Whether a person must look at it."""
    return "solved" if case.solved else "open"


@flow.step(answer, when=outcome.gave("solved"))
def close(case: Case) -> str:
    """Tell the customer."""
    return f"closed: {case.answer}"


@flow.step(answer, when=outcome.gave("open"))
def escalate(case: Case) -> str:
    """Leave it to a person."""
    return f"left to a person: {case.ticket}"


flow.returns(close, escalate)
deps = front_desk  # `arriero runs resume RUN --program` gives it to the steps


async def main(stack: Stack) -> None:
    """Run each ticket; approve what asks for it."""
    desk = front_desk(stack)
    for ticket in TICKETS:
        with WorkflowProgress() as progress:
            run = await flow.run(ticket, log=stack.log, deps=desk, watch=progress)
        while run.waiting:  # here the process may end: another one resumes the run by its name
            for pending in run.waiting:
                print(f"{pending.id}: {pending.question}")
            decisions = {pending.id: Decision.run(by="ana") for pending in run.waiting}
            run = await flow.resume(run.id, log=stack.log, deps=desk, decisions=decisions)
        print(ticket, run.output)


async def alone() -> None:
    """Run on the bundled model."""
    async with Stack.local() as stack:  # or Stack.connect("http://localhost:8000/v1", log="runs.sqlite")
        await main(stack)


if __name__ == "__main__":
    anyio.run(alone)
