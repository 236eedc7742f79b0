"""From offered tools and a policy to the grammar of one message: free text, or calls, never something in between."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from arriero.prompts.calls.json_calls import BUILTIN_TOOLS
from arriero.prompts.dialect import Dialect
from arriero.prompts.grammar.ebnf import Rules, either, literal, repeated
from arriero.prompts.grammar.grammar import UNBOUNDED, Grammar, GrammarNotExpressible, Limits
from arriero.prompts.grammar.notation import JSON_TEXT
from arriero.prompts.grammar.prose import code, prose
from arriero.prompts.grammar.schemas import SPACE, Values, listed

Syntax = Literal["json", "function-tag", "pythonic"]
"""How declared tools are called (FORMATS.md section 5)."""

CODE_INTERPRETER = "code_interpreter"
"""The built-in tool whose call is source code."""

_POLICIES = ("auto", "required", "none")
_IDENTIFIER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_TAG = "Token(<|python_tag|>)"
_START, _END = "Token(<|python_start|>)", "Token(<|python_end|>)"
_TAGGED = ("llama3.1", "llama3.2", "llama3.2-vision", "llama3.3")
"""Dialects with the token that opens code and, in some prompts, JSON calls."""


@dataclass(frozen=True, slots=True)
class Named:
    """The policy that this tool is called, and no other.

    Args:
        tool: Its name.
    """

    tool: str


Policy = Literal["auto", "required", "none"] | Named
"""Whether to call: as the model decides, always, never, or one tool always."""


def call_grammar(
    dialect: Dialect,
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    policy: Policy = "auto",
    syntax: Syntax = "json",
    most_calls: int = 1,
    builtin_tools: Sequence[str] = (),
    limits: Limits = UNBOUNDED,
    strict: bool = False,
    answer: Mapping[str, Any] | None = None,
) -> Grammar:
    r"""The grammar of one message of the model.

    A call is one that `Dialect.parse` reads, to an offered tool, with arguments that its schema allows; properties
    come in the order of their declaration. Free text is text that `Dialect.parse` reads as no call.

    Args:
        dialect: The model's dialect.
        tools: The offered tools, as declared for `Dialect.render`.
        policy: `"auto"` for text or calls, `"required"` for calls, `"none"` for text, `Named(tool)` for that tool.
        syntax: How declared tools are called, as the prompt asks for it.
        most_calls: Most calls in the message.
        builtin_tools: Built-in tools that the prompt switches on.
        limits: How long things may become.
        strict: Refuse what cannot be expressed, instead of noting it in `Grammar.notes`.
        answer: JSON schema of what the model writes where it calls nothing; None for free text.

    Returns:
        The grammar.

    Raises:
        GrammarNotExpressible: There is nothing to call, or a name or schema cannot be written.

    Example:
        >>> now = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
        >>> grammar = call_grammar(Dialect.get("llama3.1"), [now], policy="required")
        >>> r"\"now\"" in grammar.ebnf
        True
    """
    rules = Rules()
    declared = [_declaration(tool, index) for index, tool in enumerate(tools)]
    names = [*(name for name, _ in declared), *builtin_tools]
    _check(names, policy, syntax, most_calls)
    wanted = [policy.tool] if isinstance(policy, Named) else [] if policy == "none" else names
    values = Values(rules, python=syntax == "pythonic", limits=limits, strict=strict)
    written = _Calls(dialect, rules, values, syntax, most_calls)
    choices = written.of_declared([tool for tool in declared if tool[0] in wanted])
    choices += written.of_builtin([name for name in builtin_tools if name in wanted], names, limits)
    if policy in ("auto", "none"):
        if answer is None:
            choices.append(prose(rules, names, sorted(BUILTIN_TOOLS)))
        else:
            said = Values(rules, python=False, limits=limits, strict=strict)
            choices.append(said.document(answer, "the answer"))
            values.notes += said.notes
    return Grammar(rules.text(either(choices)), tuple(values.notes))


class _Calls:
    """Writes the calls of one message."""

    def __init__(self, dialect: Dialect, rules: Rules, values: Values, syntax: Syntax, most: int) -> None:
        self._dialect = dialect.name
        self._rules = rules
        self._values = values
        self._syntax = syntax
        self._most = most

    def of_declared(self, tools: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """The ways to call declared tools, one after the other where the message may hold several calls."""
        if not tools:
            return []
        write = {"json": self._json, "function-tag": self._function_tag, "pythonic": self._pythonic}[self._syntax]
        call = self._rules.add("call", either(write(name, parameters) for name, parameters in tools))
        between = {"json": f'";" {SPACE}', "function-tag": '""', "pythonic": f'"," {SPACE}'}[self._syntax]
        body = call if self._most == 1 else f"{call} {repeated(f'{between} {call}', 0, self._most - 1)}"
        if self._syntax == "pythonic":
            body = f'"[" {body} "]"'
        if self._dialect in _TAGGED and self._syntax == "json":
            return [f"({_TAG})? {body}"]
        if self._dialect == "llama4" and self._syntax != "function-tag":
            return [body, f"{_START} {body} {_END}"]
        return [body]

    def of_builtin(self, names: Sequence[str], offered: Sequence[str], limits: Limits) -> list[str]:
        """The ways to call built-in tools: after the tag, as source code or with a query."""
        if names and self._dialect not in _TAGGED:
            raise GrammarNotExpressible(
                f"{self._dialect} has no built-in tools, {names[0]!r} among them: declare it as a tool of your own"
            )
        found = []
        for name in names:
            if name == CODE_INTERPRETER:
                found.append(f"{_TAG} {code(self._rules, [*offered, *sorted(BUILTIN_TOOLS)])}")
            elif name in BUILTIN_TOOLS:
                query = repeated('[^"\\\\<\\n\\r\\u0000]', 1, limits.string)
                found.append(f'{_TAG} {literal(name + ".call(query=")} "\\"" {query} "\\")"')
            else:
                known = ", ".join((*sorted(BUILTIN_TOOLS), CODE_INTERPRETER))
                raise GrammarNotExpressible(f"unknown built-in tool {name!r}; known: {known}")
        return found

    def _json(self, name: str, parameters: Mapping[str, Any]) -> str:
        head = f'"{{" ("\\"type\\":" {SPACE} "\\"function\\"," {SPACE})? "\\"name\\":" {SPACE}'
        written = literal(JSON_TEXT.constant(name))
        return f'{head} {written} "," {SPACE} "\\"parameters\\":" {SPACE} {self._object(name, parameters)} "}}"'

    def _function_tag(self, name: str, parameters: Mapping[str, Any]) -> str:
        if re.search(r"[\s<>=/\"']", name):
            raise GrammarNotExpressible(f"tool {name!r}: a function tag cannot carry this name; rename the tool")
        return f'{literal(f"<function={name}>")} {self._object(name, parameters)} "</function>"'

    def _pythonic(self, name: str, parameters: Mapping[str, Any]) -> str:
        if not _IDENTIFIER.fullmatch(name):
            raise GrammarNotExpressible(f"tool {name!r}: no Python name; rename the tool, or use the JSON syntax")
        parts = []
        for field, value, required in self._values.arguments(parameters, name):
            if not field.isidentifier():
                raise GrammarNotExpressible(
                    f"tool {name!r}: parameter {field!r} is no Python name; rename it, or use the JSON syntax"
                )
            parts.append((f"{literal(field + '=')} {value}", required))
        return f'{literal(name + "(")} {listed(self._rules, parts)} ")"'

    def _object(self, name: str, parameters: Mapping[str, Any]) -> str:
        parts = [
            (f'{literal(JSON_TEXT.constant(field))} ":" {SPACE} {value}', required)
            for field, value, required in self._values.arguments(parameters, name)
        ]
        return f'"{{" {listed(self._rules, parts)} "}}"'


def _declaration(tool: Mapping[str, Any], index: int) -> tuple[str, Mapping[str, Any]]:
    body = tool.get("function", tool)
    name = body.get("name") if isinstance(body, Mapping) else None
    if not isinstance(name, str) or not name or "<|" in name:
        raise GrammarNotExpressible(f"tool {index}: {name!r} is no name that a call can carry; give it another one")
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise GrammarNotExpressible(f"tool {name!r}: its parameters must be a JSON schema")
    return name, parameters


def _check(names: Sequence[str], policy: Policy, syntax: Syntax, most_calls: int) -> None:
    if not isinstance(policy, Named) and policy not in _POLICIES:
        raise GrammarNotExpressible(f"unknown policy {policy!r}; use one of {', '.join(_POLICIES)}, or Named(tool)")
    if syntax not in get_args(Syntax):
        raise GrammarNotExpressible(f"unknown syntax {syntax!r}; use one of {', '.join(get_args(Syntax))}")
    if most_calls < 1:
        raise GrammarNotExpressible(f"most_calls is {most_calls}: give 1 or more, or policy='none' for no call")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GrammarNotExpressible(f"tool {twice!r} is offered twice; offer it once")
    if isinstance(policy, Named) and policy.tool not in names:
        raise GrammarNotExpressible(f"tool {policy.tool!r} is not offered; offered: {', '.join(names) or 'none'}")
    if policy == "required" and not names:
        raise GrammarNotExpressible("a call is required and no tool is offered; offer one, or choose policy='auto'")
