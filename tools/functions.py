"""How a Python function is run as a tool: async or in a thread, with its generators drained."""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing, closing
from typing import Any

from arriero.tools.context import Progress, ToolContext
from arriero.tools.docstrings import original
from arriero.tools.schema import Parameters, check_arguments
from arriero.tools.threads import Threads
from arriero.tools.values import to_output

Handler = Callable[[Mapping[str, Any], ToolContext], Awaitable[object]]


def handler_of(function: Callable[..., Any], name: str, parameters: Parameters) -> Handler:
    """What runs a function with a model's arguments.

    Args:
        function: Sync or async, a generator or not.
        name: Name of the tool, for its threads.
        parameters: The function's parameters.

    Returns:
        The handler of the tool. A generator's values are its progress while it runs (`Progress`, or text), and its
        result is what it returns, else the last value that is no `Progress`.
    """

    def bound(arguments: Mapping[str, Any], context: ToolContext) -> Callable[[ToolContext], Any]:
        positional, keyword = check_arguments(parameters, arguments)
        if not parameters.takes_context:
            return lambda _: function(*positional, **keyword)
        return lambda context: function(context, *positional, **keyword)

    async def run_async(arguments: Mapping[str, Any], context: ToolContext) -> object:
        value = bound(arguments, context)(context)
        if isinstance(value, AsyncGenerator):
            return await _drain_async(value, context)
        return await value if inspect.isawaitable(value) else value

    threads = Threads(name)

    async def run_sync(arguments: Mapping[str, Any], context: ToolContext) -> object:
        call = bound(arguments, context)
        value = await threads.run(lambda inner: _finish(call(inner), inner), context)
        if isinstance(value, AsyncGenerator):
            return await _drain_async(value, context)
        return await value if inspect.isawaitable(value) else value

    return run_async if _is_async(function) else run_sync


def _is_async(function: Callable[..., Any]) -> bool:
    function = original(function)
    return any(
        inspect.iscoroutinefunction(form) or inspect.isasyncgenfunction(form)
        for form in (function, type(function).__call__)
    )


def _finish(value: Any, context: ToolContext) -> Any:
    """What is left to do in the thread: a long generator, a large picture."""
    if isinstance(value, Generator):
        value = _drain(value, context)
    return value if inspect.isawaitable(value) or isinstance(value, AsyncGenerator) else to_output(value)


def _drain(values: Generator[Any, None, Any], context: ToolContext) -> Any:
    last: Any = None
    with closing(values):
        while True:
            try:
                value = next(values)
            except StopIteration as end:
                return last if end.value is None else end.value
            last = _heard(value, last, context)


async def _drain_async(values: AsyncGenerator[Any, None], context: ToolContext) -> Any:
    last: Any = None
    async with aclosing(values):
        async for value in values:
            last = _heard(value, last, context)
    return last


def _heard(value: Any, last: Any, context: ToolContext) -> Any:
    """Report a value that a generator gave; gives the one that is the result so far."""
    if isinstance(value, Progress):
        context.report(value)
        return last
    context.report(Progress(value if isinstance(value, str) else ""))  # also how a given-up thread notices
    return value
