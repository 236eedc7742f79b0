"""The tools offered in a conversation, and the one place that calls them."""

import asyncio
import copy
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import starmap
from types import MappingProxyType
from typing import Any, Self

import anyio

from arriero.prompts.messages import ToolCall
from arriero.tools.arguments import closest, shown
from arriero.tools.artifacts import Artifacts, MemoryArtifacts
from arriero.tools.cache import KnownResults
from arriero.tools.calling import Approve, Calling, Offer, Rules, ToolResult
from arriero.tools.context import Progress, ToolContext
from arriero.tools.declared import Tool
from arriero.tools.errors import ToolDefinitionError
from arriero.tools.events import ToolCallFinished, ToolCallStarted, ToolEvent
from arriero.tools.group import ToolGroup
from arriero.tools.owned_task import side_by_side

__all__ = ["Approve", "Registry", "ToolResult"]

Selector = str | Callable[[Tool], bool]
"""Chooses tools: the name of a tool or of a group, or a predicate."""

_ANSWERS_TO: Mapping[str, str] = MappingProxyType({"brave_search": "web_search", "web_search": "brave_search"})
"""Llama 3.1 calls a search by the one name even where it was told of the other."""

_CLOSING_SECONDS = 2.0


class Registry:
    """Tools by name.

    Args:
        tools: The tools to offer, and groups of them.
        max_result_tokens: Most tokens of one result; the middle of a longer one is left out, and the whole is kept
            as an artifact.
        count_tokens: Counts them. None leaves it to the context of the call: the model's tokenizer in a turn, else
            an estimate.
        artifacts: Where files are kept; None keeps 64 MiB in memory.
        approve: Asks a person about each call of a sensitive tool. None: such a call is not run.
        on_event: Hears what happens to each call, in the event loop.
        concurrency: Most calls at once.

    Raises:
        ToolDefinitionError: Two tools have the same name, something is not a tool, or a number is not positive.

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

    def __init__(
        self,
        tools: Iterable[Tool | ToolGroup] = (),
        *,
        max_result_tokens: int = 4_000,
        count_tokens: Callable[[str], int] | None = None,
        artifacts: Artifacts | None = None,
        approve: Approve | None = None,
        on_event: Callable[[ToolEvent], None] | None = None,
        concurrency: int = 64,
    ) -> None:
        if max_result_tokens < 1 or concurrency < 1:
            raise ToolDefinitionError(
                f"max_result_tokens is {max_result_tokens} and concurrency is {concurrency}; use numbers above 0"
            )
        if isinstance(tools, Tool):
            raise ToolDefinitionError(f"tools is one tool, {tools.name!r}: give a list of tools")
        self._rules = Rules(
            anyio.Semaphore(concurrency, fast_acquire=True),
            MemoryArtifacts() if artifacts is None else artifacts,
            max_result_tokens,
            count_tokens,
            approve,
            on_event,
        )
        self._offers: dict[str, Offer] = {}
        for tool in _flat(tools):
            if tool.name in self._offers:
                raise ToolDefinitionError(_clash(self._offers[tool.name].tool, tool))
            slots = anyio.Semaphore(tool.concurrency, fast_acquire=True) if tool.concurrency else None
            self._offers[tool.name] = Offer(tool, slots, KnownResults(tool.cache) if tool.cache else None)
        self._called = self._names_to_tools()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tools, in the order given."""
        return tuple(self._offers)

    @property
    def called(self) -> tuple[str, ...]:
        """All names that reach a tool: the tools' own, and those by which the Llama format knows them."""
        return tuple(self._called)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that the tools belong to."""
        return tuple(dict.fromkeys(tool.group for tool in self._tools if tool.group))

    @property
    def builtins(self) -> tuple[str, ...]:
        """Names of the tools that the Llama format knows by itself."""
        return tuple(tool.builtin for tool in self._tools if tool.builtin)

    @property
    def declarations(self) -> list[dict[str, Any]]:
        """The other tools in the OpenAI shape, as prompts declare them."""
        return [tool.declaration for tool in self._tools if not tool.builtin]

    @property
    def asks(self) -> bool:
        """Whether it can ask a person about calls of sensitive tools."""
        return self._rules.approve is not None

    @property
    def artifacts(self) -> Artifacts:
        """Where the files are that its tools gave."""
        return self._rules.artifacts

    def __iter__(self) -> Iterator[Tool]:
        """The tools, in the order given."""
        return iter(self._tools)

    def get(self, name: str) -> Tool | None:
        """The tool that a call of that name reaches, or None."""
        offer = self._called.get(name)
        return offer.tool if offer else None

    def only(self, *chosen: Selector) -> Self:
        """A registry with some of the tools, for an agent that should have no more.

        Args:
            *chosen: Names of tools or groups, or predicates.

        Returns:
            The registry. Limits, caches and files are shared with this one.

        Raises:
            ToolDefinitionError: There is no tool or group of that name.

        Example:
            >>> from arriero.tools import ToolGroup, tool
            >>> @tool
            ... def read(path: str) -> str:
            ...     '''Read a file.'''
            ...     return ""
            >>> @tool(sensitive=True)
            ... def delete(path: str) -> None:
            ...     '''Delete a file.'''
            >>> registry = Registry([ToolGroup("files", [read, delete])])
            >>> registry.only("files").without(lambda tool: tool.sensitive).names
            ('read',)
        """
        wanted = self._chosen(chosen)
        return self._with({name: offer for name, offer in self._offers.items() if name in wanted})

    def without(self, *chosen: Selector) -> Self:
        """A registry that lacks some of the tools; see `only`."""
        unwanted = self._chosen(chosen)
        return self._with({name: offer for name, offer in self._offers.items() if name not in unwanted})

    def plus(self, tools: Iterable[Tool | ToolGroup]) -> Self:
        """A registry with more tools; see `only`.

        Args:
            tools: The tools, which follow those of this one. Who made them closes them.

        Returns:
            The registry.

        Raises:
            ToolDefinitionError: Two tools have the same name, or something is not a tool.
        """
        added = Registry(tools)._offers
        for name in added.keys() & self._offers.keys():
            raise ToolDefinitionError(_clash(self._offers[name].tool, added[name].tool))
        return self._with({**self._offers, **added})

    async def call(self, call: ToolCall, context: ToolContext | None = None) -> ToolResult:
        """Run the tool that a call names.

        Whatever goes wrong becomes a result that the model can read; only cancellation passes through. It is at an
        end soon after its tool's timeout, or after the context's deadline, whatever the tool does.

        Args:
            call: The call, as the model wrote it.
            context: What its tool may know about it; None for an empty one.

        Returns:
            The result. When `error` is set, the tool did not do what it should; `content` says so to the model.
        """
        context = context or ToolContext()
        offer = self._called.get(call.name) if isinstance(call.name, str) else None
        if offer is None:
            return self._unknown(call, context)
        return await Calling(call, offer, self._rules, context).run()

    async def call_all(
        self,
        calls: Sequence[ToolCall],
        context: ToolContext | None = None,
        *,
        on_progress: Callable[[int, Progress], None] | None = None,
    ) -> list[ToolResult]:
        """Run calls side by side.

        Args:
            calls: The calls, as the model wrote them.
            context: What their tools may know. Each gets an idempotency key of its own, made from the context's and
                from its position; without one they are random.
            on_progress: Hears the progress of a call, by its position.

        Returns:
            Their results, in the order of the calls.
        """
        context = context or ToolContext()
        contexts = [_context_of(position, context, on_progress) for position in range(len(calls))]
        if len(calls) == 1:
            return [await self.call(calls[0], contexts[0])]
        return await side_by_side(starmap(self.call, zip(calls, contexts, strict=True)))

    async def aclose(self) -> None:
        """Close every tool, also when closing one of them fails, and stop what calls have left running.

        Raises:
            ExceptionGroup: What the tools raised.
        """
        for task in self._rules.left:
            task.cancel()
        if self._rules.left:
            await asyncio.wait(set(self._rules.left), timeout=_CLOSING_SECONDS)
        problems: list[Exception] = []
        for tool in self._tools:
            try:
                await tool.aclose()
            except Exception as error:  # every other tool must still be closed
                problems.append(error)
        if problems:
            raise ExceptionGroup("closing tools", problems)

    @property
    def _tools(self) -> list[Tool]:
        return [offer.tool for offer in self._offers.values()]

    def _names_to_tools(self) -> dict[str, Offer]:
        called = dict(self._offers)
        for offer in self._offers.values():
            builtin = offer.tool.builtin
            if builtin and called.setdefault(builtin, offer) is not offer:
                raise ToolDefinitionError(
                    f"tools {called[builtin].tool.name!r} and {offer.tool.name!r} both answer to {builtin!r}: "
                    "keep one of them"
                )
        for alias, name in _ANSWERS_TO.items():
            if name in called:
                called.setdefault(alias, called[name])
        return called

    def _chosen(self, chosen: tuple[Selector, ...]) -> set[str]:
        names: set[str] = set()
        for selector in chosen:
            if isinstance(selector, str):
                found = {tool.name for tool in self._tools if selector in (tool.name, tool.group)}
                if not found:
                    known = (*self.names, *self.groups)
                    hint = closest(selector, known) or f"there are {', '.join(known) or 'none'}"
                    raise ToolDefinitionError(f"there is no tool or group {selector!r}; {hint}")
            else:
                found = {tool.name for tool in self._tools if selector(tool)}
            names |= found
        return names

    def _with(self, offers: dict[str, Offer]) -> Self:
        other = copy.copy(self)
        other._offers = offers
        other._called = other._names_to_tools()
        return other

    def _unknown(self, call: ToolCall, context: ToolContext) -> ToolResult:
        started = time.perf_counter()
        name = shown(call.name if isinstance(call.name, str) else repr(call.name))
        offered = f"the tools are {', '.join(self.names)}" if self._offers else "no tools are offered"
        problem = f"there is no tool {name!r}; {closest(name, self.called) or offered}"
        id_ = context.call_id or call.id
        self._rules.tell(ToolCallStarted(id_, name, context.session, context.run, context.idempotency_key))
        duration = time.perf_counter() - started
        self._rules.tell(ToolCallFinished(call_id=id_, tool=name, outcome="unknown tool", duration=duration))
        return ToolResult(call, f"error: {problem}", problem, duration)


def _flat(tools: Iterable[Tool | ToolGroup]) -> Iterable[Tool]:
    for entry in tools:
        if isinstance(entry, ToolGroup):
            yield from entry
        elif isinstance(entry, Tool):
            yield entry
        else:
            raise ToolDefinitionError(f"{entry!r} is not a tool: put @tool on the function")


def _clash(first: Tool, second: Tool) -> str:
    if first.group or second.group:
        groups = " and ".join(f"group {tool.group!r}" if tool.group else "none" for tool in (first, second))
        return (
            f"two tools are named {first.name!r}, in {groups}: make one group ToolGroup(..., namespaced=True), "
            "or rename one with .renamed(...)"
        )
    return f"two tools are named {first.name!r}: give one of them @tool(name=...), or .renamed(...)"


def _context_of(
    position: int, context: ToolContext, on_progress: Callable[[int, Progress], None] | None
) -> ToolContext:
    key = context.idempotency_key
    return ToolContext(
        session=context.session,
        run=context.run,
        deadline=context.deadline,
        idempotency_key=hashlib.sha256(f"{key}\0{position}".encode()).hexdigest()[:32] if key else "",
        deps=context.deps,
        count_tokens=context.count_tokens,
        report=partial(on_progress, position) if on_progress else context.report,
    )
