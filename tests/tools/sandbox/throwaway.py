"""A throw-away world for runs without a sandbox: own processes, network, mounts, System V and host name.

What is written to the libraries or to /etc ends in memory and goes when the world does.
"""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sandbox.environment import library_folders

_ADDRESS, _MASK = "192.0.2.77", "255.255.255.0"  # of documentation (RFC 5737)
_SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8914, 0x8916, 0x891C  # netdevice(7)
_UP = 0x1
_MEMORY = "/dev/shm"


class NoThrowaway(Exception):
    """This machine cannot make such a world."""


def command(arguments: Sequence[str]) -> list[str]:
    """The command that runs another in a throw-away world.

    Raises:
        NoThrowaway: This machine cannot make one.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise NoThrowaway("unshare is missing: install util-linux")
    spaces = ["--pid", "--net", "--mount", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
    users = ["--user", "--map-root-user"]
    for wanted in ([*users, *spaces], spaces) if os.geteuid() == 0 else ([*users, *spaces],):
        tried = subprocess.run([unshare, *wanted, "true"], capture_output=True, text=True)
        if tried.returncode == 0:
            return [unshare, *wanted, *arguments]
    raise NoThrowaway(f"no namespaces can be made here: {tried.stderr.strip()}")


def settle() -> None:
    """Make the new world a place where the cases bite: a network that is up, private copies of what may be written.

    Raises:
        NoThrowaway: This process is not the first of a PID namespace, so the world may be the real one.
        OSError: It cannot be done.
    """
    if os.getpid() != 1:
        raise NoThrowaway("only the first process of a throw-away world may change it")
    _network()
    _mount("tmpfs", _MEMORY, "tmpfs", "mode=1777,size=1g")
    needed = [*_libraries(), Path(sys.prefix), Path(sys.base_prefix), Path(__file__)]
    private: list[Path] = []
    for folder in (Path("/tmp"), Path("/var/tmp")):
        if any(path.is_relative_to(folder) for path in needed):  # emptied, it would hide what runs here
            private.append(folder)
        else:
            _mount("tmpfs", str(folder), "tmpfs", "mode=1777,size=1g")
    private += [*_libraries(), Path("/etc")]
    for place, folder in enumerate(private):
        if not any(folder.is_relative_to(done) for done in private[:place]):  # overlays nest two deep at most
            _copy_on_write(str(folder))


def _libraries() -> list[Path]:
    prefixes = {Path(sys.prefix), Path(sys.base_prefix)}
    return [folder for folder in library_folders() if folder not in prefixes]


def _network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
        for name, call, address in ((b"lo:1", _SET_ADDRESS, _ADDRESS), (b"lo:1", _SET_MASK, _MASK)):
            data = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, call, data)


def _copy_on_write(folder: str) -> None:
    scratch = tempfile.mkdtemp(dir=_MEMORY)
    for part in ("upper", "work"):
        os.mkdir(f"{scratch}/{part}")
    _mount("overlay", folder, "overlay", f"userxattr,lowerdir={folder},upperdir={scratch}/upper,workdir={scratch}/work")


def _mount(source: str, target: str, kind: str, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{kind} cannot be mounted: {os.strerror(number)}", target)
