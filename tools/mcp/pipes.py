"""MCP over the standard streams of a child process.

The SDK has such a transport too. This one bounds messages and what is kept of the standard error, copes with text that
is no message, gives the child next to no environment and leaves no process of its group behind, also when the child
itself ended well. Messages are lines of JSON in UTF-8:
https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio
"""

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from arriero.tools.mcp.fault import McpConnectionError

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams
    from mcp.shared.message import SessionMessage

Pipe = TypeVar("Pipe", ByteReceiveStream, ByteSendStream)

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_KEPT_STDERR = 8_192
_MAX_STRAY = 65_536  # bytes of lines that are no messages; a banner is forgiven, a program that only prints is not
_GRACE = 1.0  # seconds to end by itself after its input closed, and again after SIGTERM
_POLL = 0.01


@dataclass(slots=True)
class Child:
    """What became of a server's process.

    Args:
        stray: Bytes on its standard output that were no messages.
        problem: Why its output is not read any more.
        stderr: The last it wrote to its standard error.
        status: Its exit status, when it ended without being told to.
        ended: Set when it gives no more messages.
    """

    stray: int = 0
    problem: str = ""
    stderr: bytes = b""
    status: int | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def state(self) -> str:
        """What to say when it does not answer."""
        if self.problem:
            return self.problem
        if self.status is not None:
            return f"its process ended with status {self.status}"
        printed = f"; {self.stray} bytes of its output were no MCP messages" if self.stray else ""
        return f"its process {'closed its output' if self.ended.is_set() else 'gave no answer'}{printed}"


@asynccontextmanager
async def open_child(
    command: Sequence[str], *, env: Mapping[str, str], folder: Path | None, max_message: int, child: Child
) -> "AsyncIterator[TransportStreams]":
    """Start a server and speak with it over its standard streams; stop it and its process group at the end.

    Args:
        command: Program and arguments.
        env: Environment variables that it gets besides `PATH`, `HOME`, the locale, the time zone and `TMPDIR`.
        folder: Where it runs; None for here.
        max_message: Most bytes of one message.
        child: Is kept up to date.

    Yields:
        Streams of messages from it and to it.

    Raises:
        McpConnectionError: It cannot be started.
    """
    from mcp.shared.message import SessionMessage

    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        process = await anyio.open_process(
            list(command), env=inherited | dict(env), cwd=folder, stderr=-1, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise McpConnectionError(f"{command[0]!r} cannot be started: {error}") from error
    # nothing is awaited before the `finally` below, so that a cancelled start leaves no process
    received_in, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_send_in, to_send = anyio.create_memory_object_stream[SessionMessage](64)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, _piped(process.stdout), received_in, max_message, child)
            tasks.start_soon(_write, _piped(process.stdin), to_send, received_in)
            tasks.start_soon(_drain, _piped(process.stderr), child)
            try:
                yield received, to_send_in
            finally:
                to_send_in.close()
                received.close()
                with anyio.CancelScope(shield=True):
                    await _stop(process, child)
                tasks.cancel_scope.cancel()
    finally:
        for stream in (received_in, received, to_send_in, to_send):
            stream.close()
        _release(process)


async def _read(
    output: ByteReceiveStream, received: "MemoryObjectSendStream[Any]", max_message: int, child: Child
) -> None:
    buffer = bytearray()
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        async with received:
            while not child.problem:
                chunk = await output.receive()
                buffer += chunk
                if b"\n" in chunk:
                    *lines, buffer = buffer.split(b"\n")
                    for line in lines:
                        await _deliver(line, received, child)
                if len(buffer) > max_message:
                    child.problem = f"it sent a message of more than {max_message} bytes"
    child.ended.set()


async def _deliver(line: bytearray, received: "MemoryObjectSendStream[Any]", child: Child) -> None:
    import mcp_types
    from mcp.shared.message import SessionMessage

    try:
        message = mcp_types.jsonrpc_message_adapter.validate_json(bytes(line), by_name=False)
    except ValueError:
        try:
            message = mcp_types.jsonrpc_message_adapter.validate_json(_mended(line), by_name=False)
        except (ValueError, RecursionError):
            child.stray += len(line) + 1
            if child.stray > _MAX_STRAY:
                child.problem = f"it wrote more than {_MAX_STRAY} bytes to its standard output that are no MCP messages"
            return
    await received.send(SessionMessage(message))


def _mended(line: bytearray) -> bytes:
    """A message without halves of characters: programs write them, and no strict reader takes them.

    The call that it answers would wait until its deadline.
    """
    return json.dumps(json.loads(line.decode("utf-8", "replace")), ensure_ascii=False).encode("utf-8", "replace")


async def _write(
    stdin: ByteSendStream,
    to_send: "MemoryObjectReceiveStream[SessionMessage]",
    received: "MemoryObjectSendStream[Any]",
) -> None:
    try:
        async for outgoing in to_send:
            await stdin.send(outgoing.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        received.close()  # else a request that never went out would be waited for


async def _drain(stderr: ByteReceiveStream, child: Child) -> None:
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        while True:
            child.stderr = (child.stderr + await stderr.receive())[-_KEPT_STDERR:]


async def _stop(process: Process, child: Child) -> None:
    """Close its input, wait, then end the whole group; each wait is bounded."""
    ended_itself = child.ended.is_set()
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError), anyio.move_on_after(_GRACE):
        await _piped(process.stdin).aclose()
    with anyio.move_on_after(_GRACE):
        while process.returncode is None:  # noqa: ASYNC110 - `wait` also waits until nobody holds the pipes
            await anyio.sleep(_POLL)
    if ended_itself:
        child.status = process.returncode
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process.pid, number):
            break
        with anyio.move_on_after(_GRACE):
            while process.returncode is None or _signal_group(process.pid, 0):  # noqa: ASYNC110
                await anyio.sleep(_POLL)
            break


def _piped(stream: Pipe | None) -> Pipe:
    if stream is None:
        raise AssertionError("the process was started with pipes")
    return stream


def _signal_group(group: int, number: int) -> bool:
    """Whether there is still such a group. The leader's id is its own, as the child leads a session."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # a member took other rights; nothing more can be done about it
        return False
    return True


def _release(process: Process) -> None:
    """Close the pipes even when a process that left the group holds their other ends; no public name leads there."""
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        with suppress(PermissionError):
            transport.close()
