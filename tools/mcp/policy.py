"""How far an MCP server is believed, and who answers what it asks."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from arriero.tools.errors import ToolDefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Elicitation:
    """A server asks the user for something, in the middle of a call.

    Args:
        server: Name of the server.
        message: What it asks, cleaned. A stranger wrote it.
        schema: JSON schema of the answer; empty when it asks to open an address.
        url: The address that it wants opened; None when it asks for values.
    """

    server: str
    message: str
    schema: Mapping[str, Any]
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """A server asks for text from the user's model.

    Args:
        server: Name of the server.
        messages: Role (`"user"` or `"assistant"`) and text of each message; a stranger wrote them.
        system: System prompt that it wants.
        max_tokens: Most tokens that it wants.
    """

    server: str
    messages: tuple[tuple[str, str], ...]
    system: str
    max_tokens: int


Answer = Mapping[str, str | int | float | bool | list[str] | None]
"""Values of an answer, by the names in the elicitation's schema; empty when an address was opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPolicy:
    """How far an MCP server is believed, and its limits.

    Args:
        trusted: Its tools need no approval, unless they say that they destroy; what it says about them (read-only,
            idempotent) is believed. Otherwise every call needs approval and none is repeated.
        timeout: Seconds for one request.
        start_timeout: Seconds until it must have answered the handshake.
        max_message: Most bytes of one message. Reading one of 4 MiB that is made to be slow takes 2 s, in which
            nothing else runs.
        max_tools: Most tools to take.
        legacy: Use the handshake of 2025 at once. Else the newer protocol is offered first, which costs 10 s with a
            server that does not answer what it does not know.
        reconnects: How often to try again when it cannot be reached, waiting longer each time.
        elicit: Answers its questions to the user; gives None to decline. None refuses them all.
        sample: Gives it text from a model; gives None to decline. None refuses all.

    Raises:
        ToolDefinitionError: A limit is not positive.
    """

    trusted: bool = False
    timeout: float = 60.0
    start_timeout: float = 30.0
    max_message: int = 4 << 20
    max_tools: int = 256
    legacy: bool = False
    reconnects: int = 3
    elicit: Callable[[Elicitation], Awaitable[Answer | None]] | None = None
    sample: Callable[[Sampling], Awaitable[str | None]] | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "start_timeout", "max_message", "max_tools"):
            if not getattr(self, name) > 0:
                raise ToolDefinitionError(f"MCP policy: {name} is {getattr(self, name)!r}; use a number above 0")
        if self.reconnects < 0:
            raise ToolDefinitionError(f"MCP policy: reconnects is {self.reconnects}; use 0 or more")
