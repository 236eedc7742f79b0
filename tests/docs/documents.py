"""The README and the docs as things to run: commands with what they print, and Python."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_VARYING = re.compile(r"\b\d+(\.\d+)? (ms|s)\b")


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that a document shows.

    Args:
        where: File and line.
        text: The command, or the Python.
        prints: What it prints, where that is shown.
    """

    where: str
    text: str
    prints: str = ""


def commands() -> list[Shown]:
    """Each command of `console` blocks, after `$`, with the lines that follow it; and each line of `sh` blocks."""
    found = []
    for kind, where, text in _blocks():
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, prints = part.partition("\n")
                found.append(Shown(where, command, prints))
        elif kind in ("sh", "bash"):
            found += [Shown(where, line.split(" #")[0].strip()) for line in text.splitlines() if line.strip()]
    return [shown for shown in found if not shown.text.startswith("#")]


def programs() -> list[Shown]:
    """The `python` blocks of each document, as one program: a reader goes from top to bottom."""
    found: dict[str, str] = {}
    for kind, where, text in _blocks():
        if kind == "python":
            file = where.split(":")[0]
            found[file] = found.get(file, "") + text
    return [Shown(file, text) for file, text in found.items()]


def without_times(text: str) -> str:
    """The text with its times replaced, which are never the same twice."""
    return _VARYING.sub("N", text)


def _blocks() -> Iterator[tuple[str, str, str]]:
    for file in DOCUMENTS:
        text = file.read_text("utf-8") if file.is_file() else ""
        for block in _BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            yield block[1], f"{file.relative_to(ROOT)}:{line}", block[2]
