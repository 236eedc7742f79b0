"""An engine that says what a test tells it to, and refuses a request that does not extend the one before."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.events import Event
from arriero.stack.log import EventLog, SQLiteLog
from arriero.stack.stack import Stack
from arriero.stack.turn import Terms

T = TypeVar("T")

SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
)


def byte_tokenizer(specials: Iterable[str] = SPECIALS) -> Tokenizer:
    """One id per byte, and the special tokens of Llama 3."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({letter: id_ for id_, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(specials))
    return Tokenizer(backend)


@dataclass
class Say:
    """One answer: text with special tokens spelled out, and what happens around it.

    `before` runs before the first token, `after` before the last one; either may wait or raise.
    """

    text: str
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    finish: str | None = "stop"
    logprobs: tuple[dict[int, float], ...] = ()


@dataclass
class ScriptedEngine:
    """Gives scripted answers, one id at a time.

    Every request must extend the one before and what was answered to it, unless `extending` is switched off.
    """

    answers: Iterable[str | Say]
    context_length: int = 8192
    model: str = "scripted"
    extending: bool = True
    tokenizer: Tokenizer = field(default_factory=byte_tokenizer)
    requests: list[list[int]] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)
    closed_early: int = 0
    running: int = 0

    def __post_init__(self) -> None:
        self._answers = iter(self.answers)
        self._transcript: list[int] = []

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        prompt = list(prompt_ids)
        known = len(self._transcript)
        if self.extending:
            assert prompt[:known] == self._transcript, "this request does not extend the one before"
            assert len(prompt) > known
        self.requests.append(prompt)
        self.samplings.append(sampling)
        answer = next(self._answers)
        say = answer if isinstance(answer, Say) else Say(answer)
        ids = self.encode(say.text)
        cut = len(ids) > sampling.max_tokens
        ids = ids[: sampling.max_tokens]
        self._transcript = [*prompt]
        self.running += 1
        try:
            if say.before:
                await _await(say.before())
            for position, id_ in enumerate(ids):
                await anyio.lowlevel.checkpoint()
                if position == len(ids) - 1 and say.after:
                    await _await(say.after())
                self._transcript.append(id_)
                yield Delta((id_,), say.logprobs[position : position + 1])
            if say.finish is not None:
                reason = "length" if cut else say.finish
                yield Delta((), (), reason, Usage(len(prompt), len(ids), 0))  # type: ignore[arg-type]
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self.closed_early += 1
            raise
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        return

    def encode(self, text: str) -> list[int]:
        pattern = "(" + "|".join(map(re.escape, SPECIALS)) + ")"
        ids: list[int] = []
        for piece in re.split(pattern, text):
            ids += [self.tokenizer.special_id(piece)] if piece in SPECIALS else self.tokenizer.encode(piece)
        return ids


async def _await(result: object) -> None:
    if hasattr(result, "__await__"):
        await result


def scripted_stack(*answers: str | Say, log: EventLog | None = None, **settings: Any) -> Stack:
    """A stack over a scripted engine that speaks Llama 3.1, with a log in memory."""
    engine = ScriptedEngine(answers, **settings)
    return Stack(engine, Dialect.get("llama3.1"), log=log or SQLiteLog(":memory:"))


def engine_of(stack: Stack) -> ScriptedEngine:
    assert isinstance(stack.engine, ScriptedEngine)
    return stack.engine


async def run(
    stack: Stack, text: str, terms: Terms | None = None, session: str | None = None, into: list[Event] | None = None
) -> list[Event]:
    """All events of a turn with one user message; `into` keeps those of a turn that raises."""
    events = [] if into is None else into
    async for event in stack.run_turn([Message("user", text)], terms, session=session):
        events.append(event)
    return events


async def logged(stack: Stack, session: str) -> list[Event]:
    """All events of a session as they are on disk."""
    return [record.event for record in await stack.log.read(session)]


def of(kind: type[T], events: Iterable[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def kinds(events: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def call(name: str, /, **arguments: object) -> str:
    """A call as a Llama 3.1 writes it."""
    return json.dumps({"name": name, "parameters": arguments}) + "<|eot_id|>"
