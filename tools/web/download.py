"""Bodies of HTTP responses under limits, and what went wrong in words for a model."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from arriero.tools.errors import ToolError, ToolUnavailable

if TYPE_CHECKING:
    import httpx2

ACCEPTED_ENCODINGS = "gzip, deflate"
TRY_AGAIN = frozenset({429, 502, 503, 504})
"""Status codes that say that the same request may work later."""

_CODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_RATIO_FROM = 1 << 20  # small bodies of one repeated letter are no bombs
_MAX_RATIO = 200  # text compresses 3 to 20 times


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """How large a response may be.

    Args:
        compressed: Most bytes as they come over the wire.
        decompressed: Most bytes after that.
    """

    compressed: int = 10 << 20
    decompressed: int = 20 << 20


async def read_body(response: "httpx2.Response", limits: BodyLimits) -> bytes:
    """Read a streamed response, no further than the limits; decompressed in pieces of at most 1 MiB.

    Args:
        response: Opened with `client.stream` and not read so far.
        limits: How large it may be.

    Returns:
        The decompressed body.

    Raises:
        ToolError: It is larger, or compressed in a way that is not read.
    """
    codings = response.headers.get("content-encoding", "").lower().replace(" ", "")
    if codings not in _CODINGS:  # also two codings, one inside the other: only bombs are sent so
        raise ToolError(f"the body is compressed as {codings[:40]!r}, which was not asked for and is not read")
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 19 and int(declared) > limits.compressed:
        raise ToolError(f"the body has {int(declared):,} bytes; at most {limits.compressed:,} are read")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        received = response.num_bytes_downloaded
        if received > limits.compressed:
            raise ToolError(f"the body is larger than {limits.compressed:,} bytes")
        if len(body) > limits.decompressed:
            raise ToolError(f"the body is larger than {limits.decompressed:,} bytes when decompressed")
        if len(body) > _RATIO_FROM and len(body) > _MAX_RATIO * max(received, 1):
            raise ToolError("the body is a decompression bomb")
    return bytes(body)


def status_text(status: int) -> str:
    """A status code in words; not in the server's, which may say anything.

    Args:
        status: HTTP status code.

    Returns:
        Such as `"404 Not Found"`.

    Example:
        >>> status_text(404), status_text(799)
        ('404 Not Found', '799')
    """
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


@contextlib.contextmanager
def network_errors_in_words(seconds: float) -> Iterator[None]:
    """Turn what httpx2 raises into a `ToolError` that says what happened, without addresses or headers in it.

    Args:
        seconds: The time limit, for the message.

    Raises:
        ToolUnavailable: In place of a timeout or a connection that failed.
        ToolError: In place of any other error of httpx2.
    """
    import httpx2

    try:
        yield
    except httpx2.ConnectTimeout as error:
        raise ToolUnavailable("no connection was made in time") from error
    except (httpx2.TimeoutException, TimeoutError) as error:
        raise ToolUnavailable(f"the server did not finish within {seconds:g} s") from error
    except httpx2.TooManyRedirects as error:
        raise ToolError("the server redirects too often") from error
    except httpx2.ConnectError as error:
        raise ToolUnavailable(_connect_problem(error)) from error
    except httpx2.DecodingError as error:
        raise ToolError("the body is damaged: it cannot be decompressed") from error
    except httpx2.NetworkError as error:
        raise ToolUnavailable("the server broke the connection off") from error
    except httpx2.RemoteProtocolError as error:
        raise ToolError(f"the server does not speak HTTP properly: {str(error)[:100]}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise ToolError(f"the request failed ({type(error).__name__})") from error


def _connect_problem(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "the server's certificate is not trusted"
    if "SSL" in text or "TLS" in text:
        return "no secure connection could be made"
    return text if "cannot be resolved" in text else "the server does not accept connections"
