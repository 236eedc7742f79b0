"""Connections that go only where a policy lets them; imported on first use, since httpx2 is."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import cache

import anyio
import httpcore2
import httpx2

from arriero.tools.web.policy import BlockedAddress, NetworkPolicy

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives all IP addresses of a name for a port, as text; raises `OSError` when there is none."""

_MOST_TRIED = 4  # addresses of one name
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "host", "user-agent"}
    | {"content-length", "content-type", "transfer-encoding"}  # of a body that 307 and 308 send once more
)


async def system_resolver(host: str, port: int) -> list[str]:
    """All addresses that the operating system knows for a name.

    Args:
        host: Name in ASCII.
        port: TCP port.

    Returns:
        Addresses as text.

    Raises:
        OSError: The name has none.
    """
    import socket

    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves a name once, checks every address, and connects to a checked address, never to the name.

    The name is not resolved a second time, so an answer that changes (DNS rebinding) changes nothing. TLS and the
    Host header keep the name.

    Args:
        policy: What may be reached.
        resolver: Gives the addresses of a name.
        backend: Makes the connections.
    """

    def __init__(self, policy: NetworkPolicy, resolver: Resolver, backend: httpcore2.AsyncNetworkBackend) -> None:
        self._policy = policy
        self._resolver = resolver
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to a checked address of the host."""
        limit = self._policy.connect_timeout if timeout is None else min(timeout, self._policy.connect_timeout)
        try:
            with anyio.fail_after(limit):
                return await self._connect(host, port, limit, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"no connection to {host} within {limit:g} s") from error

    async def _connect(
        self,
        host: str,
        port: int,
        limit: float,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception | None = None
        for address in (await self._addresses(host, port))[:_MOST_TRIED]:
            try:
                return await self._backend.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        literal = f"[{host}]" if ":" in host else host
        target = self._policy.check_url(f"{self._policy.schemes[0]}://{literal}:{port}/")
        if target.host != host:  # the HTTP library's reading of the host and ours must be the same
            raise BlockedAddress(f"the host {host[:60]!r} can be read in two ways; write it plainly")
        if ":" in host or host.rpartition(".")[2].isdigit():
            return self._policy.check_addresses(host, port, [host])
        try:
            found = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error
        return self._policy.check_addresses(host, port, found)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refused."""
        raise BlockedAddress("Unix sockets may not be reached")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """The HTTP transport over a `CheckedBackend`; each request's address is checked, redirected ones included.

    Args:
        policy: What may be reached.
        resolver: Gives the addresses of a name.
        backend: Makes the connections; None for real ones.
        verify: TLS settings; None for those of the system, environment variables left aside.
        max_connections: Most connections at once.
        secret_query: Encoded query that is added to each request on its way out.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        *,
        resolver: Resolver = system_resolver,
        backend: httpcore2.AsyncNetworkBackend | None = None,
        verify: ssl.SSLContext | None = None,
        max_connections: int = 20,
        secret_query: str = "",
    ) -> None:
        context = verify or _system_tls()
        super().__init__(verify=context, trust_env=False)
        if not isinstance(self._pool, httpcore2.AsyncConnectionPool):  # else the guard would not be in the way
            raise TypeError("httpx2 keeps its connections elsewhere: this version cannot be guarded")
        self._policy = policy
        self._secret_query = secret_query
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=max_connections,
            keepalive_expiry=5.0,
            network_backend=CheckedBackend(policy, resolver, backend or httpcore2.AnyIOBackend()),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request whose address the policy lets pass."""
        self._policy.check_url(str(request.url))
        if self._secret_query:
            request = _with_query(request, self._secret_query)
        response = await super().handle_async_request(request)
        if response.status_code not in _REDIRECTS or "location" not in response.headers:
            return response
        # the client reads the body of a redirect before it follows, however long that is
        await response.aclose()
        _check_location(request, response.headers["location"])
        return httpx2.Response(
            response.status_code, headers=_without_body(response.headers), stream=_Nothing(), extensions={}
        )


def _check_location(request: httpx2.Request, location: str) -> None:
    """Refuse an address that httpx2 cannot read, with an error of its own in place of those of its parsers."""
    try:
        _ = request.url.join(location).host
    except (httpx2.InvalidURL, ValueError) as error:
        raise httpx2.RemoteProtocolError("it redirects to no address", request=request) from error


class _Nothing(httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        return
        yield b""


def _with_query(request: httpx2.Request, query: str) -> httpx2.Request:
    own = request.url.query.decode("ascii")
    url = request.url.copy_with(query=f"{own}&{query}".lstrip("&").encode("ascii"))
    return httpx2.Request(
        request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


def _without_body(headers: httpx2.Headers) -> list[tuple[bytes, bytes]]:
    gone = {b"content-length", b"content-encoding", b"transfer-encoding"}
    return [(name, value) for name, value in headers.raw if name.lower() not in gone]


async def refuse_downgrade(response: httpx2.Response) -> None:
    """Refuse a redirect from https to http: what follows could be read and changed on the way.

    Args:
        response: Any response.

    Raises:
        BlockedAddress: It is such a redirect.
    """
    if not response.has_redirect_location or response.request.url.scheme != "https":
        return
    if response.url.join(response.headers["location"]).scheme == "http":
        raise BlockedAddress("the server redirects from https to http, which is not followed")


async def forget_secrets(response: httpx2.Response) -> None:
    """Take from a request that a redirect sends to another origin every header that could be a secret.

    httpx2 takes `Authorization` alone, and makes the next request from the headers of this one, which has been sent.

    Args:
        response: Any response.
    """
    if not response.has_redirect_location:
        return
    sent = response.request
    target = sent.url.join(response.headers["location"])
    if (target.scheme, target.host, target.port) != (sent.url.scheme, sent.url.host, sent.url.port):
        for name in set(sent.headers) - _HARMLESS:
            del sent.headers[name]


@cache
def _system_tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)
