"""Agents as tools of other agents: the call is a turn of its own, which is never run twice."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from arriero.agents.turn import Turn, Waiting
from arriero.prompts.messages import JSON
from arriero.stack.decisions import Decision
from arriero.stack.events import (
    CallProgressed,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    LimitReached,
    StepFinished,
    TextDelta,
    TurnFinished,
    TurnPaused,
)
from arriero.stack.log import EventLog
from arriero.tools import Tool, ToolContext, ToolError, ToolOutput
from arriero.tools.declared import describe
from arriero.tools.errors import ToolPaused

if TYPE_CHECKING:
    from arriero.agents.agent import Agent

_KEY = 16
_GRACE = 5.0
_NO_DECISIONS: Mapping[str, Decision] = MappingProxyType({})

_at_work: ContextVar[tuple["Agent[Any, Any]", ...]] = ContextVar("agents at work", default=())


def agent_tool(
    agent: "Agent[Any, Any]",
    *,
    name: str | None = None,
    description: str | None = None,
    on_turn: Callable[[Turn[Any]], None] | None = None,
) -> Tool:
    """A tool that gives a task to an agent, and its answer back. `Agent.as_tool` is the same.

    The task is a turn of a session of its own, named after the session of the call and after the call. It survives
    the process as every turn: when the outer turn is resumed, the nested one goes on where it was, or its recorded
    answer is taken. Where it waits for a decision, the outer turn waits for the same, and hands the decision on. It
    ends with the outer turn's time at the latest.

    Args:
        agent: The agent. Tools of its own see what the outer agent's caller gave as `deps`.
        name: Name that the outer model writes; None for the agent's.
        description: What it reads about the agent; None for a sentence with the agent's name.
        on_turn: Given each finished nested turn, with its usage, which is not part of the outer turn's.

    Returns:
        The tool. A refusal, a limit or a failure of the nested turn is an error that the outer model reads.

    Raises:
        ToolDefinitionError: No tool can have the name.

    Example:
        >>> from arriero import Agent, Stack
        >>> searcher = Agent(Stack.local(), instructions="You look things up.", name="searcher")
        >>> agent_tool(searcher, description="Ask a colleague to look something up.").name
        'searcher'
    """
    name = name or agent.name

    async def give_task(context: ToolContext, task: str) -> object:  # noqa: D417  the model gives no context
        """Give it a task.

        Args:
            task: The task, with all that is needed to do it.
        """
        with _entered(agent):
            turn = await _turn(
                agent, f"{context.session or 'call'}/{name}-{context.idempotency_key[:_KEY]}", task, context
            )
        if on_turn is not None and turn.reason != "paused":
            on_turn(turn)
        return _answer(agent, turn)

    give_task.__doc__ = (give_task.__doc__ or "").replace(
        "Give it a task.", description or f"Give a task to the agent {agent.name}."
    )
    seconds = agent.limits.seconds + _GRACE
    return describe(give_task, name=name, timeout=seconds, idempotent=True, source=f"agent {agent.name}")


@contextmanager
def _entered(agent: "Agent[Any, Any]") -> Iterator[None]:
    """Refuse a task that leads back to an agent that waits for it."""
    chain = _at_work.get()
    if agent in chain:
        names = " -> ".join(one.name for one in (*chain, agent))
        raise ToolError(f"the agent {agent.name} waits for this task itself ({names}): do it without that agent")
    token = _at_work.set((*chain, agent))
    try:
        yield
    finally:
        _at_work.reset(token)


async def _turn(agent: "Agent[Any, Any]", session: str, task: str, context: ToolContext) -> Turn[Any]:
    """The nested turn: a new one, the recorded one, or the rest of one that waits or was interrupted."""
    log = agent.open_stack.log
    before = [record.event for record in await log.read(session)]
    if not before:
        return await _watched(agent, agent.stream(task, deps=context.deps, session=session), session, context)
    if isinstance(before[-1], TurnFinished):
        return Turn.of(before, session, agent.reader)
    decisions = _NO_DECISIONS
    if isinstance(before[-1], TurnPaused):
        paused = Turn.of(before, session, agent.reader)
        given = await _handed_on(log, context, session, paused.waiting[0], before)
        if given is None:
            return paused
        decisions = {paused.waiting[0].id: given}
    stream = agent.resume_stream(session, decisions=decisions, deps=context.deps)
    return await _watched(agent, stream, session, context, before)


async def _watched(
    agent: "Agent[Any, Any]",
    stream: AsyncGenerator[Event, None],
    session: str,
    context: ToolContext,
    before: list[Event] | None = None,
) -> Turn[Any]:
    """Run the nested turn; its steps and calls are the progress of the outer call."""
    events = before or []
    async with aclosing(stream):
        async for event in stream:
            if isinstance(event, TextDelta | CallProgressed):
                continue
            events.append(event)
            if isinstance(event, CallStarted):
                context.progress(f"{agent.name}: {event.call.name}")
            elif isinstance(event, StepFinished):
                context.progress(f"{agent.name}: step {event.step}")
    return Turn.of(events, session, agent.reader)


async def _handed_on(
    log: EventLog, context: ToolContext, session: str, waiting: Waiting, nested: Sequence[Event]
) -> Decision | None:
    """The decision that the outer turn was given for what the nested one waits for, if it has not taken it yet."""
    outer = [record.event for record in await log.read(context.session, context.run)]

    def is_taken(asked: DecisionAsked) -> bool:
        return f"{asked.step}.{asked.position}" == waiting.id and asked.asked == waiting.asked

    def is_handed_on(asked: DecisionAsked) -> bool:
        # The whole name: what was asked of the session that this one is a branch of was another question.
        return asked.nested == f"{session}#{waiting.id}" and asked.asked == waiting.asked

    taken, given = len(_decided(nested, is_taken)), _decided(outer, is_handed_on)
    return given[taken] if taken < len(given) else None


def _decided(events: Sequence[Event], wanted: Callable[[DecisionAsked], bool]) -> list[Decision]:
    """Decisions about the questions that are wanted, in order."""
    asked: dict[tuple[int, int], DecisionAsked] = {}
    decisions = []
    for event in events:
        if isinstance(event, DecisionAsked):
            asked[event.step, event.position] = event
        elif isinstance(event, DecisionGiven):
            about = asked.pop((event.step, event.position), None)
            decisions += [event.decision] if about is not None and wanted(about) else []
    return decisions


def _answer(agent: "Agent[Any, Any]", turn: Turn[Any]) -> JSON | ToolOutput:
    if turn.waiting:
        first = turn.waiting[0]
        raise ToolPaused(first.question, asked=first.asked, nested=f"{turn.session}#{first.id}")
    if turn.reason == "answer":
        if turn.problem:
            raise ToolError(f"the agent {agent.name} gave no usable answer: {turn.problem}")
        output: JSON = turn.output
        return output
    if turn.reason == "refused":
        raise ToolError(f"the agent {agent.name} refused: {turn.text}")
    details = [f" ({event.limit}: {event.detail})" for event in turn.events if isinstance(event, LimitReached)]
    told = f"the agent {agent.name} did not finish: {turn.reason}{''.join(details[-1:])}"
    return ToolOutput(f"{told}\n{turn.text}".strip(), error=told)
