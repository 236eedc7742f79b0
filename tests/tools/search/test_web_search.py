"""The tool as a model sees it, and the searcher behind it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from documented import Services
from starlette.responses import JSONResponse

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError, web_search
from arriero.tools.search import Hit, OfflineIndex, Query, SearchError, WebSearch

pytestmark = pytest.mark.anyio


@dataclass
class Given:
    """A provider of the user's own."""

    answer: Callable[[int], Sequence[Hit]] | Sequence[Hit] = ()
    name: str = "given"
    rate: float | None = None
    live: bool = True
    asked: list[Query] = field(default_factory=list)
    hangs: bool = False

    async def search(self, query: Query) -> Sequence[Hit]:
        self.asked.append(query)
        if self.hangs:
            await anyio.sleep_forever()
        return self.answer(len(self.asked)) if callable(self.answer) else self.answer


def hit(n: int = 1, url: str = "") -> Hit:
    return Hit(f"Page {n}", url or f"https://example.org/{n}", "Mules eat hay.")


def failing(reason: Any = "key", *, name: str = "given", again: bool = False) -> Callable[[int], Sequence[Hit]]:
    def fail(_: int) -> Sequence[Hit]:
        raise SearchError(name, reason, "cannot", again=again)

    return fail


DECLARED = {"query": {"type": "string", "description": "What to look for."}}


def test_the_declaration_is_the_one_the_model_knows() -> None:
    for tool in (web_search("offline"), web_search("ddgs", filters=False)):
        assert tool.declaration == {
            "type": "function",
            "function": {
                "name": "web_search",
                "description": "Search the web.",
                "parameters": {
                    "type": "object",
                    "properties": DECLARED,
                    "required": ["query"],
                },
            },
        }


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ToolDefinitionError, match="unknown provider 'google'"):
        web_search(provider="google")  # type: ignore[arg-type]
    with pytest.raises(ToolDefinitionError, match="count is 0"):
        web_search(count=0)
    with pytest.raises(ToolDefinitionError, match="count is 21"):
        web_search(count=21)
    with pytest.raises(ToolDefinitionError, match="no provider"):
        web_search([])
    with pytest.raises(ToolDefinitionError, match="index is only for"):
        web_search("ddgs", index="x")
    for setting in ("timeout", "retries", "cache_seconds"):
        with pytest.raises(ToolDefinitionError, match=f"{setting} is -1"):
            WebSearch([Given()], **{setting: -1})
    with pytest.raises(ToolDefinitionError, match="rate of given is 0"):
        WebSearch([Given(rate=0)])


def test_a_live_search_offers_count_region_and_freshness() -> None:
    for tool in (web_search(), web_search("offline", filters=True), web_search(["offline", Given()])):
        parameters = tool.declaration["function"]["parameters"]
        assert [*parameters["properties"]] == ["query", "count", "region", "freshness"]
        assert parameters["required"] == ["query"]
        assert "day" in str(parameters["properties"]["freshness"])


async def test_what_the_model_gives_reaches_the_provider() -> None:
    given = Given([hit()])
    tool = web_search(given)
    await tool.invoke({"query": " mules \n hay ", "count": 5, "region": "DE", "freshness": "week"})
    await tool.invoke({"query": "mules"})
    asked = [(q.text, q.count, q.region and q.region.country, q.freshness) for q in given.asked]
    assert asked == [("mules hay", 5, "de", "week"), ("mules", 3, None, None)]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"region": "narnia"}, "argument 'region'"),
        ({"region": "zz-en"}, "no country 'zz'"),
        ({"freshness": "hour"}, "argument 'freshness'"),
        ({"count": "many"}, "argument 'count'"),
        ({"query": "x" * 401}, "argument 'query': 401 characters"),
        ({}, "argument 'query'"),
    ],
)
async def test_arguments_that_cannot_work_are_told_to_the_model(arguments: dict[str, Any], text: str) -> None:
    given = Given([hit()])
    query = {} if not arguments else {"query": "mules"}
    result = await Registry([web_search(given)]).call(ToolCall("web_search", query | arguments))
    assert text in str(result.error)
    assert given.asked == []


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (-3, 1), (500, 20)])
async def test_a_count_beyond_the_limits_becomes_the_nearest(count: int, expected: int) -> None:
    given = Given([hit()])
    await web_search(given).invoke({"query": "mules", "count": count})
    assert given.asked[0].count == expected


async def test_the_name_that_llama_was_trained_on_reaches_the_search() -> None:
    registry = Registry([web_search(Given([hit()]), builtin=True)])
    assert registry.builtins == ("brave_search",)
    assert registry.declarations == []
    result = await registry.call(ToolCall("brave_search", {"query": "mules"}))
    assert result.content == "provider: given\n[1] Page 1 | https://example.org/1 | Mules eat hay."


async def test_nothing_is_asked_when_the_query_is_empty() -> None:
    given = Given([hit()])
    assert await web_search(given).invoke({"query": " \n "}) == "provider: given\nno results"
    assert given.asked == []


async def test_each_page_comes_once() -> None:
    same = ["https://example.org/1", "http://www.example.org/1/", "https://example.org/1#part", "https://example.org/2"]
    found = await WebSearch([Given([hit(n, url) for n, url in enumerate(same)])]).search("mules", count=20)
    assert [hit.title for hit in found.hits] == ["Page 0", "Page 3"]


async def test_results_are_remembered_by_everything_that_was_asked() -> None:
    given = Given([hit(1), hit(2)])
    search = WebSearch([given]).search
    variants: list[dict[str, Any]] = [{}, {"count": 1}, {"region": "us"}, {"region": "us-en"}, {"freshness": "day"}]
    first = [await search("mules", **variant) for variant in variants]
    await search("hay")
    again = [await search("mules", **variant) for variant in variants]
    assert first == again
    assert len(given.asked) == 6
    assert [len(found.hits) for found in again] == [2, 1, 2, 2, 2]


async def test_results_are_forgotten_in_time_and_when_there_are_many() -> None:
    given = Given([hit()])
    search = WebSearch([given], cache_size=2).search
    for query in ("a", "b", "a", "c", "a", "b"):  # c takes the place of b, which was used before a
        await search(query)
    assert [query.text for query in given.asked] == ["a", "b", "c", "b"]
    none = Given([hit()])
    search = WebSearch([none], cache_seconds=0).search
    await search("a")
    await search("a")
    assert len(none.asked) == 2


async def test_errors_are_not_remembered() -> None:
    given = Given(lambda n: [hit()] if n == 2 else failing()(n))
    search = WebSearch([given]).search
    with pytest.raises(SearchError):
        await search("mules")
    assert (await search("mules")).hits


async def test_a_provider_is_asked_at_its_pace() -> None:
    given = Given([hit()], rate=50)
    search = WebSearch([given]).search
    started = time.monotonic()
    async with anyio.create_task_group() as group:
        for n in range(6):
            group.start_soon(search, f"mules {n}")
    assert 0.1 <= time.monotonic() - started < 1
    assert len(given.asked) == 6


async def test_a_place_in_the_line_after_the_deadline_is_refused_at_once() -> None:
    given = Given([hit()], rate=0.01)
    search = WebSearch([given], timeout=5).search
    await search("a")
    started = time.monotonic()
    with pytest.raises(SearchError, match=r"^given: takes no search for another 100 s; try again later$") as caught:
        await search("b")
    assert caught.value.reason == "rate"
    assert time.monotonic() - started < 1


async def test_the_next_provider_is_asked_when_one_fails_or_finds_nothing(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    services.first = [JSONResponse({"detail": {"error": "missing or invalid API key"}}, 401)]
    search = WebSearch([services.provider("tavily"), Given(name="empty"), Given([hit()])]).search
    found = await search("a secret question")
    assert (found.provider, [error.reason for error in found.problems]) == ("given", ["key"])
    assert "tavily gave nothing (key)" in caplog.text
    tool = web_search([services.provider("searxng", "x"), "offline"])
    services.json_allowed = False
    assert str(await tool.invoke({"query": "height of Mount Orla"})).startswith("provider: offline\n[1] Mount Orla")
    assert tool.source == "searxng, offline"


async def test_when_every_provider_fails_each_is_told() -> None:
    other = Given(failing("quota", name="other"), name="other")
    with pytest.raises(SearchError, match=r"^given, other: given: cannot; other: cannot$"):
        await WebSearch([Given(failing()), other]).search("mules")


async def test_finding_nothing_counts_more_than_a_failure() -> None:
    found = await WebSearch([Given(failing()), Given(name="empty")]).search("mules")
    assert (found.provider, found.hits, len(found.problems)) == ("empty", (), 1)


async def test_a_provider_that_hangs_leaves_time_for_the_next() -> None:
    started = time.monotonic()
    found = await WebSearch([Given(hangs=True), Given([hit()], name="next")], timeout=0.4).search("mules")
    assert found.provider == "next"
    assert time.monotonic() - started < 2


async def test_a_provider_that_hangs_is_asked_again_and_ends_with_the_deadline() -> None:
    given = Given(hangs=True)
    started = time.monotonic()
    with pytest.raises(SearchError, match=r"^given: did not answer within 0\.1 s") as caught:
        await WebSearch([given], timeout=5, attempt_timeout=0.1, backoff=0.01).search("mules")
    assert caught.value.reason == "timeout"
    assert len(given.asked) == 3
    assert time.monotonic() - started < 3


async def test_retries_end_with_the_deadline() -> None:
    given = Given(failing("rate", again=True))
    started = time.monotonic()
    with pytest.raises(SearchError, match="given: cannot"):
        await WebSearch([given], timeout=0.3, retries=1000, backoff=0.05).search("mules")
    assert time.monotonic() - started < 2
    assert len(given.asked) > 1


async def test_a_provider_of_the_users_own_that_breaks_is_an_error_without_its_words() -> None:
    def fail(_: int) -> Sequence[Hit]:
        raise RuntimeError("a secret")

    with pytest.raises(SearchError, match=r"^given: failed with RuntimeError$"):
        await WebSearch([Given(fail)]).search("mules")
    assert (await WebSearch([Given(fail), OfflineIndex()]).search("height of Mount Orla")).provider == "offline"


async def test_cancelling_ends_a_search() -> None:
    given = Given(hangs=True)
    with anyio.move_on_after(0.05) as scope:
        await WebSearch([given]).search("mules")
    assert scope.cancelled_caught
    assert len(given.asked) == 1


def test_a_search_serves_one_loop_after_another() -> None:
    search = WebSearch([Given([hit()], rate=100)]).search
    for query in ("a", "b", "a"):
        assert anyio.run(search, query).hits
