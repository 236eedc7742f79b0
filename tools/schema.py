"""Parameters of a Python function as JSON schema, and the check of a call's arguments against them."""

import functools
import inspect
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from arriero.tools.arguments import closest, shown
from arriero.tools.context import ToolContext
from arriero.tools.docstrings import original
from arriero.tools.errors import ToolArgumentError, ToolDefinitionError
from arriero.tools.values import shorten

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

_SHOWN_PROBLEMS = 5
_SHOWN_CHARS = 200
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_KEY_ORDER = (
    "type",
    "description",
    "enum",
    "format",
    "anyOf",
    "oneOf",
    "items",
    "prefixItems",
    "properties",
    "required",
)
_UNUSED_KEYS = frozenset({"$defs", "title", "discriminator"})


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function, with the adapter that checks its values."""

    name: str
    adapter: "TypeAdapter[Any]"
    schema: Mapping[str, Any]
    default: Any
    positional_only: bool

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a function.

    Args:
        takes_context: Whether the first one takes the call's context; it is not among the described.
        described: Those that a model fills in, in order.
    """

    takes_context: bool
    described: tuple[Parameter, ...]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of a call's arguments."""
        return {
            "type": "object",
            "properties": {parameter.name: dict(parameter.schema) for parameter in self.described},
            "required": [parameter.name for parameter in self.described if parameter.required],
        }


def read_parameters(function: Callable[..., object], tool: str, descriptions: Mapping[str, str]) -> Parameters:
    """Describe every parameter of a function.

    Args:
        function: The function, with a type on each parameter.
        tool: Name of the tool, for the error's text.
        descriptions: What the docstring says about each parameter.

    Returns:
        Its parameters, without those that a partial has filled in by name.

    Raises:
        ToolDefinitionError: A parameter has no type, or one that JSON cannot carry.
    """
    filled = function.keywords if isinstance(function, functools.partial) else {}
    found = [entry for entry in inspect.signature(function).parameters.values() if entry.name not in filled]
    takes_context = bool(found) and _takes_context(function, tool, found[0], first=True)
    described = []
    for parameter in found[takes_context:]:
        _takes_context(function, tool, parameter, first=False)
        described.append(_read_parameter(function, tool, parameter, descriptions.get(parameter.name, "")))
    return Parameters(takes_context, tuple(described))


def _takes_context(function: Callable[..., object], tool: str, parameter: inspect.Parameter, *, first: bool) -> bool:
    where = _where(tool, parameter)
    if parameter.annotation is inspect.Parameter.empty or parameter.kind in _STARRED:
        return False
    annotation = _evaluated(function, parameter, where)
    if not any(map(_is_context, (annotation, *get_args(annotation)))):
        return False
    if first and _is_context(annotation) and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        return True
    raise ToolDefinitionError(f"{where}: a ToolContext must be the first parameter, alone and by position")


def _is_context(annotation: object) -> bool:
    return annotation is ToolContext or get_origin(annotation) is ToolContext


def check_arguments(parameters: Parameters, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Turn the arguments of a call into Python values.

    Args:
        parameters: The function's parameters.
        arguments: The arguments as the model wrote them, within `check_bounds`.

    Returns:
        Positional and keyword arguments for the function.

    Raises:
        ToolArgumentError: An argument is missing, unknown or does not fit its type.
    """
    values = _values(parameters, arguments)
    positional = [values[parameter.name] for parameter in parameters.described if parameter.positional_only]
    keyword = {parameter.name: values[parameter.name] for parameter in parameters.described[len(positional) :]}
    return positional, keyword


def canonical(parameters: Parameters, arguments: Mapping[str, Any]) -> str:
    """The valid arguments of a call as text, the same for all ways to write the same values.

    Args:
        parameters: The function's parameters.
        arguments: The arguments as the model wrote them.

    Returns:
        JSON with all parameters, defaults included. Different values have different texts.

    Raises:
        ToolArgumentError: As for `check_arguments`.
    """
    values = _values(parameters, arguments)
    plain = {
        parameter.name: _as_key(parameter.adapter, values[parameter.name], arguments.get(parameter.name))
        for parameter in parameters.described
    }
    return json.dumps(plain, sort_keys=True)


def _as_key(adapter: "TypeAdapter[Any]", value: object, written: object) -> list[object]:
    """A value as JSON; as it was written where JSON keeps less of it, so that no two values look the same."""
    try:
        plain = adapter.dump_python(value, mode="json", warnings=False)
        if adapter.validate_python(plain) == value:
            return ["value", plain]
    except (ValueError, TypeError):  # it cannot be written, or not be read again
        pass
    return ["written", written]


def _values(parameters: Parameters, arguments: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import ValidationError

    values: dict[str, Any] = {}
    problems: list[str] = []
    for parameter in parameters.described:
        values[parameter.name] = parameter.default
        if parameter.name in arguments:
            try:
                values[parameter.name] = parameter.adapter.validate_python(arguments[parameter.name])
            except ValidationError as error:
                problems += _problems(parameter.name, error)
        elif parameter.required:
            problems.append(f"argument '{parameter.name}': missing")
    if not values.keys() >= arguments.keys():
        problems += _unknown([name for name in arguments if name not in values], list(values))
    if problems:
        raise ToolArgumentError("; ".join(problems[:_SHOWN_PROBLEMS]))
    return values


def _unknown(names: list[str], known: list[str]) -> list[str]:
    takes = f"the arguments are {', '.join(known)}" if known else "there are no arguments"
    return [f"argument '{shown(name)}': unknown; {closest(name, known) or takes}" for name in names[:_SHOWN_PROBLEMS]]


def _problems(name: str, error: "ValidationError") -> list[str]:
    return [
        f"argument '{shown('.'.join([name, *map(str, problem['loc'])]))}': {shorten(problem['msg'], _SHOWN_CHARS)}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN_PROBLEMS]
    ]


def _read_parameter(
    function: Callable[..., object], tool: str, parameter: inspect.Parameter, description: str
) -> Parameter:
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
    from pydantic.fields import FieldInfo

    where = _where(tool, parameter)
    if parameter.kind in _STARRED:
        raise ToolDefinitionError(f"{where}: * and ** parameters cannot be described; name each parameter")
    if parameter.annotation is inspect.Parameter.empty:
        if parameter.name in ("self", "cls"):
            raise ToolDefinitionError(f"{where}: this is a method of no object; make the tool of the bound method")
        raise ToolDefinitionError(f"{where}: has no type; annotate it, for example `{parameter.name}: str`")
    if isinstance(parameter.default, FieldInfo):
        raise ToolDefinitionError(f"{where}: put Field() into Annotated[...], so that the default stays a plain value")
    annotation = _evaluated(function, parameter, where)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        raw = adapter.json_schema(schema_generator=_generator())
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ToolDefinitionError(
            f"{where}: type {inspect.formatannotation(annotation)} cannot be described as JSON schema ({reason}); "
            "use str, int, float, bool, date, Literal, Enum, list, dict, a dataclass or a pydantic model"
        ) from error
    schema = _plain(raw, raw.get("$defs", {}), (), where)
    if description:
        schema["description"] = description
    if parameter.default is not inspect.Parameter.empty and parameter.default is not None:
        schema |= _default(adapter, parameter.default)
    try:
        json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(
            f"{where}: its schema or default is no strict JSON ({error}); use finite numbers and texts, "
            "or None as the default"
        ) from error
    positional_only = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    return Parameter(parameter.name, adapter, _ordered(schema), parameter.default, positional_only)


def _where(tool: str, parameter: inspect.Parameter) -> str:
    return f"tool {tool!r}, parameter {parameter.name!r}"


def _evaluated(function: Callable[..., object], parameter: inspect.Parameter, where: str) -> Any:
    """The annotation as a type, when it was written as text or under `from __future__ import annotations`."""
    inner: Any = inspect.unwrap(original(function))
    namespace = getattr(inner, "__globals__", None) or getattr(type(inner).__call__, "__globals__", {})
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(holder, globalns=namespace, include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise ToolDefinitionError(
            f"{where}: type {parameter.annotation!r} cannot be read: {error}; import or define it at module level"
        ) from error


def _default(adapter: "TypeAdapter[Any]", value: object) -> dict[str, Any]:
    from pydantic_core import PydanticSerializationError

    try:
        return {"default": adapter.dump_python(value, mode="json", warnings=False)}
    except PydanticSerializationError:  # the function still has its default, the model just does not read it
        return {}


def _generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    return Quiet


def _plain(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], inside: tuple[str, ...], where: str
) -> dict[str, Any]:
    """The schema without titles, references and null alternatives: what a small model can read."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in inside:
            raise ToolDefinitionError(f"{where}: type {name} contains itself and cannot be described; use dict instead")
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _plain({**definitions[name], **rest}, definitions, (*inside, name), where)
    plain: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _UNUSED_KEYS or (key == "additionalProperties" and isinstance(value, bool)):
            continue
        if key == "const":
            plain["enum"] = [value]
        elif key == "properties" or key == "patternProperties":
            plain[key] = {name: _plain(inner, definitions, inside, where) for name, inner in value.items()}
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            plain[key] = [_plain(inner, definitions, inside, where) for inner in value]
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            plain[key] = _plain(value, definitions, inside, where)
        else:
            plain[key] = value
    return _ordered(_without_null(plain))


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    alternatives = [inner for inner in schema.get("anyOf", ()) if inner != {"type": "null"}]
    if len(alternatives) == len(schema.get("anyOf", ())):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**(alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}), **rest}


def _ordered(schema: Mapping[str, Any]) -> dict[str, Any]:
    rest = [key for key in schema if key not in _KEY_ORDER and key != "default"]
    return {key: schema[key] for key in (*_KEY_ORDER, *rest, "default") if key in schema}
