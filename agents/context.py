"""What an agent's functions know about the turn that they serve."""

from dataclasses import dataclass
from typing import Generic

from typing_extensions import TypeVar

Deps = TypeVar("Deps", default=None)
"""Type of what an agent's caller gives for each turn: a database, a client, the user's record."""


@dataclass(frozen=True, slots=True)
class Context(Generic[Deps]):
    """The turn that is about to run.

    Args:
        deps: What the caller gave. It is never written anywhere: `resume` needs it again.
        session: Name of the session.
        agent: Name of the agent.
        turn: Number of the turn in its session, from 1.

    Example:
        >>> def instructions(context: Context[str]) -> str:
        ...     return f"You help {context.deps}."
        >>> instructions(Context("Ana", "s1"))
        'You help Ana.'
    """

    deps: Deps
    session: str = ""
    agent: str = ""
    turn: int = 1
