"""The same agent over many inputs in many processes: Ray's workers over one event log."""

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio

from arriero.agents.agent import Agent
from arriero.agents.map import Inputs, Item, Mapped, settle
from arriero.agents.map_progress import Progress
from arriero.agents.output import Output
from arriero.prompts.errors import ArrieroError
from arriero.stack.log import LogConflict, SessionBusy, SQLiteLog
from arriero.stack.stack import Opening, Stack
from arriero.stack.terms import InvalidLimit
from arriero.tools.owned_task import started

Run = Callable[[Any], Awaitable[Any]]
"""Runs an item on some worker."""

_CLOSING_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 0.2


class ClusterUnavailable(ArrieroError):
    """Ray is not installed, this program is not connected to a cluster, or the cluster has no room for a worker."""


class LogNotShared(ArrieroError):
    """The event log of the workers' stacks is not one that all of them see."""


class WorkersLost(ArrieroError):
    """Workers died as often as an item may be tried, or all of them are gone."""


class RemoteError(ArrieroError):
    """An error of a worker that cannot be sent as it is: its class and its text."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What the workers of a map need.

    Args:
        make_agent: Makes the agent of a worker over the worker's stack.
        open_stack: Opens the stack of a worker.
        deps: What the agent's tools find in their context.
        patience: Seconds to wait for a session that another process still leases.
    """

    make_agent: Callable[[Stack], Agent[Any, Any]]
    open_stack: Callable[[], Opening]
    deps: Any
    patience: float


def map_on_ray(
    make_agent: Callable[[Stack], Agent[Any, Output]],
    inputs: Inputs,
    *,
    open_stack: Callable[[], Opening],
    workers: int = 2,
    concurrency: int = 8,
    name: str | None = None,
    progress: Progress = True,
    deps: Any = None,
    attempts: int = 3,
    options: Mapping[str, Any] | None = None,
    ready_within: float = 120.0,
    patience: float = 120.0,
) -> Mapped[Output]:
    """Run one turn for each input on the workers of a Ray cluster, to which this program is connected.

    Each worker is a process with a stack and an agent of its own. All write one event log, where every input has its
    session. When a worker dies, others go on with its turns where they were: finished steps are not run again, and
    no turn is finished twice. What is promised about a call that was running is said of `Agent.resume`.

    Args:
        make_agent: Makes a worker's agent. Workers must be able to import it.
        inputs: What the user says, in each, as for `Agent.map`.
        open_stack: Opens a worker's stack, as in `partial(Stack.connect, URL, log="postgresql://...")`. Its log must
            be PostgreSQL, or one SQLite file where all workers are on one machine.
        workers: Number of workers.
        concurrency: How many turns each of them runs at once.
        name: Name of the work, which makes it resumable, as for `Agent.map`.
        progress: Whether to show progress, or who hears of it, as for `Agent.map`.
        deps: What the agent's tools find in their context. It is sent to the workers.
        attempts: How many workers may die over an item before it counts as failed.
        options: Options of Ray's for a worker, such as `{"num_cpus": 1, "resources": {"gpu_node": 1}}`.
        ready_within: Seconds within which the first worker must be ready.
        patience: Seconds to wait for a session that another process still leases.

    Returns:
        The items, in the order of the inputs. Iterate over it, or await it for a list. It raises `ClusterUnavailable`,
        `LogNotShared`, or what opening the stack raises.

    Raises:
        InvalidLimit: A number is not above 0.
        InvalidMessage: The inputs are one text.
    """
    for what, number in (("workers", workers), ("concurrency", concurrency), ("attempts", attempts)):
        if number < 1:
            raise InvalidLimit(f"{what} is {number!r}: give a number above 0")
    crew = Crew(make_agent, open_stack, deps, patience)
    return Mapped(
        lambda: Pool(_Worker, crew, concurrency, attempts).open(workers, dict(options or {}), ready_within),
        inputs,
        concurrency=workers * concurrency,
        name=uuid4().hex if name is None else name,
        progress=progress,
    )


class Pool:
    """The workers, as places for items: each worker has as many as it runs at once.

    Args:
        worker: What runs in a worker's process, made of `given`. `ready()` gets it ready and names the machine where
            its log is a file, `run(item)` runs an item, `close()` ends what it holds.
        given: What a worker is made of. It is sent to the workers.
        concurrency: How many items each of them runs at once.
        attempts: How many workers may die over an item before it counts as failed.
    """

    def __init__(self, worker: type, given: Any, concurrency: int, attempts: int) -> None:
        self._worker, self._given, self._concurrency, self._attempts = worker, given, concurrency, attempts
        self._hosts: set[str] = set()  # of workers whose log is a file
        self._ready: set[Any] = set()

    @asynccontextmanager
    async def open(self, workers: int, options: dict[str, Any], ready_within: float) -> AsyncIterator[Run]:
        """Start the workers, and end them. The block is given what runs an item."""
        ray = _connected()
        self._free: asyncio.Queue[Any] = asyncio.Queue()
        self._lost: asyncio.Queue[Any] = asyncio.Queue()
        self._places = workers * self._concurrency
        spread = {"scheduling_strategy": "SPREAD", **options}
        kind = ray.remote(self._worker).options(**spread, max_restarts=-1, max_task_retries=0)
        crew = [kind.remote(self._given) for _ in range(workers)]
        try:
            for worker in crew * self._concurrency:
                self._lost.put_nowait(worker)
            async with started(self._admit_all()):
                with anyio.move_on_after(ready_within) as waiting:
                    self._free.put_nowait(await self._take())
                if waiting.cancelled_caught:
                    raise ClusterUnavailable(
                        f"no worker was ready within {ready_within:g} s: see `ray status` for what the cluster has,"
                        f" and ask for less than {options or 'one CPU'}"
                    )
                yield self._run
        finally:
            await self._end(ray, crew)

    async def _run(self, item: Any) -> Any:
        """Run an item on any worker, and on another one when that dies."""
        from ray.exceptions import RayError, RayTaskError

        lost: RayError | None = None
        for _ in range(self._attempts):
            worker = await self._take()
            running = worker.run.remote(item)
            try:
                done = await running
            except RayTaskError:  # not of the process, but of what it was sent or sends
                self._free.put_nowait(worker)
                raise
            except RayError as error:
                self._ready.discard(worker)
                self._lost.put_nowait(worker)
                lost = error
            else:
                self._free.put_nowait(worker)
                return done
        raise WorkersLost(f"a worker died over input {item.position}, {self._attempts} times in all: {lost}") from lost

    async def _take(self) -> Any:
        worker = await self._free.get()
        if len(self._hosts) > 1:
            worker = LogNotShared(f"the workers are on {len(self._hosts)} machines, with a SQLite file each: {_REMEDY}")
        if isinstance(worker, Exception):
            self._free.put_nowait(worker)  # for whoever comes next
            raise worker
        return worker

    async def _admit_all(self) -> None:
        """Give out the places of new workers, and of those that Ray has started again."""
        async with anyio.create_task_group() as group:
            while True:
                group.start_soon(self._admit, await self._lost.get())

    async def _admit(self, worker: Any) -> None:
        from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

        try:
            host = await worker.ready.remote()
        except ActorUnavailableError:
            await anyio.sleep(_ASK_AGAIN_SECONDS)
            self._lost.put_nowait(worker)
        except RayError as error:
            self._places -= 1
            if not self._places:
                cause = error.cause if isinstance(error, RayTaskError) else None
                gone = WorkersLost(f"all workers are gone; the last one: {error}")
                self._free.put_nowait(cause if isinstance(cause, ArrieroError) else gone)
        else:
            self._ready.add(worker)
            self._hosts |= {host} if host else set()
            self._free.put_nowait(worker)

    async def _end(self, ray: Any, crew: list[Any]) -> None:
        """End the workers: gently, then all that is left of them."""
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            await asyncio.gather(*(worker.close.remote() for worker in self._ready), return_exceptions=True)
        for worker in crew:
            ray.kill(worker)


class _Worker:
    """What runs in a worker's process."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._agent: tuple[Agent[Any, Any], Stack] | None = None
        self._running: set[asyncio.Task[Any] | None] = set()

    async def ready(self) -> str:
        """Open the stack, once. The machine's name, where the log is a file of it."""
        async with self._opening:
            if self._agent is None:
                stack = await self._opened.enter_async_context(self._crew.open_stack())
                agent = self._crew.make_agent(stack)
                self._opened.push_async_callback(agent.aclose)
                self._agent = agent, stack
            log = self._agent[1].log
        if not isinstance(log, SQLiteLog):
            return ""
        if log.in_memory or not Path(log.path).is_absolute():
            raise LogNotShared(f"the event log {log.path} is this process's alone: {_REMEDY}")
        return socket.gethostname()

    async def run(self, item: Item[Any]) -> Item[Any]:
        """Settle an item."""
        task = asyncio.current_task()
        self._running.add(task)
        try:
            return await self._settle(item)
        except Exception as error:  # the boundary: an item that fails does not stop the others
            return replace(item, error=sendable(error))
        finally:
            self._running.discard(task)

    async def close(self) -> None:
        """Cancel what still runs, and close the stack."""
        left = [task for task in self._running if task is not None]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_CLOSING_SECONDS / 2)
        await self._opened.aclose()

    async def _settle(self, item: Item[Any]) -> Item[Any]:
        await self.ready()
        assert self._agent is not None  # noqa: S101  `ready` has opened it
        agent, stack = self._agent
        deadline = anyio.current_time() + self._crew.patience
        while True:
            try:
                return await settle(agent, stack, item, deps=self._crew.deps, named=True)
            except (SessionBusy, LogConflict):  # a worker that counts as lost is still at it
                if anyio.current_time() > deadline:
                    raise
                await anyio.sleep(_ASK_AGAIN_SECONDS)


_REMEDY = (
    "give the stack a log that all workers see, a PostgreSQL server, or the absolute path of a file where all workers"
    " are on one machine"
)


def _connected() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClusterUnavailable(f"Ray is not installed ({error}): pip install 'arriero[cluster]'") from error
    if not ray.is_initialized():  # else Ray would start a cluster, and report that to its makers
        raise ClusterUnavailable('this program is not connected to a Ray cluster: call ray.init("auto") first')
    return ray


def sendable(error: Exception) -> Exception:
    """An error as it can be sent to another process.

    Args:
        error: The error.

    Returns:
        The same, or a `RemoteError` that names its class.
    """
    remote = RemoteError(f"{type(error).__name__}: {error}")
    try:
        same = str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301  our own bytes
    except Exception:  # errors of anybody's classes
        return remote
    return error if same else remote
