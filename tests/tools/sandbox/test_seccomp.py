"""The system call filter: as a program of its own, and as the kernel applies it."""

import os
import platform
import re
import struct
from pathlib import Path

import pytest

from arriero.tools.sandbox import Bubblewrap, Limits, Sandbox, SandboxUnavailable
from arriero.tools.sandbox.seccomp import build_filter

pytestmark = pytest.mark.anyio

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}
NUMBERS = {
    "x86_64": {"read": 0, "ptrace": 101, "clone": 56, "clone3": 435, "socket": 41, "socketpair": 53, "ioctl": 16},
    "aarch64": {"read": 63, "ptrace": 117, "clone": 220, "clone3": 435, "socket": 198, "socketpair": 199, "ioctl": 29},
}


def decide(program: bytes, machine: str, number: int, *arguments: int) -> int:
    """What the kernel would return: an interpreter of the few instructions that a filter may use."""
    words = [number, ARCH[machine], 0, 0]
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32]
    at, value = 0, 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("<HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                value = words[operand // 4]
            case 0x15:
                at += if_true if value == operand else if_false
            case 0x35:
                at += if_true if value >= operand else if_false
            case 0x45:
                at += if_true if value & operand else if_false
            case 0x06:
                return operand
            case _:
                raise AssertionError(hex(code))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_calls_are_decided_by_number_and_by_argument(machine: str) -> None:
    program, numbers = build_filter(machine), NUMBERS[machine]

    def said(name: str, *arguments: int) -> int:
        return decide(program, machine, numbers[name], *arguments)

    assert said("read") == ALLOW
    assert said("ptrace") == EPERM
    assert said("clone3") == ENOSYS
    assert said("clone", 0x01200011) == ALLOW
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert said("clone", flag | 17) == EPERM
    assert [said("socket", family) for family in (1, 2, 10, 16, 17, 38, 40)] == [ALLOW] + [EPERM] * 6
    assert [said("socketpair", family) for family in (1, 2)] == [ALLOW, EPERM]
    assert [said("ioctl", 0, request) for request in (0x5401, 0x5412, 0x541C)] == [ALLOW, EPERM, EPERM]
    assert said("ioctl", 0, 0x5412 | 1 << 32) == EPERM  # the kernel drops the upper half


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_other_machines_numbers_end_the_process(machine: str) -> None:
    program = build_filter(machine)
    other = "aarch64" if machine == "x86_64" else "x86_64"
    assert decide(program, other, 0) == KILL
    if machine == "x86_64":
        assert decide(program, machine, 0x40000000) == KILL
        assert decide(program, machine, 0xFFFFFFFF) == KILL


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_jump_leads_out_of_the_program(machine: str) -> None:
    for options in ({}, {"namespaces": False}, {"namespaces": False, "own_user": False}):
        program = build_filter(machine, **options)
        count = len(program) // 8
        assert count <= 4096
        for at in range(count):
            code, if_true, if_false, _ = struct.unpack_from("<HBBI", program, 8 * at)
            assert code == 6 or at + 1 + max(if_true, if_false) < count


@pytest.mark.parametrize("machine", [name for name, path in HEADERS.items() if Path(path).exists()])
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    from arriero.tools.sandbox import seccomp

    text = Path(HEADERS[machine]).read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    column = 0 if machine == "x86_64" else 1
    tables = (seccomp._REFUSED, seccomp._MISSING, seccomp._ONLY_ITSELF)
    ours = {name: numbers[column] for table in tables for name, numbers in table.items()}
    compared = {name: number for name, number in ours.items() if name in known}
    assert len(compared) > 60
    assert compared == {name: known[name] for name in compared}


@pytest.mark.parametrize("machine", ["riscv64", "i686", "armv7l", ""])
def test_an_unknown_machine_is_refused_by_name(machine: str) -> None:
    if machine:
        with pytest.raises(SandboxUnavailable, match=machine):
            build_filter(machine)
    else:
        assert build_filter() == build_filter(platform.machine())


CALLS = {
    "ptrace": "ptrace(16, 1, None, None)",
    "process_vm_readv": "syscall(310 if x86 else 270, 1, None, 0, None, 0, 0)",
    "keyctl": "syscall(250 if x86 else 219, 0, -3, 0)",
    "unshare": "unshare(0x10000000)",
    "mount": "mount(None, b'/', None, 32, None)",
    "chroot": "chroot(b'/tmp')",
    "shmget": "shmget(0, 4096, 0o1600)",
    "bpf": "syscall(321 if x86 else 280, 0, None, 0)",
    "perf_event_open": "syscall(298 if x86 else 241, None, 0, -1, -1, 0)",
    "userfaultfd": "syscall(323 if x86 else 282, 0)",
    "vsock": "socket(40, 1, 0)",
    "netlink": "socket(16, 3, 0)",
    "inet": "socket(2, 1, 0)",
    "clone with a namespace": "syscall(56 if x86 else 220, 0x10000000 | 17, None, None, None, None)",
    "prlimit of another": "syscall(302 if x86 else 261, 1, 7, None, None)",
    "setpriority of a user": "setpriority(2, 0, 19)",
    "sched_setaffinity of another": "sched_setaffinity(1, 8, bytes([1]) + bytes(7))",
    "name_to_handle_at": "name_to_handle_at(-100, b'/', None, None, 0)",
    "setns": "setns(0, 0)",
    "pidfd_open": "syscall(434, os.getpid(), 0)",
    "reboot": "syscall(169 if x86 else 142, 0, 0, 0, None)",
    "syslog": "klogctl(10, None, 0)",
    "sethostname": "sethostname(b'x', 1)",
    "inotify_init1": "inotify_init1(0)",
    "ioprio_set of a user": "syscall(251 if x86 else 30, 3, 0, 3 << 13)",
    "syncfs": "syncfs(0)",
    "a lease": "fcntl(0, 1024, 1)",
    "notes of a folder's use": "fcntl(0, 1026, 1)",
}
MISSING = {
    "clone3": "syscall(435, None, 0)",
    "io_uring_setup": "syscall(425, 1, None)",
    "memfd_create": "syscall(319 if x86 else 279, b'x', 0)",
    "memfd_secret": "syscall(447, 0)",
    "io_setup": "syscall(206 if x86 else 0, 1, None)",
}


async def test_the_kernel_refuses_what_the_list_says_and_works_for_the_rest() -> None:
    head = "import ctypes, os, platform\nl = ctypes.CDLL(None, use_errno=True)\nx86 = platform.machine() == 'x86_64'\n"
    lines = [f"print({name!r}, l.{call}, ctypes.get_errno(), sep='|')" for name, call in {**CALLS, **MISSING}.items()]
    async with Sandbox(Bubblewrap(), limits=Limits(), warm=0) as sandbox, await sandbox.open() as session:
        said = (await session.run(head + "\n".join(lines))).stdout.splitlines()
        assert said == [f"{name}|-1|{1 if name in CALLS else 38}" for name in {**CALLS, **MISSING}]
        works = (
            "import asyncio, os, resource, socket, subprocess, threading\n"
            "socket.socketpair(); socket.socket(socket.AF_UNIX)\n"
            "resource.prlimit(0, resource.RLIMIT_CPU); os.sched_setaffinity(0, {0}); os.nice(1)\n"
            "threading.Thread(target=print).start(); subprocess.run(['true']); asyncio.run(asyncio.sleep(0))\n"
            "os.getpriority(os.PRIO_PROCESS, 0)"
        )
        assert (await session.run(works)).status == "completed"


async def test_the_size_of_a_sockets_buffer_stays_as_it_is_and_nothing_fails() -> None:
    code = (
        "import socket\n"
        "a, b = socket.socketpair()\n"
        "before = a.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)\n"
        "a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, before // 2)\n"
        "a.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - before"
    )
    async with Sandbox(Bubblewrap(), warm=0) as sandbox, await sandbox.open() as session:
        assert (await session.run(code)).value == "0"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="int 0x80 is x86's")
async def test_the_32_bit_entry_ends_the_process() -> None:
    code = (
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\n"
        "m.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))\n"  # mov eax, 20 (getpid); int 0x80; ret
        "address = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())"
    )
    async with Sandbox(Bubblewrap(), warm=0) as sandbox, await sandbox.open() as session:
        execution = await session.run(code)
        assert execution.status == "killed"
        assert "SIGSYS" in (execution.error or "")


def test_this_process_is_not_filtered() -> None:
    assert "Seccomp:\t0" in Path(f"/proc/{os.getpid()}/status").read_text()
