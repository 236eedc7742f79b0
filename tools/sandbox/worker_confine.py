"""First stage of the worker: gives up all rights, for good, before any code of the user runs.

It runs inside, from a descriptor, and imports nothing of the package. Whatever fails here ends the process.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False  # importing typing takes longer than the rest of this file
if TYPE_CHECKING:
    from typing import Any

CONFIG: dict[str, Any]  # given by the bootstrap
_MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 2, 4, 32
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 22, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER = 0x10000000
_CAPABILITY_VERSION_3 = 0x20080522


def _limit(limits: dict[str, list[int]]) -> None:
    for name, (soft, hard) in limits.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            most = resource.getrlimit(kind)[1]
            if most != resource.RLIM_INFINITY:
                hard = min(hard, most)
            resource.setrlimit(kind, (min(soft, hard), hard))


def _confine(mounts: list[tuple[str, str]], uid: int | None, seccomp: str, limits: dict[str, list[int]]) -> None:
    import binascii
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def check(done: int, what: str) -> None:
        if done != 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")

    def prctl(option: int, value: object = 0, more: object = 0) -> None:
        check(libc.prctl(option, value, more, 0, 0), f"prctl {option}")

    for target, options in mounts:  # tmpfs that bwrap made has no limit on inodes
        flags = _MS_REMOUNT | _MS_NOSUID | _MS_NODEV
        check(libc.mount(b"tmpfs", target.encode(), b"tmpfs", flags, options.encode()), f"remount {target}")
    if uid is None and mounts:
        # The first process inside is of the same user, and could be written to through /proc: it has no filter. In a
        # namespace of users below its own, this one has no right to it. No id is mapped there: all show as 65534.
        check(libc.unshare(_CLONE_NEWUSER), "unshare")
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(last + 1):
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except PermissionError:
            if mounts:  # with namespaces it has the right to; an ordinary user has not, nor any capability
                raise
            break
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _limit(limits)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_DUMPABLE, 1)  # it was lost with the uid; without it a process cannot even read its own /proc entry
    program = binascii.a2b_base64(seccomp)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(Program(len(program) // 8, program)))


def _main(settings: dict[str, Any]) -> None:
    if "seccomp" in settings:
        _confine(settings["mounts"], settings["uid"], settings["seccomp"], settings["rlimits"])
    else:
        _limit(settings["rlimits"])


if "CONFIG" in globals():  # not where it is only read, for its documentation
    _main(CONFIG["confine"])  # noqa: F821
