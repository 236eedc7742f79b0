"""The tools that the options of a command describe."""

import importlib
import inspect
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from arriero.prompts.errors import ArrieroError
from arriero.terminal import one_line

if TYPE_CHECKING:
    from arriero.tools import Registry, Tool, ToolEvent
    from arriero.tools.registry import Approve

SearchName = Literal["ddgs", "brave", "tavily", "searxng", "offline"]
BUILTINS = (
    "web_search",
    "web_fetch",
    "code_interpreter",
    "knowledge_search",
    "wolfram_alpha",
    "file_read",
    "file_list",
    "file_write",
)
"""Tools that come with Arriero, by the names that commands use."""

_SERVER = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What the environment says about services: `ARRIERO_BRAVE_KEY` and the others.

    Args:
        brave: Key of Brave's search.
        tavily: Key of Tavily.
        searxng: Address of a SearXNG.
        wolfram: AppID of Wolfram|Alpha.
        mcp: Bearer tokens of MCP servers, by the server's name in capitals.
    """

    brave: str = field(default="", repr=False)
    tavily: str = field(default="", repr=False)
    searxng: str = ""
    wolfram: str = field(default="", repr=False)
    mcp: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Keys":
        """Read them; this is the only place that does."""
        tokens = {
            found[1]: value
            for name, value in environment.items()
            if (found := re.fullmatch(r"ARRIERO_MCP_([A-Z0-9_]+)_TOKEN", name)) and value
        }
        get = environment.get
        return cls(
            brave=get("ARRIERO_BRAVE_KEY", ""),
            tavily=get("ARRIERO_TAVILY_KEY", ""),
            searxng=get("ARRIERO_SEARXNG_URL", ""),
            wolfram=get("ARRIERO_WOLFRAM_APP_ID", ""),
            mcp=tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The options.

    Args:
        sources: Files and modules with tools: `tools.py`, `package.module`, `package.module:name`.
        servers: MCP servers: `name=command` or `name=address`.
        root: Folder of the file tools.
        documents: Folder of `knowledge_search`.
        search: Whom `web_search` asks; None for whom there is a key, else DuckDuckGo.
        allow_unsafe: Run code without a sandbox where none holds.
        keys: What the environment says.
    """

    sources: Sequence[str] = ()
    servers: Sequence[str] = ()
    root: Path | None = None
    documents: Path | None = None
    search: SearchName | None = None
    allow_unsafe: bool = False
    keys: Keys = field(default_factory=Keys)


@dataclass(frozen=True, slots=True)
class Missing:
    """A built-in tool that is not there, and what to do about it."""

    name: str
    reason: str


def builtin(name: str, wanted: Wanted) -> "Tool | Missing":
    """A built-in tool as the options want it.

    Args:
        name: One of `BUILTINS`.
        wanted: The options.

    Returns:
        The tool, or why there is none.
    """
    makers: dict[str, Callable[[Wanted], Tool | str]] = {
        "web_search": _web_search,
        "web_fetch": _web_fetch,
        "code_interpreter": _code_interpreter,
        "knowledge_search": _knowledge_search,
        "wolfram_alpha": _wolfram_alpha,
    }
    try:
        made = makers.get(name, partial(_file_tool, name))(wanted)
    except ArrieroError as error:
        return Missing(name, str(error))
    return Missing(name, made) if isinstance(made, str) else made


@asynccontextmanager
async def own_tools(wanted: Wanted) -> "AsyncIterator[list[Tool]]":
    """The tools of files, modules and MCP servers, which are connected for as long as the context lasts.

    Args:
        wanted: The options.

    Yields:
        The tools.

    Raises:
        typer.BadParameter: A source defines no tools, or a server is not named.
        ArrieroError: A server cannot be reached.
    """
    found: list[Tool] = [tool for source in wanted.sources for tool in _tools_of(source)]
    async with AsyncExitStack() as stack:
        for text in wanted.servers:
            server = await stack.enter_async_context(_server(text, wanted.keys))
            found += await server.tools()
        yield found


def registry_of(
    builtins: "Iterable[Tool | Missing]",
    own: "Sequence[Tool]",
    approve: "Approve | None" = None,
    on_event: "Callable[[ToolEvent], None] | None" = None,
) -> "Registry":
    """A registry of built-in tools and others; where both have a name, it is the others'.

    Args:
        builtins: Built-in tools; those that are missing are left out.
        own: The others, from `own_tools`.
        approve: See `Registry`.
        on_event: See `Registry`.

    Returns:
        The registry.
    """
    from arriero.tools import Registry

    taken = {tool.name for tool in own}
    made = [tool for tool in builtins if not isinstance(tool, Missing) and tool.name not in taken]
    return Registry([*made, *own], approve=approve, on_event=on_event)


def _web_search(wanted: Wanted) -> "Tool | str":
    from arriero.tools.search import Brave, SearXNG, Tavily, web_search

    keys = wanted.keys
    chosen = wanted.search or (
        "brave" if keys.brave else "tavily" if keys.tavily else "searxng" if keys.searxng else "ddgs"
    )
    if chosen == "brave":
        return web_search(Brave(keys.brave)) if keys.brave else "set ARRIERO_BRAVE_KEY"
    if chosen == "tavily":
        return web_search(Tavily(keys.tavily)) if keys.tavily else "set ARRIERO_TAVILY_KEY"
    if chosen == "searxng":
        return web_search(SearXNG(keys.searxng)) if keys.searxng else "set ARRIERO_SEARXNG_URL"
    return web_search(chosen)


def _web_fetch(_: Wanted) -> "Tool | str":
    from arriero.tools.web.fetch import web_fetch

    return web_fetch()


def _code_interpreter(wanted: Wanted) -> "Tool | str":
    from arriero.tools import code_interpreter

    return code_interpreter(allow_unsafe=wanted.allow_unsafe)


def _knowledge_search(wanted: Wanted) -> "Tool | str":
    from arriero.tools import knowledge_search

    return knowledge_search(wanted.documents)


def _wolfram_alpha(wanted: Wanted) -> "Tool | str":
    from arriero.tools.wolfram import wolfram_alpha

    return wolfram_alpha(wanted.keys.wolfram) if wanted.keys.wolfram else "set ARRIERO_WOLFRAM_APP_ID"


def _file_tool(name: str, wanted: Wanted) -> "Tool | str":
    from arriero.tools.files import file_tools

    if wanted.root is None:
        return "give the folder of the files with --root"
    return next(tool for tool in file_tools(wanted.root, write=True) if tool.name == name)


def _server(text: str, keys: Keys) -> Any:
    from arriero.tools.mcp import McpServer
    from arriero.tools.web.policy import NetworkPolicy

    found = _SERVER.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{one_line(text)}: name the server, as in notes='python -m notes_server'", param_hint="--mcp"
        )
    name, where = found[1], found[2].strip()
    if where.startswith(("http://", "https://")):
        token = keys.mcp.get(re.sub(r"\W", "_", name).upper())
        headers = {"Authorization": f"Bearer {token}"} if token else None
        # whoever gives the address means it, be it on this machine
        return McpServer.http(name, where, headers=headers, network=NetworkPolicy.only(where))
    try:
        command, *arguments = shlex.split(where)
    except ValueError as error:
        raise typer.BadParameter(f"{one_line(where)}: not a command ({error})", param_hint="--mcp") from error
    return McpServer.stdio(name, command, arguments)


def _tools_of(source: str) -> "list[Tool]":
    from arriero.tools import Tool, ToolGroup

    module, _, name = source.partition(":")
    found = _loaded(module)
    if not name:
        tools = [
            tool for value in vars(found).values() if isinstance(value, Tool | ToolGroup) for tool in _as_tools(value)
        ]
    elif not hasattr(found, name):
        raise typer.BadParameter(f"{one_line(module)} defines no {one_line(name)}", param_hint="--from")
    else:
        tools = _as_tools(getattr(found, name))
    if not tools:
        raise typer.BadParameter(f"{one_line(source)} defines no tools: put @tool on a function", param_hint="--from")
    return list(dict.fromkeys(tools))


def _loaded(module: str) -> object:
    from arriero.agents.program import UnusableProgram, execute

    if module.endswith(".py"):
        if not Path(module).is_file():
            raise typer.BadParameter(f"there is no file {one_line(module)}", param_hint="--from")
        try:
            return execute(Path(module))
        except UnusableProgram as error:
            raise typer.BadParameter(str(error), param_hint="--from") from error
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise typer.BadParameter(f"there is no module {one_line(module)}", param_hint="--from") from error
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"{one_line(module)!r} names no module", param_hint="--from") from error


def _as_tools(value: Any) -> "list[Tool]":
    """Tools in a value: one, a group, several, a registry, or what a function without parameters gives of these."""
    from arriero.tools import Registry, Tool, ToolGroup

    if callable(value) and not isinstance(value, Tool):
        try:
            inspect.signature(value).bind()
        except (TypeError, ValueError) as error:
            problem = f"a function that gives tools takes no parameters, and this one does ({error})"
            raise typer.BadParameter(problem, param_hint="--from") from error
        value = value()
    members = [value] if isinstance(value, Tool) or not isinstance(value, Iterable | Registry) else list(value)
    for member in members:
        if not isinstance(member, Tool | ToolGroup):
            raise typer.BadParameter(
                f"a {type(member).__name__} is not a tool: put @tool on a function", param_hint="--from"
            )
    return [tool for member in members for tool in ((member,) if isinstance(member, Tool) else member)]
