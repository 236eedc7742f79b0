"""Arguments that are not of the type the tool declares, and become so without loss.

Only text that can mean nothing else is changed: `"10"` where the schema says integer. What a schema allows stays as
it is, and what more than one type could take too.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from arriero.prompts.messages import ToolCall

_TYPES = {
    "dict": "object",
    "float": "number",
    "tuple": "array",
    "list": "array",
    "int": "integer",
    "bool": "boolean",
    "str": "string",
}  # other names that schemas in use have for the types
_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,4000})(?:\.0+)?")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS: dict[str, dict[str, Any]] = {"boolean": {"true": True, "false": False}, "null": {"null": None, "none": None}}
_CONTAINERS: dict[str, type] = {"object": dict, "array": list}
_MAX_DEPTH = 64
_LONGEST_FLOAT = 64
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Coercion:
    """An argument that was changed to the declared type.

    Args:
        call: Name of the tool.
        path: Where the value stands in the arguments: keys and positions.
        before: The value as written.
        after: The value as declared.
    """

    call: str
    path: tuple[str | int, ...]
    before: Any
    after: Any


def coerced(call: ToolCall, schema: Mapping[str, Any]) -> tuple[ToolCall, tuple[Coercion, ...]]:
    """The call with its arguments as the schema declares them.

    Args:
        call: The call as written.
        schema: JSON schema of its arguments. What cannot be understood in it changes nothing.

    Returns:
        The call, and what was changed.

    Example:
        >>> schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        >>> coerced(ToolCall("f", {"n": "10"}), schema)
        (ToolCall(name='f', arguments={'n': 10}, id=''), (Coercion(call='f', path=('n',), before='10', after=10),))
    """
    made: list[Coercion] = []
    arguments = _Walk(call.name, schema, made).value(dict(call.arguments), schema, ())
    return (ToolCall(call.name, arguments, call.id), tuple(made)) if made else (call, ())


class _Walk:
    """One walk through the arguments of a call along their schema."""

    def __init__(self, name: str, root: Mapping[str, Any], made: list[Coercion]) -> None:
        self._name = name
        self._root = root
        self._made = made

    def value(self, value: Any, schema: Any, path: tuple[str | int, ...]) -> Any:
        schema = self._resolved(schema)
        if schema is None or len(path) > _MAX_DEPTH:
            return value
        if isinstance(value, str):
            value = self._text(value, schema, path)
        schema = self._branch(schema, "object" if isinstance(value, dict) else "array")
        if isinstance(value, dict):
            properties, others = schema.get("properties"), schema.get("additionalProperties")
            known = properties if isinstance(properties, Mapping) else {}
            return {key: self.value(inner, known.get(key, others), (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            items = schema.get("items")
            return [self.value(inner, items, (*path, at)) for at, inner in enumerate(value)]
        return value

    def _text(self, value: str, schema: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
        types = _types(schema, self._resolved)
        if not types or "string" in types or value in _choices(schema):
            return value
        readings = [found for type_ in sorted(types) if (found := _read(value, type_)) is not _MISSING]
        # "10" where integer or number may stand is 10 either way; "1" for boolean or integer is anyone's guess.
        if not readings or any(not _same(reading, readings[0]) for reading in readings):
            return value
        if (choices := _choices(schema)) and not any(_same(readings[0], choice) for choice in choices):
            return value
        self._made.append(Coercion(self._name, path, value, readings[0]))
        return readings[0]

    def _branch(self, schema: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
        """The one branch of a union that such a value fits."""
        fitting = [
            branch
            for key in ("anyOf", "oneOf")
            if isinstance(schema.get(key), list)
            for raw in schema[key]
            if (branch := self._resolved(raw)) and type_ in _types(branch, self._resolved)
        ]
        return fitting[0] if len(fitting) == 1 else schema

    def _resolved(self, schema: Any) -> Mapping[str, Any] | None:
        for _ in range(8):
            reference = schema.get("$ref") if isinstance(schema, Mapping) else None
            if not isinstance(reference, str):
                return schema if isinstance(schema, Mapping) else None
            target: Any = self._root
            for step in reference.removeprefix("#").split("/")[1:]:
                target = target.get(step) if isinstance(target, Mapping) else None
            schema = target
        return None


def _types(schema: Mapping[str, Any], resolved: Any, depth: int = 0) -> set[str]:
    """The types that a schema allows; none when it does not say, or says more than types can."""
    for key in ("anyOf", "oneOf"):
        branches = schema.get(key)
        if isinstance(branches, list) and depth < 8:
            allowed = [_types(branch, resolved, depth + 1) if (branch := resolved(raw)) else set() for raw in branches]
            return set().union(*allowed) if all(allowed) else set()
    declared = schema.get("type")
    named = [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else []
    types = {_TYPES.get(name, name) for name in named if isinstance(name, str)}
    known = {"string", "integer", "number", "boolean", "null", "object", "array"}
    return types if types <= known else set()


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    choices = schema.get("enum")
    return choices if isinstance(choices, list) else [schema["const"]] if "const" in schema else []


def _read(value: str, type_: str) -> Any:
    text = value.strip()
    if type_ in _WORDS:
        return _WORDS[type_].get(text.lower(), _MISSING)
    if type_ == "integer":
        return int(text.split(".")[0]) if _INTEGER.fullmatch(text) else _MISSING
    if type_ == "number":
        return _number(text)
    try:
        found = json.loads(text, parse_constant=lambda _: _MISSING)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        return _MISSING
    return found if isinstance(found, _CONTAINERS[type_]) else _MISSING


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text) and "." not in text:
        return int(text)
    number = float(text) if len(text) < _LONGEST_FLOAT and _NUMBER.fullmatch(text) else math.nan
    # "0.1234567890123456789" would lose digits.
    return number if math.isfinite(number) and Decimal(text) == Decimal(repr(number)) else _MISSING


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
