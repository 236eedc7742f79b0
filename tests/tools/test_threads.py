"""Threads of sync tools."""

import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, tool

pytestmark = pytest.mark.anyio

FORKS = """
import os, anyio
from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, tool

@tool
def double(number: int) -> int:
    '''Double a number.'''
    return 2 * number

registry = Registry([double])

def ask() -> str:
    return anyio.run(registry.call, ToolCall("double", {"number": 4})).content

ask()
child = os.fork()
if child == 0:
    os._exit(0 if ask() == "8" else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ask())
"""


async def test_calls_one_after_another_share_a_thread_and_calls_at_once_do_not() -> None:
    together = threading.Barrier(2)

    @tool
    def name(wait: bool) -> str:
        """Name its thread."""
        if wait:
            together.wait(20)
        return str(threading.get_ident())

    registry = Registry([name])
    first = await registry.call(ToolCall("name", {"wait": False}))
    second = await registry.call(ToolCall("name", {"wait": False}))
    assert first.content == second.content
    both = await registry.call_all([ToolCall("name", {"wait": True})] * 2)
    assert both[0].content != both[1].content


async def test_a_thread_keeps_nothing_of_the_context_of_its_last_call() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")

    @tool
    def greet() -> str:
        """Greet, and leave a mark."""
        found = who.get()
        who.set("somebody else")
        return found

    registry = Registry([greet])
    assert (await registry.call(ToolCall("greet", {}))).content == "nobody"
    token = who.set("Zuri")
    assert (await registry.call(ToolCall("greet", {}))).content == "Zuri"
    who.reset(token)
    assert (await registry.call(ToolCall("greet", {}))).content == "nobody"


def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0", "8"], done.stderr
