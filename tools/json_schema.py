"""Arguments checked by a JSON schema that somebody else wrote: a server's, or an API document's."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any

from arriero.tools.errors import ToolArgumentError, ToolDefinitionError

ArgumentCheck = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Takes arguments as a model wrote them; gives them with plain types, or raises `ToolArgumentError`."""

_MAX_SCHEMA_CHARS = 500_000
_MAX_PARTS = 5_000  # objects and lists; to see that so many are a schema takes about a second
_MAX_DEPTH = 64
_MAX_STEPS = 200_000  # of one check, some 10 microseconds each; a keyword is one at least
_DEARER = {"$ref": 40, "$dynamicRef": 40, "$recursiveRef": 40, "unevaluatedProperties": 100, "unevaluatedItems": 100}
_MAX_PATTERN_TEXT = 10_000  # linear time is long for a large pattern and a long text
_MAX_PROBLEMS = 5
_steps_left: ContextVar[int] = ContextVar("steps_left", default=0)  # of the check that runs
_SCALARS = {"integer", "number", "boolean", "array", "object"}


def schema_check(schema: Mapping[str, Any], *, name: str) -> ArgumentCheck:
    """A check of arguments by a JSON schema (2020-12 unless `$schema` says another draft).

    The schema may be hostile: references are followed inside of it only and never fetched, the work of one check is
    bounded, and patterns run in linear time (RE2 syntax; a pattern that needs more is left to whoever wrote it, and so
    are `patternProperties` and texts of more than 10,000 characters). Formats are not checked. A top-level argument
    written as text where the schema wants a number, a truth value, a list or an object is read as JSON, as small
    models often quote them.

    Args:
        schema: Schema of the arguments object.
        name: The tool's name, for messages.

    Returns:
        The check.

    Raises:
        ToolDefinitionError: It is no JSON schema, or too large or deep.

    Example:
        >>> check = schema_check({"properties": {"count": {"type": "integer", "minimum": 1}}}, name="list")
        >>> check({"count": "3"})
        {'count': 3}
        >>> check({"count": 0})
        Traceback (most recent call last):
        arriero.tools.errors.ToolArgumentError: list: argument 'count': 0 is less than the minimum of 1
    """
    from jsonschema import validators  # type: ignore[import-untyped]
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    from referencing import Registry

    _check_size(schema, name)
    try:
        base = validators.validator_for(schema, default=validators.Draft202012Validator)
        base.check_schema(schema)
    except (SchemaError, RecursionError, TypeError, ValueError, OverflowError) as error:
        reason = getattr(error, "message", "it is too deep, or holds what no schema does")
        raise ToolDefinitionError(f"{name}: its parameters are no JSON schema: {str(reason)[:200]}") from error
    validator = _bounded(base, '"patternProperties"' in json.dumps(schema))(_of_one_draft(schema), registry=Registry())

    def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(arguments, Mapping):
            raise ToolArgumentError(f"{name}: the arguments must be an object")
        read = {key: _as_wanted(value, schema, key) for key, value in arguments.items()}
        _steps_left.set(_MAX_STEPS)
        problems = _problems(validator, read, name)
        if problems:
            raise ToolArgumentError(f"{name}: {'; '.join(problems)}")
        return read

    return check


def _check_size(schema: Mapping[str, Any], name: str) -> None:
    if not isinstance(schema, Mapping):
        raise ToolDefinitionError(f"{name}: its parameters are no JSON schema but a {type(schema).__name__}")
    waiting: list[tuple[object, int]] = [(schema, 0)]
    parts = 0
    while waiting:
        value, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise ToolDefinitionError(f"{name}: the schema of its parameters is nested deeper than {_MAX_DEPTH}")
        parts += isinstance(value, Mapping | list | tuple)
        if parts > _MAX_PARTS:  # as a tree: what YAML's aliases repeat counts each time
            raise ToolDefinitionError(f"{name}: the schema of its parameters has more than {_MAX_PARTS} parts")
        if isinstance(value, Mapping):
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list | tuple):
            waiting.extend((inner, depth + 1) for inner in value)
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(f"{name}: the schema of its parameters is no JSON: {error}") from error
    if size > _MAX_SCHEMA_CHARS:
        raise ToolDefinitionError(f"{name}: the schema of its parameters has {size} characters")


def _of_one_draft(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without the drafts that its parts name: jsonschema would check those by its own, unbounded rules."""

    def part(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: part(inner) for key, inner in value.items() if key != "$schema" or isinstance(inner, Mapping)}
        return [part(inner) for inner in value] if isinstance(value, list | tuple) else value

    written: dict[str, Any] = part(schema)
    return written


class _TooMuch(Exception):
    """A check takes more steps than it may."""


@cache
def _bounded(base: Any, has_name_patterns: bool) -> Any:
    """The validator of a draft without what could run for ever on a hostile schema."""
    from jsonschema import validators

    replaced: dict[str, Any] = {**base.VALIDATORS, "pattern": _pattern, "patternProperties": _nothing}
    if "uniqueItems" in replaced:
        replaced["uniqueItems"] = _unique_items
    if has_name_patterns:  # both run the patterns by Python's backtracking engine
        replaced |= {"additionalProperties": _nothing, "unevaluatedProperties": _nothing}
    return validators.extend(base, {key: _counted(key, check) for key, check in replaced.items()})


def _counted(keyword: str, original: Any) -> Any:
    least = _DEARER.get(keyword, 1)

    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _spend(least + (_length(value) + _length(instance)) // 8)
        for error in original(validator, value, instance, schema) or ():
            _spend(len(error.message) // 100)  # it repeats the value, and all errors of `anyOf` are kept
            yield error

    return check


def _spend(steps: int) -> None:
    left = _steps_left.get() - steps
    if left < 0:
        raise _TooMuch
    _steps_left.set(left)


def _length(value: object) -> int:
    return len(value) if isinstance(value, Mapping | list) else 0


def _unique_items(validator: Any, wanted: object, instance: object, schema: object) -> Iterator[Any]:
    """Unlike jsonschema's, in linear time."""
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(instance, list) and len({_canonical(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _canonical(item: object) -> str:
    return json.dumps(item, sort_keys=True) if not isinstance(item, float) or item % 1 else str(int(item))


def _pattern(validator: Any, value: str, instance: object, schema: object) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not _searches(value, instance):
        yield ValidationError(f"{instance!r} does not match {value!r}")


def _nothing(validator: object, value: object, instance: object, inner: object) -> None:
    """A keyword that is not checked."""


def _searches(pattern: str, text: str) -> bool:
    matcher = _matcher(pattern) if len(text) <= _MAX_PATTERN_TEXT else None
    return matcher is None or matcher(text)


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], bool] | None:
    """A search in linear time by pydantic's engine (Rust's `regex`); None for a pattern that it does not know."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:  # look-around and back references
        return None
    return validator.isinstance_python


def _problems(validator: Any, arguments: dict[str, Any], name: str) -> list[str]:
    from referencing.exceptions import Unresolvable

    problems: list[str] = []
    try:
        for error in validator.iter_errors(arguments):
            problem = _phrase(error)
            if problem not in problems:
                problems.append(problem)
            if len(problems) == _MAX_PROBLEMS:
                break
    except (RecursionError, _TooMuch) as error:
        problem = "the arguments are too large or too deep for its schema to be checked"
        raise ToolArgumentError(f"{name}: {problem}") from error
    except (ArithmeticError, ValueError) as error:  # such as a number that no float can hold
        raise ToolArgumentError(f"{name}: a number among the arguments cannot be checked by its schema") from error
    except Unresolvable as error:
        reference = str(getattr(error, "ref", error))[:100]
        raise ToolArgumentError(f"{name}: its schema refers to {reference!r}, which it does not contain") from error
    return problems


def _phrase(error: Any) -> str:
    """One problem, naming the argument as the model wrote it."""
    message = error.message if len(error.message) <= 200 else f"{error.message[:100]} ... {error.message[-90:]}"
    path = [str(part) for part in error.absolute_path]
    if error.validator == "required" and isinstance(error.instance, Mapping):
        missing = [str(field) for field in error.validator_value if field not in error.instance]
        return "; ".join(f"argument '{'.'.join([*path, field])}': missing" for field in missing[:_MAX_PROBLEMS])
    return f"argument '{'.'.join(path)}': {message}" if path else message


def _as_wanted(value: object, schema: Mapping[str, Any], key: str) -> object:
    """A value that was written as text, as the type that the schema wants in its place."""
    properties = schema.get("properties")
    wanted = properties.get(key) if isinstance(properties, Mapping) else None
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if not isinstance(value, str) or not isinstance(kind, str) or kind not in _SCALARS:
        return value
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return {"True": True, "False": False}.get(value, value) if kind == "boolean" else value
    fits = {
        "integer": isinstance(read, int) and not isinstance(read, bool),
        "number": isinstance(read, int | float) and not isinstance(read, bool),
        "boolean": isinstance(read, bool),
        "array": isinstance(read, list),
        "object": isinstance(read, dict),
    }
    return read if fits[kind] else value
