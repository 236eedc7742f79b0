"""Run by `test_durability`: one turn that prints each event and waits for a line before it goes on."""

import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent))

from scripted import call, scripted_stack

from arriero.prompts.messages import Message
from arriero.stack.event_json import to_json
from arriero.stack.events import TextDelta
from arriero.stack.log import SQLiteLog
from arriero.stack.turn import Terms
from arriero.tools import Registry, tool


@tool
def double(number: int) -> int:
    """Double a number."""
    print("RAN", flush=True)
    return 2 * number


async def main(path: str) -> None:
    stack = scripted_stack(call("double", number=4), "It is 8.<|eot_id|>", log=SQLiteLog(path))
    async for event in stack.run_turn([Message("user", "4?")], Terms(registry=Registry([double])), session="alice"):
        if not isinstance(event, TextDelta):
            print(to_json(event), flush=True)
            sys.stdin.readline()


anyio.run(main, sys.argv[1])
