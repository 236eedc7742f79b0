"""The child process of the code interpreter: limits itself, then runs the program on its standard input.

Started as a file with `python -I`, so it imports nothing of the package.
"""

import ast
import json
import linecache
import os
import resource
import sys
import traceback
import types

_FILE = "<code>"


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
    _limit(json.loads(sys.argv[1]))
    try:
        _run(_read_program())
    except SystemExit:
        raise
    except BaseException as error:  # the program's own failure, whatever it is, goes to its standard error
        _report(error)
        sys.exit(1)
