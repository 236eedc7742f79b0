"""Values of steps as they are stored, and back."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from arriero.agents.workflow.errors import UnstorableValue
from arriero.prompts.messages import JSON

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def dump(of: Any, value: object) -> JSON:
    """A value of a type as JSON.

    Args:
        of: The type.
        value: The value.

    Returns:
        The JSON, from which `load` makes an equal value.

    Raises:
        UnstorableValue: The value is none of the type, or cannot be written as JSON.

    Example:
        >>> dump(tuple[int, ...], (1, 2))
        [1, 2]
    """
    from pydantic_core import to_json

    adapter = _adapter(of)
    try:
        stored = cast("JSON", adapter.dump_python(value, mode="json", by_alias=True, warnings="error"))
        adapter.validate_json(to_json(stored))
    except (ValueError, TypeError, RecursionError) as error:  # what pydantic raises is a ValueError, too
        raise UnstorableValue(f"{value!r:.80} is no {of!s:.80} that can be stored: {error}") from error
    return stored


def load(of: Any, stored: JSON) -> Any:
    """The value of a type that was stored.

    Args:
        of: The type.
        stored: What `dump` gave.

    Returns:
        The value.

    Raises:
        UnstorableValue: The JSON is none of the type.
    """
    from pydantic import ValidationError
    from pydantic_core import to_json

    try:
        return _adapter(of).validate_json(to_json(stored))
    except ValidationError as error:
        raise UnstorableValue(f"{stored!r:.80} is no {of!s:.80}: {error}") from error


@lru_cache(maxsize=256)
def _adapter(of: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(of)
