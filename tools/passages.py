"""Documents as passages: one paragraph each."""

import re
from dataclasses import dataclass
from pathlib import Path

from arriero.tools.errors import ToolError

_BLANK = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")
_SUFFIXES = (".md", ".txt")


@dataclass(frozen=True, slots=True)
class Passage:
    """One paragraph.

    Args:
        file: The document's path below its folder.
        text: The paragraph on one line.
    """

    file: str
    text: str


def read_passages(folder: Path) -> list[Passage]:
    """Paragraphs of every `.md` and `.txt` document in a folder and the folders below it.

    Headings of Markdown documents are no passages.

    Args:
        folder: The folder.

    Returns:
        The passages, by file name and in the order of the text.

    Raises:
        ToolError: The folder is missing, a document cannot be read, or there is nothing to search.
    """
    if not folder.is_dir():
        raise ToolError(f"there is no folder {folder}: give one that holds .md or .txt documents")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if not paths:
        raise ToolError(f"{folder} holds no .md or .txt documents: there is nothing to search")
    passages = []
    for path in paths:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(f"document {path} cannot be read as UTF-8 text: {error}") from error
        file = path.relative_to(folder).as_posix()
        paragraphs = split_paragraphs(text, markdown=path.suffix.lower() == ".md")
        passages += [Passage(file, paragraph) for paragraph in paragraphs]
    if not passages:
        raise ToolError(f"the documents in {folder} hold no text: there is nothing to search")
    return passages


def split_paragraphs(text: str, *, markdown: bool = True) -> list[str]:
    r"""Split at blank lines; each paragraph comes on one line.

    Args:
        text: The document.
        markdown: Leave out lines that are headings.

    Returns:
        The paragraphs.

    Example:
        >>> split_paragraphs("# Mules\n\nMules eat\nhay.\n \n\nThey rest.")
        ['Mules eat hay.', 'They rest.']
    """
    paragraphs = []
    for block in _BLANK.split(text):
        lines = [line for line in block.splitlines() if not (markdown and _HEADING.match(line))]
        if paragraph := " ".join(" ".join(lines).split()):
            paragraphs.append(paragraph)
    return paragraphs
