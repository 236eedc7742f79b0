"""A real HTTP server on loopback that speaks vLLM's protocol, and misbehaves as a test says."""

import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

Answer = Callable[[SocketStream], Awaitable[None]]


class ScriptedServer:
    """A real HTTP server on loopback that answers `/v1/models` like vLLM, and completions as a test says.

    Args:
        root: The model folder that it claims to serve.
        script: What to do with each completion request, in order; the last one is repeated.
        context_length: What it says the model's context is.
    """

    def __init__(self, root: Path, script: Sequence[Answer], context_length: int = 512) -> None:
        self.root = root
        self.context_length = context_length
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.left = anyio.Event()
        self.connections = 0
        self.url = ""

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            try:
                while True:
                    await self._answer(reader, stream)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.left.set()

    async def _answer(self, reader: BufferedByteReceiveStream, stream: SocketStream) -> None:
        head = (await reader.receive_until(b"\r\n\r\n", 65536)).decode()
        length = next((int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:")), 0)
        body = await reader.receive_exactly(length) if length else b""
        if head.startswith("GET"):
            card = {"id": "arriero-demo", "root": str(self.root), "max_model_len": self.context_length}
            await stream.send(response(200, json.dumps({"data": [card]}).encode()))
            return
        self.requests.append(json.loads(body))
        await self.script[min(len(self.requests), len(self.script)) - 1](stream)


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said so", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def event(token_ids: Sequence[int] = (), finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": "", "token_ids": list(token_ids), "finish_reason": finish, **more}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = event([7]) + event([8]) + event([9], "stop") + USAGE + DONE
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def says(*pieces: bytes) -> Answer:
    """Send these bytes, each at once."""

    async def answer(stream: SocketStream) -> None:
        for piece in pieces:
            await stream.send(piece)

    return answer


def hangs_up_after(*pieces: bytes) -> Answer:
    async def answer(stream: SocketStream) -> None:
        await says(*pieces)(stream)
        await stream.aclose()

    return answer


streams_whole_answer = says(HEAD, chunk(WHOLE), b"0\r\n\r\n")


def resets_after(*pieces: bytes) -> Answer:
    async def answer(stream: SocketStream) -> None:
        await says(*pieces)(stream)
        await anyio.sleep(0.02)  # let what was sent arrive: a reset discards what is under way
        raw = stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    return answer


def is_silent_after(*pieces: bytes) -> Answer:
    async def answer(stream: SocketStream) -> None:
        await says(*pieces)(stream)

    return answer


@asynccontextmanager
async def misbehaving(root: Path, *script: Answer, context_length: int = 512) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(root, script, context_length)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        server.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        tasks.start_soon(listener.serve, server.serve)
        with anyio.fail_after(20):
            yield server
        tasks.cancel_scope.cancel()
