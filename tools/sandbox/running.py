"""A worker that lives: its channel, its output, its limits."""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup, TaskStatus

from arriero.tools.sandbox.channel import Channel, ChannelBroken, ChannelClosed
from arriero.tools.sandbox.errors import SandboxError, SandboxUnavailable, WorkerDied
from arriero.tools.sandbox.execution import Execution, Reason
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.output import Kept
from arriero.tools.sandbox.reply import Reply, finish, read_reply, show_path
from arriero.tools.sandbox.tier import Launched, Tier
from arriero.tools.sandbox.watcher import (
    count_tasks,
    memory_of,
    process_tree,
    processor_time,
    resident_memory,
    socket_memory,
)

_START = 15.0
"""Seconds until a worker must be ready; a loaded machine is slow."""
_WATCH = 0.15
_IDLE_LOOKS = 7
"""Every so many looks, an idle worker's processor time is read."""
_INTERRUPT = 0.5
_ENDING = 0.3
_DRAIN = 1.0
_GONE = 2.0
_EXCHANGE = 30.0


class Running:
    """A worker that is ready, for one session. Make it with `start`.

    Args:
        launched: The worker.
        limits: What it may use.
    """

    def __init__(self, launched: Launched, limits: Limits) -> None:
        self.launched = launched
        self.killed_for: Reason | None = None
        self._limits = limits
        self._channel = Channel(launched, limits.frame)
        self._outputs = (Kept(launched.stdout, limits.output), Kept(launched.stderr, limits.output))
        self._scope = anyio.CancelScope()
        self._stopped: anyio.Event | None = None
        self._inside = False  # until it is, its network is the machine's
        self._calls = 0
        self._idle = True  # no call runs
        self._inner: int | None = None  # pidfd of the process that the outermost started

    @classmethod
    async def start(cls, tier: Tier, limits: Limits, python: str | None, tasks: TaskGroup) -> "Running":
        """Start a worker and wait until it is ready.

        Args:
            tier: How to confine it.
            limits: What it may use.
            python: The interpreter; None for the server's own.
            tasks: Where its output is read and its memory watched, until it is ended.

        Returns:
            The worker.

        Raises:
            SandboxUnavailable: It does not start; the message has what it printed.
        """
        running = cls(await tier.launch(limits, python), limits)
        for kept in running._outputs:
            kept.begin(secrets.token_hex(16).encode())  # it never comes; what is printed until the start is kept
        try:
            await tasks.start(running._look_after)
            with anyio.fail_after(_START):
                ready, _ = await running._channel.receive()
            if ready != {"ready": True}:
                raise ChannelBroken("the worker's first message is another than that it is ready")
            running._inside = True
            running._goes_first()
            if running._inner is None:
                running._hold_inner()
            for kept in running._outputs:
                kept.pause()
        except (SandboxError, TimeoutError) as error:
            with anyio.move_on_after(_DRAIN):  # what it printed says why
                await running._outputs[1].wait()
            with anyio.CancelScope(shield=True):
                await running.end()
            said = running._outputs[1].text(2_000)[0].strip() or str(error) or f"nothing heard within {_START:g} s"
            raise SandboxUnavailable(f"a worker of tier {tier.name!r} did not start: {said}") from error
        except BaseException:
            with anyio.CancelScope(shield=True):
                await running.end()
            raise
        return running

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self.killed_for is None and self.launched.process.poll() is None and not self._channel.hung_up

    def check_quiet(self) -> None:
        """Kill it if it says something unasked: each answer from now on would be taken for that to the next request."""
        if self._channel.has_unread:
            self.kill("channel")

    def kill(self, reason: Reason) -> None:
        """Kill it.

        Args:
            reason: Why; the first reason stays.
        """
        self.killed_for = self.killed_for or reason
        self._kill()

    def _kill(self) -> None:
        if self._inner is None and self.launched.process.poll() is None:
            self._hold_inner()  # it was still starting
        self.launched.kill()
        if self._inner is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._inner, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, and wait until all of it is gone."""
        self._kill()
        self._scope.cancel()
        if self._stopped is not None:
            await self._stopped.wait()
        await self.launched.end()
        if self._inner is not None:  # in a namespace, the first process ends after all others
            with anyio.move_on_after(_GONE):
                await anyio.wait_readable(self._inner)
            os.close(self._inner)
            self._inner = None

    def _hold_inner(self) -> None:
        tree = process_tree(self.launched.pid)
        if self.launched.depth and len(tree) > 1:
            with contextlib.suppress(OSError, AttributeError):  # an old kernel, or another system
                self._inner = os.pidfd_open(tree[1])

    def _goes_first(self) -> None:
        """When the machine runs out of memory, the kernel is to end this before the server (proc(5), oom_score_adj)."""
        for process in process_tree(self.launched.pid)[1:] or [self.launched.pid]:
            with contextlib.suppress(OSError), open(f"/proc/{process}/oom_score_adj", "w") as file:
                file.write("1000")

    async def execute(self, code: str, wall: float) -> Execution:
        """Run code. Afterwards the worker may not be `alive`, and is then to be ended.

        Args:
            code: The code.
            wall: Seconds of wall time.

        Returns:
            What it gave.
        """
        body = code.encode("utf-8", "replace")
        if len(body) > self._limits.frame - 1024:
            return Execution(status="failed", error=f"the code has {len(body)} bytes, more than the sandbox takes")
        nonce = secrets.token_hex(16)
        for kept in self._outputs:
            kept.begin(nonce.encode())
        started = time.monotonic()
        reply = None
        self._idle, self._calls = False, self._calls + 1
        try:
            with anyio.move_on_after(wall) as limit:
                await self._channel.send({"op": "run", "nonce": nonce}, body)
                reply = await read_reply(self._channel, self._limits)
            if limit.cancelled_caught:
                reply = await self._interrupt()
        except ChannelClosed:
            await self._ended()
        except SandboxError:
            self.kill("channel")
        with anyio.move_on_after(_DRAIN):
            for kept in self._outputs:  # the nonce, or the end
                await kept.wait()
        duration = time.monotonic() - started
        late = limit.cancelled_caught
        execution = finish(reply, self.killed_for, late, self._ending(wall), self._outputs, self._limits, duration)
        for kept in self._outputs:
            kept.pause()
        self._idle = True
        return execution

    async def exchange(self, head: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Ask the worker for something else than a call.

        Args:
            head: The request.
            body: Its bytes.

        Returns:
            The answer.

        Raises:
            SandboxError: The worker refused; the message says why.
            WorkerDied: It did not answer as it should, and was killed.
        """
        try:
            with anyio.fail_after(_EXCHANGE):
                await self._channel.send(head, body)
                answer, data = await self._channel.receive()
        except (ChannelBroken, ChannelClosed, TimeoutError) as error:
            self.kill("channel")
            raise WorkerDied("the session's worker ended") from error
        except BaseException:  # an answer may be on its way
            self.kill("cancelled")
            raise
        if "failed" in answer:
            raise SandboxError(show_path(str(answer["failed"])[:200]))
        return answer, data

    async def _ended(self) -> None:
        """The worker hung up. It is most likely ending; how it ends is worth a moment."""
        try:
            code = await anyio.to_thread.run_sync(lambda: self.launched.process.wait(_ENDING))
        except subprocess.TimeoutExpired:
            self.kill("exit")
        else:
            self.kill("cpu" if _signal(code) == signal.SIGXCPU else self.launched.statuses.get(code, "exit"))

    async def _interrupt(self) -> Reply | None:
        """Past the time limit: a KeyboardInterrupt, and the state is kept if nothing else of the call is left."""
        tree = process_tree(self.launched.pid)
        if len(tree) == self.launched.depth + 1:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(tree[-1], signal.SIGINT)
            with anyio.move_on_after(_INTERRUPT):
                reply = await read_reply(self._channel, self._limits)
                tree = process_tree(self.launched.pid)
                if len(tree) == self.launched.depth + 1 and count_tasks(tree[-1]) == 1:
                    return reply
        self.kill("time")
        return None

    def _ending(self, wall: float) -> str:
        match self.killed_for:
            case None:
                return f"stopped: it ran longer than {wall:g} s"
            case "time":
                return f"killed: it ran longer than {wall:g} s"
            case "memory":
                return f"killed: its processes used more than {self._limits.memory >> 20} MiB of memory together"
            case "disk":
                return f"killed: it wrote more than {self._limits.workspace >> 20} MiB, or too many files and folders"
            case "cpu":
                return f"killed: it used more than {self._limits.cpu} s of processor time"
            case "exit":
                return f"its process ended ({_status(self.launched.process.poll())})"
            case _:
                return "killed: its process broke the sandbox's protocol"

    async def _look_after(self, *, task_status: TaskStatus[None]) -> None:
        self._stopped = anyio.Event()
        task_status.started()
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    for kept in self._outputs:
                        group.start_soon(kept.drain)
                    group.start_soon(self._watch)
        finally:
            self._stopped.set()

    async def _watch(self) -> None:
        looks, seen, unasked = 0, 0.0, -1
        while self.alive:
            tree = process_tree(self.launched.pid)
            in_sockets = socket_memory(tree, own_network=self.launched.own_network) if self._inside else 0
            most = self._limits.memory - in_sockets
            if resident_memory(tree) > most and await anyio.to_thread.run_sync(memory_of, tree) > most:
                self.kill("memory")
            if self._idle and looks % _IDLE_LOOKS == 0:
                used = processor_time(tree)
                if unasked != self._calls:  # the first look since a call
                    seen, unasked = used, self._calls
                elif used - seen > self._limits.cpu:
                    self.kill("cpu")
            looks += 1
            await anyio.sleep(_WATCH)


def _status(code: int | None) -> str:
    if code is None:
        return "its status is not known"
    number = _signal(code)
    return f"exit status {code}" if number is None else number.name


def _signal(code: int) -> signal.Signals | None:
    """The signal that ended a process; bwrap ends with the status that a shell would give (bash(1), EXIT STATUS)."""
    try:
        return signal.Signals(-code if code < 0 else code - 128)
    except ValueError:
        return None
