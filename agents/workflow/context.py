"""What a step of a workflow knows about its run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from arriero.agents.agent_terms import events_so_far
from arriero.agents.output import Output
from arriero.agents.turn import Turn
from arriero.agents.wording import node_text
from arriero.agents.workflow.errors import WorkflowChanged
from arriero.agents.workflow.state import Pending
from arriero.stack.events import Event, TurnFinished, TurnStarted

if TYPE_CHECKING:
    from arriero.agents.agent import Agent
    from arriero.stack.decisions import Decision

Deps = TypeVar("Deps", default=Any)


class Waits(BaseException):
    """A turn in a step waits for a decision. It ends the step, whatever errors the step handles."""


@dataclass(slots=True)
class NodeContext(Generic[Deps]):
    """What a step knows about its run. A parameter annotated with it is given it.

    Args:
        run: Name of the run.
        node: Name of the step.
        key: Which run of the step this is: the rounds of its loops and the position of its item, from 1.
        attempt: Number of the attempt, from 1.
        deps: What the run was given for its steps.
        resumed: Whether another process may have begun this attempt.
        decisions: What was decided about what waits, by its id.
        waiting: What waits for a decision, as far as this attempt has found.
    """

    run: str
    node: str
    key: str
    attempt: int
    deps: Deps
    resumed: bool = False
    decisions: "Mapping[str, Decision]" = field(default_factory=dict)
    waiting: list[Pending] = field(default_factory=list)
    _asked: Counter[str] = field(default_factory=Counter)

    @property
    def idempotency_key(self) -> str:
        """A key that is the same in every attempt of this node, and in no other node: for services that take one."""
        return f"{self.run}/{node_text(self.node, self.key)}"

    def session(self, name: str) -> str:
        """Name of a session of this attempt, the same after a crash.

        Args:
            name: What it is for.

        Returns:
            The name.
        """
        again = f".{self.attempt}" if self.attempt > 1 else ""
        return f"{self.idempotency_key}{again}/{name}"

    async def ask(self, agent: "Agent[Any, Output]", text: str, *, deps: Any = None, name: str = "") -> "Turn[Output]":
        """Run a turn of an agent in a session of this step, which goes on where a process died.

        Args:
            agent: The agent.
            text: What it is asked.
            deps: What its tools and instructions find in their context.
            name: Name of the session in this step; empty for the agent's. A second one of that name has a number.

        Returns:
            The finished turn. Where it waits for a decision, the step ends here, and the workflow waits.

        Raises:
            ArrieroError: As from `Agent.run` and `Agent.resume`.
        """
        name = self._numbered(name or agent.name)
        session = self.session(name)
        before = await events_so_far(agent, agent.open_stack, session) if self.resumed else []
        if before:
            turn = await self._again(agent, text, deps, name, before)
        else:
            turn = await agent.run(text, deps=deps, session=session)
        if turn.reason == "paused":
            of = node_text(self.node, self.key)
            self.waiting += [
                Pending(f"{of}/{name}:{each.id}", self.node, each.asked, each.question, session, each.call)
                for each in turn.waiting
            ]
            raise Waits
        return turn

    async def _again(
        self, agent: "Agent[Any, Output]", text: str, deps: Any, name: str, before: Sequence[Event]
    ) -> "Turn[Output]":
        """A turn that another process had begun."""
        session, last = self.session(name), before[-1]
        asked = [event.messages[-1].content for event in before if isinstance(event, TurnStarted)]
        if asked and asked[-1] != text:
            raise WorkflowChanged(
                self.run, [f"{node_text(self.node, self.key)} asks {name} something else than before"]
            )
        if not isinstance(last, TurnFinished):
            prefix = f"{name}:"
            made = {id_[len(prefix) :]: each for id_, each in self.decisions.items() if id_.startswith(prefix)}
            return await agent.resume(session, decisions=made, deps=deps)
        if last.reason in ("failed", "cancelled"):
            return await agent.run(text, deps=deps, session=session)
        return Turn.of(before, session, agent.reader)

    def _numbered(self, name: str) -> str:
        self._asked[name] += 1
        return name if self._asked[name] == 1 else f"{name}-{self._asked[name]}"
