"""A prompt taken apart for people: who wrote each part, where it came from, which tokens it takes."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import jinja2

from arriero.prompts.budget import Conversation
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import ArrieroError
from arriero.prompts.formats import read_conversation
from arriero.prompts.jsonl import UnreadableLine, read_objects, render_line
from arriero.prompts.origins import ROLES, TEMPLATE, Sources
from arriero.prompts.prompt import Prompt, Segment, SegmentKind
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.visible import visible

_OPENERS = frozenset({"<|start_header_id|>", "<|header_start|>", "<s>"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment of a prompt, or a part of one that holds texts of several origins.

    Args:
        text: Its text.
        kind: Its kind.
        origin: `template`, `message N`, `tool NAME` or `options`.
        ids: Its tokens; one that reaches into the next piece counts where it begins. None without a tokenizer.
    """

    text: str
    kind: SegmentKind
    origin: str
    ids: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Block:
    """What stands under one header.

    Args:
        role: The role in the header; empty in dialects without headers.
        message: Index of the message that it writes; None for one that the template added, or that holds several.
        pieces: Its pieces, the header's among them.
    """

    role: str
    message: int | None
    pieces: tuple[Piece, ...]

    @property
    def count(self) -> int | None:
        """How many tokens it takes; None without a tokenizer."""
        return _count(self.pieces)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A prompt, block by block."""

    blocks: tuple[Block, ...]

    @property
    def count(self) -> int | None:
        """How many tokens the prompt takes; None without a tokenizer."""
        return _count([piece for block in self.blocks for piece in block.pieces])

    @property
    def by_origin(self) -> dict[str, int]:
        """Tokens by origin, or characters without a tokenizer, in the order of first appearance."""
        sizes: dict[str, int] = {}
        for piece in (piece for block in self.blocks for piece in block.pieces):
            size = len(piece.text) if piece.ids is None else len(piece.ids)
            sizes[piece.origin] = sizes.get(piece.origin, 0) + size
        return sizes


def explain(prompt: Prompt, tokenizer: Tokenizer | None = None) -> Explanation:
    """Take a prompt apart.

    Where content came from is told by comparing it with the messages and the tools of `prompt.conversation`.

    Args:
        prompt: The prompt.
        tokenizer: Gives the tokens too.

    Returns:
        Its blocks.

    Raises:
        VocabularyMismatch: The tokenizer has no id for a special token of the prompt.

    Example:
        >>> from arriero.prompts.messages import Message
        >>> prompt = Dialect.get("llama3.1").render([Message("user", "hello")])
        >>> [(block.role, block.message) for block in explain(prompt).blocks]
        [('system', None), ('user', 0), ('assistant', None)]
        >>> [piece.text for piece in explain(prompt).blocks[1].pieces if piece.origin == "message 0"]
        ['hello']
    """
    ids = None if tokenizer is None else _ids(prompt.segments, tokenizer)
    sources = Sources(prompt)
    blocks, after = [], 0
    for places in _blocks(prompt.segments):
        segments = [prompt.segments[at] for at in places]
        role = _role(segments)
        message = sources.message(role, segments, after)
        after = after if message is None else message + 1
        pieces: list[Piece] = []
        for at, segment in zip(places, segments, strict=True):
            content = segment.kind == "content"
            parts = sources.parts(segment.text, role, message) if content else [(segment.text, TEMPLATE)]
            pieces += _pieces(segment.kind, parts, None if ids is None else ids[at])
        blocks.append(Block(role, message, tuple(pieces)))
    return Explanation(tuple(blocks))


def explain_lines(
    lines: Iterable[str | bytes], dialect: Dialect | None = None, tokenizer: Tokenizer | None = None
) -> Iterator[tuple[str, Explanation | ArrieroError]]:
    """Explain the conversations of JSON lines.

    Args:
        lines: The lines that `render_lines` takes.
        dialect: The dialect of those that name none.
        tokenizer: Gives the tokens too.

    Yields:
        A title, and the explanation, or why there is none.

    Example:
        >>> line = '{"id": "greeting", "dialect": "llama3.1", "messages": [{"role": "user", "content": "hello"}]}'
        >>> ((title, explanation),) = explain_lines([line])
        >>> title, [block.role for block in explanation.blocks]
        ('greeting', ['system', 'user', 'assistant'])
    """
    for number, raw in enumerate(read_objects(lines), 1):
        title = str(raw.get("id") or number)
        if "error" in raw:
            yield title, UnreadableLine(raw["error"])
            continue
        try:
            prompt = render_line(raw, dialect).prompt
            if prompt is None:
                raise UnreadableLine(f"{raw.get('format')} gives no prompt: name a format or a dialect that does")
            yield title, explain(_with_conversation(prompt, raw), tokenizer)
        except ArrieroError as error:
            yield title, error


def explanation_page(explanations: Mapping[str, Explanation]) -> str:
    """Explanations as one HTML page that needs nothing else: no script, no font, no picture.

    Args:
        explanations: Explanations by title.

    Returns:
        The page.

    Example:
        >>> from arriero.prompts.messages import Message
        >>> prompt = Dialect.get("llama3.1").render([Message("user", "<b>hello")])
        >>> "&lt;b&gt;hello" in explanation_page({"Hello": explain(prompt)})
        True
    """
    return _page().render(explanations=explanations)


def _blocks(segments: Sequence[Segment]) -> list[list[int]]:
    blocks: list[list[int]] = [[]]
    opened = False
    for at, segment in enumerate(segments):
        if segment.kind == "special" and segment.text in _OPENERS:
            if opened:  # what stands before the first header belongs to it
                blocks.append([])
            opened = True
        blocks[-1].append(at)
    return [block for block in blocks if block]


def _role(segments: Sequence[Segment]) -> str:
    for opener, name in pairwise(segments):
        if opener.kind == "special" and opener.text in _OPENERS and name.text in ROLES:
            return name.text
    return ""


def _pieces(
    kind: SegmentKind, parts: Sequence[tuple[str, str]], ids: Sequence[tuple[int, int]] | None
) -> Iterator[Piece]:
    start = 0
    for text, origin in parts:
        end = start + len(text)
        own = None if ids is None else tuple(id_ for id_, at in ids if start <= at < end)
        yield Piece(text, kind, origin, own)
        start = end


def _ids(segments: Sequence[Segment], tokenizer: Tokenizer) -> list[list[tuple[int, int]]]:
    """The ids of `Prompt.encode` in the segments in which their texts begin, each with its place there."""
    found: list[list[tuple[int, int]]] = [[] for _ in segments]
    run: list[int] = []

    def close() -> None:
        ends = list(accumulate(len(segments[at].text) for at in run))
        for id_, start in tokenizer.spans("".join(segments[at].text for at in run)):
            number = min(bisect_right(ends, start), len(run) - 1)
            length = len(segments[run[number]].text)
            found[run[number]].append((id_, min(start - ends[number] + length, length - 1)))
        run.clear()

    for at, segment in enumerate(segments):
        if segment.kind == "special" or segment.apart:
            close()
        if segment.kind == "special":
            found[at].append((tokenizer.special_id(segment.text), 0))
            continue
        run.append(at)
        if segment.apart:
            close()
    close()
    return found


def _count(pieces: Sequence[Piece]) -> int | None:
    known = [len(piece.ids) for piece in pieces if piece.ids is not None]
    return sum(known) if known else None


def _with_conversation(prompt: Prompt, raw: Mapping[str, Any]) -> Prompt:
    # formats of guards are rendered past their dialect
    if prompt.conversation is not None:
        return prompt
    messages, tools, _ = read_conversation({"messages": [], **raw.get("input", raw), "options": {}})
    return replace(prompt, conversation=Conversation(tuple(messages), tuple(tools), lambda *_: prompt))


@lru_cache
def _page() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment.get_template("explain.html.jinja")
