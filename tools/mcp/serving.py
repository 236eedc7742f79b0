"""Tools of ours for the clients of the Model Context Protocol."""

import hmac
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.mcp.fault import quiet_sdk
from arriero.tools.mcp.routes import is_loopback
from arriero.tools.mcp.service import ToolService
from arriero.tools.registry import Registry

if TYPE_CHECKING:
    from mcp.server import Server
    from starlette.types import ASGIApp, Receive, Scope, Send

_MAX_SESSIONS = 256
_SHORTEST_TOKEN = 16


async def serve(
    registry: Registry,
    *,
    transport: Literal["stdio", "http"] = "stdio",
    name: str = "arriero",
    sensitive: bool = False,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Offer the tools of a registry to MCP clients, until the client goes (standard streams) or a signal comes (HTTP).

    Over HTTP every request must name this server in its `Host` header and come from no web page but those of
    `origins`, so that a page in somebody's browser cannot use the tools (DNS rebinding).

    Args:
        registry: The tools.
        transport: Over this process's standard streams to one client, or over streamable HTTP to many.
        name: Name that clients see.
        sensitive: Whether to offer tools that need approval too. The registry's `approve` is asked about each call;
            `approve_by_client` there asks the client's user.
        host: Address to listen on. One that other machines reach needs a token.
        port: TCP port; 0 for a free one.
        token: Clients must send it as `Authorization: Bearer ...`; at least 16 characters.
        hosts: More names by which clients may call this server, each with its port: `"tools.example.org:443"`.
        origins: Web pages that may use it: `"https://app.example.org"`.
        on_ready: Called with the address to connect to, when the server listens.

    Raises:
        ToolDefinitionError: A token is needed or too short.
        ToolError: The port cannot be used.

    Example:
        >>> import anyio
        >>> from arriero.tools import Registry
        >>> anyio.run(lambda: serve(Registry(), transport="http", host="0.0.0.0"))
        Traceback (most recent call last):
        arriero.tools.errors.ToolDefinitionError: serving tools on 0.0.0.0, where other machines reach them, needs ...
    """
    quiet_sdk()
    if transport == "http":
        _check(host, token)
        server = ToolService(registry, sensitive).build(name)
        await _serve_http(server, _listen(host, port), host, token, hosts, origins, on_ready)
        return
    from mcp.server.stdio import stdio_server

    server = ToolService(registry, sensitive).build(name)
    async with stdio_server() as (read, write):
        if on_ready is not None:
            on_ready("stdio")
        await server.run(read, write, server.create_initialization_options())


def _check(host: str, token: str | None) -> None:
    if token is None and not is_loopback(host):
        raise ToolDefinitionError(
            f"serving tools on {host}, where other machines reach them, needs a token: give token=..."
        )
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ToolDefinitionError(
            f"the token has {len(token)} characters; use at least {_SHORTEST_TOKEN}, for instance "
            "secrets.token_urlsafe()"
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ToolError(f"cannot listen on {host} port {port}: {error}") from error


async def _serve_http(
    server: "Server[Any]",
    listener: socket.socket,
    host: str,
    token: str | None,
    hosts: Sequence[str],
    origins: Sequence[str],
    on_ready: Callable[[str], None] | None,
) -> None:
    import uvicorn
    from mcp.server.transport_security import TransportSecuritySettings

    port = listener.getsockname()[1]
    own = f"[{host}]" if ":" in host else host
    local = ("127.0.0.1", "localhost", "[::1]") if is_loopback(host) else ()
    app: ASGIApp = server.streamable_http_app(
        transport_security=TransportSecuritySettings(
            allowed_hosts=[f"{known}:{port}" for known in dict.fromkeys((own, *local))] + list(hosts),
            allowed_origins=list(origins),
        ),
        max_sessions=_MAX_SESSIONS,
        host=host,
    )
    config = uvicorn.Config(
        _BearerGate(app, token) if token else app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    if on_ready is not None:
        on_ready(f"http://{own}:{port}/mcp")
    with listener:
        await uvicorn.Server(config).serve(sockets=[listener])


class _BearerGate:
    """Lets only requests with the token through (RFC 6750)."""

    def __init__(self, app: "ASGIApp", token: str) -> None:
        self._app = app
        self._wanted = f"bearer {token}".encode()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "lifespan" or self._may_pass(scope):
            await self._app(scope, receive, send)
            return
        headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _may_pass(self, scope: "Scope") -> bool:
        if scope["type"] != "http":
            return False
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, rest = given[0].partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + rest.strip(), self._wanted)
