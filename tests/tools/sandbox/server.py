"""The process that stands for a server with a code interpreter: it holds secrets, and runs what the harness asks.

Started as a file, with the descriptor of its socket, the name of the tier and the limits. Requests and answers are
lines of JSON. It ends when the harness does.
"""

import base64
import ctypes
import json
import logging
import os
import platform
import socket
import sys
import time
from typing import Any

import anyio

_SESSION_KEYRING = -3
_JOIN, _SET_PERMISSIONS, _ALL = 1, 5, 0x3F3F3F3F
_KEY_CALLS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key, keyctl
_LONGEST_READ = 8 << 20


def plant_key(name: str, secret: bytes) -> str:
    """Put a key into a session keyring of this process's own (keyctl(2)), readable by everyone who finds it.

    Returns:
        "" or why it could not be.
    """
    numbers = _KEY_CALLS.get(platform.machine())
    if numbers is None:
        return f"no keyring: system call numbers of {platform.machine()} are not known"
    add_key, keyctl = numbers
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(keyctl, _JOIN, None) < 0:
        return f"no keyring: {os.strerror(ctypes.get_errno())}"
    key = libc.syscall(add_key, b"user", name.encode(), secret, len(secret), _SESSION_KEYRING)
    if key < 0:
        return f"no keyring: {os.strerror(ctypes.get_errno())}"
    libc.syscall(keyctl, _SET_PERMISSIONS, key, _ALL)
    return ""


def become_subreaper() -> None:
    """Whatever a session leaves behind becomes a child of this process (prctl(2)), where the harness sees it."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


class Server:
    """Sessions by name."""

    def __init__(self, sandbox: Any) -> None:
        self._sandbox = sandbox
        self._sessions: dict[str, Any] = {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks; an exception is an answer too."""
        handle = getattr(self, "do_" + request.pop("do"))
        started = time.monotonic()
        try:
            answer: dict[str, Any] = await handle(**request)
        except Exception as error:
            answer = {"raised": f"{type(error).__name__}: {error}", "expected": _is_tool_error(error)}
        return answer | {"seconds": time.monotonic() - started}

    async def do_open(self, session: str) -> dict[str, Any]:
        self._sessions[session] = await self._sandbox.open()
        return {"pid": self._sessions[session].pid}

    async def do_run(self, session: str, code: str, wall: float) -> dict[str, Any]:
        execution = await self._sessions[session].run(code, timeout=wall)
        return {"pid": self._sessions[session].pid, "execution": _plain(execution)}

    async def do_upload(self, session: str, path: str, data: str) -> dict[str, Any]:
        await self._sessions[session].upload(path, base64.b64decode(data))
        return {}

    async def do_listing(self, session: str) -> dict[str, Any]:
        return {"files": [{"path": f.path, "size": f.size} for f in await self._sessions[session].listing()]}

    async def do_read(self, session: str, path: str) -> dict[str, Any]:
        data = await self._sessions[session].read(path)
        return {"size": len(data), "data": base64.b64encode(data[:_LONGEST_READ]).decode()}

    async def do_restart(self, session: str) -> dict[str, Any]:
        await self._sessions[session].restart()
        return {"pid": self._sessions[session].pid}

    async def do_close(self, session: str) -> dict[str, Any]:
        await self._sessions.pop(session).aclose()
        return {}


def _plain(execution: Any) -> dict[str, Any]:
    """An execution as JSON, with what the model would read of it."""
    plain = {
        name: getattr(execution, name)
        for name in ("status", "stdout", "stderr", "value", "error", "reason", "state_lost", "cut", "duration")
    }
    plain["figures"] = [base64.b64encode(figure.data).decode() for figure in execution.figures]
    plain["files"] = [{"path": file.path, "size": file.size} for file in execution.files]
    plain["text"] = _text_for_the_model(execution)
    return plain


def _text_for_the_model(execution: Any) -> str:
    from arriero.prompts.code_result import format_code_result

    stdout = execution.stdout + (execution.value or "")
    failed = execution.status != "completed"
    text = format_code_result(failed=failed, stdout=stdout, stderr=execution.stderr + (execution.error or ""))
    return "\n".join([text, *(f"{file.path} ({file.size} bytes)" for file in execution.files)])


def _is_tool_error(error: Exception) -> bool:
    from arriero.tools.errors import ToolError

    return isinstance(error, ToolError)


def tier_named(name: str) -> Any:
    """The tier of this name, by its defaults."""
    from arriero.tools import sandbox
    from arriero.tools.sandbox.landlock import Landlock
    from arriero.tools.sandbox.wasi import Wasi

    return {"bubblewrap": sandbox.Bubblewrap, "landlock": Landlock, "wasi": Wasi, "unsafe": sandbox.Unsafe}[name]()


async def serve(channel: socket.socket, tier: str, wall: float) -> None:
    """Answer until the harness hangs up."""
    from arriero.tools.sandbox import Limits, Sandbox

    async with Sandbox(tier_named(tier), limits=Limits(wall=wall), warm=0) as sandbox:
        server = Server(sandbox)
        channel.setblocking(False)
        kept = bytearray()
        while True:
            while b"\n" not in kept:
                await anyio.wait_readable(channel)
                data = channel.recv(1 << 20)
                if not data:
                    return
                kept += data
            line, _, rest = bytes(kept).partition(b"\n")
            kept[:] = rest
            await _send(channel, json.dumps(await server.answer(json.loads(line))).encode() + b"\n")


async def _send(channel: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[channel.send(view) :]
        except BlockingIOError:
            await anyio.wait_writable(channel)


def main(descriptor: str, tier: str, wall: str, key_name: str) -> None:
    """Plant the key, start the sandbox, say that it is ready, serve."""
    logging.basicConfig(level=logging.DEBUG)  # to standard error: what is logged must hold no secret
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    become_subreaper()
    note = plant_key(key_name, os.environ["LLAMA_TEST_API_KEY"].encode())
    channel.sendall(json.dumps({"ready": True, "note": note}).encode() + b"\n")
    anyio.run(serve, channel, tier, float(wall))
    os._exit(0)  # nothing at exit may keep the harness waiting


if __name__ == "__main__":
    main(*sys.argv[1:])
