"""A function that a model can call."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import UnionType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import anyio

from arriero.prompts.messages import JSON
from arriero.tools.arguments import check_bounds
from arriero.tools.cache import Cache
from arriero.tools.context import ToolContext
from arriero.tools.docstrings import original, read_docstring
from arriero.tools.errors import ToolDefinitionError, ToolTimeout
from arriero.tools.functions import handler_of
from arriero.tools.schema import canonical, read_parameters
from arriero.tools.values import to_output

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tool:
    """Something a model can call, with what it must know to do so.

    Args:
        name: Name that the model writes.
        description: What the model reads about it.
        parameters: JSON schema of the arguments object.
        handler: Takes the arguments as the model wrote them and the call's context, and gives the value.
        check: Checks the arguments before anything else is done, and gives them as text: the same for all ways to
            write the same values. None leaves the check to the handler.
        timeout: Seconds after which an attempt is given up. Waiting for a person is not counted.
        retries: How many more attempts follow one that failed; only for a tool that is pure or idempotent. A
            `ToolError` that is no `ToolUnavailable` is an answer, and is not retried.
        pure: The same arguments give the same value, and nothing else happens.
        idempotent: Calling it again after an unfinished call does no harm.
        sensitive: A person must approve each call.
        max_result_tokens: Most tokens of a result; None for the registry's number.
        concurrency: Most calls of it at once in one registry; None for the registry's number.
        cache: For how long results are kept; only for a pure tool. None keeps none.
        group: Name of the group that it belongs to.
        builtin: Name under which the Llama format itself knows the tool, where it does; it is not declared then.
        source: Where the text in its results comes from, where it is somebody else's.
        close: Releases what the tool holds.
        digest: Tells what it looks things up in from anything else, such as documents from those of yesterday. None
            where nobody knows.

    Raises:
        ToolDefinitionError: The name cannot be written, a number is not in its range, or two options contradict.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    handler: Callable[[Mapping[str, Any], ToolContext], Awaitable[object]]
    check: Callable[[Mapping[str, Any]], str] | None = None
    timeout: float = 30.0
    retries: int = 0
    pure: bool = False
    idempotent: bool = False
    sensitive: bool = False
    max_result_tokens: int | None = None
    concurrency: int | None = None
    cache: Cache | None = None
    group: str | None = None
    builtin: str | None = None
    source: str | None = None
    close: Callable[[], Awaitable[None]] | None = None
    digest: Callable[[], str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ToolDefinitionError(
                f"tool name {self.name!r}: use 1 to 64 letters, digits, '_' and '-'; give one with @tool(name=...)"
            )
        if not _is(self.timeout, int | float) or not self.timeout > 0:
            raise self._wrong(f"timeout is {self.timeout!r}; use a number of seconds above 0")
        if not _is(self.retries, int) or self.retries < 0:
            raise self._wrong(f"retries is {self.retries!r}; use 0 or more")
        if self.retries and not (self.pure or self.idempotent):
            raise self._wrong("a call is retried only where that does no harm; declare it idempotent=True or pure=True")
        if self.cache is not None and not isinstance(self.cache, Cache):
            raise self._wrong(f"cache is {self.cache!r}; use Cache(ttl=seconds)")
        if self.cache and not self.pure:
            raise self._wrong("only what a pure tool gives is good for the next call; declare it pure=True")
        for option in ("max_result_tokens", "concurrency"):
            value = getattr(self, option)
            if value is not None and not (_is(value, int) and value > 0):
                raise self._wrong(f"{option} is {value!r}; use 1 or more")

    def _wrong(self, problem: str) -> ToolDefinitionError:
        return ToolDefinitionError(f"tool {self.name!r}: {problem}")

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool in the OpenAI shape, as prompts declare it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    def renamed(self, name: str) -> Self:
        """The same tool under another name.

        Args:
            name: The name.

        Returns:
            The tool.

        Raises:
            ToolDefinitionError: The name cannot be written.

        Example:
            >>> @tool
            ... def read(path: str) -> str:
            ...     '''Read a file.'''
            ...     return ""
            >>> read.renamed("notes_read").name
            'notes_read'
        """
        return replace(self, name=name)

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext | None = None) -> JSON:
        """Run the tool once: no approval, no retries, no cache, and files are not kept.

        Args:
            arguments: Values by parameter name, as a model writes them.
            context: What the tool may know about the call; None for an empty one.

        Returns:
            What the model reads: text, or a dict or list of JSON values.

        Raises:
            ToolArgumentError: The arguments do not fit.
            ToolTimeout: It ran longer than `timeout`.
            ToolError: The tool said that it cannot do its work, or its value is none that JSON can carry.
        """
        with anyio.move_on_after(self.timeout):
            return to_output(await self.handler(check_bounds(arguments), context or ToolContext())).content
        raise ToolTimeout(f"{self.name} took longer than {self.timeout:g} s and was stopped")

    async def aclose(self) -> None:
        """Release what the tool holds."""
        if self.close is not None:
            await self.close()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FunctionTool(Tool, Generic[P, R]):
    """A tool made from a function; it still calls as that function."""

    function: Callable[P, R]

    @property
    def __wrapped__(self) -> Callable[P, R]:
        """The function, for `inspect`."""
        return self.function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: no checks, no timeout."""
        return self.function(*args, **kwargs)


def _is(value: object, kind: type | UnionType) -> bool:
    """Whether an option has its type; to Python a truth value is a number too."""
    return isinstance(value, kind) and not isinstance(value, bool)


def describe(
    function: Callable[P, R],
    *,
    name: str | None = None,
    timeout: float = 30.0,
    retries: int = 0,
    pure: bool = False,
    idempotent: bool = False,
    sensitive: bool = False,
    max_result_tokens: int | None = None,
    concurrency: int | None = None,
    cache: Cache | None = None,
    group: str | None = None,
    builtin: str | None = None,
    source: str | None = None,
    close: Callable[[], Awaitable[None]] | None = None,
) -> FunctionTool[P, R]:
    """Make a tool of a function, its types and its docstring; `tool` is the same as a decorator.

    Args:
        function: Sync (run in a thread) or async, a generator or not; see `tool`.
        name: Another name than the function's.
        timeout: See `Tool`.
        retries: See `Tool`.
        pure: See `Tool`.
        idempotent: See `Tool`.
        sensitive: See `Tool`.
        max_result_tokens: See `Tool`.
        concurrency: See `Tool`.
        cache: See `Tool`.
        group: See `Tool`.
        builtin: See `Tool`.
        source: See `Tool`.
        close: See `Tool`.

    Returns:
        The tool.

    Raises:
        ToolDefinitionError: A parameter's type cannot be described, the name is not usable, or options contradict.
    """
    if not callable(function):
        raise ToolDefinitionError(f"{function!r} is not a function: put @tool on a function")
    named = original(function)
    name = name or getattr(named, "__name__", "") or type(named).__name__
    summary, descriptions = read_docstring(function)
    parameters = read_parameters(function, name, descriptions)
    return FunctionTool(
        name=name,
        description=summary,
        parameters=parameters.schema,
        handler=handler_of(function, name, parameters),
        check=partial(canonical, parameters),
        timeout=timeout,
        retries=retries,
        pure=pure,
        idempotent=idempotent,
        sensitive=sensitive,
        max_result_tokens=max_result_tokens,
        concurrency=concurrency,
        cache=cache,
        group=group,
        builtin=builtin,
        source=source,
        close=close,
        function=function,
    )


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    timeout: float = 30.0,
    retries: int = 0,
    pure: bool = False,
    idempotent: bool = False,
    sensitive: bool = False,
    max_result_tokens: int | None = None,
    concurrency: int | None = None,
    cache: Cache | None = None,
    group: str | None = None,
    builtin: str | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Let a model call this function.

    The description comes from the docstring (Google, NumPy or reST), the parameters' JSON schema from the types.
    The object still calls as the function. A first parameter of type `ToolContext` is given the call's context.

    An async function is cancelled when it outlasts its timeout. A sync function runs in a thread; when it outlasts
    its timeout the turn goes on without it, but Python cannot stop the thread, so give such functions deadlines of
    their own.

    A generator, sync or async, tells of its progress: each `Progress` or text that it yields is reported. Its result
    is what it returns, else the last value yielded that is no `Progress`.

    A value may be anything that JSON can carry, a pydantic model, a dataclass, bytes, a picture, an `Attachment`,
    or a `ToolOutput` with text and files.

    Args:
        function: The function, when used without parentheses.
        **options: See `Tool`: name, timeout, retries, pure, idempotent, sensitive, max_result_tokens, concurrency,
            cache, group, builtin.

    Returns:
        The tool, or a decorator that makes it.

    Raises:
        ToolDefinitionError: A parameter has no type or one that cannot be described; the message names both. Or
            two options contradict.

    Example:
        >>> @tool
        ... def double(number: float) -> float:
        ...     '''Double a number.
        ...
        ...     Args:
        ...         number: The number.
        ...     '''
        ...     return 2 * number
        >>> double(4)
        8
        >>> double.declaration["function"]["parameters"]["properties"]
        {'number': {'type': 'number', 'description': 'The number.'}}
        >>> anyio.run(double.invoke, {"number": "4"})
        '8.0'
    """
    return partial(describe, **options) if function is None else describe(function, **options)
