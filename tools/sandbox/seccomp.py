"""Assembles the system call filter, without libseccomp."""

import platform
import struct
from dataclasses import dataclass

from arriero.tools.sandbox.errors import SandboxUnavailable

# linux/bpf_common.h, linux/seccomp.h, linux/audit.h
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_EPERM, _ENOSYS = 1, 38
_X32_BIT = 0x40000000
_CLONE_NEW = 0x7E020080
"""All CLONE_NEW flags: time 0x80, ns 0x20000, cgroup, uts, ipc, user, pid, net."""
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# System call numbers: x86-64, then the generic table that aarch64 uses (asm-generic/unistd.h); None: not there.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    # keyrings, which no namespace covers
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # large parts of the kernel that no data script needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "uselib": (134, None),
    "vhangup": (153, 58),
    "syslog": (103, 116),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # System V memory, semaphores and queues outlive their process and are counted by no limit of one
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    # what tells of others' use of the files that all see (with F_NOTIFY below), and what slows down all of a machine
    # or of a user, whom the sessions of a server that is not root share
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "ioprio_set": (251, 30),
    "sync": (162, 81),
    "syncfs": (306, 267),
    # placement of other processes' memory
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
}
_MISSING = {  # libraries fall back to older calls when the kernel has not these
    "clone3": (435, 435),  # its flags are behind a pointer, which a filter cannot follow
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "io_setup": (206, 0),  # the machine has a fixed number of them, for all users together
}
_ONLY_ITSELF = {  # the first argument is a process; 0 is the caller
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
}
# Without namespaces: what lets a process out of its group, or outlives it.
_SHARED_WITH_HOST = {
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "socket": (41, 198),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
# What else the user who owns the host's files may do to them, and Landlock does not know.
_OWNERS_RIGHTS = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_SETPRIORITY, _CLONE, _IOCTL = (141, 140), (56, 220), (16, 29)
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)
_PRCTL = (157, 167)
_FCNTL, _F_SETLEASE, _F_NOTIFY = (72, 25), 1024, 1026
_SETSOCKOPT, _BUFFER_SIZES = (54, 208), (7, 8, 32, 33)  # SO_SNDBUF, SO_RCVBUF, and the same by force
_SET_DUMPABLE, _NOT_STREAMS = 4, 2  # bit 1 is in SOCK_DGRAM and SOCK_RAW, not in SOCK_STREAM and SOCK_SEQPACKET


@dataclass(frozen=True, slots=True)
class _Machine:
    arch: int
    """AUDIT_ARCH value."""
    column: int
    x32: bool


_MACHINES = {"x86_64": _Machine(0xC000003E, 0, True), "aarch64": _Machine(0xC00000B7, 1, False)}


def build_filter(machine: str | None = None, *, namespaces: bool = True, own_user: bool = True) -> bytes:
    """The deny list as a program for PR_SET_SECCOMP.

    Anything but the machine's own system calls ends the process. Arguments are compared by their lower 32 bits,
    which is all that the kernel itself looks at where the filter does.

    Args:
        machine: As `platform.machine` says it; None for this one.
        namespaces: Whether the process has its own network and process namespaces. Without them it may make no
            socket but pairs of streams, may not leave its process group, and may not hide from a watcher.
        own_user: Whether its user owns nothing on the machine. Otherwise it may not change a file's mode, owner,
            times and attributes.

    Returns:
        struct sock_filter entries of 8 bytes each.

    Raises:
        SandboxUnavailable: The machine's system call numbers are not known here.

    Example:
        >>> len(build_filter("x86_64")) % 8
        0
    """
    machine = machine or platform.machine()
    known = _MACHINES.get(machine)
    if known is None:
        raise SandboxUnavailable(
            f"the system call filter knows {' and '.join(_MACHINES)}, and this machine is {machine or 'unknown'}"
        )
    program = [_op(_LOAD, _ARCH), _op(_JUMP_EQUAL, known.arch, 1, 0), _op(_RETURN, _KILL_PROCESS), _op(_LOAD, _NUMBER)]
    if known.x32:
        program += [_op(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _op(_RETURN, _KILL_PROCESS)]
    refused = [*_REFUSED.values(), *([] if namespaces else _SHARED_WITH_HOST.values())]
    refused += [] if own_user else _OWNERS_RIGHTS.values()
    for numbers, error in [*((entry, _EPERM) for entry in refused), *((entry, _ENOSYS) for entry in _MISSING.values())]:
        if (number := numbers[known.column]) is not None:
            program += [_op(_JUMP_EQUAL, number, 0, 1), _op(_RETURN, _ERRNO | error)]
    for numbers, checks in _argument_rules(namespaces):
        body = [*checks, _op(_RETURN, _ALLOW)]
        program += [_op(_JUMP_EQUAL, numbers[known.column], 0, len(body)), *body]
    program.append(_op(_RETURN, _ALLOW))
    return b"".join(program)


def _argument_rules(namespaces: bool) -> list[tuple[tuple[int, int], list[bytes]]]:
    rules = [(numbers, _unless(0, 0)) for numbers in _ONLY_ITSELF.values()]
    rules.append((_SETPRIORITY, _unless(0, 0) + _unless(1, 0)))  # PRIO_PROCESS of the caller
    rules.append((_CLONE, [_argument(0), _op(_JUMP_ANY_BIT, _CLONE_NEW, 0, 1), _op(_RETURN, _ERRNO | _EPERM)]))
    rules.append((_IOCTL, _if_equal(1, _TIOCSTI) + _if_equal(1, _TIOCLINUX)))
    rules.append((_FCNTL, _if_equal(1, _F_SETLEASE) + _if_equal(1, _F_NOTIFY)))
    # A size is a wish, so it is not refused but left at the default: what is in buffers is memory of no process.
    rules.append((_SETSOCKOPT, [part for name in _BUFFER_SIZES for part in _if_equal(2, name, error=0)]))
    rules += [(numbers, _unless(0, _AF_UNIX)) for numbers in ([_SOCKET] if namespaces else []) + [_SOCKETPAIR]]
    if not namespaces:
        rules[-1][1].extend([_argument(1), _op(_JUMP_ANY_BIT, _NOT_STREAMS, 0, 1), _op(_RETURN, _ERRNO | _EPERM)])
        rules.append((_PRCTL, _if_equal(0, _SET_DUMPABLE)))
    return rules


def _unless(argument: int, value: int) -> list[bytes]:
    """Refuse unless an argument is this."""
    return [_argument(argument), _op(_JUMP_EQUAL, value, 1, 0), _op(_RETURN, _ERRNO | _EPERM)]


def _if_equal(argument: int, value: int, *, error: int = _EPERM) -> list[bytes]:
    """Refuse if an argument is this; with error 0, do nothing and say that it was done."""
    return [_argument(argument), _op(_JUMP_EQUAL, value, 0, 1), _op(_RETURN, _ERRNO | error)]


def _argument(index: int) -> bytes:
    return _op(_LOAD, _ARGUMENTS + 8 * index)  # the lower half: both machines are little-endian


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
