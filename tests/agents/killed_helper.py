"""Run by `test_agent_tool_kills`: an agent in an agent, whose process dies again and again until the turn is over."""

import os
import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[1] / "stack"))

from failing_log import FailingLog

from arriero import Agent, tool
from arriero.stack.decisions import Decision
from arriero.stack.log import open_log
from arriero.testing import call, scripted_stack, when
from arriero.tools import ToolContext

SCRIPT = (
    when("Go", call("helper", task="Work.")),
    when("Work.", call("put", thing="hay")),
    when("put hay", call("pay", amount=5)),
    when("paid 5", "Paid it."),
    when("Paid it.", "All done."),
)
ROUNDS = 60


async def live(address: str, notes: Path, dies_at: int) -> None:
    """Begin the turn, or go on with it, and die after one of the commits."""

    def note(what: str, context: ToolContext) -> None:
        with notes.open("a") as file:
            file.write(f"{what} {context.idempotency_key}\n")

    @tool(idempotent=True)
    def put(context: ToolContext, thing: str) -> str:
        """Put something down."""
        note("put", context)
        return f"put {thing}"

    @tool
    def pay(context: ToolContext, amount: int) -> str:
        """Pay."""
        note("pay", context)
        return f"paid {amount}"

    stack = scripted_stack(*SCRIPT, log=FailingLog(open_log(address), dies_at, "after", "kill"))
    helper = Agent(stack, name="helper", tools=[put, pay])
    agent = Agent(stack, name="outer", tools=[helper.as_tool()])
    begun = await stack.log.length("s1")
    turn = await (agent.resume("s1") if begun else agent.run("Go", session="s1"))
    while turn.reason == "paused":
        paid = "pay" in await anyio.Path(notes).read_text()
        decision = Decision.answer("paid 5") if paid else Decision.run()
        turn = await agent.resume("s1", decisions={turn.waiting[0].id: decision})
    print(turn.text, flush=True)
    await stack.aclose()


def main(address: str, notes: str) -> None:
    """One process after the other, each forked before anything is open."""
    for number in range(ROUNDS):
        if (child := os.fork()) == 0:
            try:
                anyio.run(live, address, Path(notes), 1 + number % 8)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print(number, flush=True)
            os._exit(os.WEXITSTATUS(status))


main(*sys.argv[1:])
