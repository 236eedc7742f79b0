"""Handoffs: one agent gives the conversation to another, which keeps it from then on."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from arriero.agents.output import UnusableOutput
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message
from arriero.stack.summary import Model, Summarise
from arriero.stack.terms import Handoff, Terms
from arriero.tools import Tool, ToolDefinitionError
from arriero.tools.declared import describe

if TYPE_CHECKING:
    from arriero.agents.agent import Agent

Carry = Literal["whole", "summary"] | Callable[[Sequence[Message]], Awaitable[Sequence[Message]]]
"""What the other agent takes over: all of the conversation, its last exchange with a summary of what was before, or
what a function makes of it."""


class UnknownAgent(ArrieroError):
    """A session is held by an agent that the one that was asked to go on does not know."""


@dataclass(frozen=True, slots=True)
class AgentHandoff:
    """That an agent may give the conversation to another one. Made by `handoff`.

    Args:
        tool: What the model calls for it.
        to: Gives the other agent.
        carry: What that one takes over.
    """

    tool: Tool
    to: Callable[[], "Agent[Any, Any]"]
    carry: Carry = "whole"

    @property
    def name(self) -> str:
        """Name of the tool that the model calls for it."""
        return self.tool.name

    @property
    def agent(self) -> "Agent[Any, Any]":
        """The other agent."""
        return self.to()

    def for_turn(self, model: Model, terms: Callable[[], Awaitable[Terms]]) -> Handoff:
        """The handoff as the turn loop knows it.

        Args:
            model: Who writes a summary, where one is carried over.
            terms: Gives the other agent's terms.

        Returns:
            The handoff, for `Terms.handoffs`.
        """
        if callable(self.carry):
            return Handoff(self.agent.name, terms, self.carry)
        carry = Summarise(model, keep_turns=1).summarised if self.carry == "summary" else None
        return Handoff(self.agent.name, terms, carry)


def handoff(
    agent: "Agent[Any, Any] | Callable[[], Agent[Any, Any]]",
    *,
    carry: Carry = "whole",
    name: str | None = None,
    description: str | None = None,
) -> AgentHandoff:
    """Let an agent give the conversation to another one, when its model calls a tool for it.

    The other agent answers in the same turn, with its own instructions and tools, and has the conversation from then
    on: the session's next turn is its turn too, also in another process. It answers on the stack of the agent that was
    asked: one session has one engine.

    Args:
        agent: The other agent, or a function that gives it, for two agents that hand over to each other.
        carry: What it takes over: `"whole"` all that was said, `"summary"` the last exchange and a summary of what was
            before, which its model writes, or what an async function makes of the messages (no system message is
            among them).
        name: Name of the tool; None for `transfer_to_` and the agent's name. A function needs one.
        description: What the model reads about it; None for a sentence with the agent's name.

    Returns:
        The handoff, for `Agent(handoffs=[...])`.

    Raises:
        ToolDefinitionError: A function was given without a name, or no tool can have the name.

    Example:
        >>> from arriero import Agent, Stack
        >>> billing = Agent(Stack.local(), instructions="You know all bills.", name="billing")
        >>> handoff(billing).name
        'transfer_to_billing'
        >>> triage = Agent(Stack.local(), handoffs=[handoff(billing, carry="summary")])
    """
    from arriero.agents.agent import Agent

    if isinstance(agent, Agent):
        held = agent
        return AgentHandoff(_tool(name or f"transfer_to_{held.name}", description, held.name), lambda: held, carry)
    if name is None:
        raise ToolDefinitionError("handoff: the agent is given by a function, so its name is not known: give name=...")
    return AgentHandoff(_tool(name, description, ""), agent, carry)


def holder(asked: "Agent[Any, Any]", name: str) -> "Agent[Any, Any]":
    """The agent that holds a session: the one that was asked, or one that it, or another on the way, hands over to.

    Args:
        asked: The agent that is asked to go on with the session.
        name: Name of the agent that holds it, as the session's log tells it; empty for nobody yet.

    Returns:
        The agent.

    Raises:
        UnknownAgent: None of them has that name.
        ToolDefinitionError: As for `within_reach`.
        UnusableOutput: As for `within_reach`.

    Example:
        >>> from arriero import Agent, Stack
        >>> triage = Agent(Stack.local(), name="triage", handoffs=[handoff(Agent(Stack.local(), name="billing"))])
        >>> holder(triage, "billing").name
        'billing'
    """
    known = {agent.name: agent for agent in within_reach(asked)}
    if not name or name in known:
        return known[name or asked.name]
    raise UnknownAgent(
        f"the session is held by the agent {name!r}, and {asked.name!r} hands over to none of that name (known:"
        f" {', '.join(known)}): ask that agent, or give {asked.name!r} a handoff to it"
    )


def within_reach(asked: "Agent[Any, Any]") -> "list[Agent[Any, Any]]":
    """The agents that may answer where one is asked: that one, and those that it, or another on the way, hands over to.

    Args:
        asked: The agent that is asked.

    Returns:
        The agents.

    Raises:
        ToolDefinitionError: An agent hands over to one of its own name.
        UnusableOutput: The one that is asked answers with a type, and another with another.
    """
    found: dict[str, Agent[Any, Any]] = {}
    waiting = [asked]
    while waiting:
        agent = waiting.pop(0)
        if agent.name in found:
            continue
        if not asked.reader.text and agent.reader.kind != asked.reader.kind:
            raise UnusableOutput(
                f"{asked.name!r} answers with {asked.reader.kind!r}, and {agent.name!r}, which may take over, with"
                f" {agent.reader.kind!r}: give both the same output, or {asked.name!r} none"
            )
        found[agent.name] = agent
        others = [given.agent for given in agent.handoffs]
        if any(other.name == agent.name for other in others):
            raise ToolDefinitionError(f"{agent.name!r} hands over to an agent of the same name: give one another name")
        waiting += others
    return [*found.values()]


def tools_of(handoffs: Iterable[AgentHandoff]) -> list[Tool]:
    """The tools that the model calls for handoffs.

    Raises:
        ToolDefinitionError: Something is no handoff.
    """
    tools = []
    for given in handoffs:
        if not isinstance(given, AgentHandoff):
            raise ToolDefinitionError(f"{given!r} is no handoff: write handoffs=[handoff(agent)]")
        tools.append(given.tool)
    return tools


def _tool(name: str, description: str | None, agent: str) -> Tool:
    def transfer() -> str:
        """Hand over."""
        return f"{agent or 'Another agent'} takes over."  # the turn loop hands over when it has this result

    transfer.__doc__ = description or f"Hand the conversation over to {agent or 'the agent ' + name}."
    return describe(transfer, name=name, pure=True)
