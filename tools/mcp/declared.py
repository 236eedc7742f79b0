"""What a server says its tools are, made fit to show to a model and to remember."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arriero.tools.errors import ToolDefinitionError

if TYPE_CHECKING:
    import mcp_types

_MAX_NAME = 64  # Llama's rule for the name of a function
_MAX_SERVER_NAME = 256  # the protocol advises 128
_MAX_DESCRIPTION = 2_000
_MAX_SCHEMA = 64_000
_MAX_DEPTH = 40
_RESERVED = frozenset({"brave_search", "wolfram_alpha", "code_interpreter"})  # the model calls these without a schema
_PROSE = frozenset({"description", "title", "$comment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One tool as its server declares it.

    Args:
        name: The server's own name for it.
        description: What it says about itself, cleaned.
        parameters: JSON schema of the arguments, as the server gave it but for its prose, which is cleaned.
        output: JSON schema of the structured result, where there is one.
        read_only: The server says that it changes nothing.
        destructive: The server says that it destroys.
        idempotent: The server says that repeating it does no harm.
        digest: SHA-256 of everything the server declared; another digest is another declaration.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    output: Mapping[str, Any] | None
    read_only: bool
    destructive: bool
    idempotent: bool
    digest: str


def read_declaration(tool: "mcp_types.Tool") -> Declaration:
    """A declaration from what `tools/list` gave.

    Raises:
        ToolDefinitionError: Its name is too long; its schema is too large, too deep or not one for an object, or has
            invisible characters where they cannot be taken out.
    """
    if len(tool.name) > _MAX_SERVER_NAME:
        raise ToolDefinitionError(f"{clean(tool.name, 80)!r}: its name is longer than {_MAX_SERVER_NAME} characters")
    for schema in filter(None, (tool.input_schema, tool.output_schema)):
        _refuse_hostile(schema, tool.name)
    if tool.input_schema.get("type", "object") != "object":
        raise ToolDefinitionError(f"{clean(tool.name, 80)!r}: its arguments are no object")
    hints = tool.annotations
    read_only = bool(hints and hints.read_only_hint)
    return Declaration(
        name=tool.name,
        description=clean(tool.description or tool.title or "", _MAX_DESCRIPTION),
        parameters=_with_clean_prose(tool.input_schema),
        output=tool.output_schema,
        read_only=read_only,
        destructive=bool(hints and hints.destructive_hint) and not read_only,
        idempotent=read_only or bool(hints and hints.idempotent_hint),
        digest=_digest(tool),
    )


def clean(text: str, limit: int) -> str:
    r"""Hostile text without what a reader cannot see: control, format and private characters, bidirectional overrides.

    Args:
        text: Any text.
        limit: Most characters to keep.

    Returns:
        The visible rest; line breaks and tabs stay.

    Example:
        >>> clean("safe\x1b[2J \u202etxt\U000e0041", 80)
        'safe[2J txt'
        >>> clean("long " * 9, 10)
        'long long…'
    """
    seen = "".join(filter(None, map(_visible, text[: 4 * limit])))
    return seen if len(seen) <= limit else f"{seen[: limit - 1].rstrip()}…"


def _visible(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() or character in "\n\t" else ""
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return ""  # variation selectors: 256 invisible values, enough to carry any bytes
    if character.isprintable():
        return character
    return " " if unicodedata.category(character) == "Zs" else ""


def offered_name(server: str, name: str, taken: Collection[str]) -> str:
    """The name under which a model knows a server's tool: `server_name`, at most 64 letters, digits, `_` and `-`.

    Args:
        server: Name that the user gave the server.
        name: The server's name for the tool.
        taken: Names that cannot be used any more.

    Returns:
        The name, with a hash of the server's name for the tool in it where it would be too long or not free.

    Raises:
        ToolDefinitionError: That is not free either: the server means to be confused with itself.

    Example:
        >>> offered_name("git", "status", ())
        'git_status'
        >>> offered_name("git", "log/all", ())
        'git_log_all'
        >>> offered_name("git", "log all", {"git_log_all"})
        'git_log_all_9cfa726b'
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", f"{server}_{name}")
    if len(plain) <= _MAX_NAME and plain not in taken and plain not in _RESERVED:
        return plain
    mark = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    marked = f"{plain[: _MAX_NAME - 9]}_{mark}"
    if marked in taken:
        raise ToolDefinitionError(f"{clean(name, 80)!r}: another tool has the name {marked} already")
    return marked


def _digest(tool: "mcp_types.Tool") -> str:
    declared = tool.model_dump(
        mode="json",
        by_alias=True,
        include={"name", "title", "description", "input_schema", "output_schema", "annotations"},
    )
    return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()


def _refuse_hostile(schema: Mapping[str, Any], tool: str) -> None:
    """Bound a schema, and refuse invisible characters in its names and values, which cannot be changed."""
    name = clean(tool, 80)
    size = 0  # at least so many characters; looked at first, as the rest takes time in proportion
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    while waiting:
        value, depth = waiting.pop()
        size += len(value) if isinstance(value, str | dict | list) else 1
        if size > _MAX_SCHEMA:
            break
        if depth > _MAX_DEPTH:
            raise ToolDefinitionError(f"{name!r}: its schema is nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, dict):
            waiting += [(key, depth + 1) for key in value]
            size += sum(len(inner) for key, inner in value.items() if _is_prose(key, inner))
            waiting += [(inner, depth + 1) for key, inner in value.items() if not _is_prose(key, inner)]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif isinstance(value, str) and clean(value, len(value) + 1) != value:
            raise ToolDefinitionError(f"{name!r}: its schema has invisible characters in a name or a value")
    if size > _MAX_SCHEMA or len(json.dumps(schema)) > _MAX_SCHEMA:
        raise ToolDefinitionError(f"{name!r}: its schema is longer than {_MAX_SCHEMA} characters")


def _with_clean_prose(schema: Any) -> Any:
    match schema:
        case dict():
            return {
                key: clean(inner, _MAX_DESCRIPTION) if _is_prose(key, inner) else _with_clean_prose(inner)
                for key, inner in schema.items()
            }
        case list():
            return [_with_clean_prose(inner) for inner in schema]
        case _:
            return schema


def _is_prose(key: str, value: object) -> bool:
    return key in _PROSE and isinstance(value, str)
