"""Looks after what no limit of a process bounds: memory of a session's processes together, what they do unasked."""

import functools
import os
from collections.abc import Iterator

_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def process_tree(pid: int) -> list[int]:
    """A process and its descendants, parents first.

    In a process namespace nobody leaves the tree: what loses its parent goes to the namespace's first process.

    Args:
        pid: The process.

    Returns:
        The ids of those that live.
    """
    found = [pid]
    for known in found:  # grows while it is walked
        found += _children(known)
    return found


def _children(pid: int) -> Iterator[int]:
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                yield from map(int, file.read().split())
    except OSError:  # it ended
        return


def count_tasks(pid: int) -> int:
    """Threads of a process.

    Args:
        pid: The process.

    Returns:
        How many; 0 when it has ended.
    """
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def resident_memory(pids: list[int]) -> int:
    """An upper bound of the memory of processes, and cheap: what several share counts for each.

    Args:
        pids: The processes.

    Returns:
        The sum of their resident set sizes, in bytes.
    """
    return sum(map(_resident, pids))


def memory_of(pids: list[int]) -> int:
    """Memory of processes; what several share counts once. It takes milliseconds for large ones.

    Args:
        pids: The processes.

    Returns:
        The sum of their proportional set sizes (proc_pid_smaps(5)), in bytes.
    """
    return sum(map(_proportional, pids))


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # it ended, or hid itself
        pass
    return _resident(pid)


def socket_memory(pids: list[int], *, own_network: bool) -> int:
    """An upper bound of what sockets hold: it is memory of no process.

    Args:
        pids: The processes.
        own_network: Whether they have a network namespace of their own, whose count has sockets in flight, too.

    Returns:
        Bytes, if each open socket (without a namespace: each open descriptor) held a full buffer.
    """
    if own_network:
        return _sockets(pids[-1]) * _buffer()
    return sum(map(_descriptors, pids)) * _buffer()


def _sockets(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/net/sockstat", "rb") as file:
            return int(file.readline().split()[-1])  # "sockets: used N"
    except (OSError, ValueError, IndexError):
        return 0


def _descriptors(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/fd").st_size  # since Linux 6.2 (proc_pid_fd(5)); earlier it is 0
    except OSError:
        return 0


@functools.cache
def _buffer() -> int:
    try:
        with open("/proc/sys/net/core/wmem_default", "rb") as file:
            size = int(file.read())
    except (OSError, ValueError):
        size = 212_992
    return size + size // 2  # the last piece may stand over


def processor_time(pids: list[int]) -> float:
    """Processor time of processes, and of those that have ended and were waited for.

    Args:
        pids: The processes.

    Returns:
        Seconds.
    """
    return sum(map(_ticks, pids)) / _TICKS


def _ticks(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))  # utime, stime, cutime, cstime
    except (OSError, ValueError):
        return 0
