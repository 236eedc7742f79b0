"""One training dialogue: what the user, the tools and the assistant say, and how it becomes token ids."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from arriero.prompts.dialect import Dialect, RenderOptions
from arriero.prompts.messages import JSON, Message
from arriero.prompts.prompt import Prompt
from arriero.prompts.tokens import Tokenizer

Task = Literal["tool", "chain", "no_tool", "answer", "failure", "passage", "refusal", "code", "guard", "copy", "chat"]
LLAMA31 = Dialect.get("llama3.1")


@dataclass(frozen=True, slots=True)
class Said:
    """What the assistant writes in one message.

    Args:
        text: The text between the header and the end token.
        tag: Whether `<|python_tag|>` comes first.
        end: The end token.
        task: What this message is a test of.
    """

    text: str
    task: Task
    tag: bool = False
    end: str = "<|eot_id|>"


Heard = Message
"""A user message or a tool result."""


@dataclass(slots=True)
class Dialogue:
    """A conversation in which the assistant's messages are to be learned.

    Args:
        tools: Tool declarations offered.
        system: Instructions; empty for none.
        interpreter: Whether the code interpreter is switched on.
        turns: What is heard and said, beginning with what is heard.
        prompt: A finished prompt that replaces the rendering of the first message (for the guard).
    """

    tools: Sequence[dict[str, Any]] = ()
    system: str = ""
    interpreter: bool = False
    turns: list[Heard | Said] = field(default_factory=list)
    prompt: Prompt | None = None

    def hear(self, text: str) -> None:
        """The user says something."""
        self.turns.append(Message("user", text))

    def result(self, content: JSON) -> None:
        """A tool returns something."""
        self.turns.append(Message("tool", content))

    def call(self, name: str, arguments: dict[str, Any], task: Task) -> None:
        """The assistant calls a tool, as the published template writes it in the history."""
        text = f'{{"name": "{name}", "parameters": {json.dumps(arguments, ensure_ascii=False)}}}'
        self.turns.append(Said(text, task, end="<|eom_id|>" if self.interpreter else "<|eot_id|>"))

    def run(self, code: str, task: Task) -> None:
        """The assistant writes a program for the code interpreter."""
        self.turns.append(Said(code, task, tag=True, end="<|eom_id|>"))

    def say(self, text: str, task: Task) -> None:
        """The assistant answers."""
        self.turns.append(Said(text, task))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A dialogue as ids, with the half-open ranges that the assistant writes.

    Args:
        ids: All token ids.
        spans: `(start, stop, task)` of each assistant message, its end token included.
    """

    ids: list[int]
    spans: tuple[tuple[int, int, Task], ...]


def encode(dialogue: Dialogue, tokenizer: Tokenizer) -> Encoded:
    """Token ids exactly as the turn loop sends and receives them.

    Args:
        dialogue: The dialogue.
        tokenizer: The model's tokenizer.

    Returns:
        Ids and the assistant's spans.
    """
    ids: list[int] = []
    spans: list[tuple[int, int, Task]] = []
    heard: list[Message] = []
    for turn in dialogue.turns:
        if isinstance(turn, Message):
            heard.append(turn)
            continue
        ids += _prompt(dialogue, heard, first=not ids).encode(tokenizer)
        heard.clear()
        start = len(ids)
        if turn.tag:
            ids.append(tokenizer.special_id("<|python_tag|>"))
        ids += tokenizer.encode(turn.text)
        ids.append(tokenizer.special_id(turn.end))
        spans.append((start, len(ids), turn.task))
    return Encoded(ids, tuple(spans))


def _prompt(dialogue: Dialogue, heard: list[Message], *, first: bool) -> Prompt:
    if not first:
        return LLAMA31.render_delta(heard)
    if dialogue.prompt is not None:
        return dialogue.prompt
    system = [Message("system", dialogue.system)] if dialogue.system else []
    options = RenderOptions(builtin_tools=("code_interpreter",) if dialogue.interpreter else None)
    return LLAMA31.render(system + heard, dialogue.tools, options)
