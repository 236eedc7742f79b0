"""What an agent can do: `@tool`, the registry, and the tools that come with Arriero."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from arriero.tools.artifacts import (
    Artifact,
    Artifacts,
    Attachment,
    FolderArtifacts,
    MemoryArtifacts,
    ToolOutput,
    UnknownArtifact,
)
from arriero.tools.cache import Cache
from arriero.tools.context import Progress, ToolContext
from arriero.tools.declared import FunctionTool, Tool, tool
from arriero.tools.errors import ToolArgumentError, ToolDefinitionError, ToolError, ToolTimeout, ToolUnavailable
from arriero.tools.events import (
    ToolCallApproved,
    ToolCallDenied,
    ToolCallFinished,
    ToolCallProgressed,
    ToolCallRetried,
    ToolCallStarted,
    ToolEvent,
)
from arriero.tools.group import ToolGroup
from arriero.tools.interpreter import code_interpreter
from arriero.tools.knowledge import knowledge_search
from arriero.tools.registry import Registry, ToolResult
from arriero.tools.search import web_search

if TYPE_CHECKING:
    from arriero.tools.files import file_tools
    from arriero.tools.mcp import McpServer
    from arriero.tools.openapi import openapi_tools
    from arriero.tools.web import web_fetch
    from arriero.tools.wolfram import wolfram_alpha

__all__ = [
    "Artifact",
    "Artifacts",
    "Attachment",
    "Cache",
    "FolderArtifacts",
    "FunctionTool",
    "McpServer",
    "MemoryArtifacts",
    "Progress",
    "Registry",
    "Tool",
    "ToolArgumentError",
    "ToolCallApproved",
    "ToolCallDenied",
    "ToolCallFinished",
    "ToolCallProgressed",
    "ToolCallRetried",
    "ToolCallStarted",
    "ToolContext",
    "ToolDefinitionError",
    "ToolError",
    "ToolEvent",
    "ToolGroup",
    "ToolOutput",
    "ToolResult",
    "ToolTimeout",
    "ToolUnavailable",
    "UnknownArtifact",
    "code_interpreter",
    "file_tools",
    "knowledge_search",
    "openapi_tools",
    "tool",
    "web_fetch",
    "web_search",
    "wolfram_alpha",
]

_HOMES = {
    "McpServer": "mcp",
    "file_tools": "files",
    "openapi_tools": "openapi",
    "web_fetch": "web",
    "wolfram_alpha": "wolfram",
}


def __getattr__(name: str) -> Any:
    """Load one of the tools that not every agent has at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'arriero.tools' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"arriero.tools.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
