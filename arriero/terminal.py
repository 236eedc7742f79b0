"""What the commands have in common: how they read options, and how they write."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from arriero.prompts.dialect import Dialect
    from arriero.prompts.tokens import Tokenizer


def example(*lines: str) -> str:
    """Commands as the end of a help text."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


def named_dialect(name: str, source: str | None = None) -> "Dialect":
    """The dialect that options name; misuse if there is none."""
    from arriero.prompts.dialect import Dialect
    from arriero.prompts.errors import UnknownDialect

    try:
        return Dialect.get(name) if source is None else Dialect.get(name, source)
    except UnknownDialect as error:
        raise typer.BadParameter(str(error), param_hint="--dialect") from error


def tokenizer_at(path: Path | None) -> "Tokenizer | None":
    """The tokenizer that an option gives; misuse if it cannot be read."""
    from arriero.prompts.errors import VocabularyMismatch
    from arriero.prompts.tokens import Tokenizer

    try:
        return None if path is None else Tokenizer.from_folder(path)
    except VocabularyMismatch as error:
        raise typer.BadParameter(str(error), param_hint="--tokenizer") from error


def print_json(value: Mapping[str, Any]) -> None:
    """Write an object as one line."""
    # A lone surrogate, which JSON text may carry, cannot be written as UTF-8: it stays the escape that it was.
    line = json.dumps(value, ensure_ascii=False) + "\n"
    sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def one_line(text: str) -> str:
    """Text that keeps to its line, and does nothing to the terminal."""
    from arriero.prompts.visible import visible

    return visible(" ".join(text.split()))
