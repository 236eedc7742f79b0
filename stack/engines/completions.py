"""vLLM's `/v1/completions` on the wire: the request's bytes, and its event stream read into deltas. No I/O."""

from collections.abc import Iterator, Sequence
from typing import Any

import pydantic_core

from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.engines.http import NotNow, error_text
from arriero.stack.errors import EngineError, EngineInterrupted, EngineRejected
from arriero.stack.token_ids import TokenIds

_LABEL = len("token_id:")

_Piece = tuple[Sequence[int], Sequence[dict[int, float]]]
"""Ids, and for each the log-probabilities of alternatives."""

_NOTHING: _Piece = ((), ())
_LARGEST_ID = (1 << 32) - 1


def request_body(
    model: str, prompt_ids: Sequence[int], sampling: Sampling, max_tokens: int, grammar: str | None = None
) -> bytes:
    """The JSON of one request.

    Whatever vLLM would otherwise take from the model's `generation_config.json` is always sent, so that the answer
    depends on `sampling` alone. `max_tokens` would default to 16 (FORMATS.md section 12).

    Args:
        model: The model's name on the server.
        prompt_ids: The prompt.
        sampling: How to sample.
        max_tokens: Most tokens of the answer.
        grammar: Rules of the answer's grammar, with the model's special ids.

    Returns:
        The body.
    """
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": sampling.stop_ids,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.logprobs is not None:
        body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
    if grammar is not None:
        body["structured_outputs"] = {"grammar": grammar}
    prompt = prompt_ids.json() if isinstance(prompt_ids, TokenIds) else pydantic_core.to_json(prompt_ids)
    return b'{"prompt":%b,%b' % (prompt, pydantic_core.to_json(body)[1:])


class DeltaReader:
    """Reads the event stream of one answer.

    Args:
        prompt_ids: What was sent; the server's account of it must agree.
        where: The server's address, for errors.
    """

    def __init__(self, prompt_ids: Sequence[int], where: str) -> None:
        self._prompt_ids = prompt_ids
        self._where = where
        self._rest = b""
        self._last: Delta | None = None
        self._done = False
        self.begun = False
        """Whether a delta was delivered."""

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Read the next bytes, cut anywhere.

        What has come together is one delta: a busy reader catches up, and the rest costs it less.

        Yields:
            A delta, if there is one; the last of the answer is kept for `finish`.

        Raises:
            EngineInterrupted: The answer stopped making sense after it had begun, or vLLM gave it up.
            EngineRejected: This is no completion stream with token ids, or the server refused inside the stream.
            NotNow: The server failed inside the stream, before anything was delivered.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        ids: list[int] = []
        logprobs: list[dict[int, float]] = []
        failure: Exception | None = None
        try:
            for line in lines:
                new, alternatives = self._line(line)
                if new:
                    self.begun = True
                    ids += new
                    logprobs += alternatives
        except (EngineError, NotNow) as error:  # what came before it is delivered first
            failure = error
        if ids:
            yield Delta(tuple(ids), tuple(logprobs))
        if failure is not None:
            raise failure

    def finish(self) -> Delta:
        """The last delta, once the stream has ended: finish reason and usage included.

        Raises:
            EngineInterrupted: The stream ended before the answer did.
            EngineRejected: The stream held something else than an answer.
            NotNow: The stream was empty.
        """
        if self._done and self._last is not None:
            return self._last
        if not self.begun and self._rest:
            raise self._unusable(self._rest)
        if not self.begun and self._last is None:
            raise NotNow(f"{self._where} closed the stream before the answer began: see the server's log")
        raise EngineInterrupted(
            f"{self._where} closed the stream before the answer was complete: see the server's log, then ask again"
        )

    def _line(self, line: bytes) -> _Piece:
        if not line.startswith(b"data:"):
            return _NOTHING
        payload = line[5:].strip()
        if payload == b"[DONE]":
            self._done = True
            return _NOTHING
        try:
            return self._read(pydantic_core.from_json(payload))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise self._unusable(payload) from error

    def _read(self, event: dict[str, Any]) -> _Piece:
        if "error" in event:
            raise self._failure(event)
        if not event["choices"]:
            if self._last is not None:
                last = self._last
                self._last = Delta(last.token_ids, last.logprobs, last.finish_reason, _usage(event["usage"]))
            return _NOTHING
        choice = event["choices"][0]
        ids, alternatives = piece = self._piece(choice)
        finish = choice.get("finish_reason")
        if finish is None:
            return piece
        self._last = Delta(tuple(ids), tuple(alternatives), finish)
        return _NOTHING

    def _piece(self, choice: dict[str, Any]) -> _Piece:
        token_ids = choice.get("token_ids")
        if token_ids is None:
            raise EngineRejected(
                f"{self._where} answers without token ids: it must be vLLM 0.20 or newer, with nothing between that"
                " rewrites its answers"
            )
        if not all(type(id_) is int and 0 <= id_ <= _LARGEST_ID for id_ in token_ids):
            raise TypeError("ids are whole numbers")
        used = choice.get("prompt_token_ids")
        if used is not None and used != list(self._prompt_ids):
            raise EngineRejected(
                f"{self._where} used another prompt than the one sent ({len(used)} ids instead of"
                f" {len(self._prompt_ids)}): take away what rewrites requests in front of vLLM"
            )
        finish = choice.get("finish_reason")
        if finish not in (None, "stop", "length"):
            raise EngineInterrupted(
                f"{self._where} gave up the answer ({finish}): see the server's log, then ask again"
            )
        found = choice.get("logprobs")
        return token_ids, _logprobs(found) if found else ()

    def _failure(self, event: dict[str, Any]) -> Exception:
        text = error_text(event)
        if self.begun:
            return EngineInterrupted(f"{self._where} failed in the middle of the answer ({text}): see the server's log")
        error = event["error"]
        code = error.get("code") if isinstance(error, dict) else None
        if isinstance(code, int) and 400 <= code < 500:
            return EngineRejected(f"{self._where} refused the request: {text}")
        return NotNow(f"{self._where} failed: {text}; see the server's log")

    def _unusable(self, payload: bytes) -> EngineError:
        kind = EngineInterrupted if self.begun else EngineRejected
        return kind(f"{self._where} sent something that is no vLLM completion: {payload[:80]!r}; use a vLLM server")


def _logprobs(found: dict[str, Any]) -> tuple[dict[int, float], ...]:
    return tuple(
        {int(label[_LABEL:]): value for label, value in alternatives.items()} for alternatives in found["top_logprobs"]
    )


def _usage(raw: dict[str, Any]) -> Usage:
    details = raw.get("prompt_tokens_details") or {}
    counts = raw["prompt_tokens"], raw["completion_tokens"], details.get("cached_tokens")
    if not all(count is None or type(count) is int for count in counts) or None in counts[:2]:
        raise TypeError("counts are whole numbers")
    return Usage(*counts)
