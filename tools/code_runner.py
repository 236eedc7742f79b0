"""The child process of the code interpreter: supervises one of its own that runs the program on its standard input.

Started as a file with `python -I`, so it imports nothing of the package.
"""

import ast
import contextlib
import ctypes
import json
import linecache
import os
import resource
import signal
import sys
import time
import traceback
import types
from typing import NoReturn

_FILE = "<code>"
_PR_SET_CHILD_SUBREAPER = 36
_WATCHED = (signal.SIGTERM, signal.SIGCHLD)


def _supervise() -> None:
    """Go on in a new process; this one waits for it or for SIGTERM, then kills every descendant and ends as it did.

    As a subreaper (prctl(2)) it inherits whatever its descendants leave behind, so none can slip out of its tree.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    child = os.fork()
    if child == 0:
        os.setpgrp()  # what the program sends to its own group is not for the supervisor
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        return
    status = None
    while status is None and signal.sigwait(_WATCHED) == signal.SIGCHLD:
        status = _reap().get(child)
    _kill_descendants()
    _end_as(signal.SIGKILL if status is None else status)


def _reap() -> dict[int, int]:
    """Statuses of the children that have ended."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = found[1]
    return ended


def _kill_descendants() -> None:
    for _ in range(2_000):  # a process may fork while we look; a fork bomb is stopped by its limits, not by us
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _descendants() -> list[int]:
    parents: dict[int, int] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as stat:
            parents[int(entry)] = int(stat.read().rpartition(b")")[2].split()[1])
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _limit(limits: dict[str, int]) -> None:
    for name, wanted in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def _read_program() -> str:
    source = sys.stdin.buffer.read().decode()
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return source


def _run(source: str) -> None:
    """Run the program; the value of a last expression is printed as at Python's prompt."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = [_FILE]
    linecache.cache[_FILE] = (len(source), None, source.splitlines(keepends=True), _FILE)
    tree = ast.parse(source, _FILE)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, _FILE, "exec"), module.__dict__)  # noqa: S102 - running code is what this process is for
    if last is not None:
        exec(compile(ast.Interactive([last]), _FILE, "single"), module.__dict__)  # noqa: S102


def _report(error: BaseException) -> None:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != _FILE:
        frames = frames.tb_next
    traceback.print_exception(type(error), error.with_traceback(frames), frames)


if __name__ == "__main__":
    if sys.platform == "linux":
        _supervise()
    _limit(json.loads(sys.argv[1]))
    try:
        _run(_read_program())
    except SystemExit:
        raise
    except BaseException as error:  # the program's own failure, whatever it is, goes to its standard error
        _report(error)
        sys.exit(1)
