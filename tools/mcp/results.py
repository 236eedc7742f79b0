"""Results of an MCP server's tools, resources and prompts as values of ours."""

import base64
import binascii
import json
import mimetypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from arriero.prompts.messages import JSON
from arriero.tools.artifacts import Attachment, ToolOutput
from arriero.tools.errors import ToolError
from arriero.tools.mcp.declared import clean

if TYPE_CHECKING:
    import mcp_types

_MAX_NAME = 80
_MAX_FILES = 100  # in one result
_MAX_DESCRIPTION = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class McpResource:
    """Something to read that a server offers.

    Args:
        uri: Its address at the server; a template has parts in braces.
        name: Name for people, cleaned.
        description: What the server says about it, cleaned.
        media_type: MIME type, where the server says one.
        template: Whether the address is a template (RFC 6570) to fill in.
    """

    uri: str
    name: str
    description: str = ""
    media_type: str | None = None
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPrompt:
    """A prompt that a server offers.

    Args:
        name: The server's name for it.
        description: What the server says about it, cleaned.
        arguments: Name of each argument, and whether it must be given.
    """

    name: str
    description: str
    arguments: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPromptMessage:
    """A message of a prompt that a server gave. A stranger wrote it.

    Args:
        role: `"user"` or `"assistant"`.
        text: What it says.
        attachments: Its pictures and files.
    """

    role: str
    text: str
    attachments: tuple[Attachment, ...] = field(default=())


def read_result(result: "mcp_types.CallToolResult") -> ToolOutput:
    """The value of a tool's call.

    Raises:
        ToolError: A picture or a file in it is not base64.
    """
    text, attachments = read_blocks(result.content)
    if result.is_error:
        problem = text or "the tool failed and did not say why"
        return ToolOutput(f"error: {problem}", attachments, error=problem)
    return ToolOutput(_joined(text, result.structured_content), attachments)


def _joined(text: str, structured: Any) -> JSON:
    """Structured content where it says more than the text; servers often give the same twice."""
    if structured is None or (isinstance(structured, dict) and structured == {"result": text}):
        return text
    if text:
        try:
            repeated = json.loads(text) in (structured, structured.get("result") if type(structured) is dict else None)
        except (ValueError, RecursionError):
            repeated = False
        if not repeated:
            return {"text": text, "structured": structured}
    return structured if isinstance(structured, dict | list) else json.dumps(structured)


def read_resource(item: "mcp_types.Resource | mcp_types.ResourceTemplate") -> McpResource:
    """What `resources/list` and `resources/templates/list` say about a resource."""
    import mcp_types

    template = isinstance(item, mcp_types.ResourceTemplate)
    return McpResource(
        uri=item.uri_template if isinstance(item, mcp_types.ResourceTemplate) else item.uri,
        name=clean(item.title or item.name, _MAX_NAME),
        description=clean(item.description or "", _MAX_DESCRIPTION),
        media_type=_media_type(item.mime_type) if item.mime_type else None,
        template=template,
    )


def read_prompt(item: "mcp_types.Prompt") -> McpPrompt:
    """What `prompts/list` says about a prompt."""
    return McpPrompt(
        name=item.name,
        description=clean(item.description or item.title or "", _MAX_DESCRIPTION),
        arguments=tuple((argument.name, bool(argument.required)) for argument in item.arguments or ()),
    )


def read_blocks(blocks: "Iterable[mcp_types.ContentBlock]") -> tuple[str, tuple[Attachment, ...]]:
    """Text of content blocks, and the first 100 of their pictures, sounds and files."""
    import mcp_types

    texts: list[str] = []
    attachments: list[Attachment] = []
    left_out = 0
    for block in blocks:
        if len(attachments) == _MAX_FILES and not isinstance(block, mcp_types.TextContent | mcp_types.ResourceLink):
            left_out += 1
            continue
        match block:
            case mcp_types.TextContent():
                texts.append(block.text)
            case mcp_types.ImageContent() | mcp_types.AudioContent():
                name = f"{block.type}-{len(attachments) + 1}{_suffix(block.mime_type)}"
                attachments.append(Attachment(name, _media_type(block.mime_type), decode(block.data)))
                texts.append(f"[{block.type} {name}]")
            case mcp_types.EmbeddedResource():
                text, found = read_contents([block.resource])
                texts.append(text)
                attachments += found
            case mcp_types.ResourceLink():
                texts.append(f"[resource {clean(block.name, _MAX_NAME)}: {clean(block.uri, 2_000)}]")
    if left_out:
        texts.append(f"[{left_out} more files were left out]")
    return "\n".join(texts), tuple(attachments)


def read_contents(
    contents: "Sequence[mcp_types.TextResourceContents | mcp_types.BlobResourceContents]",
) -> tuple[str, tuple[Attachment, ...]]:
    """Text of a resource's contents, and its bytes where it has some."""
    import mcp_types

    texts: list[str] = []
    attachments: list[Attachment] = []
    for part in contents:
        if isinstance(part, mcp_types.TextResourceContents):
            texts.append(part.text)
            continue
        if len(attachments) == _MAX_FILES:
            texts.append("[more files were left out]")
            break
        name = clean(part.uri.rstrip("/").rpartition("/")[2], _MAX_NAME) or "file"
        attachments.append(Attachment(name, _media_type(part.mime_type), decode(part.blob)))
        texts.append(f"[file {name}]")
    return "\n".join(texts), tuple(attachments)


def decode(data: str) -> bytes:
    """Bytes of strict base64.

    Raises:
        ToolError: It is none.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolError(f"the server sent a file that is not base64: {error}") from error


def _media_type(given: str | None) -> str:
    cleaned = clean(given or "", 100).replace("\n", "")
    return cleaned if "/" in cleaned else "application/octet-stream"


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type.partition(";")[0].strip()) or ""
