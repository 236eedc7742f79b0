"""What a turn adds to its session's transcript, as ids; and the transcript written anew."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from arriero.prompts.dialect import Dialect
from arriero.prompts.messages import Message
from arriero.stack.compaction import NotCompacted, compacted
from arriero.stack.engine import Engine, Sampling
from arriero.stack.errors import ContextTooLong
from arriero.stack.events import PromptAppended, TranscriptRewritten
from arriero.stack.generation import stop_ids
from arriero.stack.tape import Tape
from arriero.stack.terms import Terms, offered
from arriero.tools import ToolResult


class Rendering:
    """Renders for one session.

    Args:
        engine: The model.
        dialect: How it writes.
        tape: What the session has sent and received.
        terms: What is offered, and how to render.
    """

    def __init__(self, engine: Engine, dialect: Dialect, tape: Tape, terms: Terms) -> None:
        self.engine, self.dialect, self.tape = engine, dialect, tape
        self.stop_ids = stop_ids(dialect, engine.tokenizer)
        self._sampled: tuple[Sampling | None, Sampling] = (None, Sampling())
        self.adopt(terms)

    def adopt(self, terms: Terms) -> None:
        """Offer other tools from here on."""
        self.terms = terms
        self.options, self.declarations, self.builtins = offered(terms, self.dialect)

    def sampling(self, step: int, completion_tokens: int) -> Sampling:
        """How to sample a step: no more tokens than have room, or are left of the turn's.

        Args:
            step: Number of the step.
            completion_tokens: Tokens that the turn has generated.

        Returns:
            The sampling.
        """
        terms = self.terms
        sampling = terms.sampling
        if terms.constrain is not None:
            sampling = terms.constrain(step - (self.tape.turn.handed_over if self.tape.turn else 0), terms)
        room = self.engine.context_length - len(self.tape.ids)
        most = min(sampling.max_tokens, terms.limits.tokens - completion_tokens, room)
        known, made = self._sampled
        if known is not sampling or made.max_tokens != most:
            made = replace(sampling, max_tokens=most, stop_ids=self.stop_ids)
            self._sampled = (sampling, made)
        return made

    async def prompt(self, step: int, messages: Sequence[Message]) -> PromptAppended | TranscriptRewritten:
        """What brings messages to the model: ids that follow the transcript, or the whole of it anew.

        It is written anew where the prompt offers other tools than before, or another agent takes the conversation,
        and where the terms say how it is shortened and too little room would be left for an answer.

        Args:
            step: Number of the step that reads them.
            messages: What the model has not read yet.

        Returns:
            The event.

        Raises:
            ContextTooLong: It does not fit the model's context.
        """
        tape = self.tape
        if not tape.ids:
            ids, reason = self._whole(messages), None
        elif reason := self._changed():
            before = tape.messages if reason == "tools" else self.handed_over(tape.messages)
            turns = self.turns(len(before) - len(tape.messages))
            return await self.rewritten(reason, "", [*before, *messages], turns)
        else:
            ids = self._continuation(messages)
        length, most = len(tape.ids) + len(ids), self.engine.context_length
        if self.terms.compaction is not None and length > most - self._reserve():
            whole = await self._shortened([*tape.messages, *messages], length, self.turns())
            if whole is not None:
                return whole
        if length >= most:
            raise ContextTooLong(length, most)
        return PromptAppended(step, tuple(ids))

    def check(self, message: Message) -> None:
        """Make sure that a message can come into a prompt, before it is logged.

        Args:
            message: The message.

        Raises:
            InvalidMessage: It cannot be rendered.
            ContextTooLong: It alone fills the model's context.
        """
        length = len(self._delta([message]))
        if length >= self.engine.context_length:
            raise ContextTooLong(length, self.engine.context_length)

    def check_results(self, results: Sequence[ToolResult]) -> None:
        """Make sure that results which a hook gave can come into a prompt, before they are logged.

        Args:
            results: The results. They may be too long, which ends the turn at its limit.

        Raises:
            InvalidMessage: One cannot be rendered.
        """
        for result in results:
            self._delta([Message("tool", result.content)])

    async def rewritten(
        self, reason: Literal["tools", "handoff"], policy: str, messages: Sequence[Message], turns: Sequence[int]
    ) -> TranscriptRewritten:
        """The transcript anew.

        Args:
            reason: Why.
            policy: Who chose the messages.
            messages: The conversation from here on.
            turns: Places of the messages at which turns begin.

        Returns:
            The event.

        Raises:
            ContextTooLong: It does not fit the model's context.
        """
        ids = self._whole(messages)
        kept = tuple(messages)
        if self.terms.compaction is not None and len(ids) > self.engine.context_length - self._reserve():
            shorter = await self._shortened(messages, len(ids), turns)
            if shorter is not None:
                policy, kept, ids = shorter.policy, shorter.messages, [*shorter.token_ids]
        if len(ids) >= self.engine.context_length:
            raise ContextTooLong(len(ids), self.engine.context_length)
        dropped = max(0, len(self.tape.ids) - len(ids))
        return TranscriptRewritten(reason, policy, kept, tuple(ids), self.declarations, self.builtins, dropped)

    def turns(self, shift: int = 0) -> list[int]:
        """Places at which turns begin, the one that is about to begin included.

        Args:
            shift: How many more messages are before them than in the transcript.
        """
        tape = self.tape
        new = [] if tape.turn else [len(tape.messages) + len(tape.unread)]
        return [max(0, at + shift) for at in (*tape.begins, *new)]

    async def _shortened(
        self, messages: Sequence[Message], length: int, turns: Sequence[int]
    ) -> TranscriptRewritten | None:
        policy = self.terms.compaction
        if policy is None:
            return None
        most = self.engine.context_length - self._reserve()
        try:
            kept = await compacted(policy, messages, lambda some: len(self._whole(some)), most, turns)
        except NotCompacted:
            return None
        ids = tuple(self._whole(kept))
        return TranscriptRewritten(
            "compaction", policy.name, kept, ids, self.declarations, self.builtins, max(0, length - len(ids))
        )

    def _reserve(self) -> int:
        """Tokens that an answer needs."""
        return min(self.terms.sampling.max_tokens, self.engine.context_length // 4)

    def _changed(self) -> Literal["tools", "handoff"] | None:
        tape, terms = self.tape, self.terms
        other_agent = terms.agent and tape.agent and terms.agent != tape.agent
        if other_agent and self._system(tape.messages) != self._own_system():
            return "handoff"
        if self.declarations is tape.tools and self.builtins == tape.builtins:
            return None
        return None if self.declarations == tape.tools and self.builtins == tape.builtins else "tools"

    def _own_system(self) -> list[Message]:
        return [Message("system", self.terms.instructions)] if self.terms.instructions else []

    @staticmethod
    def _system(messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages[:1] if message.role == "system"]

    def handed_over(self, messages: Sequence[Message]) -> list[Message]:
        """A conversation as this agent takes it over: under its own system message."""
        return [*self._own_system(), *messages[len(self._system(messages)) :]]

    def _whole(self, messages: Sequence[Message]) -> list[int]:
        return self.dialect.render(messages, self.declarations, self.options).encode(self.engine.tokenizer)

    def _delta(self, messages: Sequence[Message]) -> list[int]:
        return self.dialect.render_delta(messages, self.options).encode(self.engine.tokenizer)

    def _continuation(self, messages: Sequence[Message]) -> list[int]:
        """Ids that follow the model's last message. A message that was cut off is ended first."""
        ids = self._delta(messages)
        if self.tape.ids[-1] not in self.stop_ids:
            ids.insert(0, self.engine.tokenizer.special_id(self.dialect.end_of_turn))
        return ids
