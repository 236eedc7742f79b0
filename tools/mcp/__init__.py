"""The Model Context Protocol: tools of its servers for our agents, and our tools for its clients."""

from arriero.tools.mcp.fault import McpConnectionError
from arriero.tools.mcp.oauth import FileTokens, MemoryTokens, Tokens, oauth
from arriero.tools.mcp.pins import FilePins, MemoryPins, Pins
from arriero.tools.mcp.policy import Elicitation, McpPolicy, Sampling
from arriero.tools.mcp.results import McpPrompt, McpPromptMessage, McpResource
from arriero.tools.mcp.server import McpServer
from arriero.tools.mcp.service import approve_by_client
from arriero.tools.mcp.serving import serve

__all__ = [
    "Elicitation",
    "FilePins",
    "FileTokens",
    "McpConnectionError",
    "McpPolicy",
    "McpPrompt",
    "McpPromptMessage",
    "McpResource",
    "McpServer",
    "MemoryPins",
    "MemoryTokens",
    "Pins",
    "Sampling",
    "Tokens",
    "approve_by_client",
    "oauth",
    "serve",
]
