"""What the keywords of a JSON schema say, before anything is written."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from arriero.prompts.grammar.grammar import GrammarNotExpressible
from arriero.prompts.grammar.numbers import Bounds

Schema = Mapping[str, Any] | bool
"""A JSON schema."""

EVERY_TYPE = ("object", "array", "string", "number", "boolean", "null")
"""The types of JSON; every integer is a number."""

_PYTHON_TYPES = {
    "dict": "object", "float": "number", "double": "number", "int": "integer", "long": "integer", "str": "string",
    "char": "string", "bool": "boolean", "list": "array", "tuple": "array",
}  # fmt: skip
"""Names of types in declarations that were written from Python, those of Llama's own pythonic prompts among them."""
_KEYWORDS = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_READ = {
    *(keyword for keywords in _KEYWORDS.values() for keyword in keywords),
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "nullable",
}  # fmt: skip
_ANNOTATIONS = {
    "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "discriminator",
    "optional", "$schema", "$id", "$comment", "contentMediaType", "contentEncoding", "additionalItems",
}  # fmt: skip


def unread(schema: Mapping[str, Any]) -> list[str]:
    """Keywords that restrict values in a way no grammar here expresses.

    Example:
        >>> unread({"type": "string", "title": "x", "not": {"const": ""}})
        ['not']
    """
    return [key for key in schema if key not in _READ and key not in _ANNOTATIONS and not key.startswith("x-")]


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that a value may have. Without `type`, those that the other keywords are about.

    Example:
        >>> types_of({"type": ["string", "null"]}), types_of({"minimum": 0})
        (('string', 'null'), ('number',))
    """
    declared = schema.get("type")
    if declared is None:
        spoken = tuple(kind for kind, keywords in _KEYWORDS.items() if any(key in schema for key in keywords))
        found = spoken or ("any",)
    else:
        names = [declared] if isinstance(declared, str) else list(declared)
        found = tuple(_PYTHON_TYPES.get(str(name).lower(), str(name).lower()) for name in names)
    return (*found, "null") if schema.get("nullable") and "null" not in found else found


def bounds_of(schema: Mapping[str, Any]) -> Bounds:
    """Where a number must lie.

    Example:
        >>> bounds_of({"minimum": 0, "exclusiveMaximum": 1}).below
        True
    """
    low, above = _tighter(schema, "minimum", "exclusiveMinimum", upper=False)
    high, below = _tighter(schema, "maximum", "exclusiveMaximum", upper=True)
    return Bounds(low, high, above, below)


def fits(value: Any, kind: str) -> bool:
    """Whether a constant is of a type."""
    match kind:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list | tuple)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "null":
            return value is None
        case _:
            return True


def resolved(schema: Schema, document: Schema, where: str) -> Schema:
    """The schema itself: references followed, `allOf` merged into it.

    Raises:
        GrammarNotExpressible: A reference leads nowhere or in a circle, or the parts contradict each other.
    """
    followed = 0
    while isinstance(schema, Mapping) and ("$ref" in schema or "allOf" in schema):
        parts: list[Schema] = [{key: value for key, value in schema.items() if key not in ("$ref", "allOf")}]
        if "$ref" in schema:
            parts.insert(0, _pointed(schema["$ref"], document, where))
        parts += schema.get("allOf", ())
        schema = merged(parts, where)
        followed += 1
        if followed > 100:
            raise GrammarNotExpressible(f"{where}: its references go in a circle")
    return schema


def merged(schemas: Sequence[Schema], where: str) -> Schema:
    """One schema that asks for what all of them ask for.

    Raises:
        GrammarNotExpressible: Two of them say something about the same keyword that cannot be joined.

    Example:
        >>> merged([{"type": "integer", "minimum": 1}, {"minimum": 3, "title": "n"}], "n")
        {'type': 'integer', 'minimum': 3, 'title': 'n'}
    """
    whole: dict[str, Any] = {}
    for schema in schemas:
        if isinstance(schema, bool):
            if not schema:
                return False
            continue
        for key, value in schema.items():
            whole[key] = _joined(key, whole[key], value, where) if key in whole else value
    return whole


def apart(schemas: Sequence[Schema]) -> bool:
    """Whether no value can fit two of these schemas: other types, or a property with another constant in each."""
    kinds = [_kinds(schema) for schema in schemas]
    if all(not (one & other) for i, one in enumerate(kinds) for other in kinds[:i]):
        return True
    tags = [_tags(schema) for schema in schemas]
    return any(
        all(not (tag[name] & other[name]) for i, tag in enumerate(tags) for other in tags[:i])
        for name in set.intersection(*(set(tag) for tag in tags))
    )


def _kinds(schema: Schema) -> frozenset[str]:
    found = set(types_of(schema)) if isinstance(schema, Mapping) else {"any"}
    if "any" in found:
        found = {*EVERY_TYPE}
    return frozenset("number" if kind == "integer" else kind for kind in found)


def _tags(schema: Schema) -> dict[str, frozenset[str]]:
    if not isinstance(schema, Mapping):
        return {}
    required = schema.get("required", ())
    return {
        name: frozenset(map(repr, inner["enum"] if "enum" in inner else [inner["const"]]))
        for name, inner in (schema.get("properties") or {}).items()
        if name in required and isinstance(inner, Mapping) and ("enum" in inner or "const" in inner)
    }


def _pointed(reference: Any, document: Schema, where: str) -> Schema:
    found: Any = document
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise GrammarNotExpressible(f"{where}: $ref {reference!r} leads out of the schema; put it under $defs")
    for step in reference[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            raise GrammarNotExpressible(f"{where}: $ref {reference!r} leads nowhere; put it under $defs")
        found = found[key]
    if not isinstance(found, Mapping | bool):
        raise GrammarNotExpressible(f"{where}: $ref {reference!r} leads to no schema")
    return found


def _joined(key: str, one: Any, other: Any, where: str) -> Any:
    if one == other or key in _ANNOTATIONS:
        return other
    if key in ("properties", "$defs", "definitions"):
        both = one.keys() & other.keys()
        return {**one, **other, **{name: {"allOf": [one[name], other[name]]} for name in both}}
    if key == "required":
        return list(dict.fromkeys([*one, *other]))
    if key in _LOWER:
        return max(one, other)
    if key in _UPPER:
        return min(one, other)
    if key == "additionalProperties" and False in (one, other):
        return False
    if key == "enum":
        return [value for value in one if value in other]
    if key == "type":
        kinds = [kind for kind in types_of({"type": one}) if kind in types_of({"type": other})]
        if not kinds and {one, other} == {"number", "integer"}:
            return "integer"
        return kinds
    raise GrammarNotExpressible(f"{where}: {key!r} is asked for twice and differently; write it once")


def _tighter(schema: Mapping[str, Any], plain: str, strict: str, *, upper: bool) -> tuple[Decimal | None, bool]:
    value, other = schema.get(plain), schema.get(strict)
    if isinstance(other, bool):  # as drafts before 6 wrote it
        return (None if value is None else Decimal(str(value))), other
    if other is None or (value is not None and (value < other if upper else value > other)):
        return (None if value is None else Decimal(str(value))), False
    return Decimal(str(other)), True
