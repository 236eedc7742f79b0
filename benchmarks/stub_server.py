"""A model server that answers at once: one call in every step but the last, in token ids and as chat completions.

It keeps no state of its requests: which step it is asked for is read from the request. `GET /bodies` gives the chat
requests so far, one in a line, and forgets them.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from arriero.models import DEMO
from arriero.prompts.tokens import Tokenizer

CALL = '{"name": "double", "parameters": {"number": 21}}'
ANSWER = "The double of 21 is 42, as you asked."
QUESTION = "What is the double of 21?"


@contextmanager
def serving(steps: int, tokens_per_event: int = 1) -> Iterator[str]:
    """Serve turns of that many steps from another process; gives the address."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(steps, tokens_per_event, there), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(steps: int, tokens_per_event: int, ready: Connection) -> None:
    asyncio.run(_Server(steps, tokens_per_event).run(ready))


class _Server:
    def __init__(self, steps: int, tokens_per_event: int) -> None:
        tokenizer = Tokenizer.from_folder(DEMO)
        end = tokenizer.special_id("<|eot_id|>")
        self._steps = steps
        self._header = str(tokenizer.special_id("<|start_header_id|>")).encode()
        self._call = _stream([*tokenizer.encode(CALL), end], tokens_per_event)
        self._answer = _stream([*tokenizer.encode(ANSWER), end], tokens_per_event)
        model = {"id": "stub", "object": "model", "max_model_len": 131072, "root": str(DEMO)}
        self._models = json.dumps({"object": "list", "data": [model]}).encode()
        self._bodies: list[bytes] = []

    async def run(self, ready: Connection) -> None:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, limit=2**24, backlog=512)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                kind, answer = self._respond(head.split(b" ", 2)[1], body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(answer), answer)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _respond(self, path: bytes, body: bytes) -> tuple[bytes, bytes]:
        if path.endswith(b"/chat/completions"):
            self._bodies.append(body)
            return b"application/json", self._chat(json.loads(body))
        if path.endswith(b"/completions"):
            # The headers of the system, the user, and of each call and its result; the last one waits for the answer.
            done = (body.count(b"%s," % self._header) - 3) // 2
            return b"text/event-stream", self._call if done < self._steps - 1 else self._answer
        if path == b"/bodies":
            bodies, self._bodies = self._bodies, []
            return b"application/octet-stream", b"\n".join(bodies)
        return b"application/json", self._models

    def _chat(self, request: dict[str, Any]) -> bytes:
        # smolagents sends results as messages of the user.
        done = sum(message["role"] == "assistant" for message in request["messages"])
        names = [tool["function"]["name"] for tool in request.get("tools", ())]
        call = "double" if done < self._steps - 1 else ""
        arguments: dict[str, Any] = {"number": 21}
        if not call and "final_answer" in names:
            call, arguments = "final_answer", {"answer": ANSWER}
        message: dict[str, Any] = {"role": "assistant", "content": None if call else ANSWER}
        if call:
            function = {"name": call, "arguments": json.dumps(arguments)}
            message["tool_calls"] = [{"id": f"call_{done}", "type": "function", "function": function}]
        finish = "tool_calls" if call else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        head = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "stub"}
        return json.dumps(head | {"choices": [choice], "usage": usage}).encode()


def _stream(ids: list[int], tokens_per_event: int) -> bytes:
    """The server-sent events with which vLLM would stream these ids."""
    pieces = [ids[start : start + tokens_per_event] for start in range(0, len(ids), tokens_per_event)]
    events: list[dict[str, Any]] = [{"choices": [_choice(piece)]} for piece in pieces[:-1]]
    events.append({"choices": [_choice(pieces[-1], "stop")]})
    events.append({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": len(ids), "total_tokens": 1}})
    head = {"id": "cmpl-0", "object": "text_completion", "created": 0, "model": "stub"}
    return b"".join(b"data: %s\n\n" % json.dumps(head | event).encode() for event in events) + b"data: [DONE]\n\n"


def _choice(ids: list[int], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": "", "logprobs": None, "finish_reason": reason, "stop_reason": None, "token_ids": ids}
