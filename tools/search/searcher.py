"""Searches through one provider or several: in turn, at their pace, again where that helps, from memory where fresh."""

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from arriero.tools.errors import ToolArgumentError, ToolDefinitionError, ToolError
from arriero.tools.search.errors import SearchError
from arriero.tools.search.hits import Hit, unique_hits
from arriero.tools.search.provider import Freshness, Provider, Query
from arriero.tools.search.regions import read_region

_log = logging.getLogger(__name__)

MOST_RESULTS = 20
"""Most results of one search: what every provider can give."""

_LONGEST_PAUSE = 60.0  # a provider may ask for a month; it is then asked again in a minute
_QUERY_CHARS = 400  # Brave and Tavily refuse longer ones


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Args:
        provider: Who gave the results.
        hits: The results, best first; empty when no provider has any.
        problems: Why the providers before it gave none.
    """

    provider: str
    hits: tuple[Hit, ...]
    problems: tuple[SearchError, ...] = ()


@dataclass(slots=True)
class _Pace:
    """When a provider may be asked next, by `time.monotonic`."""

    free_at: float = 0.0


@dataclass(slots=True)
class _Memory:
    """Results of late, the least used first."""

    seconds: float
    size: int
    entries: OrderedDict[tuple[int, Query], tuple[float, tuple[Hit, ...]]] = field(default_factory=OrderedDict)

    def get(self, key: tuple[int, Query]) -> tuple[Hit, ...] | None:
        until, hits = self.entries.get(key, (0.0, ()))
        if until <= time.monotonic():
            self.entries.pop(key, None)
            return None
        self.entries.move_to_end(key)
        return hits

    def put(self, key: tuple[int, Query], hits: tuple[Hit, ...]) -> None:
        self.entries[key] = (time.monotonic() + self.seconds, hits)
        while len(self.entries) > self.size:
            self.entries.popitem(last=False)


class WebSearch:
    """Searches the web through providers: the next one is asked when one fails or finds nothing.

    Args:
        providers: Whom to ask, in order.
        timeout: Seconds for one search, all providers and attempts included.
        attempt_timeout: Seconds for one attempt.
        retries: Most further attempts at a provider that is silent, unreachable or asks to wait.
        backoff: Seconds before the first of them, about doubled before each next; what a provider asks for comes first.
        cache_seconds: How long results are given again without asking. Errors never are.
        cache_size: How many searches are remembered.

    Raises:
        ToolDefinitionError: No provider is given, or a number cannot work.

    Example:
        >>> import anyio
        >>> from arriero.tools.search import OfflineIndex
        >>> found = anyio.run(WebSearch([OfflineIndex()]).search, "height of Mount Orla")
        >>> found.provider, found.hits[0].title
        ('offline', 'Mount Orla')
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        timeout: float = 20.0,
        attempt_timeout: float = 10.0,
        retries: int = 2,
        backoff: float = 0.5,
        cache_seconds: float = 300.0,
        cache_size: int = 256,
    ) -> None:
        if not providers:
            raise ToolDefinitionError("web_search: no provider; name one, such as 'ddgs'")
        for setting, value, least in (
            ("timeout", timeout, 0.001),
            ("attempt_timeout", attempt_timeout, 0.001),
            ("retries", retries, 0),
            ("backoff", backoff, 0),
            ("cache_seconds", cache_seconds, 0),
            ("cache_size", cache_size, 0),
        ):
            if not isinstance(value, int | float) or not value >= least:
                raise ToolDefinitionError(f"web_search: {setting} is {value!r}; use {least:g} or more")
        for provider in providers:
            rate = provider.rate
            if rate is not None and not (isinstance(rate, int | float) and rate > 0):
                raise ToolDefinitionError(f"web_search: rate of {provider.name} is {rate!r}; use more than 0")
        self.providers = tuple(providers)
        self.timeout = timeout
        self._attempt_timeout = attempt_timeout
        self._retries = retries
        self._backoff = backoff
        self._memory = _Memory(cache_seconds, cache_size)
        self._paces = [_Pace() for _ in self.providers]

    async def search(
        self, query: str, *, count: int = 3, region: str | None = None, freshness: Freshness | None = None
    ) -> Found:
        """Search.

        Args:
            query: What to look for.
            count: Most results, 1 to 20.
            region: Where: a country ("us"), country and language ("us-en"), or a locale ("en-US").
            freshness: How old a page may be: day, week, month or year.

        Returns:
            The first provider's results, each page once.

        Raises:
            ToolArgumentError: An argument cannot work.
            SearchError: No provider could answer; with several, the text tells of each.
        """
        text = " ".join(query.split())
        if not text:
            return Found(self.providers[0].name, ())
        if len(text) > _QUERY_CHARS:
            raise ToolArgumentError(f"argument 'query': {len(text)} characters; use at most {_QUERY_CHARS}")
        if not 1 <= count <= MOST_RESULTS:
            raise ToolArgumentError(f"argument 'count': {count}; use 1 to {MOST_RESULTS}")
        if freshness not in (None, "day", "week", "month", "year"):
            raise ToolArgumentError(f"argument 'freshness': {freshness!r}; use day, week, month or year")
        place = None if region in (None, "", "wt-wt") else read_region(region)  # wt-wt: everywhere, to DuckDuckGo
        return await self._first(Query(text, count, place, freshness))

    async def _first(self, query: Query) -> Found:
        ends = time.monotonic() + self.timeout
        problems: list[SearchError] = []
        empty: str | None = None
        for position, provider in enumerate(self.providers):
            share = (ends - time.monotonic()) / (len(self.providers) - position)
            try:
                hits = await self._remembered(position, query, time.monotonic() + share)
            except SearchError as error:
                _log.info("web search: %s gave nothing (%s)", error.provider, error.reason)
                problems.append(error)
                continue
            if hits:
                return Found(provider.name, hits, tuple(problems))
            empty = empty or provider.name
        if empty is not None:
            return Found(empty, (), tuple(problems))
        if len(problems) == 1:
            raise problems[0]
        names = ", ".join(error.provider for error in problems)
        raise SearchError(names, problems[-1].reason, "; ".join(map(str, problems))) from problems[-1]

    async def _remembered(self, position: int, query: Query, ends: float) -> tuple[Hit, ...]:
        hits = self._memory.get((position, query))
        if hits is None:
            hits = tuple(unique_hits(await self._persistent(position, query, ends))[: query.count])
            self._memory.put((position, query), hits)
        return hits

    async def _persistent(self, position: int, query: Query, ends: float) -> Sequence[Hit]:
        """Ask until there is an answer, as long as that may help and there is time."""
        import stamina

        problem: SearchError | None = None

        def again(error: Exception) -> bool | float:
            nonlocal problem
            if not isinstance(error, SearchError):
                return False
            problem = error
            if not error.again or error.wait is None:
                return error.again
            now, pace = time.monotonic(), self._paces[position]
            pace.free_at = max(pace.free_at, now + min(error.wait, _LONGEST_PAUSE))  # other searches wait as well
            return max(error.wait, 0.001) if error.wait < ends - now else False

        with anyio.move_on_after(max(0.0, ends - time.monotonic())):
            async for attempt in stamina.retry_context(
                on=again,
                attempts=self._retries + 1,
                timeout=None,
                wait_initial=self._backoff,
                wait_max=max(self._backoff, 10.0),
                wait_jitter=self._backoff / 2,
            ):
                with attempt:
                    return await self._once(position, query, ends)
        provider = self.providers[position]
        raise problem or SearchError(provider.name, "timeout", f"did not answer within {self.timeout:g} s", again=True)

    async def _once(self, position: int, query: Query, ends: float) -> Sequence[Hit]:
        provider = self.providers[position]
        await self._turn(position, ends)
        limit = min(self._attempt_timeout, ends - time.monotonic())
        try:
            with anyio.move_on_after(limit):
                return await provider.search(query)
        except ToolError:
            raise
        except Exception as error:  # a provider of the user's own: the next one must still be asked
            raise SearchError(provider.name, "answer", f"failed with {type(error).__name__}") from error
        raise SearchError(provider.name, "timeout", f"did not answer within {limit:.2g} s", again=True)

    async def _turn(self, position: int, ends: float) -> None:
        """Wait until the provider may be asked; fail at once when that is too late."""
        provider, pace, now = self.providers[position], self._paces[position], time.monotonic()
        start = max(now, pace.free_at)
        if start >= ends:
            problem = f"takes no search for another {start - now:.0f} s; try again later"
            raise SearchError(provider.name, "rate", problem)
        pace.free_at = start + (1 / provider.rate if provider.rate else 0)
        await anyio.sleep(start - now)
