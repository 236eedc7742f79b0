"""What of Arriero works here, found out by using it."""

import platform
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from arriero.prompts.errors import ArrieroError
from arriero.stack.engine import Sampling
from arriero.stack.generation import request
from arriero.stack.stack import Opening, Stack
from arriero.tools import Tool, ToolError, code_interpreter, knowledge_search, web_search

_EXTRAS = ("local", "search", "rag", "serve")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*;.*\bextra *== *['\"](\w+)['\"]")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What it is.
        state: `ok`; `missing`, when it is an extra that is not installed; `failed`, when it should work and does not.
        detail: Versions, or what is wrong and what to do about it.
    """

    name: str
    state: Literal["ok", "missing", "failed"]
    detail: str


async def examine(show: Callable[[Check], None], served: Opening | None = None) -> bool:
    """Look at what is installed, then use each part once. Touches no network but the server's.

    Args:
        show: Told each check as soon as it is done.
        served: A model server to look at as well.

    Returns:
        Whether nothing failed.
    """
    well = True
    async for check in _checks(served):
        well = well and check.state != "failed"
        show(check)
    return well


async def _checks(served: Opening | None) -> AsyncGenerator[Check, None]:
    yield Check("python", "ok", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield Check("arriero", "ok", metadata.version("arriero"))
    absent = set[str]()
    for extra, versions, missing in _installed():
        if missing:
            absent.add(extra)
            yield Check(f"extra {extra}", "missing", f"no {', '.join(missing)}: pip install 'arriero[{extra}]'")
        else:
            yield Check(f"extra {extra}", "ok", ", ".join(versions))
    yield await _check("event log", _log)
    if "local" not in absent:
        yield await _check("bundled model", lambda: _answers(Stack.local()))
    yield await _check("web search", lambda: _finds(web_search(provider="offline"), "height of Mount Orla"))
    yield await _check("code interpreter", _runs)
    if "rag" not in absent:
        yield await _check("document search", lambda: _finds(knowledge_search(), "height of the Salda Pass"))
    if "serve" not in absent:
        yield await _check("server", _serves)
    if served is not None:
        yield await _check("model server", lambda: _answers(served))


async def _check(name: str, work: Callable[[], Awaitable[str]]) -> Check:
    try:
        return Check(name, "ok", await work())
    except ArrieroError as error:
        return Check(name, "failed", str(error))
    except Exception as error:  # the boundary: a broken installation raises anything, and is what is looked for
        return Check(name, "failed", f"{type(error).__name__}: {error}")


def _installed() -> Iterator[tuple[str, list[str], list[str]]]:
    """Each extra with the versions of its packages and the names of those that are missing."""
    wanted: dict[str, list[str]] = {extra: [] for extra in _EXTRAS}
    for requirement in metadata.requires("arriero") or ():
        found = _REQUIREMENT.match(requirement)
        if found and found[2] in wanted:
            wanted[found[2]].append(found[1])
    for extra, names in wanted.items():
        versions, missing = [], []
        for name in names:
            try:
                versions.append(f"{name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                missing.append(name)
        yield extra, versions, missing


async def _log() -> str:
    from arriero.stack.events import LimitReached
    from arriero.stack.log import SQLiteLog

    async with aclosing(SQLiteLog(":memory:")) as log:
        await log.append("doctor", "1", 0, [LimitReached("steps", "1 of 1")])
        await log.read("doctor")
    return f"SQLite {sqlite3.sqlite_version}"


async def _answers(opening: Opening) -> str:
    async with opening as stack:
        engine = stack.engine
        async with request(engine, engine.tokenizer.encode("Hello"), Sampling(max_tokens=1)) as deltas:
            ids = [id_ async for delta in deltas for id_ in delta.token_ids]
        return f"{engine.model} wrote {len(ids)} token: {stack.dialect.name}, context of {engine.context_length} tokens"


async def _finds(tool: Tool, query: str) -> str:
    async with aclosing(tool):
        first = str(await tool.invoke({"query": query})).splitlines()
    if len(first) < 2:
        raise ToolError(f"{tool.name} found nothing in what ships with Arriero: install it again")
    return f"{tool.source}, {len(first)} lines for {query!r}"


async def _runs() -> str:
    from arriero.tools.sandbox.choose import choose_tier

    choice = await choose_tier()
    async with aclosing(code_interpreter()) as interpreter:
        said = str(await interpreter.invoke({"code": "print(6 * 7)"}))
    if "42" not in said:
        raise ToolError(f"it could not run a line of Python: {said!r}")
    return (
        f"runs Python in the sandbox {choice.tier.name}; {len(choice.reports[-1].canaries)} canaries found it to hold"
    )


async def _serves() -> str:
    import arriero.stack.server

    return f"{arriero.stack.server.__name__} can be started with `arriero serve`"
