"""A connection to an MCP server that is made again when it is lost."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from arriero.tools.errors import ToolError
from arriero.tools.mcp.declared import clean
from arriero.tools.mcp.fault import (
    Interrupted,
    McpConnectionError,
    NotSent,
    SessionGone,
    explain,
    quiet_sdk,
    root_cause,
)
from arriero.tools.mcp.policy import McpPolicy
from arriero.tools.mcp.questions import elicitation_callback, sampling_callback
from arriero.tools.mcp.routes import Attempt, Route

if TYPE_CHECKING:
    from mcp import Client
    from mcp.client.session import IncomingMessage

T = TypeVar("T")

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
_CLOSING = 6.0
_MAX_ERROR = 2_000


@dataclass(slots=True)
class _Live:
    """A client that finished its handshake, until `lost`."""

    client: "Client"
    attempt: Attempt
    lost: anyio.Event = field(default_factory=anyio.Event)
    closed: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class _Outcome(Generic[T]):
    values: list[T] = field(default_factory=list)
    error: Exception | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


class Channel:
    """Requests to one server. The SDK's client lives in a task of its own, so that any task may use and lose it.

    Args:
        name: The server's name, for errors.
        route: The way to it.
        policy: Limits and who answers it.
        on_tools_changed: Called when its list of tools may have changed.
    """

    def __init__(self, name: str, route: Route, policy: McpPolicy, on_tools_changed: Callable[[], None]) -> None:
        self._name = name
        self._route = route
        self._policy = policy
        self._on_tools_changed = on_tools_changed
        self._group: TaskGroup | None = None
        self._connecting = anyio.Lock()
        self._live: _Live | None = None
        self._attempt: Attempt | None = None

    @property
    def stderr(self) -> str:
        """What the server wrote to its standard error last."""
        return self._attempt.stderr() if self._attempt else ""

    async def open(self) -> None:
        """Connect.

        Raises:
            McpConnectionError: The server cannot be reached or does not shake hands.
        """
        quiet_sdk()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        try:
            await self._connect()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Say goodbye, then end everything that is left."""
        group, self._group = self._group, None
        if group is None:
            return
        if self._live is not None:
            self._live.lost.set()
            with anyio.move_on_after(_CLOSING, shield=True):
                await self._live.closed.wait()
        group.cancel_scope.cancel()
        await group.__aexit__(None, None, None)  # without the error, which it would wrap into a group

    async def ask(self, work: "Callable[[Client], Awaitable[T]]", *, repeatable: bool) -> T:
        """Do something with a connected client, again if need be.

        What did not reach the server is tried again; what may have reached it only if it is repeatable.

        Args:
            work: Uses the client.
            repeatable: Whether doing it twice does no harm.

        Returns:
            What the work gives.

        Raises:
            McpConnectionError: The server cannot be reached.
            ToolError: It answered with an error, or against the protocol, or the connection was lost on the way.
        """
        wait = _FIRST_WAIT
        for left in range(self._policy.reconnects, -1, -1):
            try:
                return await self._run(await self._connect(), work)
            except (NotSent, McpConnectionError) as error:
                if left == 0 or self._group is None:
                    raise self._unreachable(error) from error
            except Interrupted as error:
                if not repeatable:
                    raise ToolError(
                        f"{self._name}: the connection was lost during the call ({explain(error)}). It may or may not "
                        "have been carried out: find out before repeating it"
                    ) from error
                if left == 0 or self._group is None:
                    raise self._unreachable(error) from error
            await anyio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - spreads clients, hides nothing
            wait = min(2 * wait, _LONGEST_WAIT)
        raise AssertionError("unreachable")

    def _unreachable(self, error: Exception) -> McpConnectionError:
        if isinstance(error, McpConnectionError):
            return error
        return McpConnectionError(f"MCP server {self._name!r} cannot be reached: {explain(error)}")

    async def _run(self, live: _Live, work: "Callable[[Client], Awaitable[T]]") -> T:
        """Work in a task of its own: a caller that gives up need not wait until the server has been told."""
        from mcp.shared.exceptions import MCPError

        outcome: _Outcome[T] = _Outcome()
        scope = anyio.CancelScope()

        async def run() -> None:
            try:
                with scope:
                    outcome.values.append(await work(live.client))
            except Exception as error:  # raised again where it is waited for
                outcome.error = error
            finally:
                outcome.done.set()

        if self._group is None:
            raise self._closed()
        self._group.start_soon(run)
        try:
            await outcome.done.wait()
        finally:
            scope.cancel()
        if outcome.values:
            return outcome.values[0]
        try:
            if isinstance(outcome.error, MCPError):
                live.attempt.raise_fault(outcome.error)
        except SessionGone:
            live.lost.set()
            raise
        if outcome.error is None:
            raise Interrupted("the connection was closed")
        raise self._refused(outcome.error) from outcome.error

    def _refused(self, error: Exception) -> ToolError:
        from mcp.shared.exceptions import MCPError
        from pydantic import ValidationError

        if isinstance(error, ToolError):
            return error
        if isinstance(error, MCPError):
            return ToolError(f"{self._name}: {clean(error.message, _MAX_ERROR) or 'error without a text'}")
        if isinstance(error, ValidationError):
            return ToolError(f"{self._name}: the server answered against the protocol")
        return ToolError(f"{self._name}: {explain(error)}")

    async def _connect(self) -> _Live:
        async with self._connecting:
            if self._group is None:
                raise self._closed()
            if self._live is not None:
                if not self._live.lost.is_set():
                    return self._live
                with anyio.move_on_after(_CLOSING):
                    await self._live.closed.wait()
            attempt = self._attempt = self._route.attempt(self._policy)
            try:
                with anyio.fail_after(self._policy.start_timeout):
                    self._live = await self._group.start(self._hold, attempt)
            except TimeoutError as error:
                raise McpConnectionError(
                    f"MCP server {self._name!r} did not shake hands within {self._policy.start_timeout:g} s: "
                    f"{attempt.state() or 'no answer'}"
                ) from error
            return self._live

    def _closed(self) -> McpConnectionError:
        return McpConnectionError(f"MCP server {self._name!r} is not connected: use it inside of `async with`")

    async def _hold(self, attempt: Attempt, *, task_status: TaskStatus[_Live]) -> None:
        """Keep a client open until it is lost or the channel closes."""
        live: _Live | None = None
        try:
            async with self._client(attempt) as client:
                live = _Live(client, attempt)
                self._on_tools_changed()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch, client)
                    tasks.start_soon(_follow, attempt.ended, live.lost)
                    task_status.started(live)
                    await live.lost.wait()
                    tasks.cancel_scope.cancel()
        except Exception as error:  # told to whoever waits for the start; a client that was lost needs no epitaph
            if live is None:
                raise self._failed(attempt, error) from error
        finally:
            if live is not None:
                live.lost.set()
                live.closed.set()

    def _failed(self, attempt: Attempt, error: Exception) -> McpConnectionError:
        from mcp.shared.exceptions import MCPError

        why, cause = explain(error), root_cause(error)
        try:
            if isinstance(cause, MCPError):
                attempt.raise_fault(cause)
        except (NotSent, Interrupted) as fault:
            why = str(fault) or why
        return McpConnectionError(f"MCP server {self._name!r} cannot be used: {clean(why, _MAX_ERROR)}")

    def _client(self, attempt: Attempt) -> "Client":
        import mcp_types
        from mcp import Client

        from arriero import __version__

        async def hear(message: "IncomingMessage") -> None:
            if isinstance(message, mcp_types.ToolListChangedNotification):
                self._on_tools_changed()

        return Client(
            attempt.streams,
            mode="legacy" if self._policy.legacy else "auto",
            cache=None,  # the list of tools is kept by its owner, who knows what to do when it changes
            client_info=mcp_types.Implementation(name="arriero", version=__version__),
            message_handler=hear,
            elicitation_callback=elicitation_callback(self._name, self._policy),
            sampling_callback=sampling_callback(self._name, self._policy),
        )

    async def _watch(self, client: "Client") -> None:
        """Hear of changed tools from servers of the protocol's 2026 form, which tell only who asks."""
        from mcp.client.subscriptions import SubscriptionLost
        from mcp.shared.exceptions import MCPError
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        tools = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (tools and tools.list_changed):
            return
        wait = 1.0
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    self._on_tools_changed()  # what changed before the server listened to us
                    async for _ in changes:
                        wait = 1.0
                        self._on_tools_changed()
            except (MCPError, SubscriptionLost):
                self._on_tools_changed()
            await anyio.sleep(wait)
            wait = min(2 * wait, 60.0)


async def _follow(ended: anyio.Event | None, lost: anyio.Event) -> None:
    if ended is not None:
        await ended.wait()
        lost.set()
