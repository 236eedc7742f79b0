"""What an agent can do: `@tool`, the registry, search, code, retrieval."""

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
from arriero.tools.tool import FunctionTool, Tool, tool

__all__ = [
    "Artifact",
    "Artifacts",
    "Attachment",
    "Cache",
    "FolderArtifacts",
    "FunctionTool",
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
    "knowledge_search",
    "tool",
    "web_search",
]
