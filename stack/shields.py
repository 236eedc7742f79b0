"""Shields: who may say what. A shield that cannot be read forbids."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from arriero.prompts.errors import ArrieroError, InvalidMessage, UnreadableVerdict
from arriero.prompts.guard import parse_guard, render_guard
from arriero.prompts.messages import JSON, Message, Parts, TextPart
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Engine, Sampling
from arriero.stack.generation import request

Place = Literal["input", "output"]
"""Where a shield stands: before the model reads the user, or before the user reads the model."""

_log = logging.getLogger(__name__)

# The frame of a guard prompt is ordinary text, so a message that holds its lines could pass for several.
_FRAME = re.compile(r"^(?:(?:User|Agent): |<(?:BEGIN|END) (?:CONVERSATION|UNSAFE CONTENT CATEGORIES)>)", re.MULTILINE)
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
            the model's answer as it is. Where the engine reports no probability, everything is forbidden.

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
        try:
            spoken = _spoken(messages)
        except InvalidMessage as error:
            return _no_verdict(str(error))
        speaker = "user" if where == "input" else "assistant"
        # Of all messages: a guard prompt cannot hold the others, so a last one of these would be judged by nobody.
        if not spoken or messages[-1].role != speaker or spoken[-1].role != speaker:
            return _no_verdict(f"the conversation does not end with what the {speaker} said")
        forged = next((line for message in spoken if (line := _FRAME.search(str(message.content)))), None)
        if forged:
            return _no_verdict(f"a line begins with {forged.group()!r}, as only lines of the guard prompt may")
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
        if self._threshold is not None:
            if score is None:
                return _no_verdict(f"no probability to hold against the threshold {self._threshold}")
            if not score < self._threshold:
                reason = f"unsafe with probability {score:.2f}, from {self._threshold} on forbidden"
                return Verdict(False, (), score, reason)
        return Verdict(True, (), score)


async def judge(shield: Shield, messages: Sequence[Message], where: Place) -> Verdict:
    """Ask a shield. One that raises, or gives no verdict, forbids.

    Args:
        shield: The shield.
        messages: The conversation.
        where: The place.

    Returns:
        Its verdict, or one that forbids and says why.
    """
    try:
        verdict: object = await shield.check(messages, where)
    except Exception as error:  # the boundary: a shield that breaks forbids
        _log.warning("shield %s failed", shield.name, exc_info=error)
        return _no_verdict(f"the shield broke: {type(error).__name__}: {error}")
    if not (isinstance(verdict, Verdict) and isinstance(verdict.allowed, bool)):
        _log.warning("shield %s gave no verdict", shield.name)
        return _no_verdict(f"the shield gave {type(verdict).__name__} {verdict!r:.80}, which is no Verdict")
    return verdict


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


def _text(content: JSON | Parts) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, tuple):
        texts = [part.text for part in content if isinstance(part, TextPart)]
        if len(texts) < len(content):
            raise InvalidMessage("a picture cannot be judged by a guard that reads text: leave it out")
        return "\n".join(texts)
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False)
