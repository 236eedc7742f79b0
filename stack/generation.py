"""One engine request, parsed while it arrives."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import assert_never

import anyio

from arriero.prompts.dialect import Dialect
from arriero.prompts.events import (
    ArgumentsGrown,
    CallOpened,
    CallParsed,
    CallWithdrawn,
    MessageEnded,
    Parsed,
    ParseEvent,
    TextParsed,
)
from arriero.prompts.messages import ToolCall
from arriero.prompts.parser import Parser
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Engine, Sampling, Usage
from arriero.stack.errors import EngineInterrupted

_CLOSING_SECONDS = 5.0


def stop_ids(dialect: Dialect, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end a message.

    Raises:
        VocabularyMismatch: The model's vocabulary lacks one: it speaks another dialect.
    """
    return tuple(tokenizer.special_id(token) for token in dialect.stop_tokens)


@asynccontextmanager
async def request(engine: Engine, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncIterator[AsyncIterator[Delta]]:
    """Deltas of one engine request, which ends with the block, however the block is left.

    Args:
        engine: The engine to ask.
        prompt_ids: Ids to continue.
        sampling: How to sample.

    Yields:
        The engine's deltas.
    """
    deltas = engine.generate(prompt_ids, sampling)
    try:
        yield deltas
    finally:
        close = getattr(deltas, "aclose", None)
        if close is not None:
            # Shielded: a cancelled caller must still tell the engine to stop.
            with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
                await close()


class Generation:
    """An answer in the making: ids as they come, text as soon as it is certain not to be a call.

    Args:
        deltas: Deltas of the request.
        parser: Fresh parser of the dialect.
        on_call: Hears of each call, with its position, as soon as it is complete.
    """

    def __init__(
        self,
        deltas: AsyncIterator[Delta],
        parser: Parser,
        *,
        on_call: Callable[[int, ToolCall], None] | None = None,
    ) -> None:
        self._deltas = deltas
        self._parser = parser
        self._on_call = on_call
        self._waiting: list[str] = []
        self._parsed: Parsed | None = None
        self.token_ids: list[int] = []
        self.usage = Usage()
        self.cut = False
        """Whether the length ended it, not the model."""

    @property
    def finished(self) -> bool:
        """Whether the last delta has come."""
        return self._parsed is not None

    @property
    def parsed(self) -> Parsed:
        """The whole message, once finished."""
        if self._parsed is None:
            raise RuntimeError("the generation is not finished: advance() until it is")
        return self._parsed

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Its calls in the order written, those to unknown tools included; the registry answers these itself."""
        return self.parsed.tool_calls

    @property
    def has_text(self) -> bool:
        """Whether text has become certain that was not taken yet."""
        return bool(self._waiting)

    async def read_until(self, enough: Callable[[], bool]) -> None:
        """Take in deltas until it is enough, or the last one has come.

        Args:
            enough: Asked after each delta.

        Raises:
            EngineError: The engine refused or broke off.
        """
        async for delta in self._deltas:
            self.token_ids += delta.token_ids
            self._take_in(self._parser.feed_ids(delta.token_ids))
            self.usage = delta.usage or self.usage
            if delta.finish_reason is not None:
                self._finish(cut=delta.finish_reason == "length")
            if self.finished or enough():
                return
        raise EngineInterrupted(f"the answer broke off after {len(self.token_ids)} tokens: no reason was given")

    async def read(self) -> None:
        """Take in all that is left."""
        await self.read_until(lambda: False)

    async def aclose(self) -> None:
        """End the request, if it has not ended. Closing twice is fine."""
        close = getattr(self._deltas, "aclose", None)
        if close is None:
            return
        if self.finished:
            await close()
            return
        # Shielded: a cancelled caller must still tell the engine to stop.
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            await close()

    def take_text(self) -> str:
        """Text that became certain since the last time."""
        text = "".join(self._waiting)
        self._waiting.clear()
        return text

    def _finish(self, *, cut: bool) -> None:
        self.cut = cut
        self._parsed = self._parser.finish()
        self._take_in(self._parsed.last)

    def _take_in(self, events: Sequence[ParseEvent]) -> None:
        for event in events:
            match event:
                case TextParsed():
                    self._waiting.append(event.text)
                case CallParsed(call, index):
                    if self._on_call is not None:
                        self._on_call(index, call)
                case CallOpened() | ArgumentsGrown() | CallWithdrawn() | MessageEnded():
                    pass  # most calls are dispatched when the message is over: `parsed` holds them
                case _:
                    assert_never(event)
