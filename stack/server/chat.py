"""One model step for a client that runs the tools itself."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from arriero.prompts.messages import ToolCall
from arriero.stack.engine import Sampling, Usage
from arriero.stack.errors import ContextTooLong
from arriero.stack.events import PromptAppended, TurnStarted
from arriero.stack.generation import Generation, request, stop_ids
from arriero.stack.server.bodies import ChatBody
from arriero.stack.server.conversation import read_messages, read_tools
from arriero.stack.server.errors import UnknownModel
from arriero.stack.server.journal import logged
from arriero.stack.stack import Stack


class Step:
    """A client's request, rendered. Raises before the engine is asked where the request cannot be met.

    Args:
        stack: What answers.
        body: The request.

    Raises:
        UnknownModel: The model is not the one served.
        InvalidMessage: The conversation cannot be rendered.
        ContextTooLong: It leaves no room for an answer.
    """

    def __init__(self, stack: Stack, body: ChatBody) -> None:
        engine = stack.engine
        if body.model != engine.model:
            raise UnknownModel(f"this server has no model {body.model!r}: use {engine.model!r}")
        self.stack, self.body = stack, body
        self.id, self.created = f"chatcmpl-{uuid4().hex}", int(time.time())
        tools = read_tools(body.tools or ()) if body.tool_choice != "none" else []
        self.offered = tuple(tool["function"]["name"] for tool in tools)
        messages = read_messages(body.messages)
        self.prompt_ids = stack.dialect.render(messages, tools).encode(engine.tokenizer)
        room = engine.context_length - len(self.prompt_ids)
        if room < 1:
            raise ContextTooLong(len(self.prompt_ids), engine.context_length)
        vocabulary = engine.tokenizer.fingerprint
        begun = TurnStarted(tuple(messages), engine.model, stack.dialect.name, tuple(tools), (), vocabulary)
        self.opening = (begun, PromptAppended(1, tuple(self.prompt_ids)))
        self.sampling = Sampling(
            max_tokens=min(room, body.max_completion_tokens or body.max_tokens or room),
            temperature=body.temperature or 0.0,
            top_p=body.top_p or 1.0,
            seed=body.seed,
            stop_ids=stop_ids(stack.dialect, engine.tokenizer),
        )

    async def complete(self) -> dict[str, Any]:
        """The whole answer as a `chat.completion`."""
        async with self._generation() as generation:
            await generation.read()
        text, calls = self._answer(generation)
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(generation, calls)}
        return {
            **self._envelope("chat.completion"),
            "choices": [choice],
            "usage": _usage(generation.usage),
        }

    async def chunks(self) -> AsyncIterator[str]:
        """The answer as `chat.completion.chunk`s. The first comes once the engine has begun to answer."""
        async with self._generation() as generation:
            await generation.read_until(lambda: True)
            yield self._chunk({"role": "assistant", "content": ""})
            while True:
                # Without tools whatever looks like a call is text, and that is known at the end only.
                if generation.has_text:
                    yield self._chunk({"content": generation.take_text()})
                if generation.finished:
                    break
                await generation.read_until(lambda: generation.has_text)
        text, calls = self._answer(generation)
        if generation.calls and text:
            yield self._chunk({"content": text})
        for index, call in enumerate(calls):
            yield self._chunk({"tool_calls": [{"index": index, **_call(call)}]})
        yield self._chunk({}, _reason(generation, calls))
        if self.body.stream_options and self.body.stream_options.include_usage:
            last = {**self._envelope("chat.completion.chunk"), "choices": [], "usage": _usage(generation.usage)}
            yield json.dumps(last)

    @asynccontextmanager
    async def _generation(self) -> AsyncIterator[Generation]:
        engine = self.stack.engine
        async with request(engine, self.prompt_ids, self.sampling) as deltas:
            generation = Generation(deltas, self.stack.dialect.parser(self.offered, engine.tokenizer))
            async with logged(self.stack.log, self.id, self.opening, generation, self._answer):
                yield generation

    def _answer(self, generation: Generation) -> tuple[str, tuple[ToolCall, ...]]:
        if self.offered or not generation.calls:
            return generation.parsed.content, generation.calls
        ids = [id_ for id_ in generation.token_ids if id_ not in self.sampling.stop_ids]
        return self.stack.engine.tokenizer.decode(ids), ()

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.body.model}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return json.dumps({**self._envelope("chat.completion.chunk"), "choices": [choice]})


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id or f"call_{uuid4().hex[:24]}", "type": "function", "function": function}


def _reason(generation: Generation, calls: tuple[ToolCall, ...]) -> str:
    if calls:
        return "tool_calls"
    return "length" if generation.cut else "stop"


def _usage(usage: Usage) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        counted["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return counted
