"""Values of Python functions as what a model reads."""

import io
import json
import math
import sys
from typing import Any

from arriero.prompts.messages import JSON
from arriero.tools.artifacts import Attachment, ToolOutput
from arriero.tools.errors import ToolError

_PLAIN = (bool, int, float)
_MOST_LEVELS = 200
_MOST_BITS = 14_000

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png", "image.png"),
    (b"\xff\xd8\xff", "image/jpeg", "image.jpg"),
    (b"GIF8", "image/gif", "image.gif"),
    (b"%PDF-", "application/pdf", "document.pdf"),
)


def to_output(value: object) -> ToolOutput:
    """A tool's value as what the model reads and the files that come with it.

    Bytes, pictures (of Pillow) and attachments, alone or inside of lists, tuples and dicts, become files, and what
    the model reads names them.

    Args:
        value: What the function gave.

    Returns:
        Its output; one that the function made itself is kept, with JSON values as content.

    Raises:
        ToolError: JSON cannot carry the value.

    Example:
        >>> to_output({"chart": Attachment("mules.png", "image/png", b"...")})
        ToolOutput(content={'chart': '[file mules.png]'}, attachments=(Attachment(name='mules.png', \
media_type='image/png'),), error=None)
        >>> to_output(21).content
        '21'
    """
    if isinstance(value, ToolOutput):
        return ToolOutput(to_json(value.content), tuple(value.attachments), value.error)
    if isinstance(value, str):
        return ToolOutput(strict(value))
    found: list[Attachment] = []
    try:
        value = _without_files(value, found)
    except RecursionError as error:
        raise _not_json(value) from error
    if len(found) == 1 and isinstance(value, str):
        value = ""  # the registry tells of a file that comes alone
    return ToolOutput(to_json(value), tuple(found))


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
        plain = strict(value if value is None or type(value) in _PLAIN else to_jsonable_python(value))
        return plain if isinstance(plain, str | dict | list) else json.dumps(plain)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise _not_json(value) from error


def strict(value: Any, levels: int = _MOST_LEVELS) -> Any:
    """The value without what strict JSON or UTF-8 lacks: NaN and infinities become text, lone surrogates `?`.

    Args:
        value: What `json` could write, but for these.
        levels: How deep it may be nested; what stores and renders results has limits not far above.

    Returns:
        The value, copied.

    Raises:
        ValueError: It is nested deeper, or holds a number of more digits than Python writes.
    """
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-8", "replace").decode()
        case float() if not math.isfinite(value):
            return str(value)
        case int() if value.bit_length() > _MOST_BITS:
            raise ValueError("a number with too many digits")
        case dict() | list() if levels == 0:
            raise ValueError("nested too deep")
        case dict():
            return {strict(str(key)): strict(inner, levels - 1) for key, inner in value.items()}
        case list():
            return [strict(inner, levels - 1) for inner in value]
        case _:
            return value


def as_text(content: JSON) -> str:
    """What a model reads, as text: text as it is, else JSON."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def shorten(text: str, limit: int) -> str:
    r"""Cut the middle out of a long text and say so.

    Args:
        text: The text.
        limit: Most characters to keep.

    Returns:
        The text itself when it is short enough, else its beginning, a note and its end.

    Example:
        >>> shorten("a" * 5 + "b" * 90 + "c" * 5, 10)
        'aaaaa\n[... 90 characters left out ...]\nccccc'
    """
    if len(text) <= limit:
        return text
    head, tail = (limit + 1) // 2, limit // 2
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[len(text) - tail :]}"


def _without_files(value: object, found: list[Attachment]) -> object:
    """The value with a note in the place of each file; the same object when there is none."""
    match value:
        case Attachment():
            found.append(value)
            return f"[file {value.name}]"
        case bytes() | bytearray() | memoryview():
            return _without_files(_from_bytes(bytes(value)), found)
        case list() | tuple() if type(value) in (list, tuple):
            before = len(found)
            plain = [_without_files(inner, found) for inner in value]
            return plain if len(found) > before else value
        case dict() if type(value) is dict:
            before = len(found)
            entries = {key: _without_files(inner, found) for key, inner in value.items()}
            return entries if len(found) > before else value
    pillow = sys.modules.get("PIL.Image")  # whoever made a picture has imported it
    if pillow is not None and isinstance(value, pillow.Image):
        return _without_files(_from_picture(value), found)
    return value


def _from_bytes(data: bytes) -> Attachment:
    for magic, media_type, name in _MAGIC:
        if data.startswith(magic):
            return Attachment(name, media_type, data)
    return Attachment("data.bin", "application/octet-stream", data)


def _from_picture(picture: Any) -> Attachment:
    written = io.BytesIO()
    picture.save(written, format="PNG")
    return Attachment("image.png", "image/png", written.getvalue())


def _not_json(value: object) -> ToolError:
    return ToolError(f"the tool returned a {type(value).__name__}, which JSON cannot carry")
