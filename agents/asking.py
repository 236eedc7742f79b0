"""Decisions of people: how they write them, and how they are asked for them."""

import getpass
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from arriero.agents.turn import Waiting
from arriero.agents.wording import call_text
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.log import EventLog
from arriero.stack.tape import fold

_SHAPES = "run, deny, deny:REASON, edit:{JSON} or answer:TEXT"
_HELP = "y runs it, n [REASON] does not, e {JSON} runs it with other arguments"


def read_decision(text: str, *, by: str = "") -> Decision:
    """Read a decision as a command line has it.

    Args:
        text: `run`, `deny`, `deny:REASON`, `edit:{JSON}` or `answer:TEXT`.
        by: Who decided.

    Returns:
        The decision.

    Raises:
        InvalidDecision: It is none of these.

    Example:
        >>> read_decision("deny:too expensive").text
        'too expensive'
    """
    choice, colon, rest = text.partition(":")
    match choice.strip(), colon:
        case "run", "":
            return Decision.run(by=by)
        case "deny", _:
            return Decision.deny(rest.strip(), by=by)
        case "edit", ":":
            return Decision.edit(_arguments(rest), by=by)
        case "answer", ":":
            return Decision.answer(rest.strip(), by=by)
    raise InvalidDecision(f"no decision: {text!r}; write {_SHAPES}")


def read_decisions(texts: Iterable[str], *, by: str = "") -> dict[str, Decision]:
    """Read decisions with the names of the calls that they are about.

    Args:
        texts: Each `NAME=DECISION`, such as `2.0=run`.
        by: Who decided.

    Returns:
        The decisions, by name.

    Raises:
        InvalidDecision: One is not of that shape, or two are about one call.

    Example:
        >>> read_decisions(["2.0=run", "2.1=deny"])["2.1"].choice
        'deny'
    """
    decisions: dict[str, Decision] = {}
    for text in texts:
        name, equals, decision = text.partition("=")
        if not equals or not name.strip():
            raise InvalidDecision(f"no decision about a call: {text!r}; write NAME=DECISION, such as 2.0=run")
        if name.strip() in decisions:
            raise InvalidDecision(f"two decisions are about {name.strip()}: give one")
        decisions[name.strip()] = read_decision(decision, by=by)
    return decisions


def read_reply(text: str, waiting: Waiting, *, by: str = "") -> Decision:
    """Read what somebody typed who was asked about a call.

    Args:
        text: `y`, `n`, `n REASON` or `e {JSON}`; the answer itself where the call is a question to the user.
        waiting: The call.
        by: Who decided.

    Returns:
        The decision.

    Raises:
        InvalidDecision: It is none of these.

    Example:
        >>> from arriero.prompts.messages import ToolCall
        >>> call = Waiting("2.0", ToolCall("erase", {"path": "a"}), "approval")
        >>> read_reply('e {"path": "b"}', call).arguments
        {'path': 'b'}
    """
    word, _, rest = text.strip().partition(" ")
    if waiting.asked == "answer":
        if not text.strip():
            raise InvalidDecision("the answer is empty: write some text")
        return Decision.answer(text.strip(), by=by)
    match word.lower():
        case "y" | "yes" | "run" if not rest.strip():
            return Decision.run(by=by)
        case "n" | "no" | "deny":
            return Decision.deny(rest.strip(), by=by)
        case "e" | "edit":
            return Decision.edit(_arguments(rest), by=by)
    raise InvalidDecision(f"not understood: {text.strip()!r}; {_HELP}")


def ask(
    waiting: Sequence[Waiting], read: Callable[[str], str], tell: Callable[[str], None], *, by: str = ""
) -> Mapping[str, Decision]:
    """Ask somebody about calls that wait, one after the other.

    Args:
        waiting: The calls.
        read: Reads a line, given what to prompt with.
        tell: Shows a text.
        by: Who is asked.

    Returns:
        What they decided, by the calls' names.

    Raises:
        EOFError: From `read`: they leave it undecided.

    Example:
        >>> from arriero.prompts.messages import ToolCall
        >>> call = Waiting("2.0", ToolCall("erase", {"path": "a"}), "approval")
        >>> ask([call], lambda prompt: "n not yours", print)["2.0"].text
        May this run? erase(path="a")
        'not yours'
    """
    decisions = {}
    for one in waiting:
        tell(one.question or f"May this run? {call_text(one.call)}")
        prompt = "answer> " if one.asked == "answer" else "run it? [y/n/e] "
        while one.id not in decisions:
            try:
                decisions[one.id] = read_reply(read(prompt), one, by=by)
            except InvalidDecision as error:
                tell(str(error))
    return decisions


def user_name() -> str:
    """Name of who sits at this machine, for decisions; empty where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return ""


async def waiting_calls(log: EventLog, session: str) -> tuple[Waiting, ...]:
    """Calls of a session that wait for somebody's decision.

    Args:
        log: The log.
        session: The session.

    Returns:
        The calls.

    Raises:
        LogError: The log could not be read.

    Example:
        >>> import anyio
        >>> from arriero import SQLiteLog
        >>> anyio.run(waiting_calls, SQLiteLog(":memory:"), "alice")
        ()
    """
    turn = fold(session, await log.read(session)).turn
    if turn is None:
        return ()
    return tuple(
        Waiting(f"{turn.step}.{position}", state.call, state.asked.asked, state.asked.question)
        for position, state in enumerate(turn.states)
        if state.waits and state.asked is not None
    )


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDecision(f"the arguments are not JSON: {error}; write them as an object") from error
    if not isinstance(arguments, dict):
        raise InvalidDecision(f"the arguments are {text.strip()[:40]!r}: write them as an object")
    return arguments
