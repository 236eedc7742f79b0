"""What an agent's model may write at a step, as a grammar: calls, text, or an answer of a type."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from arriero.agents.output import AnswerReader, UnusableOutput
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.grammar import (
    Grammar,
    GrammarNotExpressible,
    Named,
    Policy,
    Syntax,
    answer_grammar,
    call_grammar,
)
from arriero.stack.engine import Sampling, takes_grammars
from arriero.stack.stack import Stack
from arriero.stack.terms import Terms, offered
from arriero.tools import Registry

ToolChoice = Literal["auto", "required", "none"] | str
"""Whether the model calls a tool: as it decides, first of all, never; or the name of the tool that it calls first."""

_POLICIES = ("auto", "required", "none")
_MOST_CALLS = 8
_KEPT_GRAMMARS = 32


class InvalidToolChoice(ArrieroError, ValueError):
    """A tool choice that the agent's tools or the stack's engine cannot follow."""


@dataclass(frozen=True, slots=True)
class Offered:
    """What a prompt offers, as far as grammars depend on it."""

    dialect: Dialect
    declarations: tuple[Mapping[str, Any], ...]
    builtins: tuple[str, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same grammars."""
        declared = json.dumps([tool["function"] for tool in self.declarations], default=str)
        return self.dialect.name, self.dialect.source, declared, self.builtins


class Choice:
    """Holds the model to a tool choice and to an output type, step by step.

    Args:
        tool_choice: The tool choice. `required` and a tool's name hold for the first step of a turn, so that it can
            end; then the model decides.
        reader: Reads the answers.
        registry: The agent's tools.

    Raises:
        InvalidToolChoice: It cannot be followed with these tools.
    """

    def __init__(self, tool_choice: ToolChoice, reader: AnswerReader[Any], registry: Registry) -> None:
        self._policy = _policy(tool_choice, registry)
        self._registry = registry
        self._reader = reader
        self._grammars: dict[tuple[object, ...], Grammar | None] = {}
        self._last: dict[Policy, tuple[Offered, Grammar | None]] = {}
        self._schema = _expressible(reader)

    @property
    def holds(self) -> bool:
        """Whether there is anything to hold the model to."""
        return self._policy != "auto" or self._schema is not None

    def on(self, terms: Terms, stack: Stack) -> Terms:
        """The terms, with what the model may write at each step.

        Args:
            terms: The terms.
            stack: What the turn runs on.

        Returns:
            The terms.

        Raises:
            InvalidToolChoice: The engine takes no grammars, or the tools that are offered now cannot be called so.
            UnusableOutput: The output type wants a grammar, and the engine takes none or has one already.
            GrammarNotExpressible: A tool's name or parameters cannot be written.
        """
        if not self.holds:
            return terms
        if not takes_grammars(stack.engine):
            self._refuse_without_grammars(stack.engine.model)
            return terms
        for step in (1, 2):  # what cannot be said is an error before the turn begins
            self._sampling(stack.dialect, step, terms)
        return replace(terms, constrain=partial(self._sampling, stack.dialect))

    def _sampling(self, dialect: Dialect, step: int, terms: Terms) -> Sampling:
        """How a step is sampled, with the tools that are offered at it."""
        sampling = terms.sampling
        if sampling.grammar is not None:
            raise UnusableOutput("the sampling has a grammar, and tool_choice or output makes another: leave one out")
        _, declarations, builtins = offered(terms, dialect)
        policy = self._policy if step == 1 or self._policy == "none" else "auto"
        grammar = self._grammar(Offered(dialect, declarations, builtins), policy)
        return sampling if grammar is None else replace(sampling, grammar=grammar)

    def _refuse_without_grammars(self, model: str) -> None:
        if self._policy != "auto":
            raise InvalidToolChoice(
                f"the engine of {model!r} takes no grammars, so nothing holds it to a tool choice: use"
                " tool_choice='auto', or another engine"
            )
        if self._reader.by == "grammar":
            raise UnusableOutput(f"the engine of {model!r} takes no grammars: use Answer(..., by='retries')")

    def _grammar(self, prompt: Offered, policy: Policy) -> Grammar | None:
        """The grammar of a step; None where the model may write anything."""
        if policy == "auto" and self._schema is None:
            return None
        last, grammar = self._last.get(policy, (None, None))
        if last == prompt:  # at once where it is the same object, as within a turn
            return grammar
        key = (policy, *prompt.key)
        if key not in self._grammars:
            if len(self._grammars) >= _KEPT_GRAMMARS:
                self._grammars.clear()
            self._grammars[key] = self._written(prompt, policy)
        self._last[policy] = prompt, self._grammars[key]
        return self._grammars[key]

    def _written(self, prompt: Offered, policy: Policy) -> Grammar | None:
        try:
            return call_grammar(
                prompt.dialect,
                prompt.declarations,
                policy=self._offered(prompt, policy),
                syntax=_syntax(prompt.dialect),
                most_calls=_MOST_CALLS,
                builtin_tools=prompt.builtins,
                answer=self._schema,
            )
        except GrammarNotExpressible:
            if policy != "auto" or self._reader.by == "grammar":
                raise
            return None

    def _offered(self, prompt: Offered, policy: Policy) -> Policy:
        """The policy, with a tool's name as this prompt has it."""
        names = [*(declared["function"]["name"] for declared in prompt.declarations), *prompt.builtins]
        if isinstance(policy, Named):
            tool = self._registry.get(policy.tool)
            policy = next((Named(name) for name in names if tool and name in (tool.name, tool.builtin)), policy)
        called = names if policy == "required" else [name for name in names if Named(name) == policy]
        if policy in ("auto", "none") or called:
            return policy
        raise InvalidToolChoice(
            f"tool_choice is {policy.tool if isinstance(policy, Named) else policy!r}, and the tools offered at this"
            f" turn are {', '.join(names) or 'none'}: let tools_when keep one that can be called"
        )


def _policy(choice: ToolChoice, registry: Registry) -> Policy:
    if choice in _POLICIES:
        if choice == "required" and not registry.names:
            raise InvalidToolChoice("tool_choice='required', and the agent has no tools: give it some, or leave it out")
        return choice  # type: ignore[return-value]  # one of the three
    found = registry.get(choice) if isinstance(choice, str) else None
    if found is None:
        raise InvalidToolChoice(
            f"tool_choice={choice!r}: use {', '.join(map(repr, _POLICIES))}, or the name of a tool; the tools are"
            f" {', '.join(registry.names) or 'none'}"
        )
    return Named(found.name)


def _expressible(reader: AnswerReader[Any]) -> Mapping[str, Any] | None:
    """The schema that answers are held to by a grammar; None where there is none."""
    if reader.schema is None or reader.by == "retries":
        return None
    try:
        answer_grammar(dict(reader.schema))
    except GrammarNotExpressible:
        return None  # with by="grammar" the reader has refused it
    return reader.schema


def _syntax(dialect: Dialect) -> Syntax:
    """How prompts of the dialect ask for calls."""
    python = dialect.source.endswith("_pythonic") or (dialect.source.startswith("meta") and dialect.name != "llama3.1")
    return "pythonic" if python else "json"
