"""Ways to confine a worker, and how one is started."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from arriero.tools.sandbox.execution import Reason
from arriero.tools.sandbox.limits import Limits

_HERE = Path(__file__).resolve().parent
# The worker's program and its settings come on a descriptor: none of it shows in a process list, and the folder it
# is kept in need not exist inside.
_BOOTSTRAP = (
    "import builtins, json\n"
    "with open({fd}, 'rb') as file: given = json.load(file)\n"
    "for name, source in given['stages']:\n"
    "    own = dict(vars(builtins))\n"  # what the user's code does to them does not reach the worker's
    "    exec(compile(source, name, 'exec'), {{'__name__': name, '__builtins__': own, 'CONFIG': given['config']}})"
)
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "USER": "user",  # what libraries ask for before they look into /etc/passwd
    "LOGNAME": "user",
    "MPLBACKEND": "Agg",
    # each thread of a numeric library takes address space and counts as a task
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A worker that was started. Who has it must `end` it.

    Args:
        process: The outermost process.
        control: The server's end of the control socket, non-blocking.
        stdout: Read end of the worker's standard output, non-blocking.
        stderr: Likewise its standard error.
        depth: Processes between the outermost and the worker itself, the outermost included.
        own_network: Whether it has a network namespace of its own.
        statuses: Exit statuses of the outermost process that tell why it ended the session.
        scratch: A host folder that goes with the worker, for tiers that have no file system of their own.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket
    stdout: int
    stderr: int
    depth: int = 0
    own_network: bool = False
    statuses: Mapping[int, Reason] = field(default_factory=dict)
    scratch: Path | None = None

    @property
    def pid(self) -> int:
        """Host id of the outermost process."""
        return self.process.pid

    def kill(self) -> None:
        """Kill the worker and its group, at once."""
        if self.process.poll() is None:  # not reaped yet, so the id is still its own
            for end in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    end(self.process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, wait until it is gone, and release what it held."""
        self.kill()
        await anyio.to_thread.run_sync(self.process.wait)
        self.control.close()
        for descriptor in (self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if self.scratch is not None:
            import shutil

            await anyio.to_thread.run_sync(lambda: shutil.rmtree(self.scratch or "", ignore_errors=True))


class Tier(Protocol):
    """A way to confine workers."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    async def launch(self, limits: Limits, python: str | None) -> Launched:
        """Start a worker.

        Args:
            limits: What it may use.
            python: The interpreter; None for the server's own.

        Returns:
            The worker, which answers on its control socket when it is ready.

        Raises:
            SandboxUnavailable: It cannot be started on this machine.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the worker's program; the parts run one after another, each with the global `CONFIG`.

    Args:
        name: What tracebacks call it.
        source: Python.
    """

    name: str
    source: str


def stage(file: str) -> Stage:
    """A stage kept beside this file.

    Args:
        file: Its file name.

    Returns:
        The stage.
    """
    return Stage(f"<{file.removesuffix('.py')}>", (_HERE / file).read_text("utf-8"))


@dataclass(slots=True)
class _Pipes:
    """Descriptors of a worker: ours, and its own, which are closed here once it has them."""

    control: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    stdout: tuple[int, int] = field(default_factory=os.pipe)
    stderr: tuple[int, int] = field(default_factory=os.pipe)

    def close_worker_ends(self) -> None:
        self.control[1].close()
        os.close(self.stdout[1])
        os.close(self.stderr[1])

    def close_own_ends(self) -> None:
        self.control[0].close()
        os.close(self.stdout[0])
        os.close(self.stderr[0])


def spawn(
    prefix: Sequence[str],
    python: str | None,
    stages: Sequence[Stage],
    config: Mapping[str, Any],
    *,
    limits: Limits,
    environment: Mapping[str, str],
    depth: int = 0,
    own_network: bool = False,
    scratch: Path | None = None,
    loop: str = "worker.py",
    descriptors: Sequence[int] = (),
) -> Launched:
    """Start a worker process. Its parent is the thread that calls, which must live as long: see prctl(2), PDEATHSIG.

    Args:
        prefix: Command that runs the interpreter, with its arguments; may be empty.
        python: The interpreter; None for the server's own.
        stages: What runs before the worker's loop, which is added here.
        config: Settings for the stages and for the loop: `workspace` is its folder.
        limits: What it may use.
        environment: All of the environment of the outermost process.
        depth: See `Launched`.
        own_network: See `Launched`.
        scratch: See `Launched`.
        loop: File of the worker's loop, beside this one.
        descriptors: What the command needs besides.

    Returns:
        The worker.

    Raises:
        OSError: The program cannot be started.
    """
    pipes = _Pipes()
    control = pipes.control[1].fileno()
    settings = {**config, "control": control, "frame": limits.frame, "files": limits.files, "figures": limits.figures}
    settings |= {"figure_bytes": limits.figure_bytes, "cpu": limits.cpu}
    given = {"stages": [[part.name, part.source] for part in (*stages, stage(loop))], "config": settings}
    try:
        program = open_data(json.dumps(given).encode())
    except BaseException:
        pipes.close_own_ends()
        pipes.close_worker_ends()
        raise
    try:
        process = subprocess.Popen(  # noqa: S603 - the tier's own command
            [*prefix, python or sys.executable, "-I", "-B", "-X", "utf8", "-c", _BOOTSTRAP.format(fd=program)],
            stdin=subprocess.DEVNULL,
            stdout=pipes.stdout[1],
            stderr=pipes.stderr[1],
            pass_fds=(control, program, *descriptors),
            env=dict(environment),
            cwd=scratch or "/",
            start_new_session=True,
        )
    except BaseException:
        pipes.close_own_ends()
        raise
    finally:
        os.close(program)
        pipes.close_worker_ends()
    pipes.control[0].setblocking(False)
    for descriptor in (pipes.stdout[0], pipes.stderr[0]):
        os.set_blocking(descriptor, False)
    return Launched(
        process=process,
        control=pipes.control[0],
        stdout=pipes.stdout[0],
        stderr=pipes.stderr[0],
        depth=depth,
        own_network=own_network,
        scratch=scratch,
    )


def open_data(data: bytes) -> int:
    """A file without a name, for a process to read.

    Args:
        data: What it holds.

    Returns:
        Its descriptor, at the beginning.

    Raises:
        OSError: There is no room, or no descriptor.
    """
    descriptor = os.memfd_create("data") if hasattr(os, "memfd_create") else _unlinked_file()
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _unlinked_file() -> int:
    import tempfile

    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor
