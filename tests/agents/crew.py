"""What workers of a cluster import: an agent over a scripted engine, and a tool that tells what it did."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import ray

from arriero import Agent, Stack, tool
from arriero.stack.log import open_log
from arriero.stack.stack import Opening
from arriero.testing import call, scripted_stack, when
from arriero.tools import ToolContext

MULES = 12
DEADLY = MULES
"""Weighing this mule kills the worker."""


def opening(log: str) -> Opening:
    """A stack whose model weighs each mule and then says what it weighs."""

    async def opened() -> Stack:
        asked = [when(f"mule {mule}?", call("weigh", mule=mule)) for mule in range(DEADLY + 1)]
        told = [when(f"load of {mule}.", f"Mule {mule} is weighed.") for mule in range(DEADLY + 1)]
        return scripted_stack(*asked, *told, log=open_log(log))

    return Opening(opened)


def failing_opening() -> Opening:
    """A stack that cannot be opened."""

    async def opened() -> Stack:
        return scripted_stack(tokenizer="/nowhere")

    return Opening(opened)


def in_memory() -> Opening:
    """A stack whose log nobody else sees."""

    async def opened() -> Stack:
        return scripted_stack()

    return Opening(opened)


@tool(idempotent=True)
async def weigh(context: ToolContext, mule: int) -> str:
    """Weigh a mule."""
    if mule == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    folder: Path = context.deps
    note = f"{os.getpid()} {mule} {context.idempotency_key} {ray.get_runtime_context().get_node_id()}\n"
    with (folder / "begun").open("a") as file:
        file.write(note)
    while not (folder / "go").exists() and not (folder / f"go {mule}").exists():  # noqa: ASYNC110  a test makes them
        await asyncio.sleep(0.02)
    with (folder / "ended").open("a") as file:
        file.write(note)
    return f"load of {mule}."


def make_agent(stack: Stack) -> Agent[Any, str]:
    """The agent of a worker."""
    return Agent(stack, tools=[weigh], name="scale")
