"""Parameters of operations, written into requests.

Source: OpenAPI Specification 3.1.1, "Style Values" and "Style Examples" (RFC 6570 in part), with everything outside of
RFC 3986's unreserved characters percent-encoded, also where `allowReserved` would permit less.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from arriero.tools.errors import ToolArgumentError, ToolDefinitionError

_STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
_DELIMITERS = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = frozenset(
    "host connection content-length transfer-encoding te trailer upgrade cookie expect keep-alive proxy-authorization"
    " proxy-connection accept-encoding forwarded x-forwarded-for x-forwarded-host x-real-ip".split()
)
_IGNORED = frozenset({"accept", "content-type", "authorization"})  # by the specification
_MAX_HEADER = 4096


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Args:
        argument: Name that the model writes.
        name: Name in the request.
        place: `"path"`, `"query"`, `"header"` or `"cookie"`.
        style: How values are written.
        explode: Whether lists and objects become several parameters.
        required: Whether it must be given.
        is_json: Written as JSON (a parameter with `content`).
        schema: What the model reads and values are checked by.
    """

    argument: str
    name: str
    place: str
    style: str
    explode: bool
    required: bool
    is_json: bool
    schema: Mapping[str, Any]

    @property
    def spreads(self) -> bool:
        """Whether the fields of an object become parameters of their own."""
        return self.place in ("query", "cookie") and self.style == "form" and self.explode and not self.is_json


def read_parameter(raw: Mapping[str, Any], schema: Any, argument: str, where: str) -> Parameter | None:
    """Read a parameter object.

    Args:
        raw: The object.
        schema: Its schema, written out.
        argument: Name for the model.
        where: The operation, for messages.

    Returns:
        The parameter; None for one that the specification says to ignore.

    Raises:
        ToolDefinitionError: It cannot be expressed.
    """
    name, place = str(raw.get("name", "")), str(raw.get("in", ""))
    if place not in _STYLES or not name:
        raise ToolDefinitionError(f"{where}: the parameter {name!r} in {place!r} is none that OpenAPI knows")
    if place == "header":
        if name.lower() in _IGNORED:
            return None
        if name.lower() in _OURS or not _HEADER_NAME.fullmatch(name):
            raise ToolDefinitionError(f"{where}: the header {name!r} is not a caller's to set")
    style = str(raw.get("style", _STYLES[place][0]))
    if style not in _STYLES[place]:
        raise ToolDefinitionError(f"{where}: the parameter {name!r} has style {style!r}, which {place} does not have")
    described: Any = {**schema} if isinstance(schema, Mapping) else {}
    if raw.get("description") and "description" not in described:
        described["description"] = str(raw["description"])
    explode = bool(raw.get("explode", style == "form"))
    required = place == "path" or raw.get("required") is True
    return Parameter(argument, name, place, style, explode, required, "content" in raw, described)


def write_path(template: str, parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> str:
    """The path of a request. No value can add a segment to it or take one away.

    Args:
        template: Path template.
        parameters: The operation's path parameters.
        values: Arguments.

    Returns:
        The path, percent-encoded.

    Raises:
        ToolArgumentError: A value is empty, `.` or `..`, or contains a slash.
    """
    by_name = {parameter.name: parameter for parameter in parameters}

    def written(match: re.Match[str]) -> str:
        parameter = by_name[match[1]]
        return _path_value(parameter, values[parameter.argument])

    segments = [re.sub(r"\{([^{}]+)\}", written, segment) for segment in template.split("/")]
    for segment, pattern in zip(segments, template.split("/"), strict=True):
        if segment != pattern and segment in ("", ".", ".."):
            raise ToolArgumentError(f"the path {template} needs other values: one part of it would be {segment!r}")
    return "/".join(segments)


def _path_value(parameter: Parameter, value: Any) -> str:
    # servers decode the path before they take it apart, so an encoded slash is a slash to them
    for text in _texts(value):
        if not text or "/" in text or "\\" in text or not text.isprintable():
            raise ToolArgumentError(f"argument '{parameter.argument}': may not be empty or contain '/' or '\\'")
    if parameter.is_json:
        return _encoded(json.dumps(value))
    name = _encoded(parameter.name)
    if parameter.style == "label":
        return "." + _joined(value, "." if parameter.explode else ",", parameter.explode)
    if parameter.style == "matrix":
        if not parameter.explode or not isinstance(value, list | dict):
            return f";{name}={_joined(value, ',', explode=False)}"
        pairs = value.items() if isinstance(value, dict) else ((parameter.name, item) for item in value)
        return "".join(f";{_encoded(str(key))}={_encoded(_text(item))}" for key, item in pairs)
    return _joined(value, ",", parameter.explode)


def write_query(parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> str:
    """The query of a request.

    Args:
        parameters: The operation's query parameters.
        values: Arguments; one that is missing or null is left out.

    Returns:
        The query, percent-encoded, without `?`.
    """
    given = [(entry, values[entry.argument]) for entry in parameters if values.get(entry.argument) is not None]
    return "&".join(piece for parameter, value in given if (piece := _query_pieces(parameter, value)))


def _query_pieces(parameter: Parameter, value: Any) -> str:
    name = _encoded(parameter.name)
    if parameter.is_json:
        return f"{name}={_encoded(json.dumps(value))}"
    if isinstance(value, dict):
        if parameter.style == "deepObject":
            return "&".join(f"{name}%5B{_encoded(key)}%5D={_encoded(_text(item))}" for key, item in value.items())
        if parameter.explode:
            return "&".join(f"{_encoded(key)}={_encoded(_text(item))}" for key, item in value.items())
    if isinstance(value, list) and parameter.explode:
        return "&".join(f"{name}={_encoded(_text(item))}" for item in value)
    if isinstance(value, list | dict) and not value:
        return ""
    return f"{name}={_joined(value, _DELIMITERS.get(parameter.style, ','), explode=False)}"


def write_headers(parameters: tuple[Parameter, ...], values: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request.

    Args:
        parameters: The operation's header parameters.
        values: Arguments; one that is missing or null is left out.

    Returns:
        Headers.

    Raises:
        ToolArgumentError: A value is too long or has characters, such as line breaks, that a header cannot carry.
    """
    headers = {}
    for parameter in parameters:
        value = values.get(parameter.argument)
        if value is None:
            continue
        text = json.dumps(value) if parameter.is_json else _plain(value, parameter.explode)
        if not text.isascii() or not text.isprintable() or len(text) > _MAX_HEADER:
            raise ToolArgumentError(f"argument '{parameter.argument}': a header holds printable ASCII in one line")
        headers[parameter.name] = text.strip()
    return headers


def write_cookies(parameters: tuple[Parameter, ...], values: Mapping[str, Any], fixed: Mapping[str, str]) -> str:
    """The cookie header of a request.

    Args:
        parameters: The operation's cookie parameters.
        values: Arguments; one that is missing or null is left out.
        fixed: Cookies that are always sent.

    Returns:
        The header's value; empty where there is no cookie.
    """
    pairs = [write_query((entry,), values).replace("&", "; ") for entry in parameters]
    pairs += [f"{name}={value}" for name, value in fixed.items()]
    return "; ".join(pair for pair in pairs if pair)


def write_form(value: Mapping[str, Any]) -> str:
    """A body of `application/x-www-form-urlencoded`; lists become several fields.

    Args:
        value: Fields.

    Returns:
        The body.
    """
    field = Parameter("", "", "query", "form", True, False, False, {})
    given = {name: item for name, item in value.items() if item is not None}
    return "&".join(piece for name, item in given.items() if (piece := _query_pieces(_named(field, name), _flat(item))))


def _named(parameter: Parameter, name: str) -> Parameter:
    from dataclasses import replace

    return replace(parameter, name=name)


def _flat(item: Any) -> Any:
    return json.dumps(item) if isinstance(item, dict) else item


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (str(key), _text(item))] or [""]
    return [_text(item) for item in value] or [""] if isinstance(value, list) else [_text(value)]


def _joined(value: Any, delimiter: str, explode: bool) -> str:
    if isinstance(value, dict):
        between = "=" if explode else delimiter
        return delimiter.join(f"{_encoded(str(key))}{between}{_encoded(_text(item))}" for key, item in value.items())
    if isinstance(value, list):
        return delimiter.join(_encoded(_text(item)) for item in value)
    return _encoded(_text(value))


def _plain(value: Any, explode: bool) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}{'=' if explode else ','}{_text(item)}" for key, item in value.items())
    return ",".join(_text(item) for item in value) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    """A value as it stands in a URL: `true`, `3`, text as it is; anything deeper as JSON."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _encoded(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise ToolArgumentError("a value contains half a character, which no address can carry") from error
