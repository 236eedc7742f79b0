"""A conversation through standard input and output."""

import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import anyio

from arriero.agents.agent import Agent
from arriero.agents.ask import ask_user
from arriero.agents.asking import ask, user_name, waiting_calls
from arriero.agents.background import Background
from arriero.agents.chat_commands import COMMANDS, Talk
from arriero.agents.keyboard import Keyboard
from arriero.agents.show import Presenter, show_events
from arriero.prompts.errors import ArrieroError, InvalidMessage
from arriero.prompts.visible import visible
from arriero.stack.decisions import Decision
from arriero.stack.events import Event, TurnFinished, TurnPaused
from arriero.stack.sessions import NoTurnRunning
from arriero.stack.stack import Opening, Stack
from arriero.tools import Tool, code_interpreter, knowledge_search, web_search

_PROMPT = "> "


def converse(
    opening: Opening,
    make_agent: Callable[[Stack], Agent[Any, Any]],
    presenter: Presenter,
    *,
    session: str | None = None,
    complain: Callable[[ArrieroError], None],
    later: Callable[[str], str],
) -> bool:
    """Answer each line of standard input until it ends. Lines that begin with a slash are commands.

    On a terminal Ctrl-C stops an answer, and ends the conversation at the prompt. What is typed while an answer runs
    is said to the model at its next step.

    Args:
        opening: The stack to open.
        make_agent: Makes the agent that answers.
        presenter: Shows the turns.
        session: Session to begin or continue; None for a new one.
        complain: Tells of a turn that failed; the conversation goes on.
        later: Says how to go on with the turn of a session that is left waiting.

    Returns:
        Whether no turn failed.

    Raises:
        ArrieroError: The stack cannot be opened, or the agent cannot be made.
    """
    with Background() as loop:
        stack = loop.enter(opening)
        agent = make_agent(stack)
        chat = _Chat(loop, stack, agent, presenter, session, complain, later)
        if chat.keyboard.is_terminal:
            offered = ", ".join(agent.tools) or "no tools"
            _say(f"{stack.engine.model} with {offered}; /help lists commands, Ctrl-D ends.")
        try:
            chat.run()
        finally:
            loop.run(agent.aclose)
    return chat.well


def go_on(
    opening: Opening,
    make_agent: Callable[[Stack], Agent[Any, Any]],
    presenter: Presenter,
    *,
    session: str,
    decisions: Mapping[str, Decision],
    complain: Callable[[ArrieroError], None],
    later: Callable[[str], str],
) -> bool:
    """Go on with a session's turn, and ask on a terminal for the decisions that it waits for.

    Args:
        opening: The stack to open, with the session's log.
        make_agent: Makes the agent that has the session.
        presenter: Shows the turn.
        session: The session.
        decisions: What was decided about calls that wait, by their names.
        complain: Tells of a failure.
        later: Says how to go on with the turn when it is left waiting.

    Returns:
        Whether the turn ended with an answer or a refusal.

    Raises:
        ArrieroError: The stack cannot be opened, or the agent cannot be made.
    """
    with Background() as loop:
        stack = loop.enter(opening)
        agent = make_agent(stack)
        chat = _Chat(loop, stack, agent, presenter, session, complain, later)
        try:
            chat.resume(decisions)
        except KeyboardInterrupt:
            presenter.note("stopped", "by Ctrl-C")
            return False
        finally:
            loop.run(agent.aclose)
    return chat.well and chat.answered


def ask_each(
    opening: Opening,
    make_agent: Callable[[Stack], Agent[Any, Any]],
    presenter: Presenter,
    questions: Sequence[str],
    *,
    complain: Callable[[ArrieroError], None],
    later: Callable[[str], str],
    asks: bool = True,
) -> bool:
    """Ask an agent some questions, each in a session of its own. What needs a decision is asked on a terminal.

    Args:
        opening: The stack to open.
        make_agent: Makes the agent that answers.
        presenter: Shows the turns.
        questions: What it is asked.
        complain: Tells of a turn that failed; what is left is not asked then.
        later: Says how to go on with the turn of a session that is left waiting.
        asks: Whether somebody may be asked.

    Returns:
        Whether every turn ended with an answer or a refusal.

    Raises:
        ArrieroError: The stack cannot be opened, or the agent cannot be made.
    """
    well = True
    with Background() as loop:
        stack = loop.enter(opening)
        agent = make_agent(stack)
        try:
            for question in questions:
                chat = _Chat(loop, stack, agent, presenter, None, complain, later)
                presenter.begin("", question)
                chat.ask(question, asks=asks)
                if not chat.well:
                    return False
                well = well and chat.answered
        except KeyboardInterrupt:
            presenter.note("stopped", "by Ctrl-C")
            return False
        finally:
            loop.run(agent.aclose)
    return well


class _Chat(Talk):
    """One conversation: what is typed, and the turns that come of it."""

    def __init__(
        self,
        loop: Background,
        stack: Stack,
        agent: Agent[Any, Any],
        presenter: Presenter,
        session: str | None,
        complain: Callable[[ArrieroError], None],
        later: Callable[[str], str],
    ) -> None:
        super().__init__(stack, agent, presenter, session or uuid4().hex)
        self.later = later
        self.loop = loop
        self.keyboard = Keyboard()
        self.complain = complain
        self.well = True
        self.last: Event | None = None

    def run(self) -> None:
        """Answer line after line."""
        try:
            self._try(partial(self._stoppable, self._settle))
            while True:
                line = self.keyboard.read(_PROMPT).strip()
                if line:
                    self._try(partial(self._command if line.startswith("/") else self._turn, line))
        except EOFError:
            return
        except KeyboardInterrupt:
            self.presenter.note("", None)

    def resume(self, decisions: Mapping[str, Decision]) -> None:
        """Go on with the session's turn."""
        if decisions or not self.loop.run(partial(waiting_calls, self.stack.log, self.session)):
            self._try(lambda: self._show(self.agent.resume_stream(self.session, decisions=decisions)))
        if self.well:
            self._try(self._settle)

    def ask(self, question: str, *, asks: bool) -> None:
        """Have a question answered; where nobody is to be asked, what needs a decision leaves the turn waiting."""
        self._try(lambda: self._show(self.agent.stream(question, session=self.session)))
        if not asks and isinstance(self.last, TurnPaused):
            self._leave()
        elif self.well:
            self._try(self._settle)

    @property
    def answered(self) -> bool:
        """Whether the last turn ended with an answer or a refusal."""
        return isinstance(self.last, TurnFinished) and self.last.reason in ("answer", "refused")

    def _leave(self) -> None:
        self.presenter.note("waits", self.later(self.session), "waits")

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except ArrieroError as error:
            self.complain(error)
            self.well = False

    def _turn(self, line: str) -> None:
        self._stoppable(partial(self._converse, line))

    def _converse(self, line: str) -> None:
        if self._settle():  # what was asked before comes first
            self._show(self.agent.stream(line, session=self.session))
            self._settle()

    def _stoppable(self, work: Callable[[], object]) -> None:
        try:
            work()
        except KeyboardInterrupt:
            self.presenter.note("stopped", "by Ctrl-C")

    def _settle(self) -> bool:
        """Ask about the calls that wait, and go on with the turn. False where somebody leaves it for later."""
        while waiting := self.loop.run(partial(waiting_calls, self.stack.log, self.session)):
            try:
                decisions = ask(waiting, self.keyboard.reply, self._tell, by=user_name())
            except (EOFError, KeyboardInterrupt):
                self._leave()
                return False
            self._show(self.agent.resume_stream(self.session, decisions=decisions))
        return True

    def _command(self, line: str) -> None:
        if line.startswith("//"):
            self._turn(line[1:])
            return
        name, _, rest = line[1:].partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            raise InvalidMessage(f"no command /{name}: /help lists them; // begins a message with a slash")
        self.loop.run(partial(command.run, self, rest.strip()))

    def _tell(self, text: str) -> None:
        self.presenter.note("asks", text, "waits")

    def _show(self, events: AsyncGenerator[Event, None]) -> None:
        seen = self.loop.run(partial(self._watch, events))
        self.last = seen[-1] if seen else None

    async def _watch(self, events: AsyncGenerator[Event, None]) -> Sequence[Event]:
        if not self.keyboard.is_terminal:
            return await show_events(events, self.presenter)
        seen: Sequence[Event] = ()
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen)
            try:
                seen = await show_events(events, self.presenter)
            except Exception as error:  # kept out of the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return seen

    async def _listen(self) -> None:
        """Say to the running turn what is typed meanwhile."""
        while True:
            try:
                line = await self.keyboard.next_line()
            except (EOFError, OSError):
                return
            if not line.strip():
                continue
            try:
                if line.startswith("/"):
                    raise NoTurnRunning("a command is not for the turn")
                await self.agent.say(self.session, line)
            except ArrieroError:
                self.keyboard.put_back(line)


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
        "ask_user": ask_user,
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


def _say(text: str) -> None:
    sys.stderr.write(visible(text) + "\n")
