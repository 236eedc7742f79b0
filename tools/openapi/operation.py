"""One operation of an API: what the model is told of it, and the request that it becomes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arriero.tools.errors import ToolArgumentError, ToolDefinitionError
from arriero.tools.openapi.document import ApiDocument, RawOperation
from arriero.tools.openapi.parameters import (
    Parameter,
    read_parameter,
    write_cookies,
    write_form,
    write_headers,
    write_path,
    write_query,
)

_MAX_DESCRIPTION = 1000
_JSON_TYPE = re.compile(r"(?:application|text)/(?:[\w.+-]+\+)?json|\*/\*|application/\*")
_FORM_TYPE = "application/x-www-form-urlencoded"
_BODY = "body"


@dataclass(frozen=True, slots=True)
class RequestParts:
    """A request that is not tied to a server yet.

    Args:
        path: Percent-encoded path, with the query if there is one.
        headers: Headers from arguments.
        cookies: Value of the cookie header; may be empty.
        body: Body, if any.
        body_type: Its media type.
    """

    path: str
    headers: Mapping[str, str]
    cookies: str
    body: bytes | None
    body_type: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that became callable.

    Args:
        name: The tool's name.
        method: HTTP method.
        path: Path template.
        description: What the model reads.
        parameters: Parameters.
        body_type: Media type of the body; None when it has none.
        schema: Schema of the arguments object.
        filled: Place and lower-case name of parameters that the credentials fill.
    """

    name: str
    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]
    body_type: str | None
    schema: Mapping[str, Any]
    filled: frozenset[tuple[str, str]] = frozenset()

    def request(self, values: Mapping[str, Any], cookies: Mapping[str, str]) -> RequestParts:
        """Write arguments into a request.

        Args:
            values: Valid arguments.
            cookies: Cookies that are always sent.

        Returns:
            The request.

        Raises:
            ToolArgumentError: A value cannot be sent.
        """
        for parameter in self.parameters:
            self._check_fields(parameter, values.get(parameter.argument))
        query = write_query(self._placed("query"), values)
        path = write_path(self.path, self._placed("path"), values)
        body = None
        if self.body_type is not None and _BODY in values:
            body = self._written_body(values[_BODY])
        return RequestParts(
            f"{path}?{query}" if query else path,
            write_headers(self._placed("header"), values),
            write_cookies(self._placed("cookie"), values, cookies),
            body,
            self.body_type if body is not None else None,
        )

    def _check_fields(self, parameter: Parameter, value: Any) -> None:
        """Refuse an object whose fields would become other parameters, or the credentials."""
        if not parameter.spreads or not isinstance(value, Mapping):
            return
        others = {other.name.lower() for other in self._placed(parameter.place) if other is not parameter}
        others |= {name for place, name in self.filled if place == parameter.place}
        for key in value:
            if key.lower() in others:
                raise ToolArgumentError(f"argument '{parameter.argument}': may not have a field {key[:60]!r}")

    def _written_body(self, value: Any) -> bytes:
        if self.body_type == _FORM_TYPE:
            if not isinstance(value, Mapping):
                raise ToolArgumentError(f"argument '{_BODY}': must be an object of fields")
            return write_form(value).encode("ascii")
        try:
            return json.dumps(value, allow_nan=False).encode()
        except ValueError as error:
            raise ToolArgumentError(f"argument '{_BODY}': JSON has no infinite numbers and no NaN") from error

    def _placed(self, place: str) -> tuple[Parameter, ...]:
        return tuple(parameter for parameter in self.parameters if parameter.place == place)


def read_operation(
    document: ApiDocument, raw: RawOperation, name: str, hidden: frozenset[tuple[str, str]]
) -> Operation:
    """Make an operation callable.

    Args:
        document: The document it is of.
        raw: The operation as the document has it.
        name: The tool's name.
        hidden: Place and lower-case name of parameters that the credentials fill.

    Returns:
        The operation.

    Raises:
        ToolDefinitionError: Something in it cannot be expressed as a tool.
    """
    visible = [
        entry for entry in raw.parameters if (str(entry.get("in")), str(entry.get("name")).lower()) not in hidden
    ]
    names = [str(entry.get("name")) for entry in visible]
    parameters: list[Parameter] = []
    for entry in visible:
        own = str(entry.get("name"))
        clashes = names.count(own) > 1 or own == _BODY
        argument = f"{entry.get('in')}_{own}" if clashes else own
        parameter = read_parameter(entry, _schema_of(document, entry, raw.label), argument, raw.label)
        if parameter is not None:
            parameters.append(parameter)
    _check_template(raw, parameters)
    body_type, body_schema, body_required = _body(document, raw)
    properties = {parameter.argument: parameter.schema for parameter in parameters}
    required = [parameter.argument for parameter in parameters if parameter.required]
    if body_type is not None:
        properties[_BODY] = body_schema
        required += [_BODY] if body_required else []
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema |= {"required": required} if required else {}
    schema["additionalProperties"] = False
    return Operation(name, raw.method, raw.path, _description(raw), tuple(parameters), body_type, schema, hidden)


def _schema_of(document: ApiDocument, entry: Mapping[str, Any], where: str) -> Any:
    content = entry.get("content")
    if content is None:
        return document.schema(entry.get("schema", {}), where)
    if not isinstance(content, Mapping) or len(content) != 1 or not _JSON_TYPE.fullmatch(str(next(iter(content)))):
        raise ToolDefinitionError(f"{where}: the parameter {entry.get('name')!r} is neither simple nor JSON")
    return document.schema(document.resolved(next(iter(content.values()))).get("schema", {}), where)


def _check_template(raw: RawOperation, parameters: list[Parameter]) -> None:
    wanted = set(re.findall(r"\{([^{}]+)\}", raw.path))
    described = {parameter.name for parameter in parameters if parameter.place == "path"}
    if wanted != described:
        raise ToolDefinitionError(
            f"{raw.label}: the path and its parameters do not fit: {', '.join(sorted(wanted ^ described))}"
        )
    if not raw.path.startswith("/") or "?" in raw.path or "#" in raw.path:
        raise ToolDefinitionError(f"{raw.label}: the path must start with '/' and have no query")


def _body(document: ApiDocument, raw: RawOperation) -> tuple[str | None, Any, bool]:
    if "requestBody" not in raw.content:
        return None, None, False
    body = document.resolved(raw.content["requestBody"])
    content = document.resolved(body.get("content") or {})
    types = {str(kind).partition(";")[0].strip().lower(): media for kind, media in content.items()}
    chosen = next((kind for kind in types if _JSON_TYPE.fullmatch(kind)), _FORM_TYPE)
    if chosen not in types:
        raise ToolDefinitionError(
            f"{raw.label}: its body is {' or '.join(types) or 'of no type'}, and only JSON and simple forms can be "
            "written by a model; leave this operation out with operations=..."
        )
    media = document.resolved(types[chosen])
    schema = document.schema(media.get("schema", {}), raw.label)
    if body.get("description") and isinstance(schema, dict):
        schema = {"description": str(body["description"]), **schema}
    sent = "application/json" if "*" in chosen else chosen
    return sent, schema, body.get("required") is True


def _description(raw: RawOperation) -> str:
    texts = [str(raw.content.get(key) or "").strip() for key in ("summary", "description")]
    text = "\n\n".join(dict.fromkeys(text for text in texts if text)) or raw.label
    return text if len(text) <= _MAX_DESCRIPTION else f"{text[:_MAX_DESCRIPTION]} ..."
