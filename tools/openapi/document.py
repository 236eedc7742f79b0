"""OpenAPI documents, with their references resolved.

Source: the OpenAPI Specification, versions 3.0.4 and 3.1.1. A 3.0 schema becomes one of JSON Schema 2020-12.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.web.policy import without_secrets

_MAX_FILE = 20 << 20
_MAX_NODES = 20_000  # of one operation's schemas when written out
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_FOR_PEOPLE = frozenset(
    {"title", "example", "examples", "xml", "externalDocs", "discriminator", "deprecated", "$schema"}
)
_OF_WHOLE_DOCUMENTS = frozenset({"$defs", "$id", "$anchor", "$comment"})


@dataclass(frozen=True, slots=True)
class RawOperation:
    """An operation as the document has it.

    Args:
        method: HTTP method in upper case.
        path: Path template.
        content: The operation object.
        parameters: Its parameter objects, those of the path item included, references resolved.
    """

    method: str
    path: str
    content: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        """How it is called in messages and may be chosen."""
        return f"{self.method} {self.path}"


class ApiDocument:
    """A document that was read.

    Args:
        content: The document's object.

    Raises:
        ToolDefinitionError: It is no OpenAPI 3 document.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        version = content.get("openapi")
        if not isinstance(version, str) or not version.startswith("3."):
            found = f"Swagger {content['swagger']}" if "swagger" in content else f"openapi: {version!r}"
            raise ToolDefinitionError(f"only OpenAPI 3 is read, and the document says {found}")
        if not isinstance(content.get("paths"), Mapping):
            raise ToolDefinitionError("the OpenAPI document has no paths")
        self._content = content
        self._is_30 = version.startswith("3.0")

    @property
    def server(self) -> str | None:
        """Address of the first server, with the defaults of its variables."""
        servers = _list(self._content.get("servers"), "servers")
        first = self.resolved(servers[0]) if servers else {}
        url = str(first.get("url", ""))
        for name, variable in self.resolved(first.get("variables") or {}).items():
            url = url.replace("{" + str(name) + "}", str(self.resolved(variable).get("default", "")))
        return url or None

    def operations(self) -> Iterator[RawOperation]:
        """All operations, in the document's order."""
        for path, item in self._content["paths"].items():
            item = self.resolved(item)
            shared = self._parameters(item)
            for method in _METHODS:
                if isinstance(item.get(method), Mapping):
                    own = self._parameters(item[method])
                    merged = {(str(entry.get("in")), str(entry.get("name"))): entry for entry in (*shared, *own)}
                    yield RawOperation(method.upper(), str(path), item[method], tuple(merged.values()))

    def _parameters(self, holder: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.resolved(entry) for entry in _list(holder.get("parameters"), "parameters"))

    def resolved(self, node: Any) -> Mapping[str, Any]:
        """The object that a node is or refers to.

        Args:
            node: An object of the document.

        Returns:
            The object.

        Raises:
            ToolDefinitionError: The reference leads outside, nowhere or in a circle.
        """
        for _ in range(16):
            if not isinstance(node, Mapping):
                raise ToolDefinitionError(f"the OpenAPI document has {str(node)[:60]!r} where an object belongs")
            if "$ref" not in node:
                return node
            node = self._target(node["$ref"])
        raise ToolDefinitionError("the OpenAPI document has references that lead to each other in a circle")

    def _target(self, reference: object) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise ToolDefinitionError(
                f"the reference {str(reference)[:80]!r} leads outside of the document; bundle it into one file"
            )
        node: Any = self._content
        for part in reference[1:].split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
                node = node[int(key)]
            else:
                raise ToolDefinitionError(f"the reference {reference[:80]!r} leads nowhere in the document")
        return node

    def schema(self, node: Any, where: str) -> Any:
        """A schema for requests, written out: no references, nothing that is for people or for responses alone.

        Args:
            node: A schema object.
            where: What it belongs to, for messages.

        Returns:
            A schema of JSON Schema 2020-12.

        Raises:
            ToolDefinitionError: It contains itself, or is too large when written out.
        """
        try:
            return _Writer(self, where, self._is_30).write(node, ())
        except RecursionError as error:
            raise ToolDefinitionError(f"{where}: its schemas are nested too deeply, or contain themselves") from error


class _Writer:
    """Writes one schema out."""

    def __init__(self, document: ApiDocument, where: str, is_30: bool) -> None:
        self._document = document
        self._where = where
        self._is_30 = is_30
        self._left = _MAX_NODES

    def write(self, node: Any, inside: tuple[str, ...]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ToolDefinitionError(f"{self._where}: its schemas are too large to be written out")
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise ToolDefinitionError(f"{self._where}: {str(node)[:60]!r} is no schema")
        if "$ref" in node:
            return self._reference(node, inside)
        written = {key: self._keyword(key, value, inside) for key, value in node.items() if self._is_kept(key)}
        self._without_read_only(written, node)
        return _from_30(written, node) if self._is_30 else written

    def _reference(self, node: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
        reference = str(node["$ref"])
        if reference in inside:
            name = reference.rpartition("/")[2]
            raise ToolDefinitionError(
                f"{self._where}: the schema {name} contains itself and cannot be written out; leave this operation "
                "out with operations=..., or describe the parameter as a plain object in the document"
            )
        target = self.write(self._document._target(reference), (*inside, reference))
        rest = {key: value for key, value in node.items() if key not in ("$ref", "summary")}
        if self._is_30 or not rest or not isinstance(target, dict):  # 3.0 ignores what stands beside a reference
            return target
        return {**target, **self.write(rest, inside)}

    def _is_kept(self, key: object) -> bool:
        if not isinstance(key, str):  # YAML has such keys
            return False
        return key not in _FOR_PEOPLE and not key.startswith("x-") and key not in _OF_WHOLE_DOCUMENTS

    def _keyword(self, key: str, value: Any, inside: tuple[str, ...]) -> Any:
        if key in _MAPS and isinstance(value, Mapping):
            return {str(name): self.write(inner, inside) for name, inner in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self.write(inner, inside) for inner in value]
        return self.write(value, inside) if key in _SINGLE else value

    def _without_read_only(self, written: dict[str, Any], node: Mapping[str, Any]) -> None:
        """Leave out properties that only responses have."""
        properties = written.get("properties")
        if not isinstance(properties, dict):
            return
        gone = [name for name, inner in properties.items() if isinstance(inner, dict) and inner.get("readOnly") is True]
        for name in gone:
            del properties[name]
        if gone and isinstance(written.get("required"), list):
            written["required"] = [name for name in written["required"] if name not in gone]


def _from_30(schema: dict[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI 3.0 writes in another way than JSON Schema does."""
    if schema.pop("nullable", None) is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)
    return schema


def _list(value: object, key: str) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise ToolDefinitionError(f"the OpenAPI document has {str(value)[:60]!r} as {key}, where a list belongs")


def read_document(document: Mapping[str, Any] | str | Path) -> tuple[ApiDocument, str | None]:
    """Read a document.

    Args:
        document: Its object, or the path of a JSON or YAML file.

    Returns:
        The document, and the file's address when it was one.

    Raises:
        ToolDefinitionError: It cannot be read, or is no OpenAPI 3 document.
    """
    if isinstance(document, Mapping):
        return ApiDocument(document), None
    path = Path(document)
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ToolDefinitionError(f"{path}: larger than {_MAX_FILE >> 20} MiB; cut it down to what is used")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolDefinitionError(f"the OpenAPI document {path} cannot be read: {error}") from error
    content = _json(text, path) if text.lstrip().startswith("{") else _yaml(text, path)
    if not isinstance(content, Mapping):
        raise ToolDefinitionError(f"{path}: not an OpenAPI document but a {type(content).__name__}")
    return ApiDocument(content), path.resolve().as_uri()


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ToolDefinitionError(f"{path}: no JSON: {error}") from error


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        install = "pip install 'arriero[openapi]'"
        raise ToolDefinitionError(f"{path}: YAML needs the extra 'openapi': {install}; or give JSON") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """YAML as JSON has it: dates stay text."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ToolDefinitionError(f"{path}: no YAML: {str(error)[:200]}") from error


def server_address(document: ApiDocument, base_url: str | None, home: str | None) -> str:
    """Where requests go.

    Args:
        document: The document.
        base_url: What was configured.
        home: The document's own address, to which a relative server is relative.

    Returns:
        The address, without a slash at its end.

    Raises:
        ToolDefinitionError: There is none.
    """
    url = base_url or document.server or ""
    if home is not None and url and "://" not in url:
        url = urljoin(home, url)
    if not url.startswith(("http://", "https://")) or "{" in url or "?" in url or "#" in url:
        raise ToolDefinitionError(
            f"the document names no server that can be used ({without_secrets(url)!r}); "
            "give base_url='https://host/path'"
        )
    return url.rstrip("/")
