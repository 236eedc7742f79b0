"""Sandbox sessions by name: kept while they are used, few enough, closed when nobody comes back."""

from collections import OrderedDict
from dataclasses import dataclass, field
from types import TracebackType

import anyio

from arriero.tools.sandbox.errors import SandboxError
from arriero.tools.sandbox.pool import Sandbox
from arriero.tools.sandbox.session import SandboxSession

_REMEMBERED = 1_000


@dataclass(slots=True)
class _Held:
    session: SandboxSession
    users: int = 0
    last_used: float = field(default_factory=anyio.current_time)


class Lease:
    """The use of a session for one call; an async context manager.

    Args:
        sessions: Where it is from.
        name: The session's name.
    """

    def __init__(self, sessions: "NamedSessions", name: str) -> None:
        self._sessions = sessions
        self._name = name
        self._held: _Held | None = None

    async def __aenter__(self) -> SandboxSession:
        self._held = await self._sessions.take(self._name)
        return self._held.session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            with anyio.CancelScope(shield=True):
                await self._sessions.give_back(self._name, self._held)


class NamedSessions:
    """Sessions of a sandbox by name.

    Args:
        sandbox: Opens them; entered already.
        idle: Seconds after which an unused one is closed.
        most: How many to keep; then the one that was unused for longest is closed.
    """

    def __init__(self, sandbox: Sandbox, *, idle: float, most: int) -> None:
        self._sandbox = sandbox
        self._idle = idle
        self._most = most
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._opening = anyio.Lock()

    def use(self, name: str) -> Lease:
        """Use a session, an earlier one if there is one of that name.

        Args:
            name: The name; empty for one that is closed after this use.

        Returns:
            A context manager that gives the session.
        """
        return Lease(self, name)

    async def take(self, name: str) -> _Held:
        """See `use`."""
        held = self._held.get(name) if name else None
        if held is None:
            held = await self._open(name)
        held.users += 1
        return held

    async def _open(self, name: str) -> _Held:
        async with self._opening:
            if name in self._held:  # opened for another call while this one waited
                return self._held[name]
            await self._make_room()
            held = _Held(await self._sandbox.open())
            if name in self._closed:
                del self._closed[name]
                held.session.forget()
            self._held[name or f"\0{id(held)}"] = held
            return held

    async def give_back(self, name: str, held: _Held) -> None:
        """End a use."""
        held.users -= 1
        held.last_used = anyio.current_time()
        if name:
            self._held.move_to_end(name)
        else:
            del self._held[f"\0{id(held)}"]
            await held.session.aclose()

    async def close_idle(self) -> None:
        """Close what has not been used for too long, for ever."""
        while True:
            await anyio.sleep(min(self._idle, 5.0))
            now = anyio.current_time()
            for name, held in [*self._held.items()]:
                # while the one before was closed, this may have been, too, and another one opened under its name
                if self._held.get(name) is held and not held.users and now - held.last_used > self._idle:
                    await self._close(name)

    async def _make_room(self) -> None:
        while len(self._held) >= self._most:
            unused = next((name for name, held in self._held.items() if not held.users), None)
            if unused is None:
                raise SandboxError(f"{self._most} sessions of the code interpreter run code already; try again later")
            await self._close(unused)

    async def _close(self, name: str) -> None:
        held = self._held.pop(name)
        self._closed[name] = None
        while len(self._closed) > _REMEMBERED:
            self._closed.popitem(last=False)
        await held.session.aclose()
