"""Web search: the live web through ddgs, or a small index on disk."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.paths import existing_file
from arriero.tools.ranking import Ranking
from arriero.tools.tool import Tool, describe

SAMPLE_INDEX = Path(__file__).resolve().parent / "samples" / "web.jsonl"
"""The index that ships with the project."""

_SNIPPET_CHARS = 600


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search.

    Args:
        title: The page's title.
        url: Its address.
        snippet: The part of its text that matters.
    """

    title: str
    url: str
    snippet: str


Search = Callable[[str], Sequence[Hit]]


def web_search(
    *,
    provider: Literal["ddgs", "offline"] = "ddgs",
    count: int = 3,
    index: str | Path | None = None,
    engines: Sequence[str] = ("auto",),
    proxy: str | None = None,
    ca_file: str | Path | None = None,
    timeout: float = 20.0,
) -> Tool:
    r"""A tool that searches the web; its results name the provider that gave them.

    Args:
        provider: `"ddgs"` asks public search engines (extra `search`); `"offline"` ranks the entries of `index`.
        count: Most results.
        index: For `offline`: a file of JSON lines `{"title", "url", "text"}`. None is the one that ships.
        engines: For `ddgs`: which engines to ask, by its names.
        proxy: For `ddgs`: address of an HTTP or SOCKS proxy.
        ca_file: For `ddgs`: certificates to trust in place of the public ones, such as a proxy's.
        timeout: Seconds for one search.

    Returns:
        The tool.

    Raises:
        ToolDefinitionError: There is no such provider or file, or `count` is not positive.

    Example:
        >>> import anyio, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index = Path(folder, "web.jsonl")
        ...     _ = index.write_text('{"title": "Mules", "url": "https://example.org/m", "text": "Mules eat hay."}')
        ...     anyio.run(web_search(provider="offline", index=index).invoke, {"query": "what do mules eat"})
        'provider: offline\n[1] Mules | https://example.org/m | Mules eat hay.'
    """
    if count < 1:
        raise ToolDefinitionError(f"web_search: count is {count}; use 1 or more")
    entries = SAMPLE_INDEX if index is None else existing_file("web_search: index", index)
    authorities = None if ca_file is None else existing_file("web_search: ca_file", ca_file)
    if provider == "offline":
        search = _offline(entries, count)
    elif provider == "ddgs":
        search = _ddgs(count, ",".join(engines), proxy, authorities, timeout)
    else:
        raise ToolDefinitionError(f"web_search: unknown provider {provider!r}; use 'ddgs' or 'offline'")

    def web_search(query: str) -> str:
        """Search the web.

        Args:
            query: What to look for.
        """
        lines = [
            f"[{number}] {_line(hit.title)} | {_line(hit.url)} | {_line(hit.snippet)}"
            for number, hit in enumerate(search(query), start=1)
        ]
        return "\n".join([f"provider: {provider}", *(lines or ["no results"])])

    # the provider's own deadline comes first and says more
    return describe(web_search, timeout=timeout + 5, idempotent=True, source=provider)


def _line(text: str) -> str:
    return " ".join(text.split())


def _offline(path: Path, count: int) -> Search:
    @cache  # read at the first search
    def load() -> tuple[list[Hit], Ranking]:
        entries = _read_index(path)
        return entries, Ranking([f"{entry.title} {entry.snippet}" for entry in entries])

    def search(query: str) -> list[Hit]:
        entries, ranking = load()
        return [entries[position] for position in ranking.best(query, count)]

    return search


def _read_index(path: Path) -> list[Hit]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"the offline web index {path} cannot be read: {error}") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            entries.append(Hit(str(raw["title"]), str(raw["url"]), str(raw["text"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ToolError(
                f'{path}, line {number}: not a JSON object with "title", "url" and "text" ({error})'
            ) from error
    return entries


def _ddgs(count: int, engines: str, proxy: str | None, ca_file: Path | None, timeout: float) -> Search:
    def search(query: str) -> list[Hit]:
        try:
            from ddgs import DDGS
            from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException
        except ImportError as error:
            raise ToolError(f"web search needs the extra 'search': pip install 'arriero[search]' ({error})") from error
        if not query.strip():
            return []
        client = DDGS(proxy=proxy, timeout=max(1, round(timeout)), verify=str(ca_file) if ca_file else True)
        try:
            found = client.text(query, max_results=count, backend=engines)
        except TimeoutException as error:
            raise ToolError(f"the search engines did not answer within {timeout:g} s") from error
        except RatelimitException as error:
            raise ToolError("the search engines refuse more searches for now; try again later") from error
        except DDGSException as error:
            if "No results found" in str(error):
                return []
            raise ToolError(f"the search engines cannot be reached: {_line(str(error))[:200]}") from error
        return [Hit(raw.get("title", ""), raw.get("href", ""), _cut(raw.get("body", ""))) for raw in found[:count]]

    return search


def _cut(text: str) -> str:
    text = _line(text)
    return text if len(text) <= _SNIPPET_CHARS else text[: _SNIPPET_CHARS - 1].rstrip() + "…"
