"""The two ways to an MCP server: a child process and an HTTP address."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.mcp.fault import Interrupted, is_closed
from arriero.tools.mcp.policy import McpPolicy
from arriero.tools.web.policy import NetworkPolicy

if TYPE_CHECKING:
    import httpx2
    from mcp.client._transport import TransportStreams
    from mcp.shared.exceptions import MCPError


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One connection, about to be made.

    Args:
        streams: Makes it.
        raise_fault: Raises what an error of the SDK means for the request that it answers.
        state: Says how the other end is.
        ended: Set when the other end is gone; None where nobody would know.
        stderr: What the other end wrote to its standard error last.
    """

    streams: "AbstractAsyncContextManager[TransportStreams]"
    raise_fault: "Callable[[MCPError], None]"
    state: Callable[[], str] = str
    ended: anyio.Event | None = None
    stderr: Callable[[], str] = str


class Route(Protocol):
    """A way to a server."""

    def attempt(self, policy: McpPolicy) -> Attempt:
        """Prepare a connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRoute:
    """A program to start.

    Args:
        command: Program and arguments.
        env: Its environment variables; hidden from representations.
        folder: Where it runs.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None

    def attempt(self, policy: McpPolicy) -> Attempt:
        """Prepare a new process."""
        from arriero.tools.mcp.pipes import Child, open_child

        child = Child()

        def raise_fault(error: "MCPError") -> None:
            if is_closed(error):
                raise Interrupted(child.state) from error

        return Attempt(
            streams=open_child(
                self.command, env=self.env, folder=self.folder, max_message=policy.max_message, child=child
            ),
            raise_fault=raise_fault,
            state=lambda: child.state,
            ended=child.ended,
            stderr=lambda: child.stderr.decode("utf-8", "replace"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """An address.

    Args:
        url: The server's endpoint.
        headers: Sent with each request; hidden from representations.
        auth: How requests are authenticated.
        network: What may be reached, the authorization server included.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: "httpx2.Auth | None" = field(default=None, repr=False)
    network: NetworkPolicy = field(default_factory=NetworkPolicy)

    def __post_init__(self) -> None:
        target = self.network.check_url(self.url)
        if target.scheme == "http" and (self.headers or self.auth) and not is_loopback(target.host):
            raise ToolDefinitionError(f"{target.host}: headers and tokens would go there in the clear; use https")

    def attempt(self, policy: McpPolicy) -> Attempt:
        """Prepare a new session."""
        from arriero.tools.mcp.link import Link, open_link

        encrypted = self.network.check_url(self.url).scheme == "https"
        link = Link(self.network, max_message=policy.max_message, encrypted=encrypted)
        return Attempt(
            streams=open_link(
                self.url, link=link, headers=self.headers, auth=self.auth, max_message=policy.max_message
            ),
            raise_fault=link.raise_fault,
        )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address; no name is resolved."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
