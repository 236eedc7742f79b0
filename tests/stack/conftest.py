"""A session over a scripted engine."""

from collections.abc import Callable, Iterable

import pytest
from scripted import Say, ScriptedEngine

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.stack.events import Event
from arriero.stack.log import SQLiteLog
from arriero.stack.stack import Stack
from arriero.stack.turn import Terms

MakeStack = Callable[..., Stack]


@pytest.fixture
def scripted() -> MakeStack:
    def make(*answers: str | Say, log: SQLiteLog | None = None, **settings: object) -> Stack:
        engine = ScriptedEngine(answers, **settings)  # type: ignore[arg-type]
        return Stack(engine, Dialect.get("llama3.1"), log=log or SQLiteLog(":memory:"))

    return make


async def collect(stack: Stack, text: str, terms: Terms | None = None, session: str | None = None) -> list[Event]:
    return [event async for event in stack.run_turn([Message("user", text)], terms, session=session)]


def of(kind: type, events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]
