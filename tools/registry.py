"""The tools offered in a conversation, and the one place that calls them."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from arriero.prompts.messages import JSON, ToolCall
from arriero.tools.artifacts import Artifact
from arriero.tools.context import ToolContext
from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.tool import Tool
from arriero.tools.values import shorten, strict

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call.

    Args:
        call: The call, its id included.
        content: What the model reads: text, or a dict or list of JSON values.
        error: What went wrong; None when nothing did.
        duration: Seconds.
        source: Where the text comes from, where it is somebody else's; see `Tool`.
        artifacts: Files that the tool gave, and the whole result when `content` lacks its middle.
    """

    call: ToolCall
    content: JSON
    error: str | None = None
    duration: float = 0.0
    source: str | None = None
    artifacts: tuple[Artifact, ...] = ()


class Registry:
    """Tools by name.

    Args:
        tools: The tools to offer.
        max_chars: Most characters of one result; the middle of a longer one is left out.

    Raises:
        ToolDefinitionError: Two tools have the same name, or something is not a tool.

    Example:
        >>> import anyio
        >>> from arriero.tools import tool
        >>> @tool
        ... def double(number: float) -> float:
        ...     '''Double a number.'''
        ...     return 2 * number
        >>> registry = Registry([double])
        >>> anyio.run(registry.call, ToolCall("double", {"number": 4})).content
        '8.0'
        >>> anyio.run(registry.call, ToolCall("triple", {"number": 4})).content
        "error: there is no tool 'triple'; the tools are double"
    """

    def __init__(self, tools: Iterable[Tool] = (), *, max_chars: int = 10_000) -> None:
        self._tools: dict[str, Tool] = {}
        self._max_chars = max_chars
        if isinstance(tools, Tool):
            raise ToolDefinitionError(f"tools is one tool, {tools.name!r}: give a list of tools")
        for tool in tools:
            if not isinstance(tool, Tool):
                raise ToolDefinitionError(f"{tool!r} is not a tool: put @tool on the function")
            if tool.name in self._tools:
                raise ToolDefinitionError(f"two tools are named {tool.name!r}: give one of them @tool(name=...)")
            self._tools[tool.name] = tool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tools, in the order given."""
        return tuple(self._tools)

    @property
    def builtins(self) -> tuple[str, ...]:
        """Names of the tools that the Llama format knows by itself."""
        return tuple(tool.builtin for tool in self._tools.values() if tool.builtin)

    @property
    def declarations(self) -> list[dict[str, Any]]:
        """The other tools in the OpenAI shape, as prompts declare them."""
        return [tool.declaration for tool in self._tools.values() if not tool.builtin]

    def get(self, name: str) -> Tool | None:
        """The tool of that name, or None."""
        return self._tools.get(name)

    async def call(self, call: ToolCall, context: ToolContext | None = None) -> ToolResult:
        """Run the tool that a call names.

        Whatever goes wrong becomes a result that the model can read; only cancellation passes through.

        Args:
            call: The call, as the model wrote it.
            context: What its tool may know about it; None for an empty one.

        Returns:
            The result. When `error` is set, `content` is `"error: ..."`.
        """
        tool = self.get(call.name)
        if tool is None:
            offered = f"the tools are {', '.join(self.names)}" if self._tools else "no tools are offered"
            return self._failed(call, f"there is no tool {call.name!r}; {offered}", 0.0, None)
        started = time.perf_counter()
        try:
            content = await tool.invoke(call.arguments, context)
        except ToolError as error:
            return self._failed(call, str(error), time.perf_counter() - started, tool.source)
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # a tool's failure is the model's to read
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            _log.info("tool %s failed", tool.name, exc_info=error)
            problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return self._failed(call, problem, time.perf_counter() - started, tool.source)
        duration = time.perf_counter() - started
        return ToolResult(call, shorten(content, self._max_chars), None, duration, tool.source)

    async def call_all(self, calls: Sequence[ToolCall], context: ToolContext | None = None) -> list[ToolResult]:
        """Run calls side by side.

        Args:
            calls: The calls, as the model wrote them.
            context: What their tools may know; None for an empty one.

        Returns:
            Their results, in the order of the calls.
        """
        results: dict[int, ToolResult] = {}

        async def run(position: int) -> None:
            results[position] = await self.call(calls[position], context)

        async with anyio.create_task_group() as group:
            for position in range(len(calls)):
                group.start_soon(run, position)
        return [results[position] for position in range(len(calls))]

    def _failed(self, call: ToolCall, problem: str, duration: float, source: str | None) -> ToolResult:
        problem = str(shorten(strict(problem), self._max_chars))
        return ToolResult(call, f"error: {problem}", problem, duration, source)

    async def aclose(self) -> None:
        """Close every tool, also when closing one of them fails.

        Raises:
            ExceptionGroup: What the tools raised.
        """
        problems: list[Exception] = []
        for tool in self._tools.values():
            try:
                await tool.aclose()
            except Exception as error:  # every other tool must still be closed
                problems.append(error)
        if problems:
            raise ExceptionGroup("closing tools", problems)


def _is_cancelled() -> bool:
    """Whether this task is being cancelled, by a scope around it or by asyncio itself."""
    if anyio.current_effective_deadline() == -math.inf:
        return True
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
