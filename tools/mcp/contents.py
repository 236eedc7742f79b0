"""Files of our tools as contents of MCP messages."""

import base64
from typing import TYPE_CHECKING

from arriero.tools.artifacts import Artifact

if TYPE_CHECKING:
    import mcp_types

_SCHEME = "arriero://artifact/"


def as_link(artifact: Artifact) -> "mcp_types.ResourceLink":
    """A file that the client reads when it wants it."""
    import mcp_types

    return mcp_types.ResourceLink(
        type="resource_link",
        uri=_uri(artifact),
        name=artifact.name,
        mime_type=artifact.media_type,
        size=artifact.size,
    )


def as_block(artifact: Artifact, data: bytes) -> "mcp_types.ContentBlock":
    """A file as part of a tool's result: a picture, a sound or a file."""
    import mcp_types

    encoded = base64.b64encode(data).decode()
    match artifact.media_type.partition("/")[0]:
        case "image":
            return mcp_types.ImageContent(type="image", data=encoded, mime_type=artifact.media_type)
        case "audio":
            return mcp_types.AudioContent(type="audio", data=encoded, mime_type=artifact.media_type)
    return mcp_types.EmbeddedResource(type="resource", resource=as_contents(artifact, data))


def as_contents(artifact: Artifact, data: bytes) -> "mcp_types.BlobResourceContents":
    """A file as what `resources/read` gives: always its bytes, as its type is only what a tool said."""
    import mcp_types

    return mcp_types.BlobResourceContents(
        uri=_uri(artifact), mime_type=artifact.media_type, blob=base64.b64encode(data).decode()
    )


def artifact_id(uri: str) -> str:
    """The id in the address of a file; empty when it is none of ours.

    Example:
        >>> artifact_id("arriero://artifact/ab12")
        'ab12'
    """
    return uri.removeprefix(_SCHEME) if uri.startswith(_SCHEME) else ""


def _uri(artifact: Artifact) -> str:
    return f"{_SCHEME}{artifact.id}"
