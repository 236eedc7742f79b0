"""Landlock: a process gives up the file system, the network and signals for good (kernel docs, userspace-api/landlock).

Runs inside the process that is to be confined, started with `python -I`, so it imports nothing of the package.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

# Numbers of system calls (the same on every architecture) and flags of linux/landlock.h, linux/prctl.h.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13)) & ~(1 << 6 | 1 << 9 | 1 << 11)  # no devices, no sockets
_REFER = 1 << 13
_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | TRUNCATE | _REMOVE_AND_MAKE | _REFER
DEVICE = READ_FILE | WRITE_FILE

# What each version of the interface handles: rights on files, on TCP ports, scopes (abstract sockets, signals).
_FILES = {1: 1 << 13, 2: 1 << 14, 3: 1 << 15, 4: 1 << 15, 5: 1 << 16}
_TCP_SINCE, _SCOPES_SINCE = 4, 6


def version() -> int:
    """Version of the kernel's Landlock interface; 0 where there is none, or it is switched off."""
    try:
        return max(0, _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION))
    except OSError:
        return 0


def confine(rules: Iterable[tuple[str, int]]) -> int:
    """Confine this process, and all that it starts, to some paths: for good.

    Beyond the paths it then opens nothing. It reaches no TCP port, and no abstract socket or process outside, where
    the kernel's version has that. What `stat`, `readlink` and `chdir` tell of other paths, and descriptors that are
    open already, stay.

    Args:
        rules: Paths, each with its rights (`READ`, `WRITE`, `DEVICE`). A path that does not exist is left out.

    Returns:
        The version of the interface.

    Raises:
        OSError: The kernel refused.
    """
    found = version()
    if not found:
        raise OSError("the kernel has no Landlock")
    files = _FILES[min(found, max(_FILES))] - 1
    words = [files] + [3] * (found >= _TCP_SINCE) + [3] * (found >= _SCOPES_SINCE)  # struct landlock_ruleset_attr
    attr = struct.pack(f"={len(words)}Q", *words)
    ruleset = _call(_CREATE_RULESET, attr, ctypes.c_size_t(len(attr)), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & files)
        if _libc().prctl(_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
            raise OSError(ctypes.get_errno(), "no_new_privs was refused")
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return found


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(folder).st_mode):
            rights &= _ON_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, folder), 0)
    finally:
        os.close(folder)


def _call(number: int, *arguments: object) -> int:
    done = _libc().syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(done)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
