"""Who holds a lease: a process, named so that others can tell whether it lives."""

import os
import socket
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_STATE, _START = 0, 19  # fields 3 and 22 of proc(5)'s /proc/PID/stat, counted from the one after the name
_DEAD = ("Z", "X")


def this_process() -> str:
    """Name of this process: `host:pid:start:machine`, where `machine` is one boot and one space of process ids.

    The start is in clock ticks since boot, so that a process id which was given out again is another process. Where
    there is no `/proc`, start and machine are empty.
    """
    return _named(os.getpid())  # a fork is another process, and would inherit what is cached without it


@cache
def _named(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{_started(pid) or ''}:{_machine()}"


def lives(owner: str) -> bool | None:
    """Whether a process lives.

    Args:
        owner: What `this_process` gave there; more after another colon is ignored.

    Returns:
        None where it cannot be known from here: it is on another machine, or in another container.

    Example:
        >>> lives(this_process()) in (True, None)
        True
    """
    _, pid, started, machine = owner.split(":")[:4]
    if not machine or machine != _machine():
        return None
    try:
        return _started(int(pid)) == started
    except OSError:  # no file can be opened just now: that says nothing of the other process
        return None


def _started(pid: int) -> str | None:
    """Start of a process, in clock ticks since boot; None if it does not live, or there is no `/proc`."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[_STATE] in _DEAD else fields[_START]


@cache
def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""
