"""Who does it: agents, and what came of their turns."""

from arriero.agents.agent import Agent, StackNotReady
from arriero.agents.choice import InvalidToolChoice
from arriero.agents.context import Context
from arriero.agents.instructions import InvalidInstructions, Template
from arriero.agents.iterate import NextStep, StepOver, Steps
from arriero.agents.output import Answer, OutputInvalid, UnusableOutput
from arriero.agents.turn import Step, Turn, Waiting

__all__ = [
    "Agent",
    "Answer",
    "Context",
    "InvalidInstructions",
    "InvalidToolChoice",
    "NextStep",
    "OutputInvalid",
    "StackNotReady",
    "Step",
    "StepOver",
    "Steps",
    "Template",
    "Turn",
    "UnusableOutput",
    "Waiting",
]
