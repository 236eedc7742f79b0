"""What a search asks, and who answers it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.search.hits import Hit
from arriero.tools.search.regions import Region

Freshness = Literal["day", "week", "month", "year"]
"""How old a page may be."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks.

    Args:
        text: What to look for.
        count: Most results.
        region: Where.
        freshness: How old a page may be.
    """

    text: str
    count: int = 3
    region: Region | None = None
    freshness: Freshness | None = None


class Provider(Protocol):
    """Somebody who answers searches; hand one of your own to `web_search` or `WebSearch`.

    `name` is what results and errors call it; `rate` is how many requests a second it may get, None for any number;
    `live` tells whether it heeds region and freshness, so that a model is offered them.
    """

    @property
    def name(self) -> str:
        """What results and errors call it."""

    @property
    def rate(self) -> float | None:
        """Most requests a second; None for any number."""

    @property
    def live(self) -> bool:
        """Whether it searches the live web, by region and freshness."""

    async def search(self, query: Query) -> Sequence[Hit]:
        """Ask once.

        Args:
            query: What.

        Returns:
            Results, best first; none when there are none.

        Raises:
            SearchError: It could not answer.
        """


def check_key(provider: str, key: str) -> None:
    """Refuse a key that no header can carry, without showing it.

    Raises:
        ToolDefinitionError: It is empty or holds spaces, line breaks or letters beyond ASCII.
    """
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ToolDefinitionError(f"{provider}: the key is empty or holds a character that no key has; check it")


def check_address(provider: str, url: str) -> None:
    """Refuse an address that is none, or that holds a password.

    Raises:
        ToolDefinitionError: It is not like "https://host".
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        well = False
    if not well:
        raise ToolDefinitionError(f"{provider}: base_url must be like 'https://host', without a user or password")
