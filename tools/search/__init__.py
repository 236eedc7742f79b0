"""Web search: one interface over DuckDuckGo, Brave, Tavily, SearXNG and an index on disk."""

from arriero.tools.search.brave import Brave
from arriero.tools.search.duckduckgo import DuckDuckGo
from arriero.tools.search.errors import SearchError
from arriero.tools.search.hits import Hit
from arriero.tools.search.offline import OfflineIndex
from arriero.tools.search.provider import Provider, Query
from arriero.tools.search.regions import Region
from arriero.tools.search.searcher import Found, WebSearch
from arriero.tools.search.searxng import SearXNG
from arriero.tools.search.tavily import Tavily
from arriero.tools.search.tool import PROVIDERS, search_provider, web_search

__all__ = [
    "PROVIDERS",
    "Brave",
    "DuckDuckGo",
    "Found",
    "Hit",
    "OfflineIndex",
    "Provider",
    "Query",
    "Region",
    "SearXNG",
    "SearchError",
    "Tavily",
    "WebSearch",
    "search_provider",
    "web_search",
]
