"""Passages put together, or taken apart, to what a model reads at once."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from arriero.evals.judges.claims import claims_of


def premises(passages: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
    r"""Texts that fit, which hold all passages in order.

    As many neighbours stand together as fit, so that a claim may rest on two of them. A passage that does not fit by
    itself is taken apart at sentences, a sentence at words.

    Args:
        passages: The passages.
        fits: Whether a text is short enough.

    Returns:
        The texts. A word that does not fit by itself is a text by itself.

    Example:
        >>> premises(["One two.", "Three.", "Four five six. Seven eight."], lambda text: len(text.split()) <= 3)
        ['One two.\n\nThree.', 'Four five six.', 'Seven eight.']
    """
    found: list[str] = []
    for passage in passages:
        for separator, piece in _pieces(passage, fits):
            together = found[-1] + separator + piece if found else piece
            if found and fits(together):
                found[-1] = together
            else:
                found.append(piece)
    return found


def _pieces(passage: str, fits: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Pieces of a passage that fit, each after what separates it from the text before."""
    if fits(passage):
        yield "\n\n", passage
        return
    separator = "\n\n"
    for sentence in claims_of(passage):
        if fits(sentence.text):
            yield separator, sentence.text
            separator = " "
            continue
        for run in _runs(sentence.text.split(), fits):
            yield separator, run
            separator = " "


def _runs(words: Sequence[str], fits: Callable[[str], bool]) -> Iterator[str]:
    """Runs of words that fit, each found in few tries: a sentence may be a megabyte."""
    at, most = 0, 1
    while at < len(words):
        while most < len(words) - at and fits(" ".join(words[at : at + most])):
            most *= 2
        counts = range(1, most + 1)
        count = max(1, bisect_left(counts, True, key=lambda n: not fits(" ".join(words[at : at + n]))))
        yield " ".join(words[at : at + count])
        at, most = at + count, count + 1
