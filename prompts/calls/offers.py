"""What is known of the tools that were offered to the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arriero.prompts.calls.coercion import Coercion, coerced
from arriero.prompts.messages import ToolCall

Tool = str | Mapping[str, Any]
"""A tool's name, or its declaration in the OpenAI shape."""


@dataclass(frozen=True, slots=True)
class Offers:
    """The offered tools.

    Args:
        names: Their names; None when they are not known.
        schemas: JSON schemas of their arguments, where known.
    """

    names: frozenset[str] | None
    schemas: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, tools: Sequence[Tool] | None) -> "Offers":
        """Read names and declarations; what is neither is passed over.

        Example:
            >>> Offers.of([{"name": "now", "parameters": {"type": "object"}}, "add"]).schemas
            {'now': {'type': 'object'}}
        """
        if tools is None:
            return cls(None, {})
        names: set[str] = set()
        schemas: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            body = tool if isinstance(tool, str) else tool.get("function", tool)
            name = body.get("name") if isinstance(body, Mapping) else body
            if not isinstance(name, str):
                continue
            names.add(name)
            schema = body.get("parameters") if isinstance(body, Mapping) else None
            if isinstance(schema, Mapping):
                schemas[name] = schema
        return cls(frozenset(names), schemas)

    def knows(self, name: str) -> bool:
        """Whether the tool is offered, as far as that is known."""
        return self.names is None or name in self.names

    def coerced(self, call: ToolCall) -> tuple[ToolCall, tuple[Coercion, ...]]:
        """The call with its arguments as the tool declares them, and what was changed."""
        schema = self.schemas.get(call.name)
        return (call, ()) if schema is None else coerced(call, schema)
