"""What goes wrong between a client and an MCP server."""

import logging
from typing import TYPE_CHECKING

from arriero.tools.errors import ToolError

if TYPE_CHECKING:
    from mcp.shared.exceptions import MCPError

_SHOWN = 500


class McpConnectionError(ToolError):
    """A server cannot be reached, did not answer in time, or does not speak the protocol."""


class NotSent(Exception):
    """A request that surely did not reach the server: it may be sent again."""


class SessionGone(NotSent):
    """A request for a session that the server does not know, or no longer: it wants a new one."""


class Interrupted(Exception):
    """A request whose answer will never come. The server may have done what it asked."""


def root_cause(error: BaseException) -> BaseException:
    """The first error inside of nested groups of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def explain(error: BaseException) -> str:
    """An error in words for a model, without what cannot be seen."""
    from arriero.tools.mcp.declared import clean

    error = root_cause(error)
    text = clean(str(error), _SHOWN).strip()
    if isinstance(error, ToolError | NotSent | Interrupted):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_closed(error: "MCPError") -> bool:
    """Whether the SDK says that no answer will come. Servers use its code for other things, so its words count too."""
    import mcp_types

    said = error.message.startswith(("Connection closed", "SSE stream"))
    return error.code == mcp_types.CONNECTION_CLOSED and said


def quiet_sdk() -> None:
    """Keep what servers say out of the logs.

    The SDK logs messages that it cannot read, whole, as errors, which Python prints where nobody configured logging.
    An application that wants them sets the level of these loggers itself.
    """
    for name in ("mcp", "client"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
