"""Search without a network: a file of pages, ranked by the words they share with the query."""

import json
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import anyio.to_thread

from arriero.tools.paths import existing_file
from arriero.tools.ranking import Ranking
from arriero.tools.search.errors import SearchError
from arriero.tools.search.hits import Hit
from arriero.tools.search.provider import Query

SAMPLE_INDEX = Path(__file__).resolve().parent.parent / "samples" / "web.jsonl"
"""The index that ships with the project."""

_DAYS: Final = {"day": 1, "week": 7, "month": 31, "year": 366}


class OfflineIndex:
    """Pages in a file; it is read at the first search. Their text is given whole.

    Args:
        index: A file of JSON lines `{"title", "url", "text"}`, with `"date"` (ISO 8601) where known. None is the one
            that ships.

    Raises:
        ToolDefinitionError: There is no such file.

    Example:
        >>> import anyio
        >>> anyio.run(OfflineIndex().search, Query("height of Mount Orla", count=1))[0].url
        'https://atlas.example/mount-orla'
    """

    def __init__(self, index: str | Path | None = None) -> None:
        self.path = SAMPLE_INDEX if index is None else existing_file("web_search: index", index)
        self._load = cache(self._read)

    def __repr__(self) -> str:
        return f"OfflineIndex({str(self.path)!r})"

    @property
    def name(self) -> str:
        """See `Provider`."""
        return "offline"

    @property
    def rate(self) -> float | None:
        """See `Provider`."""
        return None

    @property
    def live(self) -> bool:
        """See `Provider`."""
        return False

    async def search(self, query: Query) -> list[Hit]:
        """See `Provider`; freshness leaves out pages without a date, region is not known here.

        Raises:
            SearchError: The file is gone or broken; the text names its line.
        """
        return await anyio.to_thread.run_sync(self._best, query)

    def _best(self, query: Query) -> list[Hit]:
        entries, ranking = self._load()
        if query.freshness is None:
            return [entries[position] for position in ranking.best(query.text, query.count)]
        since = date.today() - timedelta(days=_DAYS[query.freshness])
        found = (entries[position] for position in ranking.best(query.text, len(entries)))
        return [hit for hit in found if hit.date and hit.date >= since][: query.count]

    def _read(self) -> tuple[list[Hit], Ranking]:
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SearchError(self.name, "settings", f"the index {self.path} cannot be read: {error}") from error
        entries = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                raw = json.loads(line)
                day = date.fromisoformat(raw["date"]) if raw.get("date") else None
                entries.append(Hit(str(raw["title"]), str(raw["url"]), str(raw["text"]), day))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                problem = f'{self.path}, line {number}: not a JSON object with "title", "url" and "text" ({error})'
                raise SearchError(self.name, "settings", problem) from error
        return entries, Ranking([f"{entry.title} {entry.snippet}" for entry in entries])
