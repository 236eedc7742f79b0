"""Brave, Tavily and SearXNG as their documentation has them, on the loopback.

They refuse what the real ones refuse: a wrong key, an unknown parameter or a value out of range.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from arriero.tools.search import Brave, Provider, SearXNG, Tavily

KEY = "key-5f1c0ffee-of-the-test"
BRAVE_COUNTRIES = "AR AU AT BE BR CA CL DK FI FR DE GR HK IN ID IT JP KR MY MX NL NZ NO CN PL PT PH RU SA ZA ES SE CH TW TR GB US ALL"  # fmt: skip # noqa: E501
BRAVE_LANGUAGES = "ar eu bn bg ca zh-hans zh-hant hr cs da nl en en-gb et fi fr gl de el gu he hi hu is it jp kn ko lv lt ms ml mr nb pl pt-br pt-pt pa ro ru sr sk sl es sv ta te th tr uk vi"  # fmt: skip # noqa: E501


@dataclass
class Page:
    """A page that the services know."""

    title: str = "The <strong>Salt</strong> Pass &amp; its mules"
    url: str = "https://example.org/salt"
    text: str = "The <strong>Salt Pass</strong> is&nbsp;3,210 metres high."
    day: str | None = "2026-11-02"


@dataclass
class Services:
    """The three services behind one address."""

    address: str = ""
    pages: list[Page] = field(default_factory=lambda: [Page()])
    first: list[Response] = field(default_factory=list)
    """Answers that are given before the regular ones."""
    seen: list[dict[str, Any]] = field(default_factory=list)
    unresponsive: list[list[str]] = field(default_factory=list)
    json_allowed: bool = True

    def reset(self) -> None:
        """As new, at the same address."""
        fresh = Services(self.address)
        for name in ("pages", "first", "seen", "unresponsive", "json_allowed"):
            setattr(self, name, getattr(fresh, name))

    def provider(self, name: str, key: str = KEY) -> Provider:
        """A provider that asks here."""
        if name == "brave":
            return Brave(key=key, base_url=self.address, rate=None)
        if name == "tavily":
            return Tavily(key=key, base_url=self.address, rate=None)
        return SearXNG(self.address)

    async def brave(self, request: Request) -> Response:
        """`GET /res/v1/web/search`."""
        asked = dict(request.query_params)
        self.seen.append(asked)
        if self.first:
            return self.first.pop(0)
        if request.headers.get("x-subscription-token") != KEY:
            return brave_error(422, "SUBSCRIPTION_TOKEN_INVALID", "The provided subscription token is invalid.")
        well = (
            set(asked) <= {"q", "count", "country", "search_lang", "freshness"}
            and 1 <= len(asked.get("q", "")) <= 400
            and 1 <= int(asked.get("count", "20")) <= 20
            and asked.get("country", "US") in BRAVE_COUNTRIES.split()
            and asked.get("search_lang", "en") in BRAVE_LANGUAGES.split()
            and asked.get("freshness", "pd") in ("pd", "pw", "pm", "py")
        )
        if not well:
            return brave_error(422, "VALIDATION", "Unable to validate request parameter(s)")
        results = [
            {
                "type": "search_result",
                "title": page.title,
                "url": page.url,
                "description": page.text,
                "is_source_local": False,
                "language": "en",
                "family_friendly": True,
                "age": "November 2, 2026",
            }
            | ({"page_age": f"{page.day}T09:30:00"} if page.day else {})
            for page in self.pages
        ]
        answer: dict[str, Any] = {"type": "search", "query": {"original": asked["q"], "more_results_available": False}}
        if results:
            answer["web"] = {"type": "search", "results": results, "family_friendly": True}
        return JSONResponse(answer, headers={"x-ratelimit-limit": "1, 2000", "x-ratelimit-remaining": "0, 1999"})

    async def tavily(self, request: Request) -> Response:
        """`POST /search`."""
        asked = json.loads(await request.body())
        self.seen.append(asked)
        if self.first:
            return self.first.pop(0)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"detail": {"error": "Unauthorized: missing or invalid API key."}}, 401)
        well = (
            set(asked) <= {"query", "max_results", "time_range", "country"}
            and 0 <= asked.get("max_results", 5) <= 20
            and asked.get("time_range", "day") in ("day", "week", "month", "year")
            and asked.get("country", "a").replace(" ", "").isalpha()
        )
        if not well:
            return JSONResponse({"detail": {"error": "Invalid request"}}, 400)
        results = [
            {"title": page.title, "url": page.url, "content": page.text, "score": 0.9, "raw_content": None}
            | ({"published_date": "Mon, 02 Nov 2026 09:30:00 GMT"} if page.day else {})
            for page in self.pages
        ]
        return JSONResponse(
            {"query": asked["query"], "answer": None, "images": [], "results": results, "response_time": 1.2}
        )

    async def searxng(self, request: Request) -> Response:
        """`GET /search`."""
        asked = dict(request.query_params)
        self.seen.append(asked)
        if self.first:
            return self.first.pop(0)
        if asked.get("format") != "json" or not self.json_allowed:
            return HTMLResponse("<!doctype html><title>403 Forbidden</title><h1>Forbidden</h1>", 403)
        if asked.get("time_range", "day") not in ("day", "week", "month", "year"):
            return JSONResponse({"error": "Invalid value for parameter time_range"}, 400)
        results = [
            {"title": page.title, "url": page.url, "content": page.text, "engine": "bing", "engines": ["bing"]}
            | {"score": 1.0, "category": "general", "parsed_url": ["https", "example.org", "/", "", "", ""]}
            | {"publishedDate": f"{page.day}T09:30:00" if page.day else None}
            for page in self.pages
        ]
        return JSONResponse(
            {"query": asked["q"], "number_of_results": 0, "results": results, "answers": [], "corrections": []}
            | {"infoboxes": [], "suggestions": [], "unresponsive_engines": self.unresponsive}
        )


def brave_error(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """An `ErrorResponse` of Brave."""
    error = {"id": "0b7e", "status": status, "code": code, "detail": detail, "meta": {}}
    return JSONResponse({"type": "ErrorResponse", "error": error, "time": 1762000000}, status, headers)


@contextmanager
def running() -> Iterator[Services]:
    """The services in a thread of their own."""
    services = Services()

    async def search(request: Request) -> Response:
        return await (services.tavily if request.method == "POST" else services.searxng)(request)

    app = Starlette(
        routes=[
            Route("/res/v1/web/search", services.brave),
            Route("/search", search, methods=["GET", "POST"]),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        services.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=anyio.run, args=(server.serve, [listener]), daemon=True)
        thread.start()
        yield services
        server.should_exit = True
        thread.join(10)
