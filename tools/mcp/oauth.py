"""OAuth 2.1 for MCP servers over HTTP: the SDK's flow, with a place for the tokens.

The flow (discovery, registration, PKCE, refresh) is the SDK's; its requests go through the same guarded transport as
the rest, so that a server cannot send them into a private network.
https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, urlsplit

from arriero.tools.errors import ToolError
from arriero.tools.mcp.pins import read_private, write_private

if TYPE_CHECKING:
    import httpx2
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken


class Tokens(Protocol):
    """Where the tokens of one server are kept, as JSON texts by kind (`"tokens"`, `"client"`)."""

    async def get(self, kind: str) -> str | None:
        """What is kept, or None."""
        ...

    async def put(self, kind: str, text: str) -> None:
        """Keep something."""
        ...


class MemoryTokens:
    """Tokens for as long as the process runs.

    Example:
        >>> import anyio
        >>> async def main() -> str | None:
        ...     tokens = MemoryTokens()
        ...     await tokens.put("tokens", "{}")
        ...     return await tokens.get("tokens")
        >>> anyio.run(main)
        '{}'
    """

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    async def get(self, kind: str) -> str | None:
        """What is kept, or None."""
        return self._kept.get(kind)

    async def put(self, kind: str, text: str) -> None:
        """Keep something."""
        self._kept[kind] = text


class FileTokens(MemoryTokens):
    """Tokens in a JSON file that only this user can read. One file for each server.

    Args:
        path: The file; made with the first token.

    Raises:
        ToolError: It cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._path = Path(path).expanduser()
        self._kept = read_private(self._path, "tokens")

    async def put(self, kind: str, text: str) -> None:
        """Keep something, also for the next run.

        Raises:
            ToolError: The file cannot be written.
        """
        await super().put(kind, text)
        write_private(self._path, json.dumps(self._kept))


def oauth(
    url: str,
    *,
    open_page: Callable[[str], Awaitable[None]],
    wait_for_redirect: Callable[[], Awaitable[str]],
    tokens: Tokens | None = None,
    redirect_uri: str = "http://localhost:8976/callback",
    client_name: str = "arriero",
    scope: str | None = None,
) -> "httpx2.Auth":
    """Authorization by a user, for `McpServer.http(..., auth=...)`.

    Args:
        url: The MCP server's address, the same as that of `McpServer.http`.
        open_page: Shows the user the page on which to agree.
        wait_for_redirect: Gives the whole address to which the page sent the browser in the end.
        tokens: Where tokens and the registration are kept. None keeps them for as long as this object lives.
        redirect_uri: The address to send the browser to.
        client_name: Name that the user sees.
        scope: What to ask for; None for what the server says.

    Returns:
        The authentication.

    Example:
        >>> async def show(page: str) -> None:
        ...     print("Open", page)
        >>> async def ask() -> str:
        ...     return input("The address your browser ended at: ")
        >>> type(oauth("https://mcp.example.org/mcp", open_page=show, wait_for_redirect=ask)).__name__
        'OAuthClientProvider'
    """
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
    from pydantic import AnyUrl

    async def receive() -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(await wait_for_redirect()).query)
        if "code" not in query:
            raise ToolError("the authorization was not given: the address has no code")
        return AuthorizationCodeResult(
            code=query["code"][0], state=query.get("state", [None])[0], iss=query.get("iss", [None])[0]
        )

    return OAuthClientProvider(
        url,
        OAuthClientMetadata(
            client_name=client_name,
            redirect_uris=[AnyUrl(redirect_uri)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            scope=scope,
        ),
        _Storage(tokens if tokens is not None else MemoryTokens()),
        open_page,
        receive,
    )


class _Storage:
    """The SDK's view of tokens."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def get_tokens(self) -> "OAuthToken | None":
        from mcp.shared.auth import OAuthToken

        text = await self._tokens.get("tokens")
        return OAuthToken.model_validate_json(text) if text else None

    async def set_tokens(self, tokens: "OAuthToken") -> None:
        await self._tokens.put("tokens", tokens.model_dump_json(exclude_none=True))

    async def get_client_info(self) -> "OAuthClientInformationFull | None":
        from mcp.shared.auth import OAuthClientInformationFull

        text = await self._tokens.get("client")
        return OAuthClientInformationFull.model_validate_json(text) if text else None

    async def set_client_info(self, client_info: "OAuthClientInformationFull") -> None:
        await self._tokens.put("client", client_info.model_dump_json(exclude_none=True))
