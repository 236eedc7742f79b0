"""First stage of a worker of the Landlock tier: a supervisor stays outside, the worker is confined for good.

Runs in the process that is to be confined, from a descriptor, and imports nothing of the package. Facts: kernel docs,
userspace-api/landlock; prctl(2); credentials(7).
"""

import ctypes
import fcntl
import os
import resource
import signal
import stat
import struct
import sys
import time

# Numbers of system calls (the same on every architecture) and flags of linux/landlock.h, linux/prctl.h.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_PATH_BENEATH = 1
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER, _NO_NEW_PRIVS = 1, 36, 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE, _MAKE_FIFO, _MAKE_LINK = (
    1 << 4,
    1 << 5,
    1 << 7,
    1 << 8,
    1 << 10,
    1 << 12,
)
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_CHANGE = (
    _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _MAKE_FIFO | _MAKE_LINK | _REFER
)
RIGHTS = {"read": _READ, "write": _READ | _CHANGE, "device": _READ_FILE | _WRITE_FILE}

_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many the interface's versions handle
_TCP_SINCE, _SCOPES_SINCE = 4, 6

_ALIASES = 180  # descriptors from here on, below those of the worker's loop
_CROWDED = 200
_LOOK = 0.05  # memory takes files at gigabytes a second
# The programs know deep trees and closed folders. As $1, which is nothing where none is given; $0 would be the shell.
REMOVE = 'test -n "$1" && chmod -R u+rwx -- "$1"; exec rm -rf --one-file-system -- "$1"'
_EXITING = 4  # PF_EXITING of linux/sched.h
DISK_FULL = 121  # exit status of a supervisor that ended the session because its files took too much room


def version() -> int:
    """Version of the kernel's Landlock interface; 0 where there is none, or it is switched off."""
    try:
        return max(0, _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION))
    except OSError:
        return 0


def confine(rules: "list[list[str]]") -> None:
    """Confine this process, and all that it starts, to some paths: for good.

    Beyond the paths it then opens nothing. It reaches no TCP port, and no abstract socket or process outside, where
    the kernel's version has that. What `stat`, `readlink` and `chdir` tell of other paths stays, and so do
    descriptors that are open already.

    Args:
        rules: Pairs of a path and a key of `RIGHTS`. A path that does not exist is left out.

    Raises:
        OSError: The kernel refused.
    """
    found = version()
    files = (1 << _FILE_RIGHTS.get(found, 16)) - 1
    words = [files] + [3] * (found >= _TCP_SINCE) + [3] * (found >= _SCOPES_SINCE)  # struct landlock_ruleset_attr
    attr = struct.pack(f"={len(words)}Q", *words)
    ruleset = _call(_CREATE_RULESET, attr, ctypes.c_size_t(len(attr)), 0)
    for path, rights in rules:
        _allow(ruleset, path, RIGHTS[rights] & files)
    _prctl(_NO_NEW_PRIVS, 1)
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_FILES
    _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    return _checked(_libc().syscall(ctypes.c_long(number), *arguments))


def _prctl(option: int, value: int) -> None:
    _checked(_libc().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def _checked(done: int) -> int:
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _supervise(server: int, folder: str, room: int, inodes: int) -> None:
    """Go on in a new process; this one stays outside, watches the disk, and leaves no process behind.

    As a subreaper it inherits what the worker's descendants leave behind. None of them can leave the worker's process
    group, as the system call filter refuses that, so one signal ends all of them.
    """
    _prctl(_SET_CHILD_SUBREAPER, 1)
    _prctl(_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != server:  # it died before that
        os._exit(0)
    watched = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
        return
    os.setpgid(worker, worker)  # whichever of the two comes first
    os.closerange(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    full, count, look = False, 0, 0.0
    while not full and _alive(worker):
        told = signal.sigtimedwait(watched, max(0.0, look - time.monotonic()))
        if told is not None and told.si_signo == signal.SIGTERM:
            break
        if time.monotonic() < look:
            continue
        began = time.monotonic()
        stopped = count > _CROWDED  # counting takes a while, in which much more could be made
        if stopped:
            os.killpg(worker, signal.SIGSTOP)
        try:
            used, count = _in_folders(folder, inodes)
            full = count > inodes or used + _deleted_but_open() > room
        except (OSError, RecursionError):  # what cannot be counted is too much
            full = True
        if stopped and not full:
            os.killpg(worker, signal.SIGCONT)
        look = 2 * time.monotonic() - began + _LOOK
    os.killpg(worker, signal.SIGKILL)
    status = _reap_all().get(worker, 0)
    if os.getppid() != server or _is_dying(server):  # so nobody else removes the files
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that it is dead may be told only now
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve("/bin/sh", ["sh", "-c", REMOVE, "sh", folder], {})  # noqa: S606
    if full:
        os._exit(DISK_FULL)
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _alive(worker: int) -> bool:
    """Reap what has ended, but the worker: while it is not reaped, the group's number is its own."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if ended.si_pid == worker:
            return False
        os.waitpid(ended.si_pid, 0)
    return True


def _reap_all() -> "dict[int, int]":
    ended: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return ended
        ended[process] = status


def _in_folders(folder: str, most: int) -> "tuple[int, int]":
    used = count = 0
    for _, folders, files, descriptor in os.fwalk(folder, onerror=_unless_gone):
        count += len(folders) + len(files)
        if count > most:
            break
        for name in (*folders, *files):
            try:
                used += 512 * os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks
            except FileNotFoundError:
                continue
    return used, count


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _deleted_but_open() -> int:
    files = {}
    for process in _descendants(os.getpid()):
        try:
            with os.scandir(f"/proc/{process}/fd") as descriptors:
                for descriptor in descriptors:
                    found = descriptor.stat()
                    if stat.S_ISREG(found.st_mode) and found.st_nlink == 0:
                        files[found.st_dev, found.st_ino] = 512 * found.st_blocks
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            if _runs(process):
                raise
    return sum(files.values())


def _descendants(process: int) -> "list[int]":
    found = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as file:
                for child in map(int, file.read().split()):
                    found += [child, *_descendants(child)]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def _runs(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_dying(process: int) -> bool:
    """Whether a process is on its way out: it closes its files, at which its worker ends, before its children know."""
    try:
        with open(f"/proc/{process}/stat") as file:
            state, *_, flags = file.read().rpartition(")")[2].split()[:7]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX" or bool(int(flags) & _EXITING)


def _keep_reachable(folders: "list[str]") -> None:
    """Keep the interpreter's folders in reach of an ordinary user, where only root may go to them.

    A link in /proc/PID/fd leads to an open folder, whatever the folders above it allow (proc(5)). It works for the
    programs that this process starts, too, while it lives.
    """
    aliases = {}
    for folder in folders:
        if not _open_to_all(folder):
            opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            aliases[folder] = f"/proc/{os.getpid()}/fd/{fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _ALIASES)}"
            os.close(opened)

    def renamed(path: str) -> str:
        for folder, alias in aliases.items():
            if path == folder or path.startswith(f"{folder}/"):
                return alias + path[len(folder) :]
        return path

    for paths in (sys.path, *(getattr(module, "__path__", None) for module in list(sys.modules.values()))):
        if isinstance(paths, list):
            paths[:] = map(renamed, paths)
    sys.path_importer_cache.clear()
    if aliases:  # another Python, started from here, finds its library and packages by these
        sys.executable = renamed(os.path.realpath(sys.executable))
        os.environ["LD_LIBRARY_PATH"] = ":".join(f"{alias}/lib" for alias in aliases.values())
        os.environ["PYTHONPATH"] = ":".join(path for path in sys.path if path.endswith("site-packages"))


def _open_to_all(folder: str) -> bool:
    while folder != "/":
        folder = os.path.dirname(folder)
        if not os.stat(folder).st_mode & stat.S_IXOTH:
            return False
    return True


def _main(settings) -> None:  # type: ignore[no-untyped-def]
    _supervise(settings["server"], settings["folder"], settings["room"], settings["inodes"])
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when the machine runs out of memory, this goes first
    if settings["uid"] is not None:
        _keep_reachable(settings["interpreter"])
    confine(settings["rules"])


if "CONFIG" in globals():
    _main(globals()["CONFIG"]["landlock"])
