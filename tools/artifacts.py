"""What tools give besides text: files and pictures, kept outside of the conversation."""

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from arriero.prompts.messages import JSON
from arriero.tools.errors import ToolDefinitionError, ToolError

_ID = re.compile(r"[0-9a-f]{24}")
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a tool gives.

    Args:
        name: Name for people; never used as a path.
        media_type: MIME type, as the tool says.
        data: The bytes. Nothing of ours opens or renders them.
    """

    name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that is kept.

    Args:
        id: What the store finds it by.
        name: Name for people.
        media_type: MIME type, as the tool said.
        size: Bytes.
    """

    id: str
    name: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A tool's value in full: what the model reads, and files.

    Args:
        content: What the model reads: text, or JSON values.
        attachments: Files.
        error: What went wrong, when the tool did its work and that failed; the model still reads `content`.

    Example:
        >>> ToolOutput("a chart", (Attachment("chart.png", "image/png", b"..."),)).error is None
        True
    """

    content: JSON
    attachments: tuple[Attachment, ...] = ()
    error: str | None = None


class UnknownArtifact(ToolError):
    """No artifact has that id, or it is no longer kept."""


class Artifacts(Protocol):
    """Where artifacts are kept."""

    async def put(self, attachment: Attachment) -> Artifact:
        """Keep a file."""
        ...

    async def get(self, id: str) -> bytes:  # noqa: A002 - the field's name
        """The bytes of a kept file."""
        ...


class MemoryArtifacts:
    """Artifacts in memory. When there is no more room, the oldest are let go.

    Args:
        capacity: Most bytes to keep, all artifacts together.

    Raises:
        ToolDefinitionError: The capacity is not positive.

    Example:
        >>> async def keep() -> bytes:
        ...     artifacts = MemoryArtifacts()
        ...     kept = await artifacts.put(Attachment("a.txt", "text/plain", b"hay"))
        ...     return await artifacts.get(kept.id)
        >>> anyio.run(keep)
        b'hay'
    """

    def __init__(self, capacity: int = 64 * _MEBIBYTE) -> None:
        if capacity < 1:
            raise ToolDefinitionError(f"capacity of artifacts is {capacity}; use a number of bytes above 0")
        self._capacity = capacity
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    async def put(self, attachment: Attachment) -> Artifact:
        """Keep a file.

        Args:
            attachment: The file.

        Returns:
            What finds it again. The same bytes have the same id.

        Raises:
            ToolError: It is larger than the capacity.
        """
        size = len(attachment.data)
        if size > self._capacity:
            raise ToolError(f"{attachment.name!r} has {size} bytes, more than the {self._capacity} that can be kept")
        artifact = describe_artifact(attachment)
        self._size += size - len(self._kept.pop(artifact.id, b""))
        self._kept[artifact.id] = attachment.data
        while self._size > self._capacity:
            self._size -= len(self._kept.popitem(last=False)[1])
        return artifact

    async def get(self, id: str) -> bytes:  # noqa: A002 - the field's name
        """The bytes of a kept file.

        Args:
            id: Its id.

        Returns:
            The bytes.

        Raises:
            UnknownArtifact: It is not kept, or no longer.
        """
        try:
            return self._kept[id]
        except KeyError:
            raise _unknown(id) from None


class FolderArtifacts:
    """Artifacts in a folder, one file for each, named by its id and by nothing that a tool said.

    Args:
        folder: The folder; made at the first artifact, for this user alone.

    Example:
        >>> import tempfile
        >>> async def keep(folder: str) -> bytes:
        ...     kept = await FolderArtifacts(folder).put(Attachment("a.txt", "text/plain", b"hay"))
        ...     return await FolderArtifacts(folder).get(kept.id)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     anyio.run(keep, folder)
        b'hay'
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    async def put(self, attachment: Attachment) -> Artifact:
        """Keep a file.

        Args:
            attachment: The file.

        Returns:
            What finds it again. The same bytes have the same id.

        Raises:
            ToolError: It cannot be written.
        """
        try:
            return await anyio.to_thread.run_sync(self._write, attachment)
        except OSError as error:
            raise ToolError(f"{attachment.name!r} cannot be kept: {error.strerror or error}") from error

    async def get(self, id: str) -> bytes:  # noqa: A002 - the field's name
        """The bytes of a kept file.

        Args:
            id: Its id.

        Returns:
            The bytes.

        Raises:
            UnknownArtifact: It is not kept.
        """
        if not _ID.fullmatch(id):  # also what would lead out of the folder
            raise _unknown(id)
        try:
            return await anyio.to_thread.run_sync((self._folder / id).read_bytes)
        except OSError as error:
            raise _unknown(id) from error

    def _write(self, attachment: Attachment) -> Artifact:
        import os
        import tempfile

        artifact = describe_artifact(attachment)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)  # for this user alone
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(attachment.data)
            Path(name).replace(self._folder / artifact.id)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return artifact


def describe_artifact(attachment: Attachment) -> Artifact:
    """The artifact that a file becomes, with an id made from its bytes alone.

    Args:
        attachment: The file.

    Returns:
        Its id, name, type and size.
    """
    digest = hashlib.sha256(attachment.data).hexdigest()[:24]
    return Artifact(digest, attachment.name, attachment.media_type, len(attachment.data))


def _unknown(id: str) -> UnknownArtifact:  # noqa: A002
    return UnknownArtifact(f"no artifact {id[:64]!r} is kept")
