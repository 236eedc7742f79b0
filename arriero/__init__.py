"""Agents that call tools, for the Llama family on vLLM."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arriero.agents.agent import Agent
    from arriero.agents.context import Context
    from arriero.agents.instructions import Template
    from arriero.agents.output import Answer
    from arriero.agents.turn import Step, Turn
    from arriero.prompts.dialect import Dialect
    from arriero.prompts.errors import ArrieroError
    from arriero.prompts.messages import Message, ToolCall
    from arriero.prompts.options import RenderOptions
    from arriero.prompts.tokens import Tokenizer
    from arriero.stack.decisions import Decision
    from arriero.stack.engine import Sampling, Usage
    from arriero.stack.errors import EngineError
    from arriero.stack.events import (
        CallFinished,
        CallStarted,
        Event,
        StepFinished,
        TextDelta,
        TurnFinished,
        VerdictGiven,
    )
    from arriero.stack.log import SQLiteLog, open_log
    from arriero.stack.shields import LlamaGuard, Shield, Verdict
    from arriero.stack.stack import Stack
    from arriero.stack.terms import Limits
    from arriero.tools import Tool, ToolError, ToolResult, tool

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Answer",
    "ArrieroError",
    "CallFinished",
    "CallStarted",
    "Context",
    "Decision",
    "Dialect",
    "EngineError",
    "Event",
    "Limits",
    "LlamaGuard",
    "Message",
    "RenderOptions",
    "SQLiteLog",
    "Sampling",
    "Shield",
    "Stack",
    "Step",
    "StepFinished",
    "Template",
    "TextDelta",
    "Tokenizer",
    "Tool",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "Turn",
    "TurnFinished",
    "Usage",
    "Verdict",
    "VerdictGiven",
    "open_log",
    "tool",
]

_HOMES = {
    "agents.agent": ("Agent",),
    "agents.context": ("Context",),
    "agents.instructions": ("Template",),
    "agents.output": ("Answer",),
    "agents.turn": ("Step", "Turn"),
    "prompts.dialect": ("Dialect",),
    "prompts.errors": ("ArrieroError",),
    "prompts.messages": ("Message", "ToolCall"),
    "prompts.options": ("RenderOptions",),
    "prompts.tokens": ("Tokenizer",),
    "stack.decisions": ("Decision",),
    "stack.engine": ("Sampling", "Usage"),
    "stack.errors": ("EngineError",),
    "stack.events": (
        "CallFinished",
        "CallStarted",
        "Event",
        "StepFinished",
        "TextDelta",
        "TurnFinished",
        "VerdictGiven",
    ),
    "stack.log": ("SQLiteLog", "open_log"),
    "stack.shields": ("LlamaGuard", "Shield", "Verdict"),
    "stack.stack": ("Stack",),
    "stack.terms": ("Limits",),
    "tools": ("Tool", "ToolError", "ToolResult", "tool"),
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'arriero' has no attribute {name!r}")
    value = getattr(import_module(f"arriero.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
