"""The normal tier: bubblewrap's namespaces, then a worker that gives up all rights by itself."""

import base64
import functools
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import anyio.to_thread

from arriero.tools.sandbox.errors import SandboxUnavailable
from arriero.tools.sandbox.limits import Limits
from arriero.tools.sandbox.seccomp import build_filter
from arriero.tools.sandbox.tier import ENVIRONMENT, Launched, open_data, spawn, stage
from arriero.tools.sandbox.unsafe import process_limits

WORKSPACE = "/workspace"
_ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")  # names of libraries, programs and fonts, no more
# Of an interpreter's folder. Others may hold keys: pip.conf and .condarc do, or the project whose folder was made an
# environment.
_PARTS = ("bin", "lib", "lib32", "lib64", "libexec", "include", "share", "pyvenv.cfg")
_NOBODY = 65_534
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
        try:
            with _accounts(uid or _NOBODY) as accounts:
                return spawn(
                    [program, *_namespaces(uid), *_view(limits, interpreter, accounts), "--"],
                    interpreter.executable,
                    [stage("worker_confine.py")],
                    {"workspace": WORKSPACE, "confine": confine},
                    limits=limits,
                    environment={},  # bwrap stays as the first process inside, where its environment could be read
                    depth=2,
                    own_network=True,
                    descriptors=[*accounts.values()],
                )
        except OSError as error:
            raise SandboxUnavailable(f"bwrap cannot be started: {error}") from error


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the folders it needs.

    Args:
        executable: What to run, in an environment if it was asked for there.
        folders: Its prefixes.
        links: Links on the way to it that are in none of them: where each is, and where it leads.
    """

    executable: str
    folders: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def parts(self) -> list[str]:
        """What is to be seen of the folders."""
        paths = (f"{folder}/{name}" for folder in self.folders for name in _PARTS)
        return [path for path in paths if os.path.exists(path)]


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
    way = _way_to(path)
    homes = {os.path.dirname(os.path.dirname(step)) for step in way}
    folders = {*prefixes, *map(os.path.realpath, prefixes), *filter(_is_installation, homes)}
    folders = {folder for folder in folders if not _below(folder, "/usr")}
    if "/" in folders:
        raise SandboxUnavailable(f"{python} is installed in /, which would show all files inside")
    found = Interpreter(path, tuple(sorted(folders)))
    shown = ["/usr", *(f"/{name}" for name in _LINKS), *found.parts]
    links = [step for step in way[:-1] if not any(_below(step, folder) for folder in shown)]
    return replace(found, links=tuple((link, os.readlink(link)) for link in links))


def _way_to(executable: str) -> list[str]:
    """An executable, the links it leads to, and the file."""
    way = [executable]
    while os.path.islink(way[-1]) and len(way) < 40:  # as many as the kernel follows (path_resolution(7))
        way.append(os.path.normpath(os.path.join(os.path.dirname(way[-1]), os.readlink(way[-1]))))
    return way


def _is_installation(folder: str) -> bool:
    """Whether a Python's library is there: a bin folder beside it may as well be somebody's own."""
    return folder != "/" and next(Path(folder).glob("lib*/py*/os.py"), None) is not None


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


@contextmanager
def _accounts(uid: int) -> Iterator[dict[str, int]]:
    """Descriptors of the files, by path, in which libraries look up the name of their user: the only one inside."""
    opened: dict[str, int] = {}
    try:
        opened["/etc/passwd"] = open_data(f"user:x:{uid}:{uid}::/tmp:/bin/sh\n".encode())
        opened["/etc/group"] = open_data(f"user:x:{uid}:\n".encode())
        yield opened
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def _parents(path: str) -> Iterator[str]:
    for parent in reversed(PurePosixPath(path).parents[:-1]):  # bwrap's own are for root alone
        yield from ("--perms", "0755", "--dir", str(parent))


def _view(limits: Limits, interpreter: Interpreter, files: Mapping[str, int]) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _LINKS:
        if os.path.islink(f"/{name}"):
            arguments += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            arguments += ["--ro-bind", f"/{name}", f"/{name}"]
    arguments += ["--perms", "0755", "--dir", "/etc"]
    for path in _ETC:
        arguments += ["--ro-bind-try", path, path]
    for path, descriptor in files.items():
        arguments += ["--perms", "0444", "--file", str(descriptor), path]
    # Not --dev: for its terminals an ordinary user's bwrap adds a user namespace, in which the mounts are not ours.
    arguments += ["--proc", "/proc", "--tmpfs", "/dev"]
    for device in ("null", "zero", "full", "random", "urandom"):
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for link, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        arguments += ["--symlink", f"/proc/self/fd{target}", f"/dev/{link}"]
    for folder, size in ((WORKSPACE, limits.workspace), ("/tmp", limits.tmp), ("/dev/shm", limits.shm)):  # noqa: S108
        arguments += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    for path in interpreter.parts:  # which may be below /tmp
        arguments += [*_parents(path), "--ro-bind", path, path]
    for path, target in interpreter.links:
        arguments += [*_parents(path), "--symlink", target, path]
    for name in filter(lambda name: os.path.exists(f"/proc/{name}"), _MASKED):
        arguments += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    arguments += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE]
    environment = {**ENVIRONMENT, "HOME": "/tmp", "TMPDIR": "/tmp", "MPLCONFIGDIR": "/tmp/.matplotlib"}  # noqa: S108
    for name, value in environment.items():
        arguments += ["--setenv", name, value]
    return arguments
