"""A conversation through standard input and output."""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal
from uuid import uuid4

from arriero.agents.agent import Agent
from arriero.agents.background import Background
from arriero.agents.show import Presenter, show_turn
from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.stack.stack import Opening, Stack
from arriero.tools import Tool, code_interpreter, knowledge_search, web_search

_PROMPT = "> "


def converse(
    opening: Opening,
    make_agent: Callable[[Stack], Agent],
    presenter: Presenter,
    *,
    session: str | None = None,
    complain: Callable[[ArrieroError], None],
) -> bool:
    """Answer each line of standard input until it ends.

    On a terminal Ctrl-C stops an answer, and ends the conversation at the prompt.

    Args:
        opening: The stack to open.
        make_agent: Makes the agent that answers.
        presenter: Shows the turns.
        session: Session to begin or continue; None for a new one.
        complain: Tells of a turn that failed; the conversation goes on.

    Returns:
        Whether no turn failed.

    Raises:
        ArrieroError: The stack cannot be opened, or the agent cannot be made.
    """
    session = session or uuid4().hex
    well = True
    with Background() as loop:
        stack = loop.enter(opening)
        agent = make_agent(stack)
        if sys.stdin.isatty():
            sys.stderr.write(f"{stack.engine.model} with {', '.join(agent.tools) or 'no tools'}; Ctrl-D ends.\n")
        try:
            for line in _lines():
                try:
                    loop.run(partial(show_turn, agent, line, presenter, session=session))
                except KeyboardInterrupt:
                    presenter.note("stopped", "by Ctrl-C")
                except ArrieroError as error:
                    complain(error)
                    well = False
        except KeyboardInterrupt:
            presenter.note("", None)
        finally:
            loop.run(agent.aclose)
    return well


def offered(
    names: Sequence[str],
    provider: Literal["offline", "ddgs"] | None,
    documents: Path | None,
    *,
    bundled: bool,
    note: Callable[[str], None],
) -> list[Tool]:
    """The tools of a conversation.

    Args:
        names: Which tools; none for `web_search`, and with the bundled model `code_interpreter`. Other models are
            not given it unasked: what they read on the web could make them run it.
        provider: Where to search; None for the bundled pages with the bundled model, else the live web.
        documents: Folder for `knowledge_search`, which is offered then.
        bundled: Whether the bundled model answers.
        note: Hears that `code_interpreter`, unasked for, is left out because no sandbox holds here.

    Returns:
        The tools.

    Raises:
        NoSandbox: `code_interpreter` was asked for, and no sandbox holds.
    """
    from arriero.tools.sandbox.choose import NoSandbox

    makers: dict[str, Callable[[], Tool]] = {
        "web_search": lambda: web_search(
            provider or ("offline" if bundled else "ddgs"), filters=False if bundled else None
        ),
        "code_interpreter": code_interpreter,
        "knowledge_search": lambda: knowledge_search(documents),
    }
    wanted = [*(names or ("web_search", *(["code_interpreter"] if bundled else [])))]
    wanted += ["knowledge_search"] if documents else []
    tools = []
    for name in dict.fromkeys(wanted):
        try:
            tools.append(makers[name]())
        except NoSandbox as error:
            if names:
                raise
            note(f"{name} is left out: {error}")
    return tools


def _lines() -> Iterator[str]:
    """What the user says, line by line; empty lines are skipped."""
    with suppress(ImportError):
        importlib.import_module("readline")  # importing it gives `input` editing and a history
    while True:
        try:
            line = input(_PROMPT) if sys.stdin.isatty() else _piped()
        except EOFError:
            return
        if line.strip():
            yield line


def _piped() -> str:
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"standard input is not text: {error}") from error
    if not line:
        raise EOFError
    return line
