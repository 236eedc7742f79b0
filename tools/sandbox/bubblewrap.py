"""The normal tier: bubblewrap's namespaces, then a worker that gives up all rights by itself."""

import base64
import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import anyio.to_thread

from arriero.tools.sandbox.errors import SandboxUnavailable
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.seccomp import build_filter
from arriero.tools.sandbox.tier import ENVIRONMENT, Launched, spawn, stage
from arriero.tools.sandbox.unsafe import process_limits

WORKSPACE = "/workspace"
_ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")  # names of libraries, programs and fonts, no more
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# Of the machine whatever the namespaces: names of others' keys, timers, symbols of the kernel, its start options.
_MASKED = ("keys", "key-users", "timer_list", "kallsyms", "cmdline", "sched_debug", "sysrq-trigger", "kcore", "kmsg")
# Ids that no distribution gives to people or to containers (systemd, "Users, Groups, UIDs and GIDs": unused from
# 1879048192 up to 2147483647), or, where a container maps only 16 bits, those of systemd's passing services.
_UIDS = range(1_900_000_000, 2_147_000_000)
_UIDS_OF_16_BITS = range(61_184, 65_520)


class Bubblewrap:
    """Namespaces by `bwrap`, a filter of system calls, limits.

    Only /usr, the interpreter and its environment are visible, read-only; the network is none. An ordinary user's
    sessions are in a user namespace of their own. When the server is root there is none: bwrap sets up the file
    system with root's rights, as the interpreter may be where only root can read, and the worker then becomes an
    ordinary user for good. Each session has another user id: the kernel counts processes by user, so the
    limit on their number is a session's own, and one session's processes could not signal another's even if they
    saw them.

    Args:
        program: Path of bwrap; None to look it up in PATH.
    """

    name = "bubblewrap"

    def __init__(self, program: str | None = None) -> None:
        self._program = program

    async def launch(self, limits: Limits, python: str | None) -> Launched:
        """Start a worker.

        Args:
            limits: What it may use.
            python: The interpreter; None for the server's own.

        Returns:
            The worker.

        Raises:
            SandboxUnavailable: There is no bwrap, or it cannot be started.
        """
        program = self._program or shutil.which("bwrap")
        if program is None:
            raise SandboxUnavailable("bwrap is not installed; run apt-get install bubblewrap")
        interpreter = await anyio.to_thread.run_sync(find_interpreter, python or sys.executable)
        uid = session_uid() if os.geteuid() == 0 else None
        mounts = [
            (WORKSPACE, f"size={limits.workspace},nr_inodes={limits.inodes},mode=1777"),
            ("/tmp", f"size={limits.tmp},nr_inodes={limits.inodes},mode=1777"),  # noqa: S108 - inside
            ("/dev/shm", f"size={limits.shm},nr_inodes={limits.inodes},mode=1777"),  # noqa: S108
        ]
        confine = {
            "mounts": mounts,
            "uid": uid,
            "seccomp": base64.b64encode(build_filter()).decode(),
            "rlimits": process_limits(limits),
        }
        arguments = [*_namespaces(uid), *_view(limits, interpreter), "--"]
        try:
            return spawn(
                [program, *arguments],
                interpreter.executable,
                [stage("worker_confine.py")],
                {"workspace": WORKSPACE, "confine": confine},
                limits=limits,
                environment={},  # bwrap stays as the first process inside, where its environment could be read
                depth=2,
                own_network=True,
            )
        except OSError as error:
            raise SandboxUnavailable(f"bwrap cannot be started: {error}") from error


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the folders it needs.

    Args:
        executable: What to run, in an environment if it was asked for there.
        folders: Its prefixes.
    """

    executable: str
    folders: tuple[str, ...]


@functools.cache
def find_interpreter(python: str) -> Interpreter:
    """Find what a Python needs to run.

    Args:
        python: Its path.

    Returns:
        The interpreter.

    Raises:
        SandboxUnavailable: It cannot be run.
    """
    path = os.path.abspath(shutil.which(python) or python)
    if path == sys.executable:
        prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix]
    else:
        code = "import json, sys; print(json.dumps([sys.prefix, sys.base_prefix, sys.exec_prefix]))"
        try:
            said = subprocess.run([path, "-I", "-c", code], capture_output=True, check=True, timeout=30).stdout  # noqa: S603
            prefixes = [str(prefix) for prefix in json.loads(said)]
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise SandboxUnavailable(f"{python} is no Python that runs: {error}") from error
    folders = {*prefixes, *map(os.path.realpath, prefixes), *_links_of(path)}
    folders = {folder for folder in folders if not _below(folder, "/usr")}
    if "/" in folders:
        raise SandboxUnavailable(f"{python} is installed in /, which would show all files inside")
    return Interpreter(path, tuple(sorted(folders)))


def _links_of(executable: str) -> Iterator[str]:
    """Folders of the links that lead from an executable to its file, where they are prefixes of an installation."""
    while os.path.islink(executable):
        executable = os.path.join(os.path.dirname(executable), os.readlink(executable))
        folder = PurePosixPath(os.path.normpath(executable)).parent
        if folder.name == "bin" and folder.parent != PurePosixPath("/"):
            yield str(folder.parent)


def _below(path: str, folder: str) -> bool:
    return PurePosixPath(path).is_relative_to(folder)


def session_uid() -> int:
    """Choose a user id for a session, when the server is root.

    Returns:
        An id that nobody else has.
    """
    with open("/proc/self/uid_map") as file:
        ranges = [line.split() for line in file]
    mapped = max(int(start) + int(count) for start, _, count in ranges)
    choice = _UIDS if mapped > _UIDS.stop else _UIDS_OF_16_BITS
    return choice[secrets.randbelow(len(choice))]


def _namespaces(uid: int | None) -> list[str]:
    shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    keep = ["CAP_SYS_ADMIN", "CAP_SETPCAP"]  # for the worker's first steps, which end with dropping them
    if uid is None:
        shared = ["--unshare-user", "--uid", "65534", "--gid", "65534", *shared]
    else:
        keep += ["CAP_SETUID", "CAP_SETGID"]
    added = [word for capability in keep for word in ("--cap-add", capability)]
    return [
        *shared,
        *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *added,
    ]


def _view(limits: Limits, interpreter: Interpreter) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            arguments += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            arguments += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in _ETC:
        arguments += ["--ro-bind-try", path, path]
    for folder in interpreter.folders:
        for parent in reversed(PurePosixPath(folder).parents[:-1]):  # bwrap's own are for root alone
            arguments += ["--perms", "0755", "--dir", str(parent)]
        arguments += ["--ro-bind", folder, folder]
    # Not --dev: for its terminals an ordinary user's bwrap adds a user namespace, in which the mounts are not ours.
    arguments += ["--proc", "/proc", "--tmpfs", "/dev"]
    for device in ("null", "zero", "full", "random", "urandom"):
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for link, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        arguments += ["--symlink", f"/proc/self/fd{target}", f"/dev/{link}"]
    for folder, size in ((WORKSPACE, limits.workspace), ("/tmp", limits.tmp), ("/dev/shm", limits.shm)):  # noqa: S108
        arguments += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    for name in filter(lambda name: os.path.exists(f"/proc/{name}"), _MASKED):
        arguments += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    arguments += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE]
    environment = {**ENVIRONMENT, "HOME": "/tmp", "TMPDIR": "/tmp", "MPLCONFIGDIR": "/tmp/.matplotlib"}  # noqa: S108
    environment |= {"USER": "user", "LOGNAME": "user"}  # what libraries ask for before they look into /etc/passwd
    for name, value in environment.items():
        arguments += ["--setenv", name, value]
    return arguments
