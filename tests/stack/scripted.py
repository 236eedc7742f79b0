"""Shorthand for tests of the stack, over the scripted engine of `arriero.testing`. Calls are text here, as written."""

from collections.abc import Iterable
from typing import TypeVar

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message, ToolCall
from arriero.stack.events import Event
from arriero.stack.stack import Stack
from arriero.stack.terms import Terms
from arriero.testing import Say, ScriptedEngine, byte_tokenizer, scripted_stack
from arriero.testing.calls import written
from arriero.testing.vocabulary import SPECIALS

__all__ = [
    "SPECIALS",
    "Say",
    "ScriptedEngine",
    "byte_tokenizer",
    "call",
    "engine_of",
    "kinds",
    "logged",
    "of",
    "run",
    "scripted_stack",
]

T = TypeVar("T")


def engine_of(stack: Stack) -> ScriptedEngine:
    assert isinstance(stack.engine, ScriptedEngine)
    return stack.engine


async def run(
    stack: Stack, text: str, terms: Terms | None = None, session: str | None = None, into: list[Event] | None = None
) -> list[Event]:
    """All events of a turn with one user message; `into` keeps those of a turn that raises."""
    events = [] if into is None else into
    async for event in stack.run_turn([Message("user", text)], terms, session=session):
        events.append(event)
    return events


async def logged(stack: Stack, session: str) -> list[Event]:
    """All events of a session as they are on disk."""
    return [record.event for record in await stack.log.read(session)]


def of(kind: type[T], events: Iterable[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def kinds(events: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def call(name: str, /, **arguments: object) -> str:
    """A call as a Llama 3.1 writes it."""
    return written(Dialect.get("llama3.1"), [ToolCall(name, arguments)]).text
