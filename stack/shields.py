"""Shields: who may say what. A shield that cannot be read forbids."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from arriero.prompts.errors import ArrieroError, UnreadableVerdict
from arriero.prompts.guard import parse_guard, render_guard
from arriero.prompts.messages import JSON, Message
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Engine, Sampling
from arriero.stack.generation import request

Place = Literal["input", "output"]
"""Where a shield stands: before the model reads the user, or before the user reads the model."""

_ANSWER_TOKENS = 24
_ALTERNATIVES = 5
_STOP_TOKENS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")


class UnknownShield(ArrieroError):
    """No shield has that name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a shield says of a conversation.

    Args:
        allowed: Whether it may pass.
        categories: Codes of the categories that it violates, such as `"S9"`.
        score: Probability that it is unsafe, where the shield has one.
        reason: Why it may not pass, for an operator to read.
    """

    allowed: bool
    categories: tuple[str, ...] = ()
    score: float | None = None
    reason: str = ""


class Shield(Protocol):
    """Judges a conversation by its last message."""

    @property
    def name(self) -> str:
        """Name that the events carry."""
        ...

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        """Judge.

        Args:
            messages: The conversation. For `input` the user spoke last, for `output` the assistant.
            where: The place.

        Returns:
            The verdict. A shield that cannot judge returns one that forbids; it does not raise.
        """
        ...


class LlamaGuard:
    """Llama Guard 3: a Llama that answers `safe` or `unsafe` and the category codes.

    Args:
        engine: Engine that serves a Llama Guard model.
        threshold: Forbid from this probability of `unsafe` on, also where the answer is `safe`. None takes
            the model's answer as it is.

    Example:
        >>> import anyio
        >>> from arriero.models import DEMO
        >>> from arriero.stack.stack import Stack
        >>> async def judge() -> bool:
        ...     async with Stack.local(DEMO) as stack:
        ...         verdict = await LlamaGuard(stack.engine).check([Message("user", "Hello!")], "input")
        ...     return verdict.allowed or verdict.reason != ""
        >>> anyio.run(judge)
        True
    """

    name = "llama-guard"

    def __init__(self, engine: Engine, *, threshold: float | None = None) -> None:
        self._engine = engine
        self._threshold = threshold

    async def check(self, messages: Sequence[Message], where: Place) -> Verdict:
        """Judge the last message of `messages`; see `Shield.check`."""
        spoken = _spoken(messages)
        speaker = "user" if where == "input" else "assistant"
        if not spoken or spoken[-1].role != speaker:
            return _no_verdict(f"the conversation does not end with what the {speaker} said")
        tokenizer = self._engine.tokenizer
        try:
            prompt = render_guard(spoken).encode(tokenizer)
            ids, score = await self._ask(prompt)
        except ArrieroError as error:
            return _no_verdict(f"the guard model did not answer: {error}")
        return self._read(tokenizer.decode(ids), score)

    async def _ask(self, prompt: Sequence[int]) -> tuple[list[int], float | None]:
        tokenizer = self._engine.tokenizer
        stop = tuple(tokenizer.special_ids[token] for token in _STOP_TOKENS if token in tokenizer.special_ids)
        sampling = Sampling(max_tokens=_ANSWER_TOKENS, stop_ids=stop, logprobs=_ALTERNATIVES)
        ids: list[int] = []
        score: float | None = None
        async with request(self._engine, prompt, sampling) as deltas:
            async for delta in deltas:
                for id_, alternatives in zip(delta.token_ids, delta.logprobs, strict=False):
                    # Some guards begin their answer with newlines (FORMATS.md section 8).
                    if score is None and tokenizer.decode([id_]).strip():
                        score = _unsafe_share(alternatives, tokenizer)
                ids += delta.token_ids
        return [id_ for id_ in ids if id_ not in stop], score

    def _read(self, answer: str, score: float | None) -> Verdict:
        try:
            verdict = parse_guard(answer)
        except UnreadableVerdict as error:
            return _no_verdict(str(error))
        if not verdict.safe:
            codes = ", ".join(verdict.categories) or "no category named"
            return Verdict(False, verdict.categories, score, f"unsafe: {codes}")
        if self._threshold is not None and score is not None and score >= self._threshold:
            return Verdict(
                False, (), score, f"unsafe with probability {score:.2f}, from {self._threshold} on forbidden"
            )
        return Verdict(True, (), score)


def _no_verdict(reason: str) -> Verdict:
    return Verdict(False, reason=f"may not pass: {reason}")


def _unsafe_share(alternatives: Mapping[int, float], tokenizer: Tokenizer) -> float | None:
    share = {"safe": 0.0, "unsafe": 0.0}
    for id_, logprob in alternatives.items():
        text = tokenizer.decode([id_]).strip()
        for answer in share:
            if text and answer.startswith(text):
                share[answer] += math.exp(logprob)
    total = sum(share.values())
    return share["unsafe"] / total if total else None


def _spoken(messages: Sequence[Message]) -> list[Message]:
    """User and assistant in turns, from the user on: all that a guard prompt can hold."""
    spoken: list[Message] = []
    for message in messages:
        text = _text(message.content)
        if message.role not in ("user", "assistant") or (message.role == "assistant" and not (text and spoken)):
            continue
        if spoken and spoken[-1].role == message.role:
            text = f"{spoken.pop().content}\n\n{text}"
        spoken.append(Message(message.role, text))
    return spoken


def _text(content: JSON) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False)
