"""An engine that says what a script tells it to, and refuses a request that does not extend the one before."""

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Delta, Sampling, Usage
from arriero.stack.engines.limits import answer_room
from arriero.stack.log import EventLog
from arriero.stack.tape import fold
from arriero.testing.calls import written
from arriero.testing.script import Answer, Asked, Rule, Say, ScriptError, as_say
from arriero.testing.vocabulary import byte_tokenizer


@dataclass(slots=True)
class _Conversation:
    """What one conversation has sent and received: its first prompt, and all of it."""

    opening: list[int]
    ids: list[int]


@dataclass
class ScriptedEngine:
    """Gives scripted answers, one token after the other.

    A request that carries on with a conversation must extend it: what was asked before, what was answered to it, then
    something new. Ids that were sent may change only where the log says so, after compaction for instance.

    Args:
        script: Answers, given one after the other, and rules, which are asked first, in their order.
        dialect: How the model writes.
        tokenizer: The vocabulary.
        context_length: Most ids of prompt and answer together.
        model: The model's name.
        log: The log of the sessions that it answers. It says which ids a session may send.
        extending: Whether requests must extend what was said.

    Example:
        >>> import anyio
        >>> async def said() -> str:
        ...     engine = ScriptedEngine(["Hello."])
        ...     ids = [id_ async for delta in engine.generate([1, 2], Sampling()) for id_ in delta.token_ids]
        ...     return engine.tokenizer.decode(ids)
        >>> anyio.run(said)
        'Hello.'
    """

    script: Iterable[Answer | Rule]
    dialect: Dialect = field(default_factory=lambda: Dialect.get("llama3.1"))
    tokenizer: Tokenizer = field(default_factory=byte_tokenizer)
    context_length: int = 8192
    model: str = "scripted"
    log: EventLog | None = None
    extending: bool = True
    requests: list[list[int]] = field(default_factory=list, init=False)
    """The prompts that it was given, as ids."""
    samplings: list[Sampling] = field(default_factory=list, init=False)
    """How each request asked to sample."""
    running: int = field(default=0, init=False)
    """Requests that have not ended."""
    closed_early: int = field(default=0, init=False)
    """Requests that were left, or cancelled, before their end."""

    def __post_init__(self) -> None:
        script = list(self.script)
        self._rules = [entry for entry in script if isinstance(entry, Rule)]
        self._answers = [entry for entry in script if not isinstance(entry, Rule)]
        self._conversations: list[_Conversation] = []
        self._generation_header = _generation_header(self.dialect)

    @property
    def prompts(self) -> list[str]:
        """The prompts that it was given, as text, special tokens spelled out."""
        return [self.tokenizer.decode(ids) for ids in self.requests]

    @property
    def unsaid(self) -> tuple[Answer, ...]:
        """Answers that it was not asked for yet, those of rules not counted."""
        return tuple(self._answers)

    def then(self, *script: Answer | Rule) -> None:
        """Continue the script.

        Args:
            script: More answers and rules.
        """
        self._rules += [entry for entry in script if isinstance(entry, Rule)]
        self._answers += [entry for entry in script if not isinstance(entry, Rule)]

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Give the next answer; see `Engine.generate`.

        Yields:
            Its tokens, one in each delta, then its end.

        Raises:
            ScriptError: The script has no answer to the request, or the request does not extend its conversation.
            ContextTooLong: The prompt fills the context.
            EngineError: The script says so.
        """
        prompt = list(prompt_ids)
        room = answer_room(prompt, sampling, self.context_length)
        conversation = await self._conversation(prompt)
        self.requests.append(prompt)
        self.samplings.append(sampling)
        say = self._next(prompt, sampling)
        ids = self._ids(say, sampling)
        self.running += 1
        try:
            async for position in _paced(say, min(len(ids), room)):
                conversation.ids.append(ids[position])
                yield Delta((ids[position],), say.logprobs[position : position + 1])
            if say.fault is not None:
                raise say.fault
            if say.finish is not None:
                reason = "length" if len(ids) > room else say.finish
                yield Delta((), (), reason, Usage(len(prompt), min(len(ids), room), 0))
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self.closed_early += 1
            raise
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        """Nothing to release."""

    async def _conversation(self, prompt: list[int]) -> _Conversation:
        """The conversation that a request carries on with, or begins."""
        known = [one for one in self._conversations if _starts(prompt, one.ids) and len(prompt) > len(one.ids)]
        if known:
            longest = max(known, key=lambda one: len(one.ids))
            longest.ids = list(prompt)
            return longest
        begun = [one for one in self._conversations if _starts(prompt, one.opening)]
        if begun and self.extending and not await self._logged(prompt):
            raise ScriptError(self._difference(prompt, max(begun, key=lambda one: _shared(one.ids, prompt)).ids))
        self._conversations.append(begins := _Conversation(prompt, list(prompt)))
        return begins

    async def _logged(self, prompt: list[int]) -> bool:
        """Whether a session's log amounts to these ids: it was forked, rewritten, or taken up where it stood."""
        if self.log is None:
            return False
        for session in dict.fromkeys(turn.session for turn in await self.log.turns()):
            if [*fold(session, await self.log.read(session)).ids] == prompt:
                return True
        return False

    def _difference(self, prompt: list[int], known: list[int]) -> str:
        at = _shared(known, prompt)
        before, here, there = (self.tokenizer.decode(ids) for ids in (prompt[:at], prompt[at:], known[at:]))
        return (
            f"request {len(self.requests) + 1} does not extend the one before: after ...{before[-60:]!r} it has"
            f" {here[:60]!r} where {there[:60]!r} was said; nothing but an event TranscriptRewritten may change ids"
            " that were sent (extending=False switches this check off)"
        )

    def _next(self, prompt: list[int], sampling: Sampling) -> Say:
        text = self.tokenizer.decode(prompt)
        asked = Asked(text, self._new(text), sampling)
        for rule in self._rules:
            if rule.answers(asked):
                rule.used += 1
                return as_say(rule.answer(asked) if callable(rule.answer) else rule.answer)
        if not self._answers:
            raise ScriptError(
                f"the script has no answer to request {len(self.requests)}, which came with ...{asked.new[-200:]!r}:"
                " give one more, or a rule that fits"
            )
        return as_say(self._answers.pop(0))

    def _new(self, prompt: str) -> str:
        """What came since the model last spoke."""
        said, found, since = prompt.removesuffix(self._generation_header).rpartition(self._generation_header)
        if not found:
            return said or since
        ends = "|".join(map(re.escape, self.dialect.stop_tokens))
        return re.split(ends, since, maxsplit=1)[-1]

    def _ids(self, say: Say, sampling: Sampling) -> list[int]:
        """Ids of an answer, which ends where generation does."""
        ids = written(self.dialect, say.calls, say.text).encode(self.tokenizer) if say.calls else self.encode(say.text)
        end = next((at for at, id_ in enumerate(ids) if id_ in sampling.stop_ids), None)
        if end is not None:
            return ids[: end + 1]
        end_of_turn = self.tokenizer.special_ids.get(self.dialect.end_of_turn)
        if say.finish == "stop" and say.fault is None and end_of_turn in sampling.stop_ids:
            ids.append(end_of_turn)
        return ids

    def encode(self, text: str) -> list[int]:
        """Ids of a text whose special tokens are spelled out.

        Args:
            text: The text.

        Returns:
            The ids.
        """
        specials = self.tokenizer.special_ids
        pattern = "(" + "|".join(map(re.escape, specials)) + ")"
        ids: list[int] = []
        for piece in re.split(pattern, text):
            ids += [specials[piece]] if piece in specials else self.tokenizer.encode(piece)
        return ids


async def _paced(say: Say, count: int) -> AsyncGenerator[int, None]:
    """Positions of the tokens, each when it is due."""
    await anyio.sleep(say.delay)
    if say.before:
        await _settled(say.before())
    for position in range(count):
        await (anyio.sleep(say.pace) if say.pace and position else anyio.lowlevel.checkpoint())
        if position == count - 1 and say.after:
            await _settled(say.after())
        yield position


async def _settled(result: object) -> None:
    if hasattr(result, "__await__"):
        await result


def _generation_header(dialect: Dialect) -> str:
    """What stands before each message of the model."""
    mark = "\0"
    try:
        return dialect.render_delta([Message("user", mark)]).text.rpartition(mark)[2]
    except InvalidMessage:  # a guard's prompt is never continued
        return mark


def _starts(ids: list[int], start: list[int]) -> bool:
    return len(ids) >= len(start) and ids[len(start) - 1] == start[-1] and ids[: len(start)] == start


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
