"""Ids of a transcript with their texts, told apart by who wrote them."""

import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from arriero.agents.wording import message_text, value_text
from arriero.prompts.tokens import Tokenizer
from arriero.stack.events import CallFinished, Event, MessageAdded, PromptAppended, TranscriptRewritten, TurnStarted

Painter = Literal["special", "scaffolding", "content", "generated", "prompt"]
"""Who wrote an id: `prompt` where scaffolding cannot be told from content, for want of the tokenizer."""

_OPENERS = ("<|start_header_id|>", "<|header_start|>")


@dataclass(frozen=True, slots=True)
class PaintedId:
    """An id and who wrote it.

    Args:
        id: The id.
        kind: Who wrote it.
        text: Its text; None without the tokenizer.
    """

    id: int
    kind: Painter
    text: str | None = None


def paint_generated(ids: Sequence[int], tokenizer: Tokenizer | None = None) -> list[PaintedId]:
    """Ids that the model wrote.

    Args:
        ids: The ids.
        tokenizer: The one that wrote them; None where it is not known.

    Returns:
        Each id, with its text.

    Example:
        >>> from arriero.models import DEMO
        >>> tokenizer = Tokenizer.from_folder(DEMO)
        >>> [painted.text for painted in paint_generated(tokenizer.encode("12"), tokenizer)]
        ['1', '2']
    """
    return [PaintedId(id_, "generated", None if tokenizer is None else _text(id_, tokenizer)) for id_ in ids]


def paint_prompt(
    ids: Sequence[int], contents: Iterable[str] = (), tokenizer: Tokenizer | None = None
) -> list[PaintedId]:
    """Ids that a prompt gained.

    Content is found by its text: what a template changed beyond JSON's escapes is taken for scaffolding.

    Args:
        ids: The ids.
        contents: What users and tools said in them, in order.
        tokenizer: The one that wrote them; None where it is not known.

    Returns:
        Each id, with its text.

    Example:
        >>> from arriero.models import DEMO
        >>> tokenizer = Tokenizer.from_folder(DEMO)
        >>> ids = [tokenizer.special_id("<|eot_id|>"), *tokenizer.encode("12")]
        >>> [painted.kind for painted in paint_prompt(ids, ["2"], tokenizer)]
        ['special', 'scaffolding', 'content']
    """
    if tokenizer is None:
        return [PaintedId(id_, "prompt") for id_ in ids]
    special = set(tokenizer.special_ids.values())
    written = [tokenizer.token_bytes(id_) for id_ in ids]
    content = _found(_searchable(ids, written, special, tokenizer), contents)
    ends = accumulate(map(len, written))
    painted = []
    for id_, piece, end in zip(ids, written, ends, strict=True):
        inside = any(start < end and end - len(piece) < stop for start, stop in content)
        kind: Painter = "special" if id_ in special else "content" if inside else "scaffolding"
        painted.append(PaintedId(id_, kind, _text(id_, tokenizer)))
    return painted


def said(event: Event) -> list[str]:
    """Texts of users and tools that an event puts before the model.

    Args:
        event: The event.

    Returns:
        The texts, in order.

    Example:
        >>> from arriero.prompts.messages import Message
        >>> said(TurnStarted((Message("user", "Hello"),)))
        ['Hello']
    """
    match event:
        case TurnStarted(messages, _, _, tools):
            return [*map(message_text, messages), *(json.dumps(tool, indent=4, ensure_ascii=False) for tool in tools)]
        case TranscriptRewritten(_, _, messages, _, tools):
            return [*map(message_text, messages), *(json.dumps(tool, indent=4, ensure_ascii=False) for tool in tools)]
        case MessageAdded(_, message):
            return [message_text(message)]
        case CallFinished(_, result):
            return [value_text(result.content)]
        case _:
            return []


def said_before(events: Iterable[tuple[int, Event]]) -> dict[int, list[str]]:
    """Texts that each prompt puts before the model.

    Args:
        events: Events of a session with their positions.

    Returns:
        The texts, by the position of the event that holds the ids.
    """
    texts: dict[int, list[str]] = {}
    pending: list[str] = []
    for seq, event in events:
        if isinstance(event, TranscriptRewritten):
            pending = []
        pending += said(event)
        if isinstance(event, PromptAppended | TranscriptRewritten):
            texts[seq], pending = pending, []
    return texts


def _found(sought: bytes, contents: Iterable[str]) -> list[tuple[int, int]]:
    found, cursor = [], 0
    for content in filter(None, (text.strip() for text in contents)):
        ascii_, plain = (json.dumps(content, ensure_ascii=ascii_)[1:-1] for ascii_ in (True, False))
        for candidate in dict.fromkeys((content, plain, ascii_)):
            piece = candidate.encode("utf-8", "replace")
            at = sought.find(piece, cursor)
            at = sought.find(piece) if at < 0 else at  # declarations of tools stand before what follows them
            if at >= 0:
                cursor = max(cursor, at + len(piece))
                found.append((at, at + len(piece)))
                break
    return found


def _searchable(ids: Sequence[int], written: Sequence[bytes], special: Set[int], tokenizer: Tokenizer) -> bytes:
    """The text of ids, without special tokens and roles: bytes that no content can have stand in their place."""
    openers = {tokenizer.special_ids.get(opener) for opener in _OPENERS}
    pieces, in_header = [], False
    for id_, piece in zip(ids, written, strict=True):
        in_header = id_ in openers if id_ in special else in_header
        pieces.append(b"\xff" * len(piece) if in_header or id_ in special else piece)
    return b"".join(pieces)


def _text(id_: int, tokenizer: Tokenizer) -> str:
    return tokenizer.token_bytes(id_).decode("utf-8", "replace")
