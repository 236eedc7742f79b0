"""A system under test on the workers of a Ray cluster."""

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from arriero.agents.cluster import ClusterUnavailable, Pool, sendable
from arriero.evals.items import Question
from arriero.evals.systems.system import Answer, System

OpenSystem = Callable[[], AbstractAsyncContextManager[System]]
"""Opens a system in a worker's process. Workers must be able to import it."""

_PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a worker is asked: a question, or who it is."""

    position: str
    question: Question | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """What it tells: an answer, an error, or what decides its answers."""

    answer: Answer | None = None
    error: Exception | None = None
    name: str = ""
    fingerprint: Mapping[str, object] = field(default_factory=dict)


class RemoteSystem:
    """A system whose answers are made by workers. `on_ray` makes it.

    Args:
        run: Runs an item on any worker, and on another one when that dies.
        name: The system's name.
        fingerprint: All that decides its answers.
    """

    def __init__(self, run: Callable[[Any], Awaitable[Any]], name: str, fingerprint: Mapping[str, object]) -> None:
        self._run, self.name, self.fingerprint = run, name, fingerprint

    async def answer(self, question: Question, *, seed: int | None = None) -> Answer:
        """Answer one question on a worker; see `System.answer`.

        Raises:
            WorkersLost: Workers died over it as often as it may be tried.
            ArrieroError: As from the system.
        """
        told: _Told = await self._run(_Asked(question.id, question, seed))
        if told.error is not None:
            raise told.error
        if told.answer is None:
            raise ClusterUnavailable("a worker gave no answer")
        return told.answer

    async def aclose(self) -> None:
        """Nothing to release: `on_ray` ends the workers."""


@asynccontextmanager
async def on_ray(
    open_system: OpenSystem,
    *,
    workers: int = 2,
    concurrency: int = 4,
    attempts: int = 3,
    options: Mapping[str, Any] | None = None,
    ready_within: float = 120.0,
) -> AsyncIterator[System]:
    """A system on the workers of a Ray cluster, to which this program is connected.

    Each worker is a process with a system of its own. `run_system` puts questions to it as to any other, and alone
    writes the run's folder, so nothing is written twice. A question whose worker dies is asked on another one.

    Args:
        open_system: Opens a worker's system, as in `partial(opened, url)` with a function of an importable module.
        workers: Number of workers.
        concurrency: How many questions each of them answers at once; give `run_system` the product.
        attempts: How many workers may die over a question before it counts as failed.
        options: Options of Ray's for a worker, such as `{"num_gpus": 1}`.
        ready_within: Seconds within which the first worker must be ready.

    Yields:
        The system.

    Raises:
        ClusterUnavailable: Ray is not installed, nothing is connected, or there is no room for a worker.
        WorkersLost: All workers are gone.
        ArrieroError: As from opening the system.
    """
    pool = Pool(_SystemWorker, open_system, concurrency, attempts)
    async with pool.open(workers, dict(options or {}), ready_within) as run:
        told: _Told = await run(_Asked("none"))
        if told.error is not None:
            raise told.error
        yield RemoteSystem(run, told.name, told.fingerprint)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this program to a Ray cluster while the block runs. Ray reports to nobody, and no cluster is started.

    Args:
        address: The cluster, such as `10.0.0.1:6379`; `auto` for the one that this machine belongs to.

    Raises:
        ClusterUnavailable: Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ClusterUnavailable(f"Ray is not installed ({error}): pip install 'arriero[cluster]'") from error
    if ray.is_initialized():
        yield
        return
    try:
        _probe(address)
        ray.init(address=address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterUnavailable(
            f"there is no Ray cluster at {address!r} ({error}): start one with `ray start`"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Find out within seconds that nothing is there: Ray itself takes two minutes."""
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()


class _SystemWorker:
    """What runs in a worker's process."""

    def __init__(self, open_system: OpenSystem) -> None:
        import asyncio

        self._open = open_system
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._system: System | None = None

    async def ready(self) -> str:
        """Open the system, once. It has no log that all must see."""
        async with self._opening:
            if self._system is None:
                self._system = await self._opened.enter_async_context(self._open())
        return ""

    async def run(self, asked: _Asked) -> _Told:
        """Answer a question, or tell who it is."""
        await self.ready()
        system = self._system
        assert system is not None  # noqa: S101  `ready` has opened it
        if asked.question is None:
            return _Told(name=system.name, fingerprint=dict(system.fingerprint))
        try:
            return _Told(answer=await system.answer(asked.question, seed=asked.seed))
        except Exception as error:  # the boundary: it is raised where the question was put
            return _Told(error=sendable(error))

    async def close(self) -> None:
        """Close the system."""
        await self._opened.aclose()
