"""A child process with limits, whose descendants do not outlive it."""

import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

_MARK = "ARRIERO_RUN"
_GRACE = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended, and what it wrote.

    Args:
        status: Exit status, negative for a signal; None when it was stopped at the wall time limit.
        stdout: Standard output, cut in the middle where it is too long.
        stderr: Standard error, cut likewise.
    """

    status: int | None
    stdout: str
    stderr: str


@dataclass(slots=True)
class _Kept:
    """The beginning and the end of a byte stream, in bounded memory."""

    limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    total: int = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self.limit // 2 - len(self.head)
        self.head += chunk[:room]
        self.tail += chunk[room:]
        del self.tail[: max(0, len(self.tail) - (self.limit - self.limit // 2))]

    def text(self) -> str:
        left_out = self.total - len(self.head) - len(self.tail)
        note = f"\n[... {left_out} bytes left out ...]\n".encode() if left_out else b""
        return (self.head + note + self.tail).decode("utf-8", "replace")


async def run_limited(command: Sequence[str], stdin: bytes, *, wall_time: float, output: int) -> Outcome:
    """Run a command in a temporary folder, with next to no environment, in a session of its own.

    When the command ends, by itself, at the time limit or by cancellation, the processes that it started are killed
    and its folder removed. At the time limit and at cancellation it first gets SIGTERM and a moment, so that a command
    that supervises others can kill them itself. A process that leaves the command's process group and drops its
    environment is known to such a command alone.

    Args:
        command: Program and arguments.
        stdin: What it reads.
        wall_time: Seconds of wall time.
        output: Most bytes of each output stream to keep.

    Returns:
        The outcome.
    """
    mark = secrets.token_hex(16)
    folder = await anyio.to_thread.run_sync(_temporary_folder)
    try:
        async with await anyio.open_process(
            command, cwd=folder.name, env=_environment(folder.name, mark), start_new_session=True
        ) as process:
            try:
                return await _talk(process, stdin, mark, wall_time, output)
            finally:
                with anyio.CancelScope(shield=True):
                    await _end(process)
                    await anyio.to_thread.run_sync(_kill_all, process.pid, mark)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(folder.cleanup)


async def _talk(process: Process, stdin: bytes, mark: str, wall_time: float, output: int) -> Outcome:
    streams = _Kept(output), _Kept(output)
    status = None
    with anyio.move_on_after(wall_time):
        async with anyio.create_task_group() as group:
            group.start_soon(_drain, process.stdout, streams[0])
            group.start_soon(_drain, process.stderr, streams[1])
            group.start_soon(_write, process.stdin, stdin)
            ended = await process.wait()
            # descendants may still hold the pipes open, and the drains would wait for them
            await anyio.to_thread.run_sync(_kill_all, process.pid, mark)
        status = ended
    return Outcome(status, streams[0].text(), streams[1].text())


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(_GRACE):
            await process.wait()


async def _drain(stream: ByteReceiveStream | None, kept: _Kept) -> None:
    if stream is not None:
        async for chunk in stream:
            kept.add(chunk)


async def _write(stream: ByteSendStream | None, data: bytes) -> None:
    if stream is not None:
        with contextlib.suppress(anyio.BrokenResourceError):  # a child that dies early does not read its input
            await stream.send(data)
        await stream.aclose()


def _environment(folder: str, mark: str) -> dict[str, str]:
    """No variable of ours, which may hold keys; numeric libraries get one thread, as each takes address space."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder, _MARK: mark, **threads}


def _kill_all(pid: int, mark: str) -> None:
    """Kill the process group, then whatever left it: those still carry the mark in their first environment."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    needle = f"{_MARK}={mark}".encode()
    for _ in range(20):  # a process may fork while we look; a fork bomb is stopped by its limits, not by us
        strays = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _carries(entry, needle)]
        for stray in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)
        if not strays:
            return


def _carries(entry: Path, needle: bytes) -> bool:
    try:
        return needle in (entry / "environ").read_bytes()
    except OSError:  # gone by now, or another user's
        return False


def _temporary_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="arriero-code-", ignore_cleanup_errors=True)
