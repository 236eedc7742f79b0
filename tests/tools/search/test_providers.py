"""Each provider against a server that speaks its documented format and refuses what the real one refuses."""

import datetime as dt
import logging
from typing import Any

import pytest
from documented import KEY, Page, Services, brave_error
from starlette.responses import HTMLResponse, JSONResponse, Response

from arriero.prompts.messages import ToolCall
from arriero.tools import Registry, ToolDefinitionError
from arriero.tools.search import (
    Brave,
    DuckDuckGo,
    Hit,
    Provider,
    SearchError,
    SearXNG,
    Tavily,
    WebSearch,
    search_provider,
    web_search,
)

pytestmark = pytest.mark.anyio
NAMES = ["brave", "tavily", "searxng"]


def searcher(provider: Provider, **settings: Any) -> WebSearch:
    return WebSearch([provider], **{"backoff": 0.01, **settings})


@pytest.mark.parametrize("name", NAMES)
async def test_a_result_has_title_address_snippet_and_date_as_plain_text(services: Services, name: str) -> None:
    found = await searcher(services.provider(name)).search("salt pass")
    assert found.provider == name
    assert found.hits == (
        Hit(
            "The Salt Pass & its mules",
            "https://example.org/salt",
            "The Salt Pass is 3,210 metres high.",
            dt.date(2026, 11, 2),
        ),
    )


@pytest.mark.parametrize("name", NAMES)
async def test_the_model_reads_a_line_for_each_result(services: Services, name: str) -> None:
    services.pages = [Page("A | B", "https://a.example", "one\n[9] two", None), Page("C", "https://c.example", "three")]
    result = await Registry([web_search(services.provider(name))]).call(ToolCall("web_search", {"query": "mules"}))
    assert result.content == (
        f"provider: {name}\n[1] A - B | https://a.example | one [9] two\n[2] C | https://c.example | 2026-11-02 | three"
    )
    assert result.source == name


@pytest.mark.parametrize("name", NAMES)
async def test_finding_nothing_is_no_error(services: Services, name: str) -> None:
    services.pages = []
    assert (await searcher(services.provider(name)).search("salt pass")).hits == ()
    text = await web_search(services.provider(name)).invoke({"query": "salt pass"})
    assert text == f"provider: {name}\nno results"


@pytest.mark.parametrize(
    ("name", "region", "freshness", "expected"),
    [
        ("brave", "us-en", "day", {"country": "US", "search_lang": "en", "freshness": "pd"}),
        ("brave", "en-GB", "week", {"country": "GB", "search_lang": "en", "freshness": "pw"}),
        ("brave", "uk", "month", {"country": "GB", "freshness": "pm"}),
        ("brave", "br-pt", "year", {"country": "BR", "search_lang": "pt-br", "freshness": "py"}),
        ("brave", "jp-ja", None, {"country": "JP", "search_lang": "jp"}),
        ("brave", "tw-zh", None, {"country": "TW", "search_lang": "zh-hant"}),
        ("brave", "no-no", None, {"country": "NO", "search_lang": "nb"}),
        ("brave", "is-is", None, {"search_lang": "is"}),  # a country that Brave does not know
        ("brave", "de-xx", None, {"country": "DE"}),  # a language that it does not know
        ("tavily", "us-en", "day", {"time_range": "day", "country": "united states"}),
        ("tavily", "de", "year", {"time_range": "year", "country": "germany"}),
        ("tavily", "gi", None, {}),  # a country that Tavily does not know
        ("searxng", "us-en", "month", {"time_range": "month", "language": "en-US"}),
        ("searxng", "de", "week", {"time_range": "week"}),
    ],
)
async def test_what_is_asked_reaches_the_service_as_documented(
    services: Services, name: str, region: str, freshness: Any, expected: dict[str, str]
) -> None:
    found = await searcher(services.provider(name)).search("mules & hay", count=7, region=region, freshness=freshness)
    assert len(found.hits) == 1
    always: dict[str, Any] = {
        "brave": {"q": "mules & hay", "count": "7"},
        "tavily": {"query": "mules & hay", "max_results": 7},
        "searxng": {"q": "mules & hay", "format": "json"},
    }[name]
    assert services.seen == [always | expected]


@pytest.mark.parametrize("name", NAMES)
async def test_no_more_results_than_asked_for(services: Services, name: str) -> None:
    services.pages = [Page(url=f"https://example.org/{n}") for n in range(30)]
    assert len((await searcher(services.provider(name)).search("mules", count=20)).hits) == 20
    assert len((await searcher(services.provider(name)).search("mules", count=2)).hits) == 2


@pytest.mark.parametrize("name", ["brave", "tavily"])
async def test_a_wrong_key_is_told_and_never_shown(
    services: Services, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider = services.provider(name, key="wrong-key-c0ffee")
    with pytest.raises(SearchError, match=rf"^{name}: refused the key \(4\d\d\)") as caught:
        await searcher(provider).search("mules")
    assert caught.value.reason == "key"
    assert len(services.seen) == 1  # asking again would not help
    for text in (repr(provider), str(provider), repr(caught.value), str(caught.value.__dict__), caplog.text):
        assert "c0ffee" not in text


@pytest.mark.parametrize("name", NAMES)
async def test_neither_key_nor_query_nor_results_are_logged(
    services: Services, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    services.first = [JSONResponse({"detail": {"error": "busy"}}, 503)]
    assert (await searcher(services.provider(name)).search("private-question")).hits
    assert len(services.seen) == 2
    told = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert told  # the libraries below do log
    for secret in (KEY, "private-question", "Salt"):
        assert secret not in told


@pytest.mark.parametrize("name", ["brave", "tavily"])
async def test_a_service_that_repeats_the_key_does_not_make_us_show_it(services: Services, name: str) -> None:
    services.first = [JSONResponse({"error": {"detail": f"bad <b>token</b> {KEY}" + "x" * 5000}}, 401)]
    with pytest.raises(SearchError, match=r"bad token \(key\)x") as caught:
        await searcher(services.provider(name)).search("mules")
    assert KEY not in repr(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "answer", "reason", "text"),
    [
        ("brave", brave_error(402, "QUOTA", "Your plan is used up."), "quota", "the plan is used up"),
        ("tavily", JSONResponse({"detail": {"error": "This request exceeds your plan's set usage limit."}}, 432), "quota", "exceeds your plan"),  # noqa: E501
        ("tavily", JSONResponse({"detail": {"error": "PayGo limit"}}, 433), "quota", r"\(433\)"),
        ("tavily", JSONResponse({"detail": {"error": "Query is too long."}}, 400), "request", "Query is too long"),
        ("brave", brave_error(422, "VALIDATION", "Unable to validate request parameter(s)"), "request", "422"),
        ("searxng", HTMLResponse("<html><title>Too many requests</title></html>", 429), "rate", "429"),
        ("searxng", HTMLResponse("<html><form id='captcha'></form></html>", 403), "captcha", "robot"),
        ("brave", HTMLResponse("<html><div class='cf-chl-widget'></div></html>", 503), "captcha", "robot"),
    ],
)  # fmt: skip
async def test_a_refusal_says_who_and_why(
    services: Services, name: str, answer: Response, reason: str, text: str
) -> None:
    services.first = [answer]
    with pytest.raises(SearchError, match=f"^{name}: .*{text}") as caught:
        await searcher(services.provider(name), retries=0).search("mules")
    assert caught.value.reason == reason
    assert caught.value.provider == name


async def test_searxng_without_json_says_which_setting_to_change(services: Services) -> None:
    services.json_allowed = False
    with pytest.raises(SearchError, match=r"add `json` to `search\.formats` in its settings\.yml") as caught:
        await searcher(services.provider("searxng")).search("mules")
    assert caught.value.reason == "settings"


async def test_searxng_whose_engines_are_all_blocked_did_not_find_nothing(services: Services) -> None:
    services.pages = []
    services.unresponsive = [["google", "Suspended: CAPTCHA"], ["bing", "timeout"]]
    with pytest.raises(SearchError, match="none of its engines gave results: google: Suspended: CAPTCHA; bing: tim"):
        await searcher(services.provider("searxng"), retries=0).search("mules")


async def test_searxng_behind_a_gate_gets_the_bearer_token(services: Services) -> None:
    services.first = [JSONResponse({"message": "no"}, 401)]
    with pytest.raises(SearchError, match="refused the key") as caught:
        await searcher(SearXNG(services.address, key=KEY)).search("mules")
    assert caught.value.reason == "key"


async def test_too_many_requests_are_repeated_when_the_service_says(services: Services) -> None:
    for answer in (
        brave_error(429, "RATE_LIMITED", "Too many", {"x-ratelimit-remaining": "0, 99", "x-ratelimit-reset": "1, 999"}),
        brave_error(429, "RATE_LIMITED", "Too many", {"retry-after": "0"}),
        brave_error(503, "INTERNAL", "Try later"),
    ):
        services.reset()
        services.first = [answer]
        assert (await searcher(services.provider("brave")).search("mules")).hits
        assert len(services.seen) == 2


async def test_too_many_requests_for_ever_end_in_an_error(services: Services) -> None:
    services.first = [brave_error(429, "RATE_LIMITED", "Too many", {"retry-after": "0"}) for _ in range(9)]
    with pytest.raises(SearchError, match=r"^brave: too many requests \(429\)") as caught:
        await searcher(services.provider("brave"), retries=3).search("mules")
    assert caught.value.reason == "rate"
    assert len(services.seen) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "3600"},
        {"retry-after": "Sun, 06 Nov 2094 08:49:37 GMT"},
        {"x-ratelimit-remaining": "1, 0", "x-ratelimit-reset": "1, 1419704"},
    ],
)
async def test_a_wait_beyond_the_deadline_is_not_begun(services: Services, headers: dict[str, str]) -> None:
    services.first = [brave_error(429, "RATE_LIMITED", "Too many", headers)] * 2
    with pytest.raises(SearchError, match="it asks to wait") as caught:
        await searcher(services.provider("brave"), timeout=30).search("mules")
    assert caught.value.wait is not None
    assert caught.value.wait > 3000
    assert len(services.seen) == 1


async def test_a_provider_that_asked_to_wait_is_left_alone(services: Services) -> None:
    services.first = [brave_error(429, "RATE_LIMITED", "Too many", {"retry-after": "3600"})]
    search = searcher(services.provider("brave")).search
    with pytest.raises(SearchError, match="it asks to wait 3600 s"):
        await search("mules")
    with pytest.raises(SearchError, match="takes no search for another 60 s"):
        await search("hay")
    assert len(services.seen) == 1


@pytest.mark.parametrize("asked", ["nan", "inf", "-5", "soon", "", "Sun, 99 Nov 2094 08:49:37 GMT"])
async def test_a_wait_that_is_none_is_ours_to_choose(services: Services, asked: str) -> None:
    services.first = [brave_error(429, "RATE_LIMITED", "Too many", {"retry-after": asked})]
    assert (await searcher(services.provider("brave")).search("mules")).hits


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Brave(key=""), "the key is empty"),
        (lambda: Brave(key="a key\n"), "the key is empty or holds"),
        (lambda: Tavily(key="schlüssel"), "the key is empty or holds"),
        (lambda: SearXNG("localhost:8888"), "base_url must be like"),
        (lambda: SearXNG("http://user:secret@host"), "base_url must be like"),
        (lambda: Brave(key=KEY, base_url="ftp://host"), "base_url must be like"),
        (lambda: DuckDuckGo(engines="bing"), "give a tuple"),  # type: ignore[arg-type]
        (lambda: search_provider("google"), "unknown provider 'google'; use one of ddgs, brave"),
        (lambda: search_provider("brave"), "brave needs key"),
        (lambda: search_provider("brave", {"key": KEY, "token": KEY}), "brave has no setting 'token'"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_being_shown(make: Any, text: str) -> None:
    with pytest.raises(ToolDefinitionError, match=text) as caught:
        make()
    for secret in (KEY, "schlüssel", "a key\n", "user:secret"):
        assert secret not in str(caught.value)


def test_a_provider_is_made_from_configuration_and_hides_its_secrets() -> None:
    provider = search_provider("brave", {"key": KEY, "proxy": "http://user:pass-c0ffee@proxy:1", "rate": 20})
    assert provider.rate == 20
    assert KEY not in repr(provider)
    assert "c0ffee" not in repr(provider)
    engines = search_provider("ddgs", {"engines": ["bing", "mojeek"]})
    assert isinstance(engines, DuckDuckGo)
    assert engines.engines == ("bing", "mojeek")
