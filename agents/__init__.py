"""Who does it: agents, and what came of their turns."""

from arriero.agents.agent import Agent, StackNotReady
from arriero.agents.turn import Step, Turn

__all__ = ["Agent", "StackNotReady", "Step", "Turn"]
