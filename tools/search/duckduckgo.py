"""Public search engines without a key, through the library ddgs, which reads their pages."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from arriero.tools.errors import ToolDefinitionError
from arriero.tools.paths import existing_file
from arriero.tools.search.errors import SearchError
from arriero.tools.search.hits import Hit, read_hit
from arriero.tools.search.provider import Query
from arriero.tools.search.regions import Region
from arriero.tools.search.request import CAPTCHA, MOST_BYTES

if TYPE_CHECKING:
    from ddgs.ddgs import DDGS

_LONGEST_WAIT = 30.0
# the first region of each country in DuckDuckGo's list; elsewhere English
_LANGUAGES: Final = dict(
    pair.split("-")
    for pair in (
        "ar-es at-de be-nl bg-bg br-pt ca-en ch-de cl-es cn-zh co-es cz-cs de-de dk-da ee-et es-es fi-fi fr-fr gr-el"
        " hk-tzh hr-hr hu-hu id-id il-he it-it jp-jp kr-kr lt-lt lv-lv mx-es my-ms nl-nl no-no pe-es pl-pl pt-pt ro-ro"
        " ru-ru se-sv sk-sk th-th tr-tr tw-tzh ua-uk ve-es vn-vi"
    ).split()
)
_SPELLED: Final = {"jp-ja": "jp-jp", "kr-ko": "kr-kr", "tw-zh": "tw-tzh", "hk-zh": "hk-tzh", "no-nb": "no-no"}


@dataclass(frozen=True, slots=True)
class DuckDuckGo:
    """Public search engines, DuckDuckGo among them (extra `search`).

    Args:
        engines: Which engines to ask, by the names that ddgs gives them; `"auto"` leaves it the choice.
        rate: Most requests a second: engines that see many take the caller for a robot.
        proxy: Address of an HTTP or SOCKS proxy.
        ca_file: Certificates to trust in place of the public ones, such as a proxy's.

    Raises:
        ToolDefinitionError: There is no such file, or no engine is named.
    """

    engines: tuple[str, ...] = ("auto",)
    rate: float | None = 1.0
    proxy: str | None = field(default=None, repr=False)
    ca_file: str | Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.engines, str) or not self.engines:
            raise ToolDefinitionError(f"web_search: engines is {self.engines!r}; give a tuple of names, or ('auto',)")
        if self.ca_file is not None:
            existing_file("web_search: ca_file", self.ca_file)

    @property
    def name(self) -> str:
        """See `Provider`."""
        return "ddgs"

    @property
    def live(self) -> bool:
        """See `Provider`."""
        return True

    async def search(self, query: Query) -> list[Hit]:
        """See `Provider`."""
        left = anyio.current_effective_deadline() - anyio.current_time()
        # a thread cannot be stopped: it must end by itself soon after nobody waits for it
        limit = max(1, math.ceil(min(left, _LONGEST_WAIT)))
        return await anyio.to_thread.run_sync(self._search, query, limit, abandon_on_cancel=True)

    def _search(self, query: Query, limit: int) -> list[Hit]:
        try:
            from ddgs.ddgs import DDGS  # the name in `ddgs` is a stand-in until it is first used, and has no subclasses
            from ddgs.engines import ENGINES
            from ddgs.exceptions import DDGSException
        except ImportError as error:
            problem = f"needs the extra 'search': pip install 'arriero[search]' ({error})"
            raise SearchError(self.name, "settings", problem) from error
        if unknown := {*self.engines} - {"auto", "all", *ENGINES["text"]}:
            problem = f"there is no engine {', '.join(sorted(unknown))}; there are {', '.join(sorted(ENGINES['text']))}"
            raise SearchError(self.name, "settings", problem)
        answers: dict[str, str] = {}
        client = self._client(DDGS, limit, answers)
        try:
            found = client.text(
                query.text,
                region=_region(query.region),
                timelimit=query.freshness[0] if query.freshness else None,
                max_results=query.count,
                backend=",".join(self.engines),
            )
        except Exception as error:
            # ddgs tells of one engine; `answers` tells of all
            if problems := {engine: said for engine, said in answers.items() if said != _WELL}:
                raise self._problem(problems, limit) from error
            if not isinstance(error, DDGSException) or "No results found" not in str(error):
                raise SearchError(self.name, "answer", "could not read what the engines sent") from error
            found = []
        hits = (read_hit(row.get("title"), row.get("href"), row.get("body")) for row in found)
        return [hit for hit in hits if hit]

    def _client(self, ddgs: "type[DDGS]", limit: int, answers: dict[str, str]) -> "DDGS":
        class Watched(ddgs):  # type: ignore[misc, valid-type]
            """Notes what each engine answered: ddgs takes a refusal for an empty page."""

            def _get_engines(self, category: str, backend: str) -> list[Any]:
                engines: list[Any] = super()._get_engines(category, backend)
                for engine in engines:
                    engine.http_client = _Watch(engine.name, engine.http_client, answers)
                return engines

        return Watched(self.proxy, limit, verify=str(self.ca_file) if self.ca_file else True)

    def _problem(self, problems: Mapping[str, str], limit: int) -> SearchError:
        told = "; ".join(f"{engine} {said}" for engine, said in problems.items())
        said = " ".join(problems.values())
        if _SILENT in said:
            return SearchError(self.name, "timeout", f"the engines did not answer within {limit} s: {told}", again=True)
        if _CAPTCHA in said:
            return SearchError(self.name, "captcha", f"the engines take us for a robot: {told}")
        if "429" in said:
            return SearchError(self.name, "rate", f"the engines refuse more searches for now: {told}", again=True)
        return SearchError(self.name, "unreachable", f"the engines cannot be reached: {told}", again=True)


_WELL = "answered"
_SILENT = "is silent"
_CAPTCHA = "asks for a person"


class _Watch:
    """An engine's HTTP client that keeps count of what came back, and stops reading where it becomes too much."""

    def __init__(self, engine: str, client: Any, answers: dict[str, str]) -> None:
        self.client = client.client  # engines set headers and cookies on it
        self._engine = engine
        self._answers = answers

    def request(self, method: str, url: str, **options: Any) -> "_Page":
        """Send a request, as `ddgs.http_client.HttpClient` does."""
        import primp
        from ddgs.exceptions import DDGSException

        self._answers[self._engine] = _SILENT
        try:
            with self.client.request(method, url, stream=True, **options) as response:
                page = _Page(response.status_code, _read(response))
        except primp.TimeoutError as error:
            raise DDGSException("timed out") from error
        except Exception as error:
            self._answers[self._engine] = f"broke the connection ({type(error).__name__})"
            raise DDGSException(type(error).__name__) from error
        self._answers[self._engine] = page.verdict
        return page

    def get(self, url: str, **options: Any) -> "_Page":
        """See `request`."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> "_Page":
        """See `request`."""
        return self.request("POST", url, **options)


@dataclass(frozen=True, slots=True)
class _Page:
    """What ddgs reads of a response."""

    status_code: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @property
    def verdict(self) -> str:
        """What it says about the engine where it holds no results."""
        if CAPTCHA.search(self.text[:200_000]):
            return _CAPTCHA
        return _WELL if self.status_code == 200 else f"answered with status {self.status_code}"


def _read(response: Any) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ValueError("the page is too large")
    return bytes(body)


def _region(region: Region | None) -> str:
    if region is None:
        return "us-en"  # what ddgs takes by default
    country = "uk" if region.country == "gb" else region.country
    name = f"{country}-{region.language or _LANGUAGES.get(country, 'en')}"
    return _SPELLED.get(name, name)
