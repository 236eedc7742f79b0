"""Wolfram|Alpha, by its API for language models.

Its format: https://products.wolframalpha.com/llm-api/documentation
"""

import math
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import anyio

from arriero.tools.declared import Tool, describe
from arriero.tools.errors import ToolDefinitionError, ToolError, ToolUnavailable
from arriero.tools.paths import existing_file

if TYPE_CHECKING:
    import httpx2

URL = "https://www.wolframalpha.com/api/v1/llm-api"
"""Where the service is."""

_LONGEST_QUERY = 2_000
_MOST_CHARS = 100_000
_SHOWN_CHARS = 1_000
_BYTES_PER_CHAR = 4


def wolfram_alpha(
    app_id: str,
    *,
    max_chars: int = 4_000,
    units: Literal["metric", "nonmetric"] | None = None,
    timeout: float = 30.0,
    url: str = URL,
    proxy: str | None = None,
    ca_file: str | Path | None = None,
) -> Tool:
    """A tool that asks Wolfram|Alpha to compute, convert or look up.

    The AppID is a part of the request's address, as the service wants it. It goes nowhere else: into no error, no
    `repr` and no log, and no redirect is followed.

    Args:
        app_id: AppID of the LLM API, from https://developer.wolframalpha.com.
        max_chars: Most characters of an answer; the service leaves out whole sections to keep to it.
        units: Units of answers. None lets the service choose by where the request comes from.
        timeout: Seconds for an answer.
        url: Address of the service.
        proxy: Address of an HTTP or SOCKS proxy.
        ca_file: Certificates to trust in place of the public ones.

    Returns:
        The tool, a built-in of the Llama format.

    Raises:
        ToolDefinitionError: The AppID or the address cannot be one, or a limit is out of range.

    Example:
        >>> wolfram_alpha("XXXXXX-XXXXXXXXXX").declaration["function"]["parameters"]["required"]
        ['query']
    """
    if not app_id or not app_id.isascii() or not app_id.isprintable() or " " in app_id:
        raise ToolDefinitionError("wolfram_alpha: the AppID is empty or holds a character that none has; check it")
    if not 1 <= max_chars <= _MOST_CHARS:
        raise ToolDefinitionError(f"wolfram_alpha: max_chars is {max_chars}; use 1 to {_MOST_CHARS}")
    if not (0 < timeout < math.inf):
        raise ToolDefinitionError(f"wolfram_alpha: timeout is {timeout}; use a number of seconds above 0")
    host = _host(url)
    authorities = None if ca_file is None else existing_file("wolfram_alpha: ca_file", ca_file)
    settings = {"appid": app_id, "maxchars": str(max_chars), **({"units": units} if units else {})}

    async def wolfram_alpha(query: str) -> str:
        """Compute, convert units, or look up facts and data with Wolfram|Alpha.

        Args:
            query: A short question in English, in keywords, such as "France population" or "integrate x^2".
        """
        if not query.strip() or len(query) > _LONGEST_QUERY:
            raise ToolError(f"query has {len(query)} characters; ask with 1 to {_LONGEST_QUERY}")
        try:
            with anyio.fail_after(timeout):
                status, text = await _ask(url, {"input": query, **settings}, max_chars, proxy, authorities)
        except TimeoutError:
            raise ToolUnavailable(f"{host} did not answer within {timeout:g} s") from None
        return _checked(host, status, text.replace(app_id, "(AppID)"))[:max_chars]

    # the service's own deadline comes first and says more
    return describe(
        wolfram_alpha, timeout=timeout + 5, idempotent=True, builtin="wolfram_alpha", source="Wolfram|Alpha"
    )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0:
            return parts.hostname
    except ValueError:
        pass
    raise ToolDefinitionError("wolfram_alpha: url must be like 'https://host/path', without a user or password")


async def _ask(
    url: str, params: Mapping[str, str], limit: int, proxy: str | None, ca_file: Path | None
) -> tuple[int, str]:
    """Status and text of an answer, of which no more than can be used is read."""
    import httpx2

    trusted = ssl.create_default_context(cafile=ca_file) if ca_file else httpx2.create_ssl_context(trust_env=False)
    # nothing compressed: what is read is what was sent
    request = httpx2.Request("GET", url, params=params, headers={"accept": "text/plain", "accept-encoding": "identity"})
    try:
        # The bare transport: a client would write the address, and the AppID with it, into its log.
        async with httpx2.AsyncHTTPTransport(verify=trusted, trust_env=False, proxy=proxy) as transport:
            response = await transport.handle_async_request(request)
            try:
                body = await _read(response, _BYTES_PER_CHAR * max(limit, _SHOWN_CHARS))
            finally:
                await response.aclose()
    # `from None` throughout: the library's errors hold the request, and with it the AppID
    except httpx2.ConnectError:
        raise ToolUnavailable(f"{_host(url)} cannot be reached") from None
    except httpx2.TransportError:
        raise ToolUnavailable(f"the connection to {_host(url)} broke") from None
    except (httpx2.InvalidURL, ValueError, ImportError) as error:
        raise ToolError(f"the service's address or proxy cannot be used ({type(error).__name__})") from None
    return response.status_code, body.decode("utf-8", "replace").strip()


async def _read(response: "httpx2.Response", limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])


def _checked(host: str, status: int, text: str) -> str:
    """The answer, or what kept the service from giving one."""
    is_page = text[:1] == "<"
    said = "" if is_page or not text else f": {' '.join(text[:_SHOWN_CHARS].split())}"
    match status:
        case 200 if text and not is_page:
            return text
        case 200:
            raise ToolError(f"{host} sent {'a page' if is_page else 'nothing'} in place of an answer; is url right?")
        case 501:  # the body names what to ask instead
            raise ToolError(text[:_SHOWN_CHARS] if said else "Wolfram|Alpha could not understand the query")
        case 400:
            raise ToolError(f"Wolfram|Alpha did not take the query (400){said}")
        case 401 | 403:
            raise ToolError(f"Wolfram|Alpha refused the AppID ({status}){said}; only whoever runs this can change it")
        case 429:
            raise ToolUnavailable(f"Wolfram|Alpha takes no more queries for now (429){said}")
        case _ if status >= 500:
            raise ToolUnavailable(f"Wolfram|Alpha cannot answer now ({status}){said}")
        case _:
            raise ToolError(f"{host} answered with status {status}{said}")
