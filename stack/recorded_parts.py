"""What a recorded session gives the turn loop in the place of a model, tools, shields and handoffs."""

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, islice, takewhile
from typing import Any

import anyio

from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.tokens import Tokenizer
from arriero.stack.dispatch import call_key
from arriero.stack.engine import Delta, Sampling
from arriero.stack.events import (
    CallFinished,
    CallStarted,
    DecisionAsked,
    HandedOff,
    MessageAdded,
    StepFinished,
    TranscriptRewritten,
    VerdictGiven,
)
from arriero.stack.log import LogError
from arriero.stack.recorded_session import RecordedSession
from arriero.stack.shields import Place, Verdict
from arriero.stack.terms import Handoff
from arriero.tools import Registry, Tool, ToolContext, ToolResult
from arriero.tools.calling import PausedResult

_ROOM = 2**31
"""The context of a model that never was too short: where one was, the log says so."""

_CARRIED = TranscriptRewritten("handoff", "", (Message("user", "?"),), ())
"""Stands for what was carried over, where the log ends before it tells: a branch of another session."""

_PACE = 0.01
_DATE = re.compile(r"Today Date: (.+)")


class RecordedEngine:
    """Gives the ids of the log.

    Args:
        session: The recorded session.
        tokenizer: The model's.
        model: Its name.
        stop_ids: Ids that end a message.
    """

    def __init__(self, session: RecordedSession, tokenizer: Tokenizer, model: str, stop_ids: Sequence[int]) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._session, self._stop_ids = session, frozenset(stop_ids)

    @property
    def context_length(self) -> int:
        """Without end, but where the log tells of a policy that shortened the conversation."""
        ahead = self._session.prompt_ahead()
        return len(ahead.token_ids) + 1 if isinstance(ahead, TranscriptRewritten) and is_compacted(ahead) else _ROOM

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The next message of the log, at once."""
        said = next((event for event in self._session.ahead() if isinstance(event, StepFinished)), None)
        while said is None:  # the turn is cut before its answer, perhaps by a verdict that waits for a token
            yield Delta()
            await anyio.sleep(_PACE)
        ended = bool(said.token_ids) and said.token_ids[-1] in self._stop_ids
        yield Delta(said.token_ids, (), "stop" if ended else "length", said.usage)

    async def aclose(self) -> None:
        """There is nothing to release."""


class RecordedTools(Registry):
    """Gives the results of the log, whether the tools still exist or not.

    Args:
        session: The recorded session.
        declarations: What the prompt declares.
        builtins: Built-in tools that it turns on.
    """

    def __init__(
        self, session: RecordedSession, declarations: Iterable[Mapping[str, Any]], builtins: Sequence[str]
    ) -> None:
        self._session = session
        asked = [event for event in session.of_turn() if isinstance(event, DecisionAsked) and not event.nested]
        self._approval = {event.call.name for event in asked if event.asked == "approval"}
        self._interrupted = {event.call.name for event in asked if event.asked == "interrupted"}
        super().__init__([*map(self._declared, declarations), *map(self._builtin, builtins)])

    async def call(self, call: ToolCall, context: ToolContext | None = None) -> ToolResult:
        """The result that the log has, when its turn has come."""
        context = context or ToolContext()
        while True:
            for event in self._session.ahead():
                if isinstance(event, CallFinished | DecisionAsked) and _is_of(event, context):
                    if isinstance(event, CallFinished):
                        return event.result
                    return PausedResult(call, "", event.question, asked=event.asked, nested=event.nested)
                if not isinstance(event, CallFinished | CallStarted | DecisionAsked):
                    break
            await self._session.changed()

    def _declared(self, declaration: Mapping[str, Any]) -> Tool:
        function = declaration["function"]
        return self._tool(function["name"], function.get("description", ""), function.get("parameters", {}))

    def _builtin(self, name: str) -> Tool:
        return replace(self._tool(name, "", {}), builtin=name)

    def _tool(self, name: str, description: str, parameters: Mapping[str, Any]) -> Tool:
        return Tool(
            name=name,
            description=description,
            parameters=parameters,
            handler=_never_run,
            idempotent=name not in self._interrupted,
            sensitive=name in self._approval,
        )


@dataclass(frozen=True, slots=True)
class RecordedShield:
    """Says what the log says that it said.

    Args:
        session: The recorded session.
        name: Its name.
        place: Which of the shields of a place it is, from 0.
    """

    session: RecordedSession
    name: str
    place: int

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        """The next verdict of the log at that place."""
        await self.session.add_others()
        given = [event for event in self.session.ahead() if isinstance(event, VerdictGiven) and event.where == where]
        if self.place >= len(given):
            await anyio.sleep_forever()
        return given[self.place].verdict


class Handoffs(Mapping[str, Handoff]):
    """Any tool is a handoff where the log goes on with one.

    Args:
        session: The recorded session.
        handoff: Makes the handoff of what the log has of it.
    """

    def __init__(self, session: RecordedSession, handoff: Callable[[HandedOff, TranscriptRewritten], Handoff]) -> None:
        self._session, self._handoff = session, handoff

    def __getitem__(self, name: str) -> Handoff:
        for event in self._session.ahead():
            if isinstance(event, HandedOff):
                rewritten = self._session.prompt_ahead()
                return self._handoff(event, rewritten if isinstance(rewritten, TranscriptRewritten) else _CARRIED)
            if not isinstance(event, CallFinished | MessageAdded):
                break
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1  # or nobody would ask


def shields_of(session: RecordedSession, where: Place, *, handed_over: bool) -> tuple[RecordedShield, ...]:
    """The shields that judge at a place.

    Args:
        session: The recorded session.
        where: The place.
        handed_over: Whether they are those of the agent that takes over next, not of the one that has the turn.

    Returns:
        The shields.
    """
    events = session.of_turn()
    if handed_over:
        events = islice(dropwhile(lambda event: not isinstance(event, HandedOff), events), 1, None)
    found: list[RecordedShield] = []
    for event in takewhile(lambda event: not isinstance(event, HandedOff), events):
        if isinstance(event, VerdictGiven) and event.where == where:
            found.append(RecordedShield(session, event.shield, len(found)))
        elif found:
            break
    return tuple(found)


def is_compacted(event: TranscriptRewritten) -> bool:
    """Whether a policy shortened the conversation there, and not a handoff's own function."""
    return event.reason == "compaction" or (event.reason == "tools" and bool(event.policy))


def date_in(text: str) -> str | None:
    """The date that a prompt's system block names."""
    found = _DATE.search(text)
    return found[1].strip() if found else None


def _is_of(event: CallFinished | DecisionAsked, context: ToolContext) -> bool:
    return call_key(context.session, context.run, event.step, event.position) == context.idempotency_key


async def _never_run(arguments: Mapping[str, Any], context: ToolContext) -> object:
    raise LogError("a replay runs no tool")
