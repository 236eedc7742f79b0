"""Looks after what no limit of a process bounds: the memory of a session's processes together, and inodes."""

import os
from collections.abc import Iterator

_PAGE = os.sysconf("SC_PAGE_SIZE")


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


def inodes_used(pid: int, folder: str) -> int:
    """Inodes in use in the file system that a process sees at a folder.

    Args:
        pid: The process.
        folder: Absolute path, as the process sees it.

    Returns:
        How many; 0 when it cannot be told.
    """
    try:
        found = os.statvfs(f"/proc/{pid}/root{folder}")
    except OSError:
        return 0
    return found.f_files - found.f_ffree
