"""What a tool knows about the call it serves, and how it speaks back while it runs."""

import math
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from arriero.tools.errors import ToolError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tool is.

    Args:
        message: What it is doing, for people.
        done: How much is done, in the tool's own unit.
        total: How much there is to do, in the same unit.
    """

    message: str = ""
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class ThreadLeft:
    """The call was given up, and its thread runs on: Python cannot stop it."""


def _unheard(said: Progress | ThreadLeft) -> None:
    """Nobody listens."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text, estimated where no tokenizer is at hand: a third of its UTF-8 bytes, rounded up.

    English prose has four bytes to a token of Llama 3, code and other languages have fewer.

    Example:
        >>> estimate_tokens("hay for ten mules")
        6
    """
    return -(-len(text.encode("utf-8", "replace")) // 3)


Deps = TypeVar("Deps", default=Any)
"""Type of what an agent's caller gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext(Generic[Deps]):
    """The call that a tool serves. A function whose first parameter is a `ToolContext` is given it.

    `ToolContext[Guest]` says of what type `deps` is, for type checkers alone.

    Args:
        session: Session that the call belongs to; empty outside of one.
        run: The turn's id; empty outside of one.
        call_id: The call's id.
        deadline: When the call is given up, on the clock of `anyio.current_time()`.
        bounded: Whether whoever makes the call ends it at its deadline; else the registry does.
        idempotency_key: Names the call to other services: the same for every attempt, another for every other call.
        deps: What the agent's caller gave for its tools: a database, a client, the user's id. None outside of a turn.
        approved: Whether a person has said already that the call may run.
        question: What an approver is asked in the middle of a call; empty when it is asked about the call itself.
        count_tokens: Tokens of a text, by the model's tokenizer where there is one, else estimated.
        report: Hears the progress.
        ask: Asks a person; None when nobody can answer.

    Example:
        >>> from arriero.tools import tool
        >>> @tool
        ... def count_rows(context: ToolContext, table: str) -> int:
        ...     '''Count the rows of a table.'''
        ...     context.progress("counting", done=0, total=2)
        ...     return 2
        >>> list(count_rows.parameters["properties"])
        ['table']
    """

    session: str = ""
    run: str = ""
    call_id: str = ""
    deadline: float = math.inf
    bounded: bool = field(default=False, repr=False, compare=False)
    idempotency_key: str = ""
    deps: Deps = field(default=cast("Any", None), repr=False, compare=False)
    approved: bool = False
    question: str = ""
    count_tokens: Callable[[str], int] = field(default=estimate_tokens, repr=False, compare=False)
    report: Callable[[Progress | ThreadLeft], None] = field(default=_unheard, repr=False, compare=False)
    ask: Callable[[str], Awaitable[bool]] | None = field(default=None, repr=False, compare=False)

    def progress(self, message: str = "", done: float | None = None, total: float | None = None) -> None:
        """Say how far the call is.

        In a sync tool whose call was given up, this raises: a tool that reports can so be stopped.

        Args:
            message: What is being done, for people.
            done: How much is done, in a unit of the tool's own.
            total: How much there is to do, in the same unit.

        Raises:
            ToolError: The call was given up while the tool's thread ran on.
        """
        self.report(Progress(message, done, total))

    def approve(self, question: str) -> Coroutine[Any, Any, bool]:
        """Ask a person whether to go on. Waiting for the answer does not count towards the tool's timeout.

        Only an async tool can ask, for the answer must be awaited.

        Args:
            question: What to ask.

        Returns:
            Whether they agreed, when it is awaited. What was not awaited is no answer, neither yes nor no.

        Raises:
            ToolError: Nobody can answer, or the answer was not awaited.
        """
        if self.ask is None:
            raise ToolError("this needs the approval of a person, and nobody can be asked here")
        return _Answer(_asked(self.ask, question))


class _Answer(Coroutine[Any, Any, bool]):
    """What a person will say. Any other coroutine is true, and a tool that forgot to await it would go on."""

    def __init__(self, asking: Coroutine[Any, Any, bool]) -> None:
        self._asking = asking

    def __await__(self) -> Generator[Any, Any, bool]:
        return self._asking.__await__()

    def send(self, value: Any) -> Any:
        return self._asking.send(value)

    def throw(self, *error: Any) -> Any:
        return self._asking.throw(*error)

    def close(self) -> None:
        self._asking.close()

    def __bool__(self) -> bool:
        self.close()
        raise ToolError("nobody was asked: an async tool must write `await context.approve(...)`")


async def _asked(ask: Callable[[str], Awaitable[bool]], question: str) -> bool:
    return await ask(question)
