"""HTTP that cannot be led into a private network (server-side request forgery).

The one place through which tools reach the network: `web_fetch`, the operations of an OpenAPI document, MCP servers
and searches.
"""

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.web.policy import BlockedAddress, NetworkPolicy, Target

if TYPE_CHECKING:
    import httpcore2
    import httpx2

    from arriero.tools.web.connection import Resolver

__all__ = ["BlockedAddress", "NetworkPolicy", "Target", "guarded_client"]


def guarded_client(
    policy: NetworkPolicy,
    *,
    headers: Mapping[str, str] | None = None,
    auth: "httpx2.Auth | None" = None,
    timeout: "float | httpx2.Timeout" = 20.0,
    follow_redirects: bool = False,
    cookies: bool = False,
    secret_query: str = "",
    max_connections: int = 20,
    resolver: "Resolver | None" = None,
    backend: "httpcore2.AsyncNetworkBackend | None" = None,
    verify: ssl.SSLContext | None = None,
) -> "httpx2.AsyncClient":
    """An HTTP client that reaches only what a policy lets it reach.

    The address of each request is checked, redirects included; a name is resolved once, every address of it is
    checked, and the connection goes to a checked address. Proxies, certificates and credentials named by environment
    variables are not used, redirects from https to http and Unix sockets are refused. Close it, or use it as a
    context manager; use it in one event loop.

    Args:
        policy: What may be reached.
        headers: Sent with each request. A redirect to another origin gets none of them but `Accept`, its relatives,
            `User-Agent` and `Content-Type`, whether they are given here or with a request.
        auth: How requests are authenticated.
        timeout: Seconds for each wait: connecting, sending, the next bytes. Not for the whole: set a deadline around.
        follow_redirects: Follow up to `policy.max_redirects` of them.
        cookies: Keep the cookies that servers set.
        secret_query: Encoded query, such as `"key=..."`, that is added to each request on its way out, where neither
            httpx2's log of addresses nor its errors have it. Not with `follow_redirects`.
        max_connections: Most connections at once.
        resolver: Gives the addresses of a name; None asks the system.
        backend: Makes the connections, to addresses; None makes real ones.
        verify: TLS settings; None for the system's authorities.

    Returns:
        The client. A refused address raises `BlockedAddress`, everything else what httpx2 raises.

    Raises:
        ToolDefinitionError: A secret query would follow redirects.

    Example:
        >>> import anyio
        >>> async def main() -> None:
        ...     async with guarded_client(NetworkPolicy()) as client:
        ...         await client.get("http://10.0.0.1/admin")
        >>> anyio.run(main)
        Traceback (most recent call last):
        arriero.tools.web.policy.BlockedAddress: 10.0.0.1 is a private address, which this tool may not reach
    """
    if secret_query and follow_redirects:
        raise ToolDefinitionError("a secret query would follow a redirect to another host; do not follow redirects")

    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx2

    from arriero.tools.web.connection import GuardedTransport, forget_secrets, refuse_downgrade, system_resolver

    transport = GuardedTransport(
        policy,
        resolver=resolver or system_resolver,
        backend=backend,
        verify=verify,
        max_connections=max_connections,
        secret_query=secret_query,
    )
    return httpx2.AsyncClient(
        transport=transport,
        headers=headers,
        auth=auth,
        timeout=timeout,
        follow_redirects=follow_redirects,
        max_redirects=policy.max_redirects,
        cookies=None if cookies else CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        event_hooks={"response": [refuse_downgrade, forget_secrets]},
        trust_env=False,
    )
