"""Pages and PDFs of the web as text."""

import re
import ssl
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from arriero.tools.declared import Tool, describe
from arriero.tools.errors import ToolDefinitionError, ToolError, ToolUnavailable
from arriero.tools.web.download import (
    ACCEPTED_ENCODINGS,
    TRY_AGAIN,
    BodyLimits,
    network_errors_in_words,
    read_body,
    status_text,
)
from arriero.tools.web.extraction import Document, Extraction, ExtractionLimits, Kind
from arriero.tools.web.guard import NetworkPolicy, guarded_client

if TYPE_CHECKING:
    import httpcore2
    import httpx2

    from arriero.tools.web.connection import Resolver

_CACHED_PAGES = 16
_SHOWN_LINKS = 30
_AGENT = "Mozilla/5.0 (compatible; arriero)"
_ACCEPT = "text/html, application/xhtml+xml, application/pdf, text/*;q=0.9, application/json;q=0.9, */*;q=0.1"
_TEXT_TYPES = re.compile(
    r"text/.+|application/(?:(?:.+\+)?(?:json|xml|yaml)|x-yaml|x-ndjson|ndjson|jsonl|toml|javascript|ecmascript|sql"
    r"|x-sh|x-tex|rtf)"
)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page as the model may page through it."""

    url: str
    document: Document
    expires: float


def web_fetch(
    *,
    policy: NetworkPolicy | None = None,
    timeout: float = 20.0,
    body: BodyLimits | None = None,
    extraction: ExtractionLimits | None = None,
    part_chars: int = 8_000,
    cache_seconds: float = 300.0,
    verify: ssl.SSLContext | None = None,
    resolver: "Resolver | None" = None,
    backend: "httpcore2.AsyncNetworkBackend | None" = None,
) -> Tool:
    """A tool that reads a page or PDF of the web (extra `web`).

    Only the public internet is reached unless the policy says otherwise; see `NetworkPolicy`. Documents are parsed
    in a child process with limits. Cookies are not kept, scripts not run, refreshes by the page itself not followed.
    What comes back is somebody else's text: whatever it asks for is no instruction.

    Args:
        policy: What may be reached; None for the public internet.
        timeout: Seconds for all of the network's part, redirects included.
        body: How large a document may be.
        extraction: What reading it may take.
        part_chars: Most characters of one part; the model asks for the next one.
        cache_seconds: How long a page is kept, so that its next part is not fetched again.
        verify: TLS settings; None for the system's authorities.
        resolver: Gives the addresses of a name; None asks the system.
        backend: Makes the connections; None makes real ones.

    Returns:
        The tool. Close it: it keeps a process warm.

    Raises:
        ToolDefinitionError: A limit is not positive, or the extra is not installed.

    Example:
        >>> tool = web_fetch()
        >>> anyio.run(tool.invoke, {"url": "http://localhost/admin"})
        Traceback (most recent call last):
        arriero.tools.web.policy.BlockedAddress: localhost is a name of a local network, which this tool may not reach
    """
    if part_chars < 200 or not timeout > 0 or cache_seconds < 0:
        raise ToolDefinitionError("web_fetch: part_chars must be 200 or more, timeout above 0, cache_seconds not below")
    rules = policy or NetworkPolicy()
    client = partial(guarded_client, rules, timeout=timeout, follow_redirects=True, max_connections=4)
    client = partial(client, verify=verify, resolver=resolver, backend=backend)
    reader = _Reader(client, Extraction(extraction), body or BodyLimits(), timeout, cache_seconds)

    async def web_fetch(url: str, part: int = 1) -> str:
        """Read a page or PDF of the web as text.

        Args:
            url: Address, with https:// or http://.
            part: Which part of a long document to read, from 1 on.
        """
        target = rules.check_url(url.strip())
        try:
            page = await reader.page(target.url)
        except ToolError as error:
            raise type(error)(f"{target.url[:200]}: {error}") from error
        return _shown(page, part, part_chars)

    async def close() -> None:
        await anyio.to_thread.run_sync(reader.extraction.close)

    seconds = timeout + reader.extraction.seconds + 5  # the inner deadlines come first and say more
    return describe(web_fetch, timeout=seconds, idempotent=True, source="web", close=close)


@dataclass(slots=True)
class _Reader:
    """Fetches and reads documents, and keeps the last ones for a while."""

    client: "partial[httpx2.AsyncClient]"
    extraction: Extraction
    limits: BodyLimits
    timeout: float
    cache_seconds: float
    _pages: "OrderedDict[str, _Page]" = field(default_factory=OrderedDict)

    async def page(self, url: str) -> _Page:
        known = self._pages.get(url)
        if known is not None and known.expires > time.monotonic():
            return known
        page = await self._fetch(url)
        self._pages[url] = page
        self._pages.move_to_end(url)
        while len(self._pages) > _CACHED_PAGES:
            self._pages.popitem(last=False)
        return page

    async def _fetch(self, url: str) -> _Page:
        with network_errors_in_words(self.timeout), anyio.fail_after(self.timeout):
            headers = {"User-Agent": _AGENT, "Accept": _ACCEPT, "Accept-Encoding": ACCEPTED_ENCODINGS}
            async with self.client(headers=headers) as client, client.stream("GET", url) as response:
                if not response.is_success:
                    problem = ToolUnavailable if response.status_code in TRY_AGAIN else ToolError
                    raise problem(f"the server answered {status_text(response.status_code)}")
                declared = response.headers.get("content-type", "")
                _check_type(declared)
                self.extraction.warm(_likely_kind(declared))  # it starts while the body comes
                content = await read_body(response, self.limits)
                final = str(response.url)
        kind = _kind(declared, content)
        charset = _charset(declared)
        document = await self.extraction.read(kind, content, charset=charset, url=final)
        return _Page(final, document, time.monotonic() + self.cache_seconds)


def _media_type(declared: str) -> str:
    return declared.partition(";")[0].strip().lower()


def _charset(declared: str) -> str:
    found = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9_:-]{1,40})", declared, re.IGNORECASE)
    return found[1] if found else ""


def _check_type(declared: str) -> None:
    media_type = _media_type(declared)
    if media_type in ("", "application/pdf", "application/octet-stream") or _TEXT_TYPES.fullmatch(media_type):
        return
    raise ToolError(f"it is {media_type[:60]!r}; only pages, PDFs and text are read")


def _likely_kind(declared: str) -> Kind:
    media_type = _media_type(declared)
    if media_type in ("text/html", "application/xhtml+xml"):
        return "html"
    return "pdf" if media_type == "application/pdf" else "text"


def _kind(declared: str, content: bytes) -> Kind:
    """What to read it as: PDFs tell by themselves, and of a document without a type we see whether it has tags."""
    media_type, likely = _media_type(declared), _likely_kind(declared)
    if likely == "pdf" or content[:1024].lstrip().startswith(b"%PDF-"):
        return "pdf"
    if media_type == "application/octet-stream":
        raise ToolError("it is a binary file; only pages, PDFs and text are read")
    if likely == "html":
        return "html"
    looks_like_html = re.match(rb"\s*<(?:!doctype\s+html|html|head|body)\b", content[:1024], re.IGNORECASE)
    return "html" if not media_type and looks_like_html else "text"


def _shown(page: _Page, part: int, part_chars: int) -> str:
    parts = split_text(page.document.text, part_chars)
    if not 1 <= part <= len(parts):
        raise ToolError(f"{page.url[:200]}: there is no part {part}; it has {len(parts)}")
    head = [f"title: {page.document.title}"] if page.document.title else []
    head.append(f"url: {page.url}")
    if len(parts) > 1:
        more = f"; ask for part={part + 1} to read on" if part < len(parts) else ""
        head.append(f"part {part} of {len(parts)}{more}")
    if page.document.cut and part == len(parts):
        head.append("the document goes on, but no more of it can be read")
    shown = ["\n".join(head), parts[part - 1]]
    links = page.document.links[:_SHOWN_LINKS]
    if links and part == 1:
        shown.append("\n".join(["links:", *(f"[{link.text}] {link.url}" for link in links)]))
    return "\n\n".join(shown)


def split_text(text: str, size: int) -> list[str]:
    """Cut a text into parts, where possible between paragraphs, lines, sentences or words.

    Args:
        text: Any text.
        size: Most characters of a part.

    Returns:
        The parts, at least one. Joined they are the text, up to white space at the cuts.

    Example:
        >>> split_text("One two. Three four.", 12)
        ['One two.', 'Three four.']
    """
    parts = []
    start = 0
    while len(text) - start > size:
        window = text[start : start + size + 1]
        cut = next(
            (at + len(mark) for mark in ("\n\n", "\n", ". ", " ") if (at := window.rfind(mark)) > size // 2), size
        )
        cut = min(cut, size)
        parts.append(text[start : start + cut].strip())
        start += cut
    parts.append(text[start:].strip())
    return [part for part in parts if part] or [""]
