"""Values of Python functions as what a model reads."""

import json
import math
from typing import Any

from arriero.prompts.messages import JSON
from arriero.tools.errors import ToolError


def to_json(value: object) -> JSON:
    """A tool's value in the form in which a model reads it.

    Text stays as it is; a number, truth value or None becomes its JSON text; a date its ISO form; an object
    or a sequence a JSON value.

    Args:
        value: What the function returned.

    Returns:
        Text, or a dict or list of strict JSON values.

    Raises:
        ToolError: JSON cannot carry the value.

    Example:
        >>> to_json(21), to_json(None), to_json({"a": (1, 2)})
        ('21', 'null', {'a': [1, 2]})
    """
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        plain = strict(to_jsonable_python(value))
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise ToolError(f"the tool returned a {type(value).__name__}, which JSON cannot carry") from error
    return plain if isinstance(plain, str | dict | list) else json.dumps(plain)


def strict(value: Any) -> Any:
    """The value without what strict JSON or UTF-8 lacks: NaN and infinities become text, lone surrogates `?`."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {strict(str(key)): strict(inner) for key, inner in value.items()}
        case list():
            return [strict(inner) for inner in value]
        case _:
            return value


def shorten(value: JSON, limit: int) -> JSON:
    r"""Cut the middle out of a long value and say so.

    Args:
        value: Text, or a JSON value; the latter becomes text when it is too long.
        limit: Most characters to keep.

    Returns:
        The value itself when it is short enough, else its beginning, a note and its end.

    Example:
        >>> shorten("a" * 5 + "b" * 90 + "c" * 5, 10)
        'aaaaa\n[... 90 characters left out ...]\nccccc'
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= limit:
        return value
    head, tail = (limit + 1) // 2, limit // 2
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[len(text) - tail :]}"
