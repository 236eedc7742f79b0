"""The tools that a server declares, and whether they are still the ones that were accepted."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.json_schema import ArgumentCheck, schema_check
from arriero.tools.mcp.declared import Declaration, clean, offered_name, read_declaration
from arriero.tools.mcp.pins import Pins

if TYPE_CHECKING:
    import mcp_types
    from mcp import Client

_log = logging.getLogger(__name__)
_MAX_PAGES = 100
_MAX_ITEMS = 10_000
_MAX_LIST = 16 << 20  # bytes of all pages
_MAX_LISTS = 10  # of all new names: a server that invents some each time must not fill the file of the pins
_SHOWN_NAME = 80

T = TypeVar("T")
Page = TypeVar("Page", bound="_HasCursor", contravariant=True)


class _HasCursor(Protocol):
    @property
    def next_cursor(self) -> str | None: ...

    def model_dump_json(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool of a server that can be offered to a model.

    Args:
        name: The name that the model knows.
        declaration: What the server declared.
        arguments: Checks a call's arguments.
        output: Checks a structured result; None where none is declared.
    """

    name: str
    declaration: Declaration
    arguments: ArgumentCheck
    output: ArgumentCheck | None


class Catalogue:
    """A server's tools by its own names for them, read again when they may have changed.

    Args:
        server: The server's name.
        pins: What was accepted.
        max_tools: Most tools to take.
    """

    def __init__(self, server: str, pins: Pins, *, max_tools: int) -> None:
        self._server = server
        self._pins = pins
        self._max_tools = max_tools
        self._reading = anyio.Lock()
        self._stale = True
        self._offers: dict[str, Offer] = {}
        self._pinned = 0
        self.refused: dict[str, str] = {}

    def forget(self) -> None:
        """The list may have changed."""
        self._stale = True

    async def read(
        self, fetch: "Callable[[Callable[[Client], Awaitable[list[mcp_types.Tool]]]], Awaitable[list[mcp_types.Tool]]]"
    ) -> dict[str, Offer]:
        """The tools, fetched if need be.

        Args:
            fetch: Does with a connected client what it is given.

        Raises:
            ToolError: The list cannot be read.
        """
        async with self._reading:
            if self._stale:
                self._stale = False  # before: what changes while we read must be read again
                try:
                    self._take(await fetch(_list_tools))
                except BaseException:
                    self._stale = True
                    raise
            return self._offers

    def _take(self, tools: "Sequence[mcp_types.Tool]") -> None:
        offers: dict[str, Offer] = {}
        refused: dict[str, str] = {}
        taken: set[str] = set()
        for tool in tools:
            shown = clean(tool.name, _SHOWN_NAME)
            if tool.name in offers:
                refused[shown] = "declared twice"
            elif len(offers) == self._max_tools:
                refused[shown] = f"more than {self._max_tools} tools"
            else:
                try:
                    offers[tool.name] = self._offer(tool, taken)
                    taken.add(offers[tool.name].name)
                except ToolDefinitionError as error:
                    refused[shown] = str(error)
        new = {name: offer for name, offer in offers.items() if self._pins.get(self._server, name) is None}
        most = _MAX_LISTS * self._max_tools
        for name in list(new)[most - self._pinned :]:
            refused[clean(name, _SHOWN_NAME)] = f"more than {most} names were declared, one after another"
            del new[name], offers[name]
        self._pinned += len(new)
        self._offers, self.refused = offers, refused
        if new:
            self._pins.put(self._server, {name: offer.declaration.digest for name, offer in new.items()})
        changed = sum(not self.is_pinned(offer) for offer in offers.values())
        if changed or refused:
            _log.warning("MCP server %s: %d tools changed, %d refused", self._server, changed, len(refused))

    def _offer(self, tool: "mcp_types.Tool", taken: set[str]) -> Offer:
        declaration = read_declaration(tool)
        name = offered_name(self._server, declaration.name, taken)
        output = declaration.output
        return Offer(
            name=name,
            declaration=declaration,
            arguments=schema_check(declaration.parameters, name=name),
            output=schema_check(output, name=f"result of {name}") if output is not None else None,
        )

    def is_pinned(self, offer: Offer) -> bool:
        """Whether a tool is what was accepted."""
        return self._pins.get(self._server, offer.declaration.name) == offer.declaration.digest

    def pin(self, name: str) -> None:
        """Accept what a tool declares now.

        Raises:
            ToolError: The last list has no such tool.
        """
        if name not in self._offers:
            raise ToolError(f"{self._server}: there is no tool {clean(name, _SHOWN_NAME)!r} to accept")
        self._pins.put(self._server, {name: self._offers[name].declaration.digest})

    @property
    def changed(self) -> dict[str, str]:
        """Tools that are not what was accepted, with their new descriptions."""
        return {
            name: offer.declaration.description for name, offer in self._offers.items() if not self.is_pinned(offer)
        }


async def _list_tools(client: "Client") -> "list[mcp_types.Tool]":
    if client.server_capabilities.tools is None:
        return []
    return await all_pages(client.list_tools, lambda page: page.tools)


async def if_known(listing: Awaitable[list[T]]) -> list[T]:
    """The items of a list, none of a list that the server does not know."""
    from mcp.shared.exceptions import MCPError
    from mcp_types import METHOD_NOT_FOUND

    try:
        return await listing
    except MCPError as error:
        if error.code != METHOD_NOT_FOUND:
            raise
        return []


async def all_pages(fetch: Callable[..., Awaitable[Page]], items: Callable[[Page], Sequence[T]]) -> list[T]:
    """The items of every page of a list.

    Args:
        fetch: Gets the page of a cursor.
        items: What is on a page.

    Returns:
        The items, in order.

    Raises:
        ToolError: The list does not end, or is too long.
    """
    found: list[T] = []
    cursor: str | None = None
    seen: set[str] = set()
    size = 0
    while len(seen) < _MAX_PAGES and len(found) <= _MAX_ITEMS:
        page = await fetch(cursor=cursor)
        size += len(page.model_dump_json())
        if size > _MAX_LIST:
            raise ToolError(f"the server's list is longer than {_MAX_LIST} bytes")
        found += items(page)
        cursor = page.next_cursor
        if cursor is None:
            return found
        if cursor in seen:
            break
        seen.add(cursor)
    raise ToolError("the server's list does not end")
