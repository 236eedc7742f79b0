"""Brave's web search.

Its format: https://api-dashboard.search.brave.com/app/documentation/web-search/query
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from arriero.tools.search.hits import Hit, read_hit
from arriero.tools.search.provider import Query, check_address, check_key
from arriero.tools.search.regions import Region
from arriero.tools.search.request import Request, ask, rows

_FRESHNESS: Final = {"day": "pd", "week": "pw", "month": "pm", "year": "py"}
# the page "Codes" of the documentation; another country or language is refused with 422
_COUNTRIES = frozenset(
    "ar at au be br ca ch cl cn de dk es fi fr gb gr hk id in it jp kr mx my nl no nz ph pl pt ru sa se tr tw us"
    " za".split()
)
_LANGUAGES = frozenset(
    "ar bg bn ca cs da de el en es et eu fi fr gl gu he hi hr hu is it kn ko lt lv ml mr ms nb nl pa pl ro ru sk sl sr"
    " sv ta te th tr uk vi".split()
)


@dataclass(frozen=True, slots=True)
class Brave:
    """Brave's web search.

    Args:
        key: Subscription token.
        base_url: Address of the service.
        rate: Most requests a second: the free plan allows one.
        proxy: Address of an HTTP or SOCKS proxy.
        ca_file: Certificates to trust in place of the public ones.

    Raises:
        ToolDefinitionError: The key or the address cannot be one.

    Example:
        >>> Brave(key="BSA-secret")
        Brave(base_url='https://api.search.brave.com', rate=1.0, ca_file=None)
    """

    key: str = field(repr=False)
    base_url: str = "https://api.search.brave.com"
    rate: float | None = 1.0
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | Path | None = None

    def __post_init__(self) -> None:
        check_key(self.name, self.key)
        check_address(self.name, self.base_url)

    @property
    def name(self) -> str:
        """See `Provider`."""
        return "brave"

    @property
    def live(self) -> bool:
        """See `Provider`."""
        return True

    async def search(self, query: Query) -> list[Hit]:
        """See `Provider`."""
        params = {"q": query.text, "count": str(min(query.count, 20)), **_where(query.region)}
        if query.freshness:
            params["freshness"] = _FRESHNESS[query.freshness]
        request = Request(
            self.name,
            "GET",
            f"{self.base_url.rstrip('/')}/res/v1/web/search",
            params=params,
            headers={"X-Subscription-Token": self.key},
            secret=self.key,
            proxy=self.proxy,
            ca_file=self.ca_file,
        )
        found = rows(request, await ask(request), "web", "results")
        hits = (
            read_hit(row.get("title"), row.get("url"), row.get("description"), row.get("page_age")) for row in found
        )
        return [hit for hit in hits if hit]


def _where(region: Region | None) -> dict[str, str]:
    if region is None:
        return {}
    params = {"country": region.country.upper()} if region.country in _COUNTRIES else {}
    chinese = "zh-hant" if region.country in ("tw", "hk", "mo") else "zh-hans"
    portuguese = "pt-br" if region.country == "br" else "pt-pt"
    spelled = {"ja": "jp", "no": "nb", "zh": chinese, "pt": portuguese}
    language = spelled.get(region.language or "", region.language)
    if language in _LANGUAGES or language in spelled.values():
        params["search_lang"] = str(language)
    return params
