"""The host's processes as /proc shows them."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, order=True)
class HostProcess:
    """A process, told apart from a later one of the same number by its start.

    Args:
        pid: Its number in the host's namespace.
        started: Clock ticks after the machine's start (proc(5), stat, field 22).
    """

    pid: int
    started: int

    @property
    def runs(self) -> bool:
        """Whether it is there and is no zombie."""
        found = _stat(self.pid)
        return found is not None and int(found[19]) == self.started and found[0] not in "ZX"


def host_process(pid: int) -> HostProcess | None:
    """The process with this number, None if there is none."""
    found = _stat(pid)
    return None if found is None else HostProcess(pid, int(found[19]))


def descendants(pid: int) -> set[HostProcess]:
    """All processes below one, zombies left out."""
    found: set[HostProcess] = set()
    waiting = list(_children(pid))
    while waiting:
        child = waiting.pop()
        waiting += _children(child)
        process = host_process(child)
        if process is not None and process.runs:
            found.add(process)
    return found


def status_line(pid: int, name: str) -> str:
    """A line of /proc/PID/status, such as "Uid"; "" when the process is gone."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(name + ":"):
                return line.partition(":")[2].strip()
    return ""


def leaf_uids(pid: int) -> set[int]:
    """The uids (real, effective, saved, file system) of the processes at the tree's ends: those that run code."""
    tree = descendants(pid) | ({process} if (process := host_process(pid)) else set())
    ends = [process for process in tree if not list(_children(process.pid))]
    return {int(uid) for process in ends for uid in status_line(process.pid, "Uid").split()}


def peak_memory(pid: int) -> int:
    """The most bytes that were resident at once since `forget_peak`."""
    return int((status_line(pid, "VmHWM") or "0 kB").split()[0]) * 1024


def forget_peak(pid: int) -> None:
    """Let `peak_memory` begin anew (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        (_PROC / str(pid) / "clear_refs").write_text("5")


def command(pid: int) -> str:
    """The command line, or the name where there is none."""
    with contextlib.suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        return words or (_PROC / str(pid) / "comm").read_text().strip()
    return "?"


def working_folder(pid: int) -> Path | None:
    """The working folder, if the host has the same folder under the same name."""
    link = _PROC / str(pid) / "cwd"
    try:
        path = Path(os.readlink(link))
        here, there = path.stat(), link.stat()
    except OSError:
        return None
    return path if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) else None


def _children(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(_PROC / str(pid) / "task")
    except OSError:
        return
    for thread in threads:
        with contextlib.suppress(OSError):
            yield from map(int, (_PROC / str(pid) / "task" / thread / "children").read_text().split())


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
