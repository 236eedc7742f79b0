"""The application: routes, and what happens when a client goes away."""

import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse

from arriero.stack.server.bodies import ChatBody, ShieldBody
from arriero.stack.server.chat import Step
from arriero.stack.server.conversation import place_of, read_messages
from arriero.stack.server.errors import describe, install
from arriero.stack.shields import judge
from arriero.stack.stack import Stack
from arriero.stack.terms import REFUSAL

T = TypeVar("T")

_CLIENT_CLOSED = 499
_log = logging.getLogger(__name__)


def create_app(stack: Stack) -> FastAPI:
    """An application that serves a stack. The caller opens and closes the stack.

    Sampling is greedy where a client does not say otherwise. Each chat completion is a session of its own in the
    stack's log, named by the completion's id, unless that log is in memory.

    Args:
        stack: What answers.

    Returns:
        An ASGI application with `/v1/chat/completions`, `/v1/models`, `/v1/safety/run-shield` and `/health`.

    Example:
        >>> import anyio
        >>> async def paths() -> bool:
        ...     async with Stack.local() as stack:
        ...         return "/v1/chat/completions" in create_app(stack).openapi()["paths"]
        >>> anyio.run(paths)
        True
    """
    app = FastAPI(title="Arriero", docs_url=None, redoc_url=None)
    install(app)
    begun = int(time.time())

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        model = {"id": stack.engine.model, "object": "model", "created": begun, "owned_by": "arriero"}
        return {"object": "list", "data": [model]}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(body: ChatBody, request: Request) -> Response:
        step = Step(stack, body)
        if not body.stream:
            answer = await _unless_disconnected(request, step.complete())
            return Response(status_code=_CLIENT_CLOSED) if answer is None else JSONResponse(answer)
        chunks = step.chunks()
        first = await _unless_disconnected(request, anext(chunks))
        return Response(status_code=_CLIENT_CLOSED) if first is None else EventSourceResponse(_events(first, chunks))

    @app.post("/v1/safety/run-shield")
    async def run_shield(body: ShieldBody) -> dict[str, Any]:
        shield = stack.shield(body.shield_id)
        messages = read_messages(body.messages)
        verdict = await judge(shield, messages, place_of(messages))
        if verdict.allowed:
            return {"violation": None}
        _log.info("shield %s: %s", shield.name, verdict.reason)
        metadata = {
            "violation_type": ",".join(verdict.categories) or "unspecified",
            "categories": list(verdict.categories),
            "score": verdict.score,
        }
        return {"violation": {"violation_level": "error", "user_message": REFUSAL, "metadata": metadata}}

    return app


async def _events(first: str, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    async with aclosing(cast("Any", chunks)):
        yield first
        try:
            async for chunk in chunks:
                yield chunk
        except Exception as error:  # the boundary: the status is sent, so the error is the stream's last event
            yield json.dumps(describe(error)[1])
            return
    yield "[DONE]"


async def _unless_disconnected(request: Request, work: Awaitable[T]) -> T | None:
    """The result of `work`, or None when the client went away first; `work` is cancelled then."""
    result: T | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                continue
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result = await work
        except Exception as error:  # kept out of the group, which would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result
