"""Run by `test_chat` on a terminal of its own: a conversation with a model that says what a script tells it to.

`scripted_chat.py LOG SCRIPT [SESSION]`; with a session the conversation is not begun, but its turn is gone on with.
"""

import sys

import anyio
from rich.console import Console

from arriero.agents.agent import Agent
from arriero.agents.ask import ask_user
from arriero.agents.chat import converse, go_on
from arriero.agents.show import Screen
from arriero.prompts.messages import ToolCall
from arriero.stack.stack import Opening, Stack
from arriero.testing import Say, scripted_stack
from arriero.tools import tool


async def wait() -> None:
    """An answer that never comes."""
    print("ANSWERING", flush=True)
    await anyio.sleep_forever()


async def wait_until_heard() -> None:
    """An answer that comes when somebody has said something."""
    print("ANSWERING", flush=True)
    await heard.wait()


@tool(sensitive=True)
def erase(path: str) -> str:
    """Erase a file."""
    return f"{path} is gone"


@tool(pure=True)
async def look(place: str) -> str:
    """Look at a place until somebody has said something."""
    print("LOOKING", flush=True)
    await heard.wait()
    return f"{place} is fine"


class Listening(Agent):
    """An agent that tells when something was said to it while its turn runs."""

    async def say(self, session: str, text: str) -> None:
        """Say it, and tell."""
        await super().say(session, text)
        heard.set()


heard = anyio.Event()
SCRIPTS = {
    "waiting": [Say("Never said.", before=wait), "Here I am."],
    "approval": [ToolCall("erase", {"path": "notes"}), "Done with it.", "All is well."],
    "asking late": [Say(calls=(ToolCall("erase", {"path": "notes"}),), before=wait_until_heard), "Done with it."],
    "question": [ToolCall("ask_user", {"question": "Which mule?"}), "I see."],
    "steering": [ToolCall("look", {"place": "Orla"}), "I heard you.", "Still here."],
    "talk": ["First.", "Second.", "Third.", "Fourth."],
}
opened: list[Stack] = []


async def open_stack() -> Stack:
    """The stack, with the log on disk."""
    script = SCRIPTS[sys.argv[2]][len(sys.argv) - 3 :]
    opened.append(scripted_stack(*script, log=sys.argv[1], extending=False))
    return opened[0]


def agent(stack: Stack) -> Agent:
    """The agent."""
    return Listening(stack, tools=[erase, look, ask_user()], name="drover")


def later(session: str) -> str:
    """How to go on."""
    return f"session {session} waits"


def complain(error: Exception) -> None:
    """Tell of an error."""
    print(f"ERROR {error}", flush=True)


screen = Screen(Console(color_system=None), steps=False, folded=True)
if len(sys.argv) > 3:
    well = go_on(Opening(open_stack), agent, screen, session=sys.argv[3], decisions={}, complain=complain, later=later)
else:
    well = converse(Opening(open_stack), agent, screen, session="main", complain=complain, later=later)
sys.exit(not well)
