"""Commands of a conversation: lines that begin with a slash."""

import io
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from arriero.agents.agent import Agent
from arriero.agents.context import Context
from arriero.agents.show import Presenter
from arriero.agents.tree import print_tree, total, tree
from arriero.agents.wording import age_text
from arriero.prompts.errors import InvalidMessage
from arriero.stack.events import StepFinished
from arriero.stack.stack import Stack
from arriero.stack.tape import fold

_SHOWN = 20


class Talk:
    """Who talks, about what, and where it is shown.

    Args:
        stack: The stack.
        agent: The agent that answers.
        presenter: Shows turns, and what commands say.
        session: The session.
    """

    def __init__(self, stack: Stack, agent: Agent[Any, Any], presenter: Presenter, session: str) -> None:
        self.stack = stack
        self.agent = agent
        self.presenter = presenter
        self.session = session

    def tell(self, kind: str, text: str) -> None:
        """Show what a command says."""
        self.presenter.note(kind, text, "")

    def move(self, session: str) -> None:
        """Go on in another session."""
        self.session = session
        self.tell("session", session)


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Args:
        usage: How it is written.
        does: What it does, in a few words.
        run: Does it, given what stands after its name.
    """

    usage: str
    does: str
    run: Callable[[Talk, str], Awaitable[None]]


async def _help(talk: Talk, _: str) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    talk.tell("help", "\n".join(f"{command.usage:<{width}}  {command.does}" for command in COMMANDS.values()))


async def _tools(talk: Talk, _: str) -> None:
    terms = await talk.agent.terms(talk.stack, Context(None, talk.session, talk.agent.name, 0))
    tools = list(terms.registry)
    width = max((len(tool.name) for tool in tools), default=0)
    lines = (
        f"{tool.name:<{width}}  {' '.join(tool.description.split())}{' (asks for approval)' if tool.sensitive else ''}"
        for tool in tools
    )
    talk.tell("tools", "\n".join(lines) or "there are none")


async def _tokens(talk: Talk, _: str) -> None:
    records = await talk.stack.log.read(talk.session)
    length, most = len(fold(talk.session, records).ids), talk.stack.engine.context_length
    usage = total(record.event.usage for record in records if isinstance(record.event, StepFinished))
    share = f"{(usage.cached_tokens or 0) / usage.prompt_tokens:.0%}" if usage.prompt_tokens else "none"
    talk.tell(
        "tokens",
        f"{length} in the conversation, {max(0, most - length)} of {most} left\n"
        f"{usage.prompt_tokens} read in all, {share} of them cached; {usage.completion_tokens} written",
    )


async def _sessions(talk: Talk, _: str) -> None:
    turns = await talk.stack.log.turns()
    latest = {turn.session: turn for turn in reversed(turns)}
    now = time.time()
    rows = []
    for session, turn in sorted(latest.items(), key=lambda entry: -entry[1].updated):
        mark, state = "*" if session == talk.session else " ", turn.reason or turn.state
        rows.append(f"{mark} {session}  {state}, {age_text(now - turn.updated)} ago")
    more = [f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    talk.tell("sessions", "\n".join(rows[:_SHOWN] + more) or "there are none")


async def _new(talk: Talk, name: str) -> None:
    await _check_new(talk, name)
    talk.move(name or uuid4().hex)


async def _open(talk: Talk, name: str) -> None:
    if not name or not await talk.stack.log.length(name):
        raise InvalidMessage(f"there is no session {name!r}: /sessions lists them, /new begins one")
    talk.move(name)


async def _fork(talk: Talk, name: str) -> None:
    if not await talk.stack.log.length(talk.session):
        raise InvalidMessage("there is nothing to fork: nothing was said yet")
    await _check_new(talk, name)
    talk.move(await talk.stack.fork(talk.session, into=name or None))


async def _check_new(talk: Talk, name: str) -> None:
    if name and await talk.stack.log.length(name):
        raise InvalidMessage(f"there is a session {name!r} already: /open {name} goes on with it")


async def _undo(talk: Talk, _: str) -> None:
    turns = await talk.stack.log.turns(talk.session)
    if not turns:
        raise InvalidMessage("there is nothing to undo: nothing was said yet")
    last = max(turns, key=lambda turn: turn.first)
    talk.move(await talk.stack.fork(talk.session, at=last.first - 1) if last.first else uuid4().hex)


async def _steps(talk: Talk, _: str) -> None:
    from rich.console import Console

    records = await talk.stack.log.read(talk.session)
    last = [record for record in records if record.turn == records[-1].turn]
    text = io.StringIO()
    print_tree(Console(file=text, color_system=None), tree(last))
    talk.tell("steps", text.getvalue().rstrip() or "nothing was said yet")


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "help": Command("/help", "list the commands", _help),
        "steps": Command("/steps", "unfold the last turn: prompts, calls, results, times", _steps),
        "tools": Command("/tools", "list the tools", _tools),
        "tokens": Command("/tokens", "tokens of the conversation, room left, share from the cache", _tokens),
        "sessions": Command("/sessions", "list the sessions of the log", _sessions),
        "new": Command("/new [NAME]", "begin another session", _new),
        "open": Command("/open NAME", "go on with a session", _open),
        "fork": Command("/fork [NAME]", "go on in a copy of this session", _fork),
        "undo": Command("/undo", "go on in a copy without the last turn", _undo),
    }
)
"""The commands, by name."""
