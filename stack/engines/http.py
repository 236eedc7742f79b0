"""A model server over HTTP: what its answers mean, and how patiently it is asked again."""

import logging
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pydantic_core

from arriero.stack.errors import EngineError, EngineRejected, EngineUnavailable

_log = logging.getLogger(__name__)
_LONGEST_WAIT = 30.0
_EXAMPLE = "http://localhost:8000/v1"
_CREDENTIALS = re.compile(r"^((?:[a-z][a-z0-9+.-]*://)?).*@", re.IGNORECASE | re.DOTALL)
_START = "start vLLM there (`python -m vllm.entrypoints.openai.api_server --model ...`) or correct the URL"


class NotNow(Exception):
    """The server cannot answer at the moment. Asking again may help as long as nothing was delivered.

    Args:
        problem: What happened and what to do about it.
        wait: Seconds that the server asked to be left alone.
    """

    def __init__(self, problem: str, *, wait: float = 0.0) -> None:
        self.wait = wait
        super().__init__(problem)


class NotFound(EngineRejected):
    """The server knows no such model, or no such path."""


class Server:
    """One HTTP server.

    The loop that repeats requests is written here and not taken from a library, because whether a request may be
    repeated changes while its answer streams: after the first delta it may not.

    Args:
        url: The server, with or without `/v1`.
        api_key: Sent as bearer token.
        timeout: Longest silence, in seconds.
        retries: How often a request is repeated.
        backoff: Longest wait before the first repetition, in seconds; it doubles each time.
        transport: Another way to reach the server.

    Raises:
        EngineRejected: The URL or the key cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: int = 3,
        backoff: float = 0.25,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise EngineRejected("the API key holds characters that no header can carry: copy it again")
        try:
            base = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            # The library's error quotes the part it stumbles over, which may be of the password.
            why, cause = ("", None) if "@" in url else (f" ({error})", error)
            raise EngineRejected(f"{_masked(url)!r} is no URL{why}: write for example {_EXAMPLE}") from cause
        if base.scheme not in ("http", "https") or not base.host:
            raise EngineRejected(f"{_masked(url)!r} is no URL of a server: write for example {_EXAMPLE}")
        base = base.copy_with(path=base.path.rstrip("/").removesuffix("/v1") + "/", query=None, fragment=None)
        self.url = str(base.copy_with(userinfo=b"")).rstrip("/")
        """The address without `/v1` and without credentials, for errors."""
        self._retries = retries
        self._backoff = backoff
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        patience = httpx2.Timeout(timeout, connect=min(timeout, 5.0))
        self._timeout = patience.as_dict()
        self._addresses: dict[str, httpx2.URL] = {}
        self._client = httpx2.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=patience,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
            transport=transport,
            trust_env=False,
        )

    async def get(self, path: str) -> bytes:
        """Body of a `GET`, asked for repeatedly where that may help.

        Raises:
            EngineUnavailable: Nothing answers, or not now.
            EngineRejected: The server refused.
        """
        attempt = 0
        while True:
            try:
                async with self.open("GET", path) as response:
                    return await response.aread()
            except NotNow as failure:
                attempt = await self.pause(attempt, failure)

    @asynccontextmanager
    async def open(self, method: str, path: str, content: bytes | None = None) -> AsyncIterator[httpx2.Response]:
        """Send one request and hold its answer open. Leaving closes it, which makes vLLM abort the request.

        Raises:
            EngineRejected: The server refused.
            EngineUnavailable: The server went silent, or this engine is closed.
            NotNow: The server cannot be reached or cannot answer now.
        """
        if self._client.is_closed:
            raise EngineUnavailable(f"the engine for {self.url} is closed: connect again")
        try:
            response = await self._client.send(self._request(method, path, content), stream=True)
            try:
                if response.status_code != 200:
                    raise self._refusal(response, await response.aread())
                yield response
            finally:
                await response.aclose()
        except httpx2.ReadTimeout as error:
            # Asking a server again that is too busy to answer would only add to its queue.
            raise EngineUnavailable(
                f"{self.url} was silent for {error.request.extensions['timeout']['read']:g} s: it is overloaded or"
                " stuck; look at its log, or allow a longer read_timeout"
            ) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise NotNow(f"nothing answers at {self.url} ({error or 'no connection in time'}): {_START}") from error
        except httpx2.TransportError as error:
            raise NotNow(f"{self.url} broke the connection ({error!r}): see the server's log") from error

    def _request(self, method: str, path: str, content: bytes | None) -> httpx2.Request:
        # The client would parse and merge the address and the headers for each request, a sixth of its whole cost.
        url = self._addresses.get(path)
        if url is None:
            url = self._addresses[path] = self._client.base_url.join(path)
        return httpx2.Request(
            method, url, headers=self._client.headers, content=content, extensions={"timeout": self._timeout}
        )

    async def pause(self, attempt: int, failure: NotNow) -> int:
        """Wait before the next attempt.

        Args:
            attempt: How many attempts were repeated so far.
            failure: Why the last one failed.

        Returns:
            The number of the next attempt.

        Raises:
            EngineUnavailable: There were enough attempts.
        """
        if attempt >= self._retries:
            tries = f" ({attempt + 1} attempts)" if attempt else ""
            raise EngineUnavailable(f"{failure}{tries}") from failure
        # Full jitter: clients that failed together do not come back together.
        longest = min(_LONGEST_WAIT, self._backoff * 2**attempt)
        wait = max(min(failure.wait, _LONGEST_WAIT), random.uniform(0, longest))  # noqa: S311 - no secret
        _log.warning("%s; attempt %d of %d follows in %.2f s", failure, attempt + 2, self._retries + 1, wait)
        await anyio.sleep(wait)
        return attempt + 1

    def _refusal(self, response: httpx2.Response, body: bytes) -> EngineError | NotNow:
        status = response.status_code
        try:
            text = error_text(pydantic_core.from_json(body))
        except ValueError:
            text = response.reason_phrase
        if status in (401, 403):
            return EngineRejected(
                f"{self.url} refused the API key ({status}): give the key that the server was started with"
            )
        if status == 429 or status >= 500:
            return NotNow(
                f"{self.url} answered {status} ({text}): it is overloaded or broken; see its log",
                wait=_retry_after(response),
            )
        kind = NotFound if status == 404 else EngineRejected
        return kind(f"{self.url} refused the request ({status}): {text}")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _masked(url: str) -> str:
    """A URL for an error, whatever is before its last `@` left out: a password may hold any character."""
    return _CREDENTIALS.sub(r"\1***@", url)


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else 0.0


def error_text(body: Any) -> str:
    """What an error body says, in one short line. vLLM, FastAPI and gateways each have their own shape."""
    found = body
    for key in ("error", "message", "detail"):
        if isinstance(found, dict):
            found = found.get(key, found)
    return " ".join(str(found).split())[:300]
