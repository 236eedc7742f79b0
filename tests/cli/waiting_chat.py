"""Run by `test_commands`: a conversation whose first answer takes for ever."""

import sys
from pathlib import Path

import anyio
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "stack"))

from scripted import Say, scripted_stack

from arriero.agents.agent import Agent
from arriero.agents.chat import converse
from arriero.agents.show import Screen
from arriero.stack.stack import Opening, Stack


async def wait() -> None:
    print("ANSWERING", flush=True)
    await anyio.sleep_forever()


async def open_stack() -> Stack:
    return scripted_stack(Say("Never said.<|eot_id|>", before=wait), "Here I am.<|eot_id|>", extending=False)


well = converse(
    Opening(open_stack),
    Agent,
    Screen(Console(color_system=None), steps=False),
    complain=lambda error: sys.exit(str(error)),
)
sys.exit(not well)
