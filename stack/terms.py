"""On what terms a turn is run: tools, shields, limits."""

from dataclasses import dataclass, field, replace
from typing import Any

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.options import RenderOptions
from arriero.stack.engine import Sampling
from arriero.stack.shields import Shield
from arriero.tools import Registry

REFUSAL = "I can't help with that."
"""What the user reads when a shield forbids."""


class InvalidLimit(ArrieroError, ValueError):
    """A limit is not a positive number."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a turn may use up.

    Args:
        steps: Most messages of the model.
        calls: Most tool calls.
        tokens: Most tokens generated, all steps together.
        seconds: Longest wall time.

    Example:
        >>> Limits(steps=2).steps
        2
    """

    steps: int = 8
    calls: int = 32
    tokens: int = 4096
    seconds: float = 300.0

    def __post_init__(self) -> None:
        for name in ("steps", "calls", "tokens", "seconds"):
            if not getattr(self, name) > 0:
                raise InvalidLimit(f"limit {name} is {getattr(self, name)!r}: give a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a turn is run.

    Args:
        registry: Tools to offer.
        instructions: System text, written when the session begins.
        input_shields: They judge what the user says, beside generation; output is withheld until they clear it.
        output_shields: They judge the answer, which is withheld until they clear it.
        limits: What the turn may use up.
        sampling: How to sample each step.
        options: How to render. By default nothing of a client's history is refused or lost that a prompt can hold.
        refusal: What the user reads when a shield forbids.
    """

    registry: Registry = field(default_factory=Registry)
    instructions: str = ""
    input_shields: tuple[Shield, ...] = ()
    output_shields: tuple[Shield, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sampling: Sampling = field(default_factory=Sampling)
    options: RenderOptions = field(default_factory=lambda: RenderOptions(repair=True))
    refusal: str = REFUSAL


def offered(terms: Terms, dialect: Dialect) -> tuple[RenderOptions, list[dict[str, Any]], tuple[str, ...]]:
    """How the tools come into a prompt.

    Args:
        terms: The terms, with the registry.
        dialect: How the model writes. Where its prompts cannot switch on the Llama format's own tools, these are
            declared like all others.

    Returns:
        How to render, the declared tools, and the built-in tools that are switched on.
    """
    builtins = terms.registry.builtins
    if not builtins:
        return terms.options, terms.registry.declarations, ()
    if not dialect.switches_builtins:
        return terms.options, [tool.declaration for tool in terms.registry], ()
    return replace(terms.options, builtin_tools=builtins), terms.registry.declarations, builtins
