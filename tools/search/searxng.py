"""A SearXNG instance.

Its format: https://docs.searxng.org/dev/search_api.html
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.tools.search.errors import SearchError
from arriero.tools.search.hits import Hit, clean_text, read_hit
from arriero.tools.search.provider import Query, check_address, check_key
from arriero.tools.search.request import Request, ask, rows


@dataclass(frozen=True, slots=True)
class SearXNG:
    """A SearXNG instance, which asks other engines. Its settings must allow the format `json`.

    Args:
        base_url: Address of the instance.
        key: Sent as bearer token, where something in front of the instance asks for one.
        rate: Most requests a second.
        proxy: Address of an HTTP or SOCKS proxy.
        ca_file: Certificates to trust in place of the public ones.

    Raises:
        ToolDefinitionError: The key or the address cannot be one.

    Example:
        >>> SearXNG("http://localhost:8888")
        SearXNG(base_url='http://localhost:8888', rate=None, ca_file=None)
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    rate: float | None = None
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | Path | None = None

    def __post_init__(self) -> None:
        check_address(self.name, self.base_url)
        if self.key is not None:
            check_key(self.name, self.key)

    @property
    def name(self) -> str:
        """See `Provider`."""
        return "searxng"

    @property
    def live(self) -> bool:
        """See `Provider`."""
        return True

    async def search(self, query: Query) -> list[Hit]:
        """See `Provider`."""
        params = {"q": query.text, "format": "json"}
        if query.freshness:
            params["time_range"] = query.freshness
        if query.region and query.region.language:
            params["language"] = f"{query.region.language}-{query.region.country.upper()}"
        request = Request(
            self.name,
            "GET",
            f"{self.base_url.rstrip('/')}/search",
            params=params,
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            secret=self.key or "",
            proxy=self.proxy,
            ca_file=self.ca_file,
        )
        try:
            answer = await ask(request)
        except SearchError as error:
            if error.reason == "key" and not self.key:
                problem = "refuses the request (401 or 403): add `json` to `search.formats` in its settings.yml"
                raise request.problem("settings", problem) from None
            raise
        found = rows(request, answer, "results")
        dates = [row.get("publishedDate") or row.get("pubdate") for row in found]
        hits = [
            read_hit(row.get("title"), row.get("url"), row.get("content"), day)
            for row, day in zip(found, dates, strict=True)
        ]
        if not hits and (silent := _silent(answer.get("unresponsive_engines"))):
            raise request.problem("rate", f"none of its engines gave results: {silent}", again=True)
        return [hit for hit in hits if hit]


def _silent(engines: Any) -> str:
    """Engines that did not answer it, as it tells them: `[["google", "Suspended: CAPTCHA"]]`."""
    pairs = [pair for pair in engines if isinstance(pair, list)] if isinstance(engines, list) else []
    return "; ".join(clean_text(": ".join(str(part) for part in pair))[:80] for pair in pairs[:5])
