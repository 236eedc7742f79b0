"""On what terms an agent's turns are run: the one place where an agent becomes what the turn loop knows."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

from arriero.agents.ask import questions
from arriero.agents.context import Context, Deps
from arriero.agents.handoff import holder
from arriero.agents.instructions import written
from arriero.agents.output import AnswerReader, OutputInvalid, UnusableOutput
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.stack.decisions import Decision
from arriero.stack.events import Event, StepFinished
from arriero.stack.shields import Shield, UnknownShield
from arriero.stack.stack import Stack
from arriero.stack.tape import fold
from arriero.stack.terms import Handoff, Hooks, Terms
from arriero.tools import Registry, Tool

if TYPE_CHECKING:
    from arriero.agents.agent import Agent


async def terms_of(agent: "Agent[Deps, Any]", stack: Stack, context: Context[Deps]) -> Terms:
    """The terms of one turn; see `Agent.terms`."""
    registry = agent.registry
    if agent.tools_when is not None:
        kept = {tool.name for tool in registry if await _offers(agent.tools_when, context, tool)}
        registry = registry.only(lambda tool: tool.name in kept)
    terms = fixed_terms(agent, stack, await written(agent.instructions, context), registry)
    if context.deps is None and not agent.handoffs:
        return terms
    return replace(terms, deps=context.deps, handoffs=_handoffs(agent, stack, context))


def fixed_terms(agent: "Agent[Any, Any]", stack: Stack, instructions: str, registry: Registry) -> Terms:
    """The terms, as far as they do not depend on the turn.

    Args:
        agent: The agent.
        stack: What it runs on.
        instructions: The system text.
        registry: The tools that are offered.

    Returns:
        The terms.

    Raises:
        UnknownShield: No shield has that name.
        InvalidToolChoice: The tools, or the engine, cannot follow the agent's tool choice.
        UnusableOutput: The engine cannot be held to the agent's output type.
    """
    shields = tuple(_shield(stack, shield) for shield in agent.shields)
    terms = Terms(
        registry=registry,
        instructions="\n\n".join(filter(None, (instructions, agent.reader.description))),
        input_shields=shields,
        output_shields=shields,
        limits=agent.limits,
        sampling=agent.sampling,
        agent=agent.name,
        price=agent.price,
        compaction=agent.compaction,
        hooks=agent.hooks if agent.reader.text else _checked(agent.hooks, agent.reader, agent.retries),
        decide=agent.decide,
        asks=questions(registry),
    )
    return agent.choice.on(terms, stack)


async def turn_terms(
    agent: "Agent[Deps, Any]", stack: Stack, session: str, deps: Deps | None, *, begins: bool
) -> Terms:
    """The terms of a session's next turn, or of the one that is resumed.

    They are those of the agent that has the conversation: the one that is asked, or one that it handed over to.

    Args:
        agent: The agent that is asked.
        stack: What it runs on.
        session: The session.
        deps: What the caller gives.
        begins: Whether a turn begins.

    Returns:
        The terms.

    Raises:
        UnknownAgent: The session is held by an agent that this one does not know.
        InvalidInstructions: The instructions give no text.
    """
    turn, has = int(begins), agent
    if agent.handoffs or agent.tools_when is not None or not isinstance(agent.instructions, str):
        turn += len(await stack.log.turns(session))  # else nobody asks for the number
        if agent.handoffs:
            has = holder(agent, fold(session, await stack.log.read(session)).agent)
    return await has.terms(stack, Context(cast("Deps", deps), session, has.name, turn))


async def turn_events(
    agent: "Agent[Deps, Any]",
    stack: Stack,
    message: Message,
    deps: Deps | None,
    session: str,
    adapted: Callable[[Terms], Terms] | None = None,
) -> AsyncGenerator[Event, None]:
    """The events of one turn while it runs.

    Args:
        agent: Who is asked.
        stack: What it runs on.
        message: What the user says.
        deps: What the caller gives.
        session: The session.
        adapted: Gives the terms that are used in place of the agent's.

    Yields:
        The events.

    Raises:
        ArrieroError: As from `Agent.run`.
    """
    terms = await turn_terms(agent, stack, session, deps, begins=True)
    terms = adapted(terms) if adapted else terms
    async with aclosing(stack.run_turn([message], terms, session=session)) as stream:
        async for event in stream:
            yield event


async def resumed_events(
    agent: "Agent[Deps, Any]", stack: Stack, session: str, decisions: Mapping[str, Decision], deps: Deps | None
) -> AsyncGenerator[Event, None]:
    """The events of a turn from where it is resumed.

    Args:
        agent: Who is asked.
        stack: What it runs on.
        session: The session.
        decisions: What was decided about calls that wait.
        deps: What the caller gives.

    Yields:
        The events.

    Raises:
        ArrieroError: As from `Agent.resume`.
    """
    terms = await turn_terms(agent, stack, session, deps, begins=False)
    async with aclosing(stack.resume(session, terms, decisions=decisions)) as stream:
        async for event in stream:
            yield event


def said(text: str) -> Message:
    """What the user says, as a message.

    Args:
        text: The text.

    Returns:
        The message.

    Raises:
        InvalidMessage: It is empty, or no text.
    """
    if not isinstance(text, str):
        raise InvalidMessage(f"the question must be text, not {type(text).__name__}: pass a string")
    if not text.strip():
        raise InvalidMessage("the question is empty: write some text")
    return Message("user", text)


async def events_so_far(agent: "Agent[Any, Any]", stack: Stack, session: str) -> list[Event]:
    """The events of a session's last turn.

    Args:
        agent: Who takes it.
        stack: What it runs on.
        session: The session.

    Returns:
        The events. With shields, what the model said is left out, for some of it was judged by nobody.
    """
    turns = await stack.log.turns(session)
    events = [record.event for record in await stack.log.read(session, turns[0].turn)] if turns else []
    if not agent.shields:
        return events
    return [replace(event, content="", token_ids=()) if isinstance(event, StepFinished) else event for event in events]


async def _offers(
    when: Callable[[Context[Deps], Tool], bool | Awaitable[bool]], context: Context[Deps], tool: Tool
) -> bool:
    said = when(context, tool)
    return bool(await said if isawaitable(said) else said)


def _shield(stack: Stack, shield: str | Shield) -> Shield:
    if isinstance(shield, str):
        return stack.shield(shield)
    if not callable(getattr(shield, "check", None)):
        raise UnknownShield(f"{shield!r} is no shield: give a name, or an object that has a method check")
    return shield


def _handoffs(agent: "Agent[Deps, Any]", stack: Stack, context: Context[Deps]) -> dict[str, Handoff]:
    def terms(other: "Agent[Any, Any]") -> Awaitable[Terms]:
        return other.terms(stack, replace(context, agent=other.name))

    return {given.name: given.for_turn(stack, partial(terms, given.agent)) for given in agent.handoffs}


def _checked(hooks: Hooks, reader: AnswerReader[Any], retries: int) -> Hooks:
    """The hooks, with answers that do not fit given back before anything else hears of them."""
    if not isinstance(retries, int) or retries < 0:
        raise UnusableOutput(f"retries is {retries!r}: give how often an answer is given back, 0 or more")
    left, after = retries, hooks.accept

    async def accept(text: str) -> Message | None:
        nonlocal left
        try:
            reader.read(text)
        except OutputInvalid as problem:
            left -= 1
            return Message("user", reader.again(problem)) if left >= 0 else None
        return await after(text) if after else None

    return replace(hooks, accept=accept)
