"""The worker: keeps one module alive and runs code in it, one request after another.

It runs inside the sandbox, from a descriptor, imports nothing of the package, and shares its process with the
user's code, which can do to it what it likes: the server takes nothing from it on trust. Names that it needs after
the user's code has run are bound before.
"""

from __future__ import annotations

import ast
import builtins
import fcntl
import io
import json
import linecache
import os
import resource
import signal
import stat
import struct
import sys
import traceback
import types
from time import perf_counter

TYPE_CHECKING = False  # importing typing takes longer than the rest of this file
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

CONFIG: dict[str, Any]  # given by the bootstrap
_HEAD = struct.Struct("!II")
_HEAD_MOST = 512 << 10
_CHUNK = 1 << 20
_TEXT_MOST = 64 << 10
_SCANNED_MOST = 20_000
_PRIVATE = 200  # descriptors from here on are the worker's
_encode = json.JSONEncoder().encode
_decode = json.JSONDecoder().decode
_unpack, _pack = _HEAD.unpack, _HEAD.pack
_getpid, _write, _dup2, _exit = os.getpid, os.write, os.dup2, os._exit
_scandir, _fsencode = os.scandir, os.fsencode
_open, _read, _close, _fstat, _lseek = os.open, os.read, os.close, os.fstat, os.lseek
_TextIOWrapper, _FileIO, _BufferedWriter = io.TextIOWrapper, io.FileIO, io.BufferedWriter
_TracebackException = traceback.TracebackException
_recursion, _set_recursion = sys.getrecursionlimit, sys.setrecursionlimit
_RECURSION = 1_000
_set_timer, _TIMERS = signal.setitimer, (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_set_trace, _set_profile = sys.settrace, sys.setprofile
_name = type.__dict__["__name__"].__get__
_settle, _interrupts = signal.signal, signal.default_int_handler


class _Channel:
    """Frames: lengths of a JSON head and of a body of bytes, then both."""

    def __init__(self, descriptor: int, most: int) -> None:
        self._descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
        os.close(descriptor)
        self._most = most

    def receive(self) -> tuple[dict[str, Any], bytearray]:
        head, body = _unpack(self._exactly(_HEAD.size))
        if head > _HEAD_MOST or head + body > self._most:
            _exit(70)
        return _decode(str(self._exactly(head), "utf-8")), self._exactly(body)

    def send(self, head: object, body: bytes = b"") -> None:
        data = _encode(head).encode()
        view = memoryview(_pack(len(data), len(body)) + data + body)
        while view:
            view = view[_write(self._descriptor, view) :]

    def _exactly(self, count: int) -> bytearray:
        data = bytearray()
        while len(data) < count:
            piece = _read(self._descriptor, count - len(data))
            if not piece:
                _exit(0)
            data += piece
        return data


class _Output:
    """Standard output or error: given back to the user's code at each call, whatever it did to them in the last."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._private = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
        self._stream = self._fresh()

    def _fresh(self) -> io.TextIOWrapper:
        raw = _FileIO(self._descriptor, "wb", closefd=False)
        return _TextIOWrapper(_BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)

    def restore(self) -> io.TextIOWrapper:
        _dup2(self._private, self._descriptor)
        if self._stream.closed or self._stream.buffer.closed:
            self._stream = self._fresh()
        return self._stream

    def finish(self, nonce: bytes) -> None:
        try:
            self._stream.flush()
        except BaseException:  # closed or detached by the user's code
            self._stream = self._fresh()
        _write(self._private, nonce)


class _Worker:
    def __init__(self, config: dict[str, Any]) -> None:
        self._workspace = config["workspace"]
        self._channel = _Channel(config["control"], config["frame"])
        self._outputs = _Output(1), _Output(2)
        self._files_most, self._cpu = config["files"], config["cpu"]
        self._figures_most, self._figure_bytes = config["figures"], config["figure_bytes"]
        self._pid = _getpid()
        self._calls = 0
        self._main = types.ModuleType("__main__")
        self._main.__dict__["__builtins__"] = builtins
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._private_nothing = fcntl.fcntl(self._nothing, fcntl.F_DUPFD_CLOEXEC, _PRIVATE)
        os.close(self._nothing)
        sys.modules["__main__"] = self._main
        sys.argv = [""]
        sys.path.append(self._workspace)  # last, so that nothing in it shadows an installed module
        os.chdir(self._workspace)
        os.umask(0o022)

    def serve(self) -> None:
        operations = {"run": self._run, "write": self._write, "read": self._read, "list": self._list}
        _settle(signal.SIGINT, signal.SIG_IGN)
        self._channel.send({"ready": True})
        while True:
            request, body = self._channel.receive()
            operation = operations[request["op"]]
            try:
                operation(request, body)
            except OSError as error:
                self._channel.send({"failed": f"{error.strerror or error}"})

    def _run(self, request: dict[str, Any], body: bytearray) -> None:
        self._calls += 1
        started = perf_counter()
        before = self._snapshot()
        reply: dict[str, Any] = {"status": "completed", "value": None, "error": None, "cut": False}
        try:
            self._prepare()
            try:
                _settle(signal.SIGINT, _interrupts)
                value = self._execute(str(body, "utf-8"))
                if value is not None:
                    reply["value"], reply["cut"] = _short(repr(value))
            finally:
                _settle(signal.SIGINT, signal.SIG_IGN)
                for timer in _TIMERS:  # what they raise would strike the worker itself
                    _set_timer(timer, 0)
                _set_trace(None)
                _set_profile(None)
                if _recursion() < _RECURSION:  # else nothing below would run
                    _set_recursion(_RECURSION)
        except BaseException as error:  # the user's own failure, whatever it is
            reply["status"] = _status(error)
            if reply["status"] != "completed":
                reply["error"], reply["cut"] = _short(_explain(error))
        if _getpid() != self._pid:  # the user's code forked, and this is the child
            _exit(0)
        reply["figures"] = self._send_figures()
        for output in self._outputs:
            output.finish(request["nonce"].encode())
        reply["files"] = self._changed(before)
        reply["duration"] = perf_counter() - started
        self._channel.send(reply)

    def _prepare(self) -> None:
        _dup2(self._private_nothing, 0)
        sys.stdout, sys.stderr = (output.restore() for output in self._outputs)
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = int(used.ru_utime + used.ru_stime) + self._cpu + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))

    def _execute(self, source: str) -> object:
        name = f"<code {self._calls}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        tree = ast.parse(source, name)
        value = None
        if tree.body and isinstance(last := tree.body[-1], ast.Expr):
            tree.body.pop()
            value = compile(ast.Expression(last.value), name, "eval")
        code = compile(tree, name, "exec")
        exec(code, self._main.__dict__)  # noqa: S102 - running code is what this process is for
        return None if value is None else eval(value, self._main.__dict__)  # noqa: S307

    def _send_figures(self) -> int:
        """Send each open figure as PNG, and close them; matplotlib is used only if the user's code did."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        sent = room = 0
        try:
            if pyplot is None or not (numbers := pyplot.get_fignums()):
                return 0
            room = self._figure_bytes
            for number in numbers[: self._figures_most]:
                file = io.BytesIO()
                pyplot.figure(number).savefig(file, format="png")
                data = file.getvalue()
                room -= len(data)
                if room < 0:
                    break
                for start in range(0, len(data), _CHUNK):
                    piece = data[start : start + _CHUNK]
                    self._channel.send({"figure": sent, "more": start + _CHUNK < len(data)}, piece)
                sent += 1
            pyplot.close("all")
        except BaseException:  # noqa: S110 - a figure that cannot be drawn is none; the user's code may have broken it
            pass
        return sent

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Regular files of the workspace, links not followed, at most so many entries."""
        waiting, seen = [""], 0
        while waiting:
            folder = waiting.pop()
            try:
                with _scandir(f"{self._workspace}/{folder}") as entries:
                    for entry in entries:
                        seen += 1
                        if seen > _SCANNED_MOST:
                            return
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(f"{folder}{entry.name}/")
                        elif entry.is_file(follow_symlinks=False):
                            yield folder + entry.name, entry.stat(follow_symlinks=False)
            except OSError:  # gone by now, or not readable
                continue

    def _snapshot(self) -> dict[str, tuple[int, int, int]]:
        try:
            return {path: (found.st_size, found.st_mtime_ns, found.st_ino) for path, found in self._walk()}
        except Exception:  # the user's code has broken what this needs
            return {}

    def _changed(self, before: dict[str, tuple[int, int, int]]) -> list[tuple[str, int]]:
        found = sorted((path, state[0]) for path, state in self._snapshot().items() if before.get(path) != state)
        return self._fitting(found)

    def _fitting(self, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        room, kept = _HEAD_MOST // 2, []
        for path, size in found[: self._files_most]:
            room -= 6 * len(path) + 32
            if room < 0:
                break
            kept.append((path, size))
        return kept

    def _list(self, request: dict[str, Any], body: bytearray) -> None:
        found = sorted((path, status.st_size) for path, status in self._walk())
        self._channel.send({"files": self._fitting(found[request["skip"] :])})

    def _read(self, request: dict[str, Any], body: bytearray) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = _open(self._path(request["path"]), flags)
        try:
            found = _fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError("it is no regular file")
            _lseek(descriptor, request["offset"], os.SEEK_SET)
            self._channel.send({"size": found.st_size}, _read(descriptor, _CHUNK))
        finally:
            _close(descriptor)

    def _write(self, request: dict[str, Any], body: bytearray) -> None:
        path = self._path(request["path"])
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        if request["offset"] == 0:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path):  # a link is replaced, never written through
                os.unlink(path)
            flags |= os.O_CREAT | os.O_EXCL
        descriptor = _open(path, flags, 0o644)
        try:
            _lseek(descriptor, request["offset"], os.SEEK_SET)
            view = memoryview(body)
            while view:
                view = view[_write(descriptor, view) :]
        finally:
            _close(descriptor)
        self._channel.send({})

    def _path(self, path: str) -> bytes:
        return _fsencode(f"{self._workspace}/{path}")


def _status(error: BaseException) -> str:
    kind = type(error)  # not isinstance, which asks the object
    if issubclass(kind, SystemExit):
        code = getattr(error, "code", None) if kind is SystemExit else 1
        return "completed" if code is None or (type(code) is int and code == 0) else "failed"
    return "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"


def _short(text: str) -> tuple[str, bool]:
    text = "".join((text,))  # a subclass of str may lie about its length
    if len(text) <= _TEXT_MOST:
        return text, False
    half = _TEXT_MOST // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}", True


def _explain(error: BaseException) -> str:
    frames = error.__traceback__
    while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<code "):
        frames = frames.tb_next
    try:
        return "".join(_TracebackException(type(error), error, frames, compact=True).format())
    except BaseException:  # a broken __str__, or no memory for the text
        return f"{_name(type(error), None)} (its text cannot be shown)\n"


if "CONFIG" in globals():  # not where it is only read, for its documentation
    _Worker(CONFIG).serve()  # noqa: F821
