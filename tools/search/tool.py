"""`web_search`: the tool that a model calls."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arriero.tools.declared import Tool, describe
from arriero.tools.errors import ToolDefinitionError
from arriero.tools.search.brave import Brave
from arriero.tools.search.duckduckgo import DuckDuckGo
from arriero.tools.search.hits import format_hits
from arriero.tools.search.offline import OfflineIndex
from arriero.tools.search.provider import Freshness, Provider
from arriero.tools.search.searcher import MOST_RESULTS, WebSearch
from arriero.tools.search.searxng import SearXNG
from arriero.tools.search.tavily import Tavily

PROVIDERS: Mapping[str, Callable[..., Provider]] = {
    "ddgs": DuckDuckGo,
    "brave": Brave,
    "tavily": Tavily,
    "searxng": SearXNG,
    "offline": OfflineIndex,
}
"""Providers by the names that configuration uses."""


def search_provider(name: str, settings: Mapping[str, Any] | None = None) -> Provider:
    """A provider as configuration names it.

    Args:
        name: One of `PROVIDERS`.
        settings: Its arguments, such as `key` and `base_url`.

    Returns:
        The provider.

    Raises:
        ToolDefinitionError: There is no such provider or setting, or one is missing. No value is shown.

    Example:
        >>> search_provider("searxng", {"base_url": "http://localhost:8888"})
        SearXNG(base_url='http://localhost:8888', rate=None, ca_file=None)
    """
    import inspect

    if name not in PROVIDERS:
        raise ToolDefinitionError(f"web_search: unknown provider {name!r}; use one of {', '.join(PROVIDERS)}")
    known = inspect.signature(PROVIDERS[name]).parameters
    given = dict(settings or {})
    missing = [key for key, setting in known.items() if setting.default is setting.empty and key not in given]
    if unknown := [key for key in given if key not in known]:
        raise ToolDefinitionError(f"web_search: {name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    if missing:
        raise ToolDefinitionError(f"web_search: {name} needs {' and '.join(missing)}; give its settings")
    if isinstance(given.get("engines"), list):
        given["engines"] = tuple(given["engines"])
    return PROVIDERS[name](**given)


def web_search(
    provider: str | Provider | WebSearch | Sequence[str | Provider] = "ddgs",
    *,
    count: int = 3,
    index: str | Path | None = None,
    timeout: float = 20.0,
    filters: bool | None = None,
    builtin: bool = False,
) -> Tool:
    r"""A tool that searches the web; its results name the provider that gave them.

    Args:
        provider: Whom to ask: `"ddgs"` (public engines without a key; extra `search`), `"offline"` (pages in a file),
            a provider such as `Brave(key=...)`, several to ask in order, or a `WebSearch` with settings of its own.
        count: Most results, where the model does not say.
        index: For `"offline"`: a file of JSON lines `{"title", "url", "text"}`. None is the one that ships.
        timeout: Seconds for one search; a `WebSearch` has its own in place of it.
        filters: Whether the model may give count, region and freshness. None: when a live provider is asked.
        builtin: Whether the model calls it by the name that Llama was trained on, `brave_search`, in place of a
            declaration. Such a call has only a query.

    Returns:
        The tool.

    Raises:
        ToolDefinitionError: There is no such provider or file, or `count` is not 1 to 20.

    Example:
        >>> import anyio, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index = Path(folder, "web.jsonl")
        ...     _ = index.write_text('{"title": "Mules", "url": "https://example.org/m", "text": "Mules eat hay."}')
        ...     anyio.run(web_search("offline", index=index).invoke, {"query": "what do mules eat"})
        'provider: offline\n[1] Mules | https://example.org/m | Mules eat hay.'
    """
    if not isinstance(count, int) or not 1 <= count <= MOST_RESULTS:
        raise ToolDefinitionError(f"web_search: count is {count!r}; use 1 to {MOST_RESULTS}")
    searcher = _searcher(provider, index, timeout)
    wide = not builtin and (any(one.live for one in searcher.providers) if filters is None else filters)
    return describe(
        _filtered(searcher, count) if wide else _by_query(searcher, count),
        name="web_search",
        timeout=searcher.timeout + 5,  # the search's own deadline comes first and says more
        idempotent=True,
        builtin="brave_search" if builtin else None,
        source=", ".join(one.name for one in searcher.providers),
    )


def _by_query(searcher: WebSearch, count: int) -> Callable[..., Awaitable[str]]:
    async def search(query: str) -> str:
        """Search the web.

        Args:
            query: What to look for.
        """
        found = await searcher.search(query, count=count)
        return format_hits(found.provider, found.hits)

    return search


def _filtered(searcher: WebSearch, most: int) -> Callable[..., Awaitable[str]]:
    async def search(
        query: str, count: int = most, region: str | None = None, freshness: Freshness | None = None
    ) -> str:
        """Search the web.

        Args:
            query: What to look for.
            count: How many results, 1 to 20.
            region: Country to search in, such as "de", or country and language, such as "us-en".
            freshness: Only pages of the last day, week, month or year.
        """
        found = await searcher.search(query, count=min(max(count, 1), MOST_RESULTS), region=region, freshness=freshness)
        return format_hits(found.provider, found.hits)

    return search


def _searcher(
    provider: str | Provider | WebSearch | Sequence[str | Provider], index: str | Path | None, timeout: float
) -> WebSearch:
    if isinstance(provider, WebSearch):
        return provider
    named = [provider] if isinstance(provider, str) or not isinstance(provider, Sequence) else [*provider]
    offline = {"index": index} if index is not None else {}
    if index is not None and "offline" not in named:
        raise ToolDefinitionError("web_search: index is only for the provider 'offline'")
    made = [
        search_provider(one, offline if one == "offline" else None) if isinstance(one, str) else one for one in named
    ]
    return WebSearch(made, timeout=timeout, attempt_timeout=min(10.0, timeout))
