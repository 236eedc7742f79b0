"""Servers as they are elsewhere: run by an ordinary user, without bubblewrap, on a kernel without Landlock."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534

NO_LANDLOCK = """
import ctypes, struct
def op(code, value, yes=0, no=0): return struct.pack("<HBBI", code, yes, no, value)
# landlock_create_ruleset gives ENOSYS, as on a kernel that has none
program = op(0x20, 0) + op(0x15, 444, 0, 1) + op(0x06, 0x50026) + op(0x06, 0x7FFF0000)
class Program(ctypes.Structure): _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(Program(4, program)), 0, 0) == 0
"""


def python(code: str, **environment: str) -> str:
    """What a Python process of this user prints."""
    return _run([sys.executable, "-c", code], environment)


def python_of_an_ordinary_user(code: str, **environment: str) -> str:
    """What a Python process of a user without rights prints; where this user is one, it is this user's."""
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        drop += ["--inh-caps=-all", "--ambient-caps=-all"]
        command = ["bwrap", "--dev-bind", "/", "/", *_opened(), "--die-with-parent", "--", *drop, *command]
    return _run(command, environment)


def _run(command: list[str], environment: dict[str, str]) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/tmp", **environment}
    program = shutil.which(command[0]) or command[0]
    done = subprocess.run(
        [program, *command[1:]], env=environment, cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _opened() -> list[str]:
    """Arguments for bwrap that open the interpreter and the package to all, where a folder above is root's alone."""
    needed = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, ROOT)}
    arguments = []
    for folder in {closed for path in needed if (closed := _first_closed(path))}:
        arguments += ["--perms", "0755", "--tmpfs", folder]
        for path in needed:
            if path.startswith(f"{folder}/"):
                above = [str(parent) for parent in reversed(Path(path).parents) if str(parent).startswith(f"{folder}/")]
                arguments += [word for parent in above for word in ("--perms", "0755", "--dir", parent)]
                arguments += ["--ro-bind", path, path]
    return arguments


def _first_closed(path: str) -> str | None:
    parents = [str(parent) for parent in reversed(Path(path).parents)]
    return next((parent for parent in parents if not os.stat(parent).st_mode & 0o001), None)
