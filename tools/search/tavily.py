"""Tavily's search.

Its format: https://docs.tavily.com/documentation/api-reference/endpoint/search
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.tools.search.hits import Hit, read_hit
from arriero.tools.search.provider import Query, check_address, check_key
from arriero.tools.search.request import Request, ask, rows


@dataclass(frozen=True, slots=True)
class Tavily:
    """Tavily's search.

    Args:
        key: API key.
        base_url: Address of the service.
        rate: Most requests a second: a development key allows 100 a minute.
        proxy: Address of an HTTP or SOCKS proxy.
        ca_file: Certificates to trust in place of the public ones.

    Raises:
        ToolDefinitionError: The key or the address cannot be one.

    Example:
        >>> Tavily(key="tvly-secret")
        Tavily(base_url='https://api.tavily.com', rate=1.6, ca_file=None)
    """

    key: str = field(repr=False)
    base_url: str = "https://api.tavily.com"
    rate: float | None = 1.6
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | Path | None = None

    def __post_init__(self) -> None:
        check_key(self.name, self.key)
        check_address(self.name, self.base_url)

    @property
    def name(self) -> str:
        """See `Provider`."""
        return "tavily"

    @property
    def live(self) -> bool:
        """See `Provider`."""
        return True

    async def search(self, query: Query) -> list[Hit]:
        """See `Provider`."""
        body: dict[str, Any] = {"query": query.text, "max_results": min(query.count, 20)}
        if query.freshness:
            body["time_range"] = query.freshness
        if query.region and query.region.country_name:
            body["country"] = query.region.country_name
        request = Request(
            self.name,
            "POST",
            f"{self.base_url.rstrip('/')}/search",
            body=body,
            headers={"Authorization": f"Bearer {self.key}"},
            secret=self.key,
            proxy=self.proxy,
            ca_file=self.ca_file,
        )
        found = rows(request, await ask(request), "results")
        hits = (
            read_hit(row.get("title"), row.get("url"), row.get("content"), row.get("published_date")) for row in found
        )
        return [hit for hit in hits if hit]
