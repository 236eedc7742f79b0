"""Folders of documents as passages."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from arriero.evals.errors import InvalidData
from arriero.evals.items import Passage
from arriero.tools.errors import ToolDefinitionError, ToolError
from arriero.tools.passages import split_paragraphs

if TYPE_CHECKING:
    from collections.abc import Callable

    from arriero.tools.web.extraction import Document

    Extract = Callable[[Literal["html", "pdf"], bytes], Document]

MOST_CHARACTERS = 1_000
"""Characters of a passage."""

_TEXT = (".md", ".markdown", ".txt")
_EXTRACTED: dict[str, Literal["html", "pdf"]] = {".html": "html", ".htm": "html", ".pdf": "pdf"}
_SECONDS = 60.0
_MOST_TEXT = 5_000_000
_HEADING = re.compile(r" {0,3}#{1,6}\s+(.*?)\s*#*\s*$", re.MULTILINE)
_PAGE_MARK = re.compile(r"^\[page \d+\]", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？])")


def read_documents(folder: str | Path) -> dict[str, Passage]:
    r"""Read a folder of documents, and the folders below it, as passages.

    A paragraph of a Markdown or text document is a passage; headings of Markdown are none. Lines of HTML and PDF
    documents (extra `web`) are joined to passages. Longer ones are cut at sentence ends, or else at spaces, to 1,000
    characters. Hidden files and files of other kinds are left out; `left_out` names the latter.

    Args:
        folder: The folder.

    Returns:
        The passages by id, which is the document's path in the folder, `#` and a number from 1. Their title is that of
        the document.

    Raises:
        InvalidData: There is no such folder, it holds no text, or documents cannot be read; all of these are named.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "mules.md").write_text("# Mules\n\nMules eat hay.\n\nThey rest.\n")
        ...     [(passage.id, passage.title, passage.text) for passage in read_documents(folder).values()]
        [('mules.md#1', 'Mules', 'Mules eat hay.'), ('mules.md#2', 'Mules', 'They rest.')]
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidData(f"{folder}: there is no such folder; give one that holds documents")
    passages: dict[str, Passage] = {}
    failed: list[str] = []
    with ExitStack() as closing:
        extract: Extract | None = None
        for path in _documents(folder):
            file = path.relative_to(folder).as_posix()
            try:
                if path.suffix.lower() in _EXTRACTED and extract is None:
                    extract = _extraction(closing)
                title, texts = _read(path, extract)
            except UnicodeDecodeError as error:
                failed.append(f"{path}: cannot be read: it is not UTF-8 ({error.reason}); save it as UTF-8")
                continue
            except (OSError, ToolError) as error:
                failed.append(f"{path}: cannot be read: {error}")
                continue
            for number, text in enumerate(texts, start=1):
                passages[f"{file}#{number}"] = Passage(f"{file}#{number}", text, title)
    if failed:
        count = "1 document" if len(failed) == 1 else f"{len(failed)} documents"
        raise InvalidData(f"{folder}: {count} cannot be read; mend or move:\n" + ";\n".join(failed[:20]))
    if not passages:
        raise InvalidData(f"{folder}: holds no text; give .md, .txt, .html or .pdf documents")
    return passages


def left_out(folder: str | Path, passages: Mapping[str, Passage]) -> tuple[str, ...]:
    """Files of a folder that no passage is from: they are of another kind, or hold no text.

    Args:
        folder: The folder.
        passages: What `read_documents` read from it.

    Returns:
        Their paths in the folder, in order. Hidden files are none.
    """
    read = {id_.rpartition("#")[0] for id_ in passages}
    files = (path.relative_to(folder).as_posix() for path in _files(Path(folder)))
    return tuple(file for file in files if file not in read)


def _documents(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if path.suffix.lower() in (*_TEXT, *_EXTRACTED)]


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _read(path: Path, extract: "Extract | None") -> tuple[str, list[str]]:
    """Title and passages of a document."""
    suffix = path.suffix.lower()
    if suffix in _EXTRACTED and extract is not None:
        document = extract(_EXTRACTED[suffix], path.read_bytes())
        if document.cut:
            raise ToolError(f"it has more than {_MOST_TEXT:,} characters; divide it")
        lines = [line for line in map(_one_line, _PAGE_MARK.sub("", document.text).splitlines()) if line]
        return document.title, list(_joined(part for line in lines for part in _cut(line)))
    text = path.read_text("utf-8-sig")
    markdown = suffix != ".txt"
    heading = _HEADING.search(text) if markdown else None
    paragraphs = split_paragraphs(text, markdown=markdown)
    return heading.group(1) if heading else "", [part for paragraph in paragraphs for part in _cut(paragraph)]


def _extraction(closing: ExitStack) -> "Extract":
    """Reads HTML and PDF in a process of their own."""
    from anyio.from_thread import start_blocking_portal

    from arriero.tools.web.extraction import Extraction, ExtractionLimits

    try:
        limits = ExtractionLimits(seconds=_SECONDS, processor=_SECONDS, chars=_MOST_TEXT)
        reader = Extraction(limits)
    except ToolDefinitionError as error:
        raise InvalidData(str(error)) from error
    closing.callback(reader.close)
    portal = closing.enter_context(start_blocking_portal())  # callers may be in an event loop of their own

    def extract(kind: Literal["html", "pdf"], body: bytes) -> "Document":
        async def read() -> "Document":
            return await reader.read(kind, body, charset="", url="")

        return portal.call(read)

    return extract


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cut(paragraph: str) -> list[str]:
    """A paragraph in parts that end with a sentence, as far as sentences are short enough."""
    if len(paragraph) <= MOST_CHARACTERS:
        return [paragraph]
    sentences = _SENTENCE_END.split(paragraph)
    wrapped = (textwrap.wrap(one, MOST_CHARACTERS) if len(one) > MOST_CHARACTERS else [one] for one in sentences)
    return list(_joined(part for parts in wrapped for part in parts))


def _joined(parts: Iterator[str]) -> Iterator[str]:
    """Neighbours together, as long as a passage may be."""
    passage = ""
    for part in parts:
        if passage and len(passage) + 1 + len(part) > MOST_CHARACTERS:
            yield passage
            passage = ""
        passage = f"{passage} {part}" if passage else part
    if passage:
        yield passage
