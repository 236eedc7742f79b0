"""What servers declared when their tools were first offered, to see when they change it."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from arriero.tools.errors import ToolError


class Pins(Protocol):
    """Remembers the digest of each tool's declaration."""

    def get(self, server: str, tool: str) -> str | None:
        """The digest that is remembered, or None."""
        ...

    def put(self, server: str, digests: Mapping[str, str]) -> None:
        """Remember digests, by the tools' names."""
        ...


class MemoryPins:
    """Pins for as long as the process runs.

    Example:
        >>> pins = MemoryPins()
        >>> pins.put("git", {"status": "ab12"})
        >>> pins.get("git", "status")
        'ab12'
    """

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    def get(self, server: str, tool: str) -> str | None:
        """The digest that is remembered, or None."""
        return self._digests.get(_key(server, tool))

    def put(self, server: str, digests: Mapping[str, str]) -> None:
        """Remember digests, by the tools' names."""
        self._digests |= {_key(server, tool): digest for tool, digest in digests.items()}


class FilePins(MemoryPins):
    """Pins in a JSON file, so that a change between two runs is seen as well.

    Args:
        path: The file; made when the first tool is seen.

    Raises:
        ToolError: The file cannot be read as pins.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path).expanduser()
        self._digests = read_private(self._path, "pins")

    def put(self, server: str, digests: Mapping[str, str]) -> None:
        """Remember digests, also for the next run.

        Raises:
            ToolError: The file cannot be written.
        """
        super().put(server, digests)
        write_private(self._path, json.dumps(self._digests, indent=1, sort_keys=True))


def read_private(path: Path, what: str) -> dict[str, str]:
    """What a file holds, as JSON; nothing where there is no file.

    Args:
        path: The file.
        what: What it should hold, for the error's text, which has nothing of the file itself.

    Returns:
        Its entries.

    Raises:
        ToolError: It cannot be read, or holds something else.
    """
    try:
        kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ToolError(f"the {what} in {path} cannot be read: {type(error).__name__}") from None
    if not isinstance(kept, dict) or not all(isinstance(text, str) for text in kept.values()):
        raise ToolError(f"{path} holds no {what}: a JSON object of texts is expected")
    return kept


def write_private(path: Path, text: str) -> None:
    """Put a file in its place at once, readable by this user alone.

    Raises:
        ToolError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ToolError(f"{path} cannot be written: {error.strerror or error}") from error


def _key(server: str, tool: str) -> str:
    return json.dumps([server, tool])
