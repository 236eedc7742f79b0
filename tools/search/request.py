"""One request to a provider that answers in JSON, with everything that a network can do turned into a `SearchError`."""

import re
import ssl
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from arriero.tools.search.errors import Reason, SearchError
from arriero.tools.search.hits import clean_text

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 4 * 2**20
"""Most bytes of an answer, decompressed."""

CAPTCHA = re.compile(r"captcha|anomaly-modal|unusual traffic|are you a (?:human|robot)|cf-chl|/sorry/index", re.I)
"""Words on the pages by which engines keep programs out."""

_SHOWN_CHARS = 150
_MOST_ROWS = 100


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a provider.

    Args:
        provider: Its name, for errors.
        method: `GET` or `POST`.
        url: Address without parameters.
        params: Parameters of the address.
        body: What is sent as JSON.
        headers: Headers, the key among them.
        secret: The key: it is taken out of whatever an error quotes.
        proxy: Address of an HTTP or SOCKS proxy.
        ca_file: Certificates to trust in place of the public ones.
    """

    provider: str
    method: str
    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str = field(default="", repr=False)
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | Path | None = None

    def problem(self, reason: Reason, problem: str, *, again: bool = False, wait: float | None = None) -> SearchError:
        """The error that this request ended in."""
        return SearchError(self.provider, reason, problem, again=again, wait=wait)


async def ask(request: Request) -> Mapping[str, Any]:
    """Send a request once. No redirect is followed: the key goes to no other host.

    Nothing here waits with a deadline of its own: the caller's scope ends it.

    Args:
        request: The request.

    Returns:
        The JSON object of the answer.

    Raises:
        SearchError: There is no answer, a refusal, or none that can be read.
    """
    import httpx2

    headers = {"accept": "application/json", "accept-encoding": "gzip", **request.headers}
    message = httpx2.Request(
        request.method, request.url, params=request.params or None, json=request.body, headers=headers
    )
    try:
        # The bare transport: a client's log would show the query, and it would follow redirects and read proxies
        # from the environment.
        async with httpx2.AsyncHTTPTransport(
            verify=_trusted(request.ca_file), trust_env=False, proxy=request.proxy
        ) as transport:
            response = await transport.handle_async_request(message)
            try:
                body = await _read(request, response)
            finally:
                await response.aclose()
    # `from None` throughout: the library's errors hold the request, and with it the key
    except httpx2.ConnectError as error:
        raise request.problem("unreachable", _no_connection(request, error), again=True) from None
    except httpx2.ProxyError:
        raise request.problem("unreachable", "its proxy refuses the connection", again=True) from None
    except httpx2.RemoteProtocolError:
        problem = "broke off its answer, or did not speak HTTP"
        raise request.problem("unreachable", problem, again=True) from None
    except httpx2.TransportError:
        raise request.problem("unreachable", "the connection broke", again=True) from None
    except (httpx2.InvalidURL, ValueError, ImportError) as error:
        raise request.problem("settings", f"its address or proxy cannot be used ({type(error).__name__})") from None
    return _checked(request, response, body)


def rows(request: Request, answer: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    """The objects in a list of an answer.

    Args:
        request: What was asked, for the error.
        answer: The answer.
        path: Keys that lead to the list; when one is missing, the list is empty.

    Returns:
        The first hundred.

    Raises:
        SearchError: What is there is no list of objects.
    """
    value: Any = answer
    for key in path:
        if not isinstance(value, Mapping):
            raise request.problem("answer", f"its answer has no {'.'.join(path)} that can be read")
        value = value.get(key)
        if value is None:
            return []
    if not isinstance(value, list):
        raise request.problem("answer", f"its answer has no list {'.'.join(path)}")
    return [row for row in value[:_MOST_ROWS] if isinstance(row, Mapping)]


@lru_cache(maxsize=16)
def _trusted(ca_file: str | Path | None) -> ssl.SSLContext:
    import httpx2

    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx2.create_ssl_context(trust_env=False)


async def _read(request: Request, response: "httpx2.Response") -> bytes:
    """The body, never more than `MOST_BYTES`, also when it grows by decompression."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise request.problem("answer", "its answer is compressed in a way that was not asked for")
    inflate = zlib.decompressobj(31) if "gzip" in coding else None  # 31: gzip with the largest window
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            body += inflate.decompress(chunk, MOST_BYTES + 1 - len(body)) if inflate else chunk
        except zlib.error:
            raise request.problem("answer", "its answer cannot be decompressed") from None
        if len(body) > MOST_BYTES:
            raise request.problem("answer", f"its answer is larger than {MOST_BYTES // 2**20} MiB")
    if inflate and body and not inflate.eof:
        raise request.problem("answer", "its compressed answer breaks off", again=True)
    return bytes(body)


def _checked(request: Request, response: "httpx2.Response", body: bytes) -> Mapping[str, Any]:
    import pydantic_core

    status = response.status_code
    is_page = body.lstrip()[:1] == b"<" or "text/html" in response.headers.get("content-type", "").lower()
    if is_page and CAPTCHA.search(body[:100_000].decode("utf-8", "replace")):
        raise request.problem("captcha", f"shows a page that asks for a person ({status}); it takes us for a robot")
    try:
        answer = None if is_page or not body else pydantic_core.from_json(body)
    except ValueError:
        answer = None
    if status != 200:
        raise _refusal(request, response, answer)
    if isinstance(answer, Mapping):
        return answer
    what = "an HTML page" if is_page else "nothing" if not body.strip() else "something else"
    raise request.problem("answer", f"sent {what} where JSON was due; is base_url right?")


def _refusal(request: Request, response: "httpx2.Response", answer: object) -> SearchError:
    status = response.status_code
    said = _told(answer)
    if request.secret:
        said = said.replace(request.secret, "(key)")
    said = f": {said[:_SHOWN_CHARS]}" if said else ""
    if status in (401, 403) or (status == 422 and "token" in said.lower()):
        return request.problem("key", f"refused the key ({status}){said}")
    if status in (402, 432, 433):
        return request.problem("quota", f"the plan is used up ({status}){said}")
    if status == 429:
        wait = _asked_wait(response)
        after = "" if wait is None else f"; it asks to wait {wait:.0f} s"
        return request.problem("rate", f"too many requests (429){after}{said}", again=True, wait=wait)
    if status in (408, 425) or status >= 500:
        problem = f"cannot answer now ({status}){said}"
        return request.problem("unreachable", problem, again=True, wait=_asked_wait(response))
    if 300 <= status < 400:
        host = _host(response.headers.get("location", ""))
        return request.problem("settings", f"redirects to {host} ({status}), which is not followed; set base_url")
    return request.problem("request", f"refused the request ({status}){said}")


def _told(answer: object) -> str:
    """What an error body says: `error.detail`, `detail.error`, `message` and the like."""
    for key in ("error", "detail", "message"):
        if isinstance(answer, Mapping) and key in answer:
            inner = answer[key]
            text = _told(inner) if isinstance(inner, Mapping) else inner
            if isinstance(text, str) and text:
                return clean_text(text[:1000])
    return ""


def _asked_wait(response: "httpx2.Response") -> float | None:
    """Seconds to wait: `Retry-After` (RFC 9110, 10.2.3), else Brave's windows that have nothing left."""
    from email.utils import parsedate_to_datetime

    asked = response.headers.get("retry-after", "").strip()
    if asked:
        with suppress(ValueError):
            return max(0.0, min(float(asked), 1e9)) if not asked.lower().startswith(("n", "i")) else None
        with suppress(ValueError, TypeError, IndexError, OverflowError):
            return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    left = response.headers.get("x-ratelimit-remaining", "").split(",")
    resets = response.headers.get("x-ratelimit-reset", "").split(",")
    with suppress(ValueError):
        return max((float(reset) for more, reset in zip(left, resets, strict=True) if int(more) <= 0), default=None)
    return None


def _host(location: str) -> str:
    try:
        host = urlsplit(location).hostname or "another path"
    except ValueError:
        host = "another address"
    return clean_text(host)[:_SHOWN_CHARS]


def _no_connection(request: Request, error: BaseException) -> str:
    import socket

    host = "its proxy" if request.proxy else urlsplit(request.url).hostname
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not trusted; set ca_file for a private authority"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection to {host}"
        if isinstance(cause, socket.gaierror):
            return f"there is no host {host}, or its name cannot be resolved"
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing answers at {host}: connection refused"
        cause = cause.__cause__ or cause.__context__
    return f"{host} cannot be reached"
