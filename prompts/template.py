"""Our Jinja templates, rendered to segments that keep content and scaffolding apart.

A template prints nothing but its own text and what a marked filter returns: with autoescape as the taint mark and
`finalize` as the guard, an unfiltered `{{ message.content }}` is an error, not a hole. The filters put content
between two lone surrogates, which no valid Unicode text contains, so the rendered text splits back without escaping.
"""

import json
import marshal
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import ImagePart
from arriero.prompts.prompt import Prompt, Segment

HEADERS = MappingProxyType(
    {
        "system": Markup("system"),
        "user": Markup("user"),
        "assistant": Markup("assistant"),
        "tool": Markup("ipython"),
    }
)
"""The closed list of roles, and the name of each on the wire."""

_OPEN, _OPEN_APART, _CLOSE = "\ud800", "\ud801", "\udfff"
_CONTENT = re.compile(f"([{_OPEN}{_OPEN_APART}])([^{_CLOSE}]*){_CLOSE}")
_SPECIAL = re.compile(r"(<\|[a-z_]+\|>|</?s>)")


def json_text(value: Any, indent: int | None = None) -> str:
    """Strict JSON as the published templates write it: keys in order, nothing but quotes and controls escaped.

    Args:
        value: What to write.
        indent: Spaces for each level; None for one line.

    Returns:
        The text.

    Raises:
        InvalidMessage: The value is no strict JSON: NaN, infinity, a set, a key that is no string.

    Example:
        >>> json_text({"city": "Bogotá"})
        '{"city": "Bogotá"}'
    """
    try:
        _check_keys(value)
        return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(
            f"not writable as strict JSON ({error}): pass text, finite numbers, lists, dicts"
        ) from None


def _check_keys(value: Any) -> None:
    # json.dumps writes 1, None and True as keys, and two keys can become one
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)


def content(text: Any) -> Markup:
    """Mark text as content: it is written as it is, and never becomes a special token."""
    if not isinstance(text, str):
        raise InvalidMessage(f"content must be text here, not {type(text).__name__}: pass a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage(f"a lone surrogate at character {error.start} is not valid Unicode: remove it") from None
    return Markup(f"{_OPEN}{text}{_CLOSE}")  # noqa: S704  the mark is about tokens; nothing here is HTML


def piece(text: Any) -> Markup:
    """Mark text as content that is encoded apart from its neighbours (FORMATS.md section 11)."""
    return Markup(content(text).replace(_OPEN, _OPEN_APART, 1))  # noqa: S704  as for `content`


def stripped(text: Any) -> Markup:
    """Mark text as content, without the white space around it."""
    return content(text.strip() if isinstance(text, str) else text)


def result(value: Any) -> Markup:
    """A tool result: JSON for text, lists and dicts, plain for the rest (FORMATS.md section 6)."""
    if isinstance(value, str | list | dict):
        return content(json_text(value))
    json_text(value)
    return content(str(value))


def declaration(tool: Any) -> Markup:
    """A tool's declaration: JSON with indent 4."""
    try:
        key = marshal.dumps(tool, 2)
    except ValueError:  # it holds something else than plain values
        return _declaration(tool)
    return _known_declaration(key)


@lru_cache(maxsize=1024)
def _known_declaration(key: bytes) -> Markup:
    # The same tools are declared in every prompt, and indented JSON is what takes longest in one.
    return _declaration(marshal.loads(key))  # noqa: S302  the key was made above


def _declaration(tool: Mapping[str, Any]) -> Markup:
    try:
        return content(json_text(tool, indent=4))
    except InvalidMessage as error:
        body = tool.get("function", tool)
        name = body.get("name") if isinstance(body, Mapping) else None
        raise InvalidMessage(f"declaration of tool {name!r}: {error}") from None


def arguments(values: Any) -> Markup:
    """A call's arguments: JSON on one line."""
    return content(json_text(dict(values) if isinstance(values, Mapping) else values))


def output(value: Any) -> Markup:
    """A tool result as vLLM's templates write it (FORMATS.md section 6)."""
    return content(json_text({"output": value}))


def bare(value: Any) -> Markup:
    """A value as Python prints it, texts without quotes."""
    json_text(value)
    return content(str(value))


def literal(value: Any) -> Markup:
    """A value as a Python literal."""
    json_text(value)
    return content(repr(value))


def _marked_only(value: Any) -> Markup:
    if not isinstance(value, Markup):
        raise jinja2.TemplateRuntimeError(f"a template printed {type(value).__name__} without a marked filter")
    return value


def _is_code(call: Any) -> bool:
    return call.name == "code_interpreter" and list(call.arguments) == ["code"]


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox that remembers its judgements, which hang on the type and the name alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._judged: dict[tuple[type, str], bool] = {}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        known = self._judged.get((type(obj), attr))
        if known is None:
            known = self._judged[type(obj), attr] = super().is_safe_attribute(obj, attr, value)
        return known


@lru_cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_marked_only,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals = {"headers": HEADERS}
    # Jinja's own filters stay out: `safe` and its kind could vouch for content.
    environment.filters = {
        "length": len,
        "content": content,
        "piece": piece,
        "stripped": stripped,
        "arguments": arguments,
        "result": result,
        "declaration": declaration,
        "declarations": lambda tools: content(json_text(list(tools), indent=4)),
        "json": lambda value: content(json_text(value)),
        "output": output,
        "bare": bare,
        "literal": literal,
        "right_stripped": lambda text: content(text.rstrip() if isinstance(text, str) else text),
    }
    environment.tests |= {
        "code": _is_code,
        "parts": lambda value: isinstance(value, tuple),
        "image": lambda part: isinstance(part, ImagePart),
        "blank": lambda text: not text.strip(),
    }
    return environment


@lru_cache
def _compiled(name: str) -> Callable[..., str]:
    return _environment().get_template(name).render


@lru_cache(maxsize=512)
def _scaffolding(text: str) -> tuple[Segment, ...]:
    pieces = ((piece, bool(index % 2)) for index, piece in enumerate(_SPECIAL.split(text)))
    return tuple(Segment(piece, "special" if special else "scaffolding") for piece, special in pieces if piece)


def render(name: str, variables: Mapping[str, Any]) -> Prompt:
    """Render a template of `templates/`.

    Args:
        name: File name.
        variables: What the template reads.

    Returns:
        The prompt.

    Raises:
        InvalidMessage: A value is not what its filter takes.
    """
    segments: list[Segment] = []
    written, *marked = _CONTENT.split(_compiled(name)(variables))
    segments.extend(_scaffolding(written))
    for opened, text, written in zip(marked[::3], marked[1::3], marked[2::3], strict=True):
        if text:
            segments.append(Segment(text, "content", opened == _OPEN_APART))
        segments.extend(_scaffolding(written))
    return Prompt(tuple(segments))
