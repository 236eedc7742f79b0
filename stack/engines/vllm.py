"""A vLLM server over HTTP: token ids in, token ids out, through `/v1/completions`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx2
import pydantic_core

from arriero.prompts.errors import VocabularyMismatch
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Sampling
from arriero.stack.engines.completions import DeltaReader, request_body
from arriero.stack.engines.http import NotFound, NotNow, Server
from arriero.stack.engines.limits import answer_room, grammar_text
from arriero.stack.errors import EngineInterrupted, EngineRejected, EngineUnavailable, ModelNotReadable
from arriero.stack.token_ids import TokenIds

_REMEDY = "pass tokenizer= with a folder that holds the model's tokenizer.json"


@dataclass(frozen=True, slots=True)
class PrefixCacheCounters:
    """Prompt tokens that vLLM looked up in its prefix cache since it started, and those it found there."""

    queries: int
    hits: int


class VLLMEngine:
    """A model served by vLLM. Make one with `connect`.

    Args:
        server: The server.
        model: Name of the model there.
        tokenizer: The model's tokenizer.
        context_length: Most ids of prompt and answer together.

    Example:
        >>> from contextlib import aclosing
        >>> async def continued(url: str, text: str) -> str:
        ...     async with aclosing(await VLLMEngine.connect(url)) as engine:
        ...         ids = engine.tokenizer.encode(text)
        ...         async for delta in engine.generate(ids, Sampling(max_tokens=5)):
        ...             ids += delta.token_ids
        ...         return engine.tokenizer.decode(ids)
    """

    def __init__(self, server: Server, *, model: str, tokenizer: Tokenizer, context_length: int) -> None:
        self._server = server
        self._model = model
        self._tokenizer = tokenizer
        self._context_length = context_length

    def __repr__(self) -> str:
        return f"VLLMEngine({self._server.url!r}, model={self._model!r})"

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        model: str | None = None,
        tokenizer: Tokenizer | str | Path | None = None,
        api_key: str | None = None,
        context_length: int | None = None,
        read_timeout: float = 120.0,
        retries: int = 3,
        backoff: float = 0.25,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> Self:
        """Ask a server what it serves, and make ready to use it.

        Nothing is read from the environment: proxies and own certificates come in through `transport`.

        Args:
            url: The server, with or without `/v1`.
            model: Name of a served model; None for the first.
            tokenizer: The model's tokenizer, or its folder. None looks where the server says its model is: a
                folder on this machine, else that name on the Hugging Face Hub.
            api_key: Key that the server was started with.
            context_length: Most ids of prompt and answer, for a server that does not say.
            read_timeout: Longest silence of the server, in seconds.
            retries: How often a request is repeated that failed before anything was delivered.
            backoff: Longest wait before the first repetition, in seconds; it doubles each time.
            transport: Another way to reach the server.

        Returns:
            The engine.

        Raises:
            EngineUnavailable: Nothing answers there.
            EngineRejected: Wrong API key, no such model, or no vLLM server.
            ModelNotReadable: The tokenizer cannot be found or read.
        """
        server = Server(
            url, api_key=api_key, timeout=read_timeout, retries=retries, backoff=backoff, transport=transport
        )
        try:
            cards = await _served(server)
            card = _choose(cards, model, server.url)
            length = context_length or _length(card, cards, server.url)
            if not isinstance(tokenizer, Tokenizer):
                tokenizer = await anyio.to_thread.run_sync(_read_tokenizer, tokenizer, card.get("root") or card["id"])
        except BaseException:
            with anyio.CancelScope(shield=True):
                await server.aclose()
            raise
        return cls(server, model=card["id"], tokenizer=tokenizer, context_length=length)

    @property
    def server(self) -> Server:
        """The server that it asks."""
        return self._server

    @property
    def model(self) -> str:
        """The model's name on the server."""
        return self._model

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    @property
    def context_length(self) -> int:
        """Most ids of prompt and answer together."""
        return self._context_length

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Continue `prompt_ids`.

        A request is repeated while nothing of its answer was delivered, never later. Closing the iterator closes
        the connection, and vLLM aborts the request.

        Args:
            prompt_ids: The prompt, used as it is.
            sampling: How to sample. `max_tokens` is cut to what the context leaves.

        Yields:
            Deltas. The last one carries the finish reason and the usage.

        Raises:
            ContextTooLong: The prompt leaves no room for an answer. Nothing was sent.
            EngineUnavailable: The server cannot be reached, or kept failing before it answered.
            EngineRejected: The server refused.
            EngineInterrupted: The answer broke off in the middle.
        """
        prompt = prompt_ids if isinstance(prompt_ids, TokenIds) else list(prompt_ids)
        room = answer_room(prompt, sampling, self._context_length)
        body = request_body(self._model, prompt, sampling, room, grammar_text(sampling, self._tokenizer))
        attempt = 0
        while True:
            reader = DeltaReader(prompt, self._server.url)
            try:
                async with self._server.open("POST", "v1/completions", body) as response:
                    async for chunk in response.aiter_raw():
                        for delta in reader.feed(chunk):
                            yield delta
                # Only a response that was read to its end gives its connection back for the next request.
                last = reader.finish()
                break
            except (NotNow, EngineUnavailable) as failure:
                if reader.begun:
                    raise EngineInterrupted(f"the answer broke off in the middle: {failure}") from failure
                if isinstance(failure, EngineUnavailable):
                    raise
                attempt = await self._server.pause(attempt, failure)
            except NotFound as refusal:
                names = ", ".join(card["id"] for card in await _served(self._server))
                raise EngineRejected(f"{refusal}; the server has {names}") from refusal
        yield last

    async def prefix_cache_counters(self) -> PrefixCacheCounters:
        """Read vLLM's own counters of its prefix cache, over all its engines.

        Raises:
            EngineUnavailable: Nothing answers.
            EngineRejected: The server shows no metrics.
        """
        text = (await self._server.get("metrics")).decode(errors="replace")
        return PrefixCacheCounters(
            *(_counter(text, f"vllm:prefix_cache_{name}_total", self._server.url) for name in ("queries", "hits"))
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._server.aclose()


async def _served(server: Server) -> list[dict[str, Any]]:
    body = await server.get("v1/models")
    try:
        cards: list[dict[str, Any]] = [card for card in pydantic_core.from_json(body)["data"] if card["id"]]
    except (ValueError, TypeError, KeyError) as error:
        raise EngineRejected(f"{server.url} is no vLLM server: its /v1/models says {body[:80]!r}") from error
    if not cards:
        raise EngineRejected(f"{server.url} serves no model: start it with --model")
    return cards


def _choose(cards: Sequence[dict[str, Any]], model: str | None, where: str) -> dict[str, Any]:
    for card in cards:
        if model in (None, card["id"]):
            return card
    names = ", ".join(card["id"] for card in cards)
    raise EngineRejected(f"{where} serves no model {model!r}: it has {names}")


def _length(card: Mapping[str, Any], cards: Sequence[Mapping[str, Any]], where: str) -> int:
    """An adapter's card has no length of its own: its parent's holds."""
    family = [card, *(other for other in cards if other["id"] == card.get("parent"))]
    for length in (member.get("max_model_len") for member in family):
        if isinstance(length, int):
            return length
    raise EngineRejected(f"{where} does not say how long the context of {card['id']} is: pass context_length=")


def _read_tokenizer(folder: str | Path | None, root: str) -> Tokenizer:
    try:
        if folder is not None:
            return Tokenizer.from_folder(folder)
        if Path(root).is_dir():
            return Tokenizer.from_folder(root)
        return Tokenizer.from_folder(_download(root))
    except VocabularyMismatch as error:
        raise ModelNotReadable(f"{error}; {_REMEDY}") from error


def _download(model: str) -> str:
    if Path(model).is_absolute():
        raise ModelNotReadable(f"the server's model folder {model} is not on this machine: {_REMEDY}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ModelNotReadable(
            f"the tokenizer of {model} is not on this machine: {_REMEDY}, or `pip install huggingface_hub`"
        ) from error
    try:
        return hf_hub_download(model, "tokenizer.json")
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).split("\n", 1)[0]
        raise ModelNotReadable(
            f"the tokenizer of {model} cannot be downloaded ({type(error).__name__}: {reason}): {_REMEDY}"
        ) from error


def _counter(text: str, name: str, where: str) -> int:
    values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    if not values:
        raise EngineRejected(f"{where}/metrics has no {name}: it must be vLLM with its statistics switched on")
    return int(sum(values))
