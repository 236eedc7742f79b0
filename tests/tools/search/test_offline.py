"""The index on disk."""

import datetime as dt
import json
from functools import partial
from pathlib import Path

import anyio
import pytest

from arriero.tools import ToolDefinitionError, ToolError, web_search
from arriero.tools.search import OfflineIndex, WebSearch

pytestmark = pytest.mark.anyio


@pytest.fixture
def index(tmp_path: Path) -> Path:
    entries = [
        {"title": "Salt Pass", "url": "https://example.org/salt", "text": "The Salt Pass is\n3,210 metres high."},
        {"title": "Grey Pass", "url": "https://example.org/grey", "text": "The Grey Pass closes in winter."},
        {"title": "Mules", "url": "https://example.org/mules", "text": "Mules eat hay."},
    ]
    file = tmp_path / "web.jsonl"
    file.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n\n", "utf-8")
    return file


async def test_the_offline_index_gives_whole_entries_best_first(index: Path) -> None:
    tool = web_search(provider="offline", index=index)
    assert await tool.invoke({"query": "How high is the Salt Pass?"}) == (
        "provider: offline\n"
        "[1] Salt Pass | https://example.org/salt | The Salt Pass is 3,210 metres high.\n"
        "[2] Grey Pass | https://example.org/grey | The Grey Pass closes in winter."
    )
    assert await web_search(provider="offline", index=index, count=1).invoke({"query": "mules pass"}) == (
        "provider: offline\n[1] Mules | https://example.org/mules | Mules eat hay."
    )


async def test_the_offline_index_says_when_it_finds_nothing(index: Path) -> None:
    tool = web_search(provider="offline", index=index)
    assert await tool.invoke({"query": "what is the volcano"}) == "provider: offline\nno results"


async def test_the_bundled_index_is_readable() -> None:
    title = json.loads(OfflineIndex().path.read_text("utf-8").splitlines()[0])["title"]
    text = str(await web_search(provider="offline").invoke({"query": title}))
    assert text.startswith(f"provider: offline\n[1] {title} | ")


def test_a_missing_index_is_named(index: Path) -> None:
    with pytest.raises(ToolDefinitionError, match=r"index: there is no file .*missing\.jsonl"):
        web_search(provider="offline", index=str(index.parent / "missing.jsonl"))
    with pytest.raises(ToolDefinitionError, match="index is 5; give a path"):
        web_search(provider="offline", index=5)  # type: ignore[arg-type]


def test_an_index_that_is_gone_is_named(index: Path) -> None:
    tool = web_search(provider="offline", index=index)
    index.unlink()
    with pytest.raises(ToolError, match=r"web\.jsonl cannot be read"):
        anyio.run(tool.invoke, {"query": "x"})


async def test_an_index_may_be_given_as_text(index: Path) -> None:
    text = await web_search(provider="offline", index=str(index)).invoke({"query": "mules"})
    assert str(text).startswith("provider: offline\n[1] ")


@pytest.mark.parametrize("line", ['{"title": "a"}', "[1]", "{"])
def test_a_broken_index_is_named_with_its_line(index: Path, line: str) -> None:
    index.write_text(f'{{"title": "a", "url": "b", "text": "c"}}\n{line}\n')
    with pytest.raises(ToolError, match=r"web\.jsonl, line 2: not a JSON object with"):
        anyio.run(web_search(provider="offline", index=index).invoke, {"query": "x"})


def test_freshness_leaves_out_what_is_older_or_has_no_date(index: Path) -> None:
    days = {"today": 0, "this week": 3, "this month": 20, "this year": 200, "long ago": 900}
    entries = [
        {"title": title, "url": "https://example.org", "text": "mules"}
        | {"date": (dt.date.today() - dt.timedelta(days=ago)).isoformat()}
        for title, ago in days.items()
    ]
    entries = [entry | {"url": f"https://example.org/{n}"} for n, entry in enumerate(entries)]
    entries.append({"title": "undated", "url": "https://example.org/u", "text": "mules"})
    index.write_text("\n".join(map(json.dumps, entries)))
    search = WebSearch([OfflineIndex(index)]).search
    titles = {}
    for freshness in (None, "day", "week", "month", "year"):
        found = anyio.run(partial(search, "mules", count=20, freshness=freshness))
        titles[freshness] = {hit.title for hit in found.hits}
    assert titles["day"] == {"today"}
    assert titles["week"] == {"today", "this week"}
    assert titles["month"] == {"today", "this week", "this month"}
    assert titles["year"] == {*days} - {"long ago"}
    assert titles[None] == {*days, "undated"}
