"""Run by `test_agent_resume`: another process, which decides about what waits in a log."""

import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent))

from muleteer import agent

from arriero import Stack
from arriero.stack.decisions import Decision
from arriero.stack.events import DecisionAsked


async def main(path: str, session: str) -> None:
    async with Stack.local(log=path) as stack:
        events = [record.event for record in await stack.log.read(session)]
        (asked,) = [event for event in events if isinstance(event, DecisionAsked)]
        name = f"{asked.step}.{asked.position}"
        turn = await agent(stack).resume(session, decisions={name: Decision.run(by="ana")}, deps="second process")
        print(f"{asked.call.name} {turn.reason} {turn.text}")


anyio.run(main, *sys.argv[1:])
