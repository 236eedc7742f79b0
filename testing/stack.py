"""Stacks over scripted engines."""

from pathlib import Path
from typing import Any

from arriero.prompts.dialect import Dialect
from arriero.prompts.tokens import Tokenizer
from arriero.stack.engine import Engine
from arriero.stack.log import EventLog, open_log
from arriero.stack.stack import Opening, Stack
from arriero.testing.engine import ScriptedEngine
from arriero.testing.script import Answer, Rule
from arriero.testing.vocabulary import byte_tokenizer


class ScriptedStack(Stack):
    """A stack whose engine says what a script tells it to. Make one with `scripted_stack`."""

    engine: ScriptedEngine


def scripted_stack(
    *script: Answer | Rule,
    dialect: str | Dialect | None = None,
    tokenizer: Tokenizer | str | Path | None = None,
    log: EventLog | str | Path | None = None,
    guard: Engine | None = None,
    context_length: int = 8192,
    model: str = "scripted",
    extending: bool = True,
) -> ScriptedStack:
    """A stack over a scripted engine.

    Args:
        script: Answers, given one after the other, and rules, which are asked first.
        dialect: How the model writes; None finds it by the tokenizer's folder, or else takes Llama 3.1's.
        tokenizer: The vocabulary, or a model's folder that holds one; None for one id per byte.
        log: Where events go, or the log's file or address; None keeps them in memory.
        guard: Engine that serves Llama Guard; None asks the same one.
        context_length: Most ids of prompt and answer together.
        model: The model's name.
        extending: Whether requests must extend what was said before; see `ScriptedEngine`.

    Returns:
        The stack. It is open, and `async with` closes it.

    Raises:
        UnknownDialect: There is no such dialect.
        VocabularyMismatch: The folder holds no tokenizer.
        LogError: The log cannot be opened.

    Example:
        >>> import anyio
        >>> from arriero import Agent
        >>> async def ask() -> str:
        ...     async with scripted_stack("It is sunny.") as stack:
        ...         turn = await Agent(stack).run("How is the weather?")
        ...         return turn.text
        >>> anyio.run(ask)
        'It is sunny.'
    """
    if dialect is None:
        spoken = Dialect.detect(tokenizer) if isinstance(tokenizer, str | Path) else Dialect.get("llama3.1")
    else:
        spoken = Dialect.get(dialect) if isinstance(dialect, str) else dialect
    vocabulary = Tokenizer.from_folder(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
    kept = open_log(log or ":memory:") if log is None or isinstance(log, str | Path) else log
    engine = ScriptedEngine(
        script, spoken, vocabulary or byte_tokenizer(), context_length, model, log=kept, extending=extending
    )
    return ScriptedStack(engine, spoken, log=kept, guard=guard)


def scripted_opening(*script: Answer | Rule, **settings: Any) -> Opening:
    """A stack over a scripted engine that is not open yet, for programs that call `Agent.run_sync`.

    Args:
        script: As for `scripted_stack`.
        settings: As for `scripted_stack`.

    Returns:
        The opening of the stack. Each opening begins the script anew.

    Example:
        >>> from arriero import Agent
        >>> agent = Agent(scripted_opening("It is sunny."))
        >>> agent.run_sync("How is the weather?").text
        'It is sunny.'
        >>> agent.close()
    """

    async def opened() -> Stack:
        return scripted_stack(*script, **settings)

    return Opening(opened)
