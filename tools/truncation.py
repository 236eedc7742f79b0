"""Long results without their middle."""

from collections.abc import Callable

_CHARS_PER_TOKEN = 16
_NOTE = "\n[... {} characters left out; {} ...]\n"


def fits(text: str, most: int, count_tokens: Callable[[str], int]) -> bool:
    """Whether a text is short enough. What is far too long is not counted: that takes time.

    Args:
        text: The text.
        most: Most tokens.
        count_tokens: Counts the tokens of a text.

    Returns:
        Whether it has at most so many.

    Example:
        >>> fits("hay " * 10, 9, lambda text: len(text.split()))
        False
    """
    # A token has at least one byte, and a character at most four.
    if len(text) * 4 <= most or (len(text) <= most and text.isascii()):
        return True
    return len(text) <= most * _CHARS_PER_TOKEN and count_tokens(text) <= most


def cut_middle(text: str, most: int, count_tokens: Callable[[str], int], whole: str) -> str:
    r"""A text that does not fit without its middle.

    Args:
        text: The text.
        most: Most tokens to keep, the note included.
        count_tokens: Counts the tokens of a text.
        whole: Where the whole text is, for the note.

    Returns:
        Its beginning, a note and its end.

    Example:
        >>> cut_middle("hay " * 40, 13, lambda text: len(text.split()), "it is file 7")
        'hay h\n[... 150 characters left out; it is file 7 ...]\n hay '
    """
    keep = min(len(text) - 1, most * _CHARS_PER_TOKEN)
    cut = _cut(text, keep, whole)
    while keep and (tokens := count_tokens(cut)) > most:
        keep = min(keep * most // tokens, keep * 9 // 10)
        cut = _cut(text, keep, whole)
    return cut


def _cut(text: str, keep: int, whole: str) -> str:
    head, tail = (keep + 1) // 2, keep // 2
    return f"{text[:head]}{_NOTE.format(len(text) - head - tail, whole)}{text[len(text) - tail :]}"
