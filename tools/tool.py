"""A function that a model can call."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, overload

import anyio
import anyio.to_thread

from arriero.prompts.messages import JSON
from arriero.tools.context import ToolContext
from arriero.tools.docstrings import read_docstring
from arriero.tools.errors import ToolDefinitionError, ToolTimeout
from arriero.tools.schema import check_arguments, object_schema, read_parameters
from arriero.tools.values import to_json

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
        timeout: Seconds after which a call is given up.
        pure: The same arguments give the same value, and nothing else happens.
        idempotent: Calling it again after an unfinished call does no harm.
        sensitive: A person should approve each call.
        builtin: Name under which the Llama format itself knows the tool, where it does; it is not declared then.
        source: Where the text in its results comes from, where it is somebody else's.
        close: Releases what the tool holds.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    handler: Callable[[Mapping[str, Any], ToolContext], Awaitable[object]]
    timeout: float = 30.0
    pure: bool = False
    idempotent: bool = False
    sensitive: bool = False
    builtin: str | None = None
    source: str | None = None
    close: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ToolDefinitionError(
                f"tool name {self.name!r}: use 1 to 64 letters, digits, '_' and '-'; give one with @tool(name=...)"
            )
        if not isinstance(self.timeout, int | float) or not self.timeout > 0:
            raise ToolDefinitionError(
                f"tool {self.name!r}: timeout is {self.timeout!r}; use a number of seconds above 0"
            )

    @property
    def declaration(self) -> dict[str, Any]:
        """The tool in the OpenAI shape, as prompts declare it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    async def invoke(self, arguments: Mapping[str, Any], context: ToolContext | None = None) -> JSON:
        """Run the tool.

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
            return to_json(await self.handler(arguments, context or ToolContext()))
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


def describe(
    function: Callable[P, R],
    *,
    name: str | None = None,
    timeout: float = 30.0,
    pure: bool = False,
    idempotent: bool = False,
    sensitive: bool = False,
    builtin: str | None = None,
    source: str | None = None,
    close: Callable[[], Awaitable[None]] | None = None,
) -> FunctionTool[P, R]:
    """Make a tool of a function, its types and its docstring; `tool` is the same as a decorator.

    Args:
        function: Sync (run in a worker thread) or async.
        name: Another name than the function's.
        timeout: See `Tool`.
        pure: See `Tool`.
        idempotent: See `Tool`.
        sensitive: See `Tool`.
        builtin: See `Tool`.
        source: See `Tool`.
        close: See `Tool`.

    Returns:
        The tool.

    Raises:
        ToolDefinitionError: A parameter's type cannot be described, or the name is not usable.
    """
    if not callable(function):
        raise ToolDefinitionError(f"{function!r} is not a function: put @tool on a function")
    name = name or getattr(function, "__name__", "") or type(function).__name__
    summary, descriptions = read_docstring(function)
    takes_context, parameters = read_parameters(function, name, descriptions)
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    async def handler(arguments: Mapping[str, Any], context: ToolContext) -> object:
        positional, keyword = check_arguments(parameters, name, arguments)
        if takes_context:
            positional.insert(0, context)
        call = partial(function, *positional, **keyword)
        result = call() if is_async else await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
        return await result if inspect.isawaitable(result) else result

    return FunctionTool(
        name=name,
        description=summary,
        parameters=object_schema(parameters),
        handler=handler,
        timeout=timeout,
        pure=pure,
        idempotent=idempotent,
        sensitive=sensitive,
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
    pure: bool = False,
    idempotent: bool = False,
    sensitive: bool = False,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    timeout: float = 30.0,
    pure: bool = False,
    idempotent: bool = False,
    sensitive: bool = False,
) -> Any:
    """Let a model call this function.

    The description comes from the docstring (Google, NumPy or reST), the parameters' JSON schema from the types.
    The object still calls as the function. A sync function runs in a worker thread; when it outlasts its timeout
    the turn goes on without it, but Python cannot stop the thread, so give such functions deadlines of their own.

    Args:
        function: The function, when used without parentheses.
        name: Another name than the function's.
        timeout: Seconds after which a call is given up.
        pure: The same arguments give the same value, and nothing else happens.
        idempotent: Calling it again after an unfinished call does no harm.
        sensitive: A person should approve each call.

    Returns:
        The tool, or a decorator that makes it.

    Raises:
        ToolDefinitionError: A parameter has no type or one that cannot be described; the message names both.

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
    if function is None:
        return partial(describe, name=name, timeout=timeout, pure=pure, idempotent=idempotent, sensitive=sensitive)
    return describe(function)
