"""A registry whose events are heard, for tests of what it does around a tool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arriero.tools import (
    Registry,
    Tool,
    ToolCallFinished,
    ToolEvent,
    tool,
)


class Heard(list[ToolEvent]):
    """The events of a registry, as they came."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]

    @property
    def end(self) -> ToolCallFinished:
        """How the only call ended."""
        (end,) = self.of(ToolCallFinished)
        return end  # type: ignore[no-any-return]


@asynccontextmanager
async def offered(*tools: Tool, **settings: Any) -> AsyncIterator[tuple[Registry, Heard]]:
    heard = Heard()
    registry = Registry(tools, on_event=heard.append, **settings)
    yield registry, heard
    await registry.aclose()


@tool
async def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@tool(sensitive=True)
async def delete(path: str) -> str:
    """Delete a file."""
    return f"deleted {path}"
