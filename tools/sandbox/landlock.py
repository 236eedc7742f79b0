"""The tier that needs no packages: Landlock, a filter of system calls, limits, a supervisor."""

import base64
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio.to_thread

from arriero.tools.sandbox import landlock_worker
from arriero.tools.sandbox.bubblewrap import Interpreter, find_interpreter, session_uid
from arriero.tools.sandbox.errors import SandboxUnavailable
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.seccomp import build_filter
from arriero.tools.sandbox.tier import ENVIRONMENT, Launched, spawn, stage
from arriero.tools.sandbox.unsafe import process_limits

_NEEDED, _NEEDED_AS_SAME_USER = 3, 6
_KERNELS = {3: "6.2", 6: "6.12"}
_READ = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/localtime")
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/sys/kernel/cap_last_cap", "/sys/devices/system/cpu")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FOLDERS = ("workspace", "tmp")
_SHARED_MEMORY, _ROOMY = "/dev/shm", 4  # noqa: S108 - its folder is the session's alone
_MOST_FILES = 4_096  # more take too long to count
_PATIENCE = 5.0
_REMOVAL = 1.0
_NULL = subprocess.DEVNULL


class Landlock:
    """Landlock, a filter of system calls, limits: for a machine without bubblewrap.

    There are no namespaces. The worker sees the machine's process ids and mounts, and that a file exists, though it
    can open only /usr, the interpreter and its own two folders. It makes no sockets. A supervisor outside
    watches those folders' size and ends all processes with the session. When the server is root, each session is an
    ordinary user of its own. Otherwise it is the server's user, so the kernel must keep signals in (Linux 6.12), and
    changes to the mode, owner and times of files are refused, as Landlock does not know them.

    Args:
        folder: Where the folders of sessions are made and removed; None for /dev/shm, where it has room, or else the
            temporary folder.
    """

    name = "landlock"

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder

    async def launch(self, limits: Limits, python: str | None) -> Launched:
        """Start a worker.

        Args:
            limits: What it may use; `workspace` is what all its files may take, `shm` does not apply.
            python: The interpreter; None for the server's own.

        Returns:
            The worker.

        Raises:
            SandboxUnavailable: The kernel has no Landlock or too old a one, or the worker cannot be started.
        """
        uid = session_uid() if os.geteuid() == 0 else None
        _check_kernel(_NEEDED_AS_SAME_USER if uid is None else _NEEDED)
        interpreter = await anyio.to_thread.run_sync(find_interpreter, python or sys.executable)
        scratch = _make_folders(uid, self._folder, limits.workspace)
        rlimits = process_limits(limits)
        if uid is None:  # the kernel counts by user, and this one has more than the session
            rlimits["RLIMIT_NPROC"] = [limits.tasks + _tasks_of_user()] * 2
        config = {
            "workspace": str(scratch / "workspace"),
            "landlock": {
                "server": os.getpid(),
                "folder": str(scratch),
                "room": limits.workspace,
                "inodes": min(limits.inodes, _MOST_FILES),
                "uid": uid,
                "interpreter": interpreter.folders,
                "rules": _rules(interpreter, scratch),
            },
            "confine": {
                "mounts": [],
                "uid": uid,
                "seccomp": base64.b64encode(build_filter(namespaces=False, own_user=uid is not None)).decode(),
                "rlimits": rlimits,
            },
        }
        own = str(scratch / "tmp")
        environment = {**ENVIRONMENT, "HOME": own, "TMPDIR": own, "MPLCONFIGDIR": f"{own}/.matplotlib"}
        try:
            started = spawn(
                (),
                interpreter.executable,
                [stage("landlock_worker.py"), stage("worker_confine.py")],
                config,
                limits=limits,
                environment=environment,
                scratch=scratch,
            )
        except OSError as error:
            _remove(scratch)
            raise SandboxUnavailable(f"the interpreter cannot be started: {error}") from error
        return _Supervised(
            process=started.process,
            control=started.control,
            stdout=started.stdout,
            stderr=started.stderr,
            depth=1,
            statuses={landlock_worker.DISK_FULL: "disk"},
            scratch=scratch,
        )


class _Supervised(Launched):
    """A worker whose outermost process is a supervisor, which ends the others before itself."""

    __slots__ = ()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    async def end(self) -> None:
        self.kill()
        await anyio.to_thread.run_sync(self._wait)
        if self.scratch is not None:
            await anyio.to_thread.run_sync(_remove, self.scratch)
        await Launched.end(self)

    def _wait(self) -> None:
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _check_kernel(needed: int) -> None:
    found = landlock_worker.version()
    if not found:
        raise SandboxUnavailable("the kernel has no Landlock, or it is switched off (see the boot parameter lsm=)")
    if found < needed:
        raise SandboxUnavailable(
            f"the kernel's Landlock has version {found}, and {needed} is needed (Linux {_KERNELS[needed]} or newer)"
        )


def _make_folders(uid: int | None, folder: str | None, room: int) -> Path:
    try:
        scratch = Path(tempfile.mkdtemp(prefix="arriero-code-", dir=folder or _in_memory(room)))
    except OSError as error:
        raise SandboxUnavailable(f"no workspace can be made: {error}") from error
    for path in (scratch, *(scratch / name for name in _FOLDERS)):
        path.mkdir(0o700, exist_ok=True)
        if uid is not None:
            os.chown(path, uid, uid)
    for parent in scratch.parents:
        if uid is not None and not parent.stat().st_mode & stat.S_IXOTH:
            _remove(scratch)
            raise SandboxUnavailable(f"{parent} is closed to ordinary users; choose another folder for workspaces")
    return scratch


def _in_memory(room: int) -> str | None:
    """A disk can take a minute to remove what code wrote to it in a second."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    roomy = found.f_bavail * found.f_frsize >= _ROOMY * room and os.access(_SHARED_MEMORY, os.W_OK)
    return _SHARED_MEMORY if roomy and os.path.ismount(_SHARED_MEMORY) else None


def _rules(interpreter: Interpreter, scratch: Path) -> list[tuple[str, str]]:
    return [
        *((path, "read") for path in (*_READ, *_MACHINE, *interpreter.parts)),
        *((path, "device") for path in _DEVICES),
        *((str(scratch / name), "write") for name in _FOLDERS),
    ]


def _tasks_of_user() -> int:
    count, uid = 0, os.getuid()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and process.stat().st_uid == uid:
                count += len(os.listdir(process / "task"))
        except OSError:
            continue
    return count


def _remove(scratch: Path) -> None:
    """Remove a folder that hostile code filled; where that takes long, it goes on by itself."""
    removing = subprocess.Popen(  # noqa: S603
        ["/bin/sh", "-c", landlock_worker.REMOVE, "sh", scratch],
        stdin=_NULL,
        stdout=_NULL,
        stderr=_NULL,
        start_new_session=True,
        env={},
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        removing.wait(_REMOVAL)
