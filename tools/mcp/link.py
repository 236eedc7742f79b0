"""MCP over HTTP: what stands between the SDK and the network."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2

from arriero.tools.mcp.fault import Interrupted, NotSent, SessionGone, explain, is_closed
from arriero.tools.mcp.routes import is_loopback
from arriero.tools.web.connection import GuardedTransport
from arriero.tools.web.policy import BlockedAddress, NetworkPolicy

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams
    from mcp.shared.exceptions import MCPError

_SESSION = "mcp-session-id"
_FAULT = -32099  # JSON-RPC 2.0: -32000 to -32099 are for the implementation
_STREAM_EVERY = 0.1  # seconds
_STREAMS_AT_ONCE = 20
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, BlockedAddress)


class Link(GuardedTransport):
    """A guarded transport that turns what goes wrong with one request into an answer to that request.

    The SDK ends the whole connection, every other call with it, when a request meets a network error. Here the error
    becomes a JSON-RPC error with a mark that no server can know, which says whether the request went out. Answers are
    bounded, and compressed ones refused, since they could grow without bound.

    Args:
        network: What may be reached.
        max_message: Most bytes of one message.
        encrypted: Only https, but for this machine: what follows from an encrypted server, the steps of its
            authorization for instance, must not go over the network in the clear.
    """

    def __init__(self, network: NetworkPolicy, *, max_message: int, encrypted: bool) -> None:
        super().__init__(network, max_connections=100)
        self._max_message = max_message
        self._encrypted = encrypted
        self._mark = secrets.token_hex(16)
        self._booked = 0.0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; always gives a response."""
        if self._encrypted and request.url.scheme != "https" and not is_loopback(request.url.host):
            return self._fault(request, 503, "unsent", f"{request.url.host}: tokens would go there in the clear")
        if request.method == "GET":
            await self._pace()
        try:
            response = await super().handle_async_request(request)
            return await self._checked(request, response)
        except _NEVER_SENT as error:
            return self._fault(request, 503, "unsent", explain(error))
        except httpx2.TransportError as error:
            return self._fault(request, 502, "interrupted", explain(error))

    async def _pace(self) -> None:
        """Open streams at a bounded rate: the SDK opens one that ended anew, as soon as the server wants it to."""
        now = anyio.current_time()
        self._booked = max(self._booked, now) + _STREAM_EVERY
        await anyio.sleep(max(0.0, self._booked - now - _STREAMS_AT_ONCE * _STREAM_EVERY))

    async def _checked(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            await response.aclose()
            return self._fault(
                request, 502, "interrupted", "the server compressed its answer, which it was asked not to"
            )
        if response.status_code == 404 and _SESSION in request.headers:
            await response.aclose()
            return self._fault(request, 404, "expired", "the server no longer knows the session")
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return response  # the SDK bounds each event
        body = await self._read(response)
        if body is None:
            return self._fault(request, 502, "interrupted", f"the answer is longer than {self._max_message} bytes")
        is_ours = "text/event-stream" in request.headers.get("accept", "")  # and not a step of the authorization
        if response.status_code in (401, 403) and is_ours and b'"jsonrpc"' not in body:
            refusal = f"the server refused access (HTTP {response.status_code}): give it headers= or auth="
            answer = self._fault(request, response.status_code, "refused", refusal)
            return httpx2.Response(response.status_code, headers=_merged(response, answer), content=answer.content)
        return httpx2.Response(response.status_code, headers=_merged(response), content=body)

    async def _read(self, response: httpx2.Response) -> bytes | None:
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_message:
                    return None
        finally:
            await response.aclose()
        return bytes(body)

    def _fault(self, request: httpx2.Request, status: int, kind: str, message: str) -> httpx2.Response:
        error = {"code": _FAULT, "message": message, "data": {"mark": self._mark, "kind": kind}}
        return httpx2.Response(status, json={"jsonrpc": "2.0", "id": 0, "error": error}, request=request)

    def raise_fault(self, error: "MCPError") -> None:
        """Raise what a marked error means; do nothing about one of the server's own.

        Raises:
            NotSent: The request did not reach the server.
            SessionGone: It was for a session that the server has forgotten.
            Interrupted: It may have reached the server.
        """
        match error.data:
            case {"mark": self._mark, "kind": "unsent"}:
                raise NotSent(error.message) from error
            case {"mark": self._mark, "kind": "expired"}:
                raise SessionGone(error.message) from error
            case {"mark": self._mark, "kind": "interrupted"}:
                raise Interrupted(error.message) from error
        if is_closed(error):
            raise Interrupted(error.message) from error


@asynccontextmanager
async def open_link(
    url: str, *, link: Link, headers: Mapping[str, str], auth: httpx2.Auth | None, max_message: int
) -> "AsyncIterator[TransportStreams]":
    """Speak with a server over streamable HTTP.

    Args:
        url: Its address.
        link: The transport.
        headers: Sent with every request to it.
        auth: How requests are authenticated.
        max_message: Most bytes of one message.

    Yields:
        Streams of messages from it and to it.
    """
    from mcp.client.streamable_http import streamable_http_client

    client = httpx2.AsyncClient(
        transport=link,
        headers={"accept-encoding": "identity", **headers},
        auth=auth,
        timeout=httpx2.Timeout(30.0, read=300.0),
        trust_env=False,
    )
    async with client, streamable_http_client(url, http_client=client, max_sse_event_size=max_message) as streams:
        yield streams


def _merged(response: httpx2.Response, answer: httpx2.Response | None = None) -> list[tuple[str, str]]:
    """Headers of a response whose body was read, or replaced by that of another."""
    gone = {"content-length", "transfer-encoding"} | ({"content-type"} if answer is not None else set())
    kept = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in gone]
    return [*kept, ("content-type", "application/json")] if answer is not None else kept
