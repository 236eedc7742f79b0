"""Canaries: short hostile code that is run in a tier to see whether the tier holds here, on this machine.

That a program is installed says little: a kernel or a container may forbid what it needs, or allow what it should not.
"""

import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from arriero.tools.sandbox.errors import SandboxError
from arriero.tools.sandbox.execution import Execution
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.pool import Sandbox
from arriero.tools.sandbox.session import SandboxSession
from arriero.tools.sandbox.tier import Tier

_DEADLINE = 60.0
"""Seconds for all canaries of a tier; they take less than one on an idle machine."""
_WALL = 0.2
_WALL_MOST = 5.0
_ENVIRONMENT = """
import glob, os
own, others = set(os.environb), 0
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        with open(path, "rb") as file:
            others += any(entry.partition(b"=")[0] not in own for entry in file.read().split(b"\\0") if entry)
    except OSError:
        continue
if others:
    print("BROKEN: the environments of", others, "other processes can be read")
"""
_TASKS = """
import threading
threading.stack_size(1 << 16)
done, started = threading.Event(), []
try:
    while len(started) <= {most}:
        started.append(threading.Thread(target=done.wait, daemon=True))
        started[-1].start()
    print("BROKEN:", len(started), "threads started; the limit is {most}")
except RuntimeError:
    pass
finally:
    done.set()
"""


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What a canary said.

    Args:
        name: What it tries.
        ok: Whether the sandbox held; for `benign code`, whether it ran.
        detail: What happened, for people.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class TierReport:
    """Whether a tier works on this machine.

    Args:
        tier: Its name.
        ok: All canaries say so.
        canaries: What each said; empty where the tier does not start.
        reason: Why it is not ok; empty where it is.
    """

    tier: str
    ok: bool
    canaries: tuple[CanaryResult, ...] = ()
    reason: str = ""


async def probe(tier: Tier, *, python: str | None = None) -> TierReport:
    """Run the canaries in a session of a tier.

    Args:
        tier: The tier.
        python: The interpreter; None for the server's own.

    Returns:
        What they said. A tier that does not start is not ok, with the reason.

    Example:
        >>> from arriero.tools.sandbox import Unsafe
        >>> report = anyio.run(probe, Unsafe())
        >>> report.ok, [canary.name for canary in report.canaries if not canary.ok][:2]
        (False, ['host file', 'write outside'])
    """
    limits = Limits()
    try:
        with anyio.fail_after(_DEADLINE), _surroundings() as around:
            async with Sandbox(tier, limits=limits, warm=0, python=python) as sandbox, await sandbox.open() as session:
                canaries = tuple([canary async for canary in _run_all(session, around, limits)])
    except TimeoutError:
        return TierReport(tier.name, False, reason=f"its canaries took longer than {_DEADLINE:g} s")
    except (SandboxError, OSError) as error:
        return TierReport(tier.name, False, reason=str(error))
    broken = [f"{canary.name} ({canary.detail})" for canary in canaries if not canary.ok]
    return TierReport(tier.name, not broken, canaries, f"it does not hold: {'; '.join(broken)}" if broken else "")


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What the canaries go for: anybody on this machine could read, write and reach it."""

    folder: Path
    token: str
    listener: socket.socket

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    def connected(self) -> bool:
        """Whether somebody connected; the kernel accepts for a listener that waits."""
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@contextmanager
def _surroundings() -> Iterator[_Surroundings]:
    with (
        tempfile.TemporaryDirectory(prefix="arriero-canary-") as name,
        closing(socket.create_server(("127.0.0.1", 0))) as listener,
    ):
        listener.setblocking(False)
        around = _Surroundings(Path(name), secrets.token_hex(16), listener)
        around.secret.write_text(around.token)
        around.secret.chmod(0o644)
        around.folder.chmod(0o777)  # so that nothing but the sandbox can be what stops it
        yield around


async def _run_all(session: SandboxSession, around: _Surroundings, limits: Limits) -> AsyncIterator[CanaryResult]:
    done = await session.run("sum(range(10))")
    yield CanaryResult("benign code", done.value == "45", _said(done) if done.value != "45" else "it ran")

    done = await session.run(f"open({str(around.secret)!r}).read()")
    seen = around.token in f"{done.value} {done.stdout} {done.error}"
    yield _held("host file", not seen, done, "a file that all may read was read")

    written = around.folder / "written"
    done = await session.run(f"open({str(written)!r}, 'w').close()")
    yield _held("write outside", not written.exists(), done, "a file was made in a folder that all may write to")

    address = around.listener.getsockname()
    done = await session.run(f"import socket; socket.create_connection({address!r}, 2).close()")
    yield _held("network", not around.connected(), done, "a listener on this machine was reached")

    done = await session.run(_ENVIRONMENT)
    yield _held("environment", "BROKEN" not in done.stdout, done, done.stdout.removeprefix("BROKEN: ").strip())

    done = await session.run(_TASKS.format(most=limits.tasks))
    yield _held(
        "processes and threads", "BROKEN" not in done.stdout, done, done.stdout.removeprefix("BROKEN: ").strip()
    )

    done = await session.run(f"len(bytearray({limits.memory}))")
    stopped = done.reason == "memory" or "MemoryError" in (done.error or "")
    yield _held("memory", stopped, done, f"{limits.memory >> 20} MiB were given, which is the limit")

    done = await session.run("while True: pass", timeout=_WALL)
    stopped = done.reason == "time" and done.duration < _WALL_MOST
    yield _held("wall time", stopped, done, f"an endless loop was not stopped within {_WALL_MOST:g} s")


def _held(name: str, ok: bool, done: Execution, otherwise: str) -> CanaryResult:
    return CanaryResult(name, ok, _said(done) if ok else otherwise)


def _said(done: Execution) -> str:
    """How the code failed, in a line."""
    lines = (done.error or "").strip().splitlines()
    return lines[-1][:200] if lines else "nothing was found" if done.status == "completed" else done.status
