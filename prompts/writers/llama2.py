"""Llama 2 chat: turns of user and assistant, the system text inside the first (FORMATS.md section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt
from arriero.prompts.writers.adaptation import Abilities, adapt
from arriero.prompts.writers.chat import opened
from arriero.prompts.writers.checks import check_order
from arriero.prompts.writers.located import render_located
from arriero.prompts.writers.writer import Tools

_ABILITIES = Abilities(tools=False)


@dataclass(frozen=True, slots=True)
class Llama2Writer:
    """Writes as the published template does."""

    @property
    def builtin_tools(self) -> bool:
        """Whether it knows the mode for built-in tools."""
        return False

    def conversation(self, messages: Sequence[Message], tools: Tools, options: RenderOptions) -> Prompt:
        """The prompt for a whole conversation."""
        check_order(messages)
        if tools:
            raise InvalidMessage("this format knows no tools: leave them out, or use a later dialect")
        said = adapt(opened(messages, options), _ABILITIES, (), repair=options.repair)
        given = said[0].role == "system"
        return self._written(said, messages, options, given=given)

    def delta(self, messages: Sequence[Message], options: RenderOptions) -> Prompt:
        """What follows a finished assistant message."""
        check_order(messages)
        return self._written(adapt(messages, _ABILITIES, (), repair=options.repair), messages, options, given=False)

    def _written(
        self, said: Sequence[Message], messages: Sequence[Message], options: RenderOptions, *, given: bool
    ) -> Prompt:
        turns = _merged(said, given) if options.repair else list(said)
        system = turns.pop(0) if given else Message("system")
        if not turns:
            raise InvalidMessage("a system message alone: this format writes it into a user message, so add one")
        for index, turn in enumerate(turns):
            if (turn.role == "user") != (index % 2 == 0):
                raise InvalidMessage(
                    f"user and assistant take turns in this format, the user first, and this is {turn.role}: "
                    "leave out system messages but the first and join neighbours, or set repair=True",
                    index=index + given,
                )
        # The published template drops a system message that stands in an assistant's place.
        turns = [turn for turn in turns if turn.role != "system"]
        return render_located("llama2", {"system": system, "system_given": given, "messages": turns}, messages)


def _merged(said: Sequence[Message], given: bool) -> list[Message]:
    """Neighbours of one role joined; later system texts stand before what the user says next."""
    merged: list[Message] = []
    for message in said:
        before = merged[-1] if merged else None
        opens = given and (before is None or (before.role == "system" and len(merged) == 1))
        if message.role == "system" and not opens:
            message = replace(message, role="user", content=f"<<SYS>>\n{message.content}\n<</SYS>>")
        if before is not None and before.role == message.role:
            merged[-1] = replace(message, content=f"{before.content}\n\n{message.content}")
        else:
            merged.append(message)
    return merged
