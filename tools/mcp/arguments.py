"""The check of values against a JSON schema that a stranger wrote."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.mcp.declared import clean

_SHOWN_PROBLEMS = 5
_MAX_REFERENCES = 10_000
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# A regular expression may take for ever, and the last two evaluate what is below them again at every level.
_COSTLY = frozenset({"pattern", "patternProperties", "unevaluatedProperties", "unevaluatedItems"})
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"const", "enum", "default", "examples"})


class SchemaCheck:
    """A JSON schema that values can be held against, at bounded cost.

    Keywords that a hostile schema could use to keep the process busy (regular expressions, `unevaluated...`) are left
    to the server; references to other documents are not followed.

    Args:
        schema: JSON schema, draft 3 to 2020-12 (the default).
        noun: What one of the values is called in a problem's text.

    Raises:
        ToolDefinitionError: It is no valid schema.

    Example:
        >>> check = SchemaCheck({"properties": {"a": {"type": "integer"}}, "required": ["a"]})
        >>> check.problems({"a": "one"})
        ["argument 'a': 'one' is not of type 'integer'"]
        >>> check.problems({"a": 1})
        []
    """

    def __init__(self, schema: Mapping[str, Any], *, noun: str = "argument") -> None:
        from jsonschema import Draft202012Validator, SchemaError, validators  # type: ignore[import-untyped]
        from referencing import Registry

        kind = validators.validator_for(schema, default=Draft202012Validator)
        self._noun = noun
        self._followed = 0
        counted = {name: self._counted(kind.VALIDATORS[name]) for name in _REFERENCES if name in kind.VALIDATORS}
        try:
            kind.check_schema(schema)
        except (SchemaError, RecursionError) as error:
            raise ToolDefinitionError(f"its schema is not valid: {clean(str(error), 200)}") from error
        self._validator = validators.extend(kind, counted)(_affordable(schema), registry=Registry())

    def problems(self, value: object) -> list[str]:
        """What is wrong with a value, for a model to read.

        Raises:
            ToolError: The schema cannot be evaluated: it refers to what is not there, or to itself without end.
        """
        from referencing.exceptions import Unresolvable

        self._followed = 0
        try:
            errors = list(islice(self._validator.iter_errors(value), _SHOWN_PROBLEMS))
        except (Unresolvable, RecursionError) as error:
            raise ToolError("the tool's schema cannot be evaluated: its server declared it wrongly") from error
        return [self._told(error.absolute_path, error.message) for error in errors]

    def _told(self, path: Iterable[object], message: str) -> str:
        place = ".".join(map(str, path))
        where = f"{self._noun} '{clean(place, 80)}'" if place else f"{self._noun}s"
        return f"{where}: {clean(message, 300)}"

    def _counted(self, follow: Any) -> Any:
        def keyword(validator: Any, reference: Any, instance: Any, schema: Any) -> Any:
            self._followed += 1
            if self._followed > _MAX_REFERENCES:
                raise ToolError("the tool's schema refers to itself too often: its server declared it wrongly")
            return follow(validator, reference, instance, schema)

        return keyword


def _affordable(schema: Any, *, names: bool = False) -> Any:
    """The schema without its costly keywords; a property of such a name stays."""
    match schema:
        case dict() if names:
            return {key: _affordable(inner) for key, inner in schema.items()}
        case dict():
            open_ended = "patternProperties" in schema  # then `additionalProperties` would need it
            return {
                key: inner if key in _VALUES else _affordable(inner, names=key in _NAMED)
                for key, inner in schema.items()
                if key not in _COSTLY and not (open_ended and key == "additionalProperties")
            }
        case list():
            return [_affordable(inner) for inner in schema]
        case _:
            return schema
