"""On what terms a turn is run: tools, shields, limits, hooks."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import Message, ToolCall
from arriero.prompts.options import RenderOptions
from arriero.stack.compaction import Compaction
from arriero.stack.decisions import Asked, Decision
from arriero.stack.engine import Sampling, Usage
from arriero.stack.shields import Shield
from arriero.tools import Registry, ToolResult

REFUSAL = "I can't help with that."
"""What the user reads when a shield forbids."""


class InvalidLimit(ArrieroError, ValueError):
    """A limit is not a positive number."""


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost, in any one currency.

    Args:
        prompt: Price of a million prompt tokens that were not cached.
        completion: Price of a million generated tokens.
        cached: Price of a million prompt tokens found in the prefix cache; None for the price of the others.

    Example:
        >>> Price(prompt=0.5, completion=1.0).of(Usage(prompt_tokens=1_000_000, completion_tokens=500_000))
        1.0
    """

    prompt: float = 0.0
    completion: float = 0.0
    cached: float | None = None

    def of(self, usage: Usage) -> float:
        """What a request, or several together, cost.

        Args:
            usage: Its tokens.

        Returns:
            The cost.
        """
        cached = usage.cached_tokens or 0
        at_cache = self.prompt if self.cached is None else self.cached
        whole = (
            (usage.prompt_tokens - cached) * self.prompt + cached * at_cache + usage.completion_tokens * self.completion
        )
        return whole / 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a turn may use up. Reaching one is an outcome of the turn, no error.

    Args:
        steps: Most messages of the model.
        calls: Most tool calls.
        tokens: Most tokens generated, all steps together.
        seconds: Longest time that it runs. Waiting for a person, between a pause and `resume`, is not counted.
        calls_per_tool: Most calls of a tool, by its name.
        cost: Most that its tokens may cost, by the terms' price; None for no limit.
        repeats: How often the same call may give the same result, one after the other.

    Example:
        >>> Limits(steps=2).steps
        2
    """

    steps: int = 8
    calls: int = 32
    tokens: int = 4096
    seconds: float = 300.0
    calls_per_tool: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    cost: float | None = None
    repeats: int = 3

    def __post_init__(self) -> None:
        for name in ("steps", "calls", "tokens", "seconds", "repeats"):
            if not getattr(self, name) > 0:
                raise InvalidLimit(f"limit {name} is {getattr(self, name)!r}: give a number above 0")
        if self.cost is not None and not self.cost > 0:
            raise InvalidLimit(f"limit cost is {self.cost!r}: give a number above 0, or None for no limit")
        for tool, most in self.calls_per_tool.items():
            if most < 0:
                raise InvalidLimit(f"limit calls_per_tool of {tool!r} is {most!r}: give 0 or more")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions of the agent's that the turn loop asks. Each is optional, and awaited.

    Args:
        terms: Given the number of the step that follows and the terms so far; those that it returns hold from there on.
        before_step: Given the number of the step that follows; messages that it returns are read by the model first.
        before_calls: Given a step's number and calls; what it returns, as many and in the same order, takes their
            place: a call is run, a result is taken as it is and nothing is run for it.
        after_calls: Given a step's number and results; the results that it returns are what the model reads. It is
            given each result once: where the turn pauses first those that are there, later the others. A result that
            it has not seen when the turn is stopped is not logged.
        accept: Given an answer; what it returns, if anything, is given to the model as a message, and the turn goes on.
    """

    terms: Callable[[int, "Terms"], Awaitable["Terms"]] | None = None
    before_step: Callable[[int], Awaitable[Sequence[Message]]] | None = None
    before_calls: Callable[[int, Sequence[ToolCall]], Awaitable[Sequence[ToolCall | ToolResult]]] | None = None
    after_calls: Callable[[int, Sequence[ToolResult]], Awaitable[Sequence[ToolResult]]] | None = None
    accept: Callable[[str], Awaitable[Message | None]] | None = None


@dataclass(frozen=True, slots=True)
class Handoff:
    """How another agent takes over, when the model calls a tool that stands for it.

    Args:
        agent: The other agent's name.
        terms: Gives its terms.
        carry: Makes the conversation that it takes over, without a system message; None carries all of it.
    """

    agent: str
    terms: Callable[[], Awaitable["Terms"]]
    carry: Callable[[Sequence[Message]], Awaitable[Sequence[Message]]] | None = None


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
        agent: Name of the agent that takes the turn.
        deps: What the agent's caller gave for its tools, which find it in their context.
        price: What tokens cost.
        constrain: Gives the sampling of a step in place of `sampling`, with a grammar for instance. It is given the
            step's number, counted from where the agent has the turn, and the terms that hold at it.
        compaction: What to give up when the conversation becomes too long for the model's context; None ends the turn.
        hooks: Functions that the loop asks.
        decide: Decides about calls that would wait, in place of a person; None from it leaves the call waiting.
        asks: Names of tools that are questions to the user: they are never run, the turn pauses for the answer.
        handoffs: Agents that may take over, by the name of the tool that the model calls for it.
    """

    registry: Registry = field(default_factory=Registry)
    instructions: str = ""
    input_shields: tuple[Shield, ...] = ()
    output_shields: tuple[Shield, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sampling: Sampling = field(default_factory=Sampling)
    options: RenderOptions = field(default_factory=lambda: RenderOptions(repair=True))
    refusal: str = REFUSAL
    agent: str = ""
    deps: Any = None
    price: Price | None = None
    constrain: Callable[[int, "Terms"], Sampling] | None = None
    compaction: Compaction | None = None
    hooks: Hooks = Hooks()
    decide: Callable[[Asked, ToolCall], Awaitable[Decision | None]] | None = None
    asks: frozenset[str] = frozenset()
    handoffs: Mapping[str, Handoff] = field(default_factory=lambda: MappingProxyType({}))


Declarations = tuple[Mapping[str, Any], ...]
"""Tools in the OpenAI shape, as prompts declare them."""

_DECLARED: WeakKeyDictionary[Registry, dict[bool, Declarations]] = WeakKeyDictionary()


def offered(terms: Terms, dialect: Dialect) -> tuple[RenderOptions, Declarations, tuple[str, ...]]:
    """How the tools come into a prompt.

    Args:
        terms: The terms, with the registry.
        dialect: How the model writes. Where its prompts cannot switch on the Llama format's own tools, these are
            declared like all others.

    Returns:
        How to render, the declared tools, and the built-in tools that are switched on.
    """
    builtins = terms.registry.builtins
    switched = not builtins or dialect.switches_builtins
    # Sessions keep their declarations: those of one registry are one object.
    known = _DECLARED.setdefault(terms.registry, {})
    if switched not in known:
        tools = terms.registry.declarations if switched else [tool.declaration for tool in terms.registry]
        known[switched] = tuple(tools)
    if not builtins or not switched:
        return terms.options, known[switched], ()
    return replace(terms.options, builtin_tools=builtins), known[switched], builtins
