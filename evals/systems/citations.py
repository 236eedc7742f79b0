"""Which passages an answer names."""

import re
from collections.abc import Iterator, Mapping, Sequence

from arriero.evals.items import Passage

_BRACKETS = re.compile(r"\[([^\[\]\n]{1,200})\]|【([^【】\n]{1,200})】")
_RANGE = re.compile(r"(\d{1,4})\s*[-–]\s*(\d{1,4})")
_WORD = re.compile(r"^(?:documents?|docs?|passages?|sources?|refs?|no\.?|#|\^)\s*", re.IGNORECASE)


def numbered(passages: Sequence[Passage]) -> dict[str, str]:
    """What a prompt that numbers its passages from 1 lets an answer write, for each passage's id.

    Args:
        passages: The passages, in the prompt's order.

    Returns:
        Ids by number, as text.

    Example:
        >>> numbered([Passage("p7", "Mules eat hay.")])
        {'1': 'p7'}
    """
    return {str(number): passage.id for number, passage in enumerate(passages, 1)}


def cited_ids(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """The passages that an answer names in brackets: `[1]`, `[1, 3]`, `[2-4]`, `[doc 1]`, `【1】`, or `[id]`.

    Numbers that no passage has are passed over.

    Args:
        text: The answer.
        names: Ids of the passages by what the answer may write for them.

    Returns:
        Their ids, in the order in which the answer names them, each once.

    Example:
        >>> cited_ids("It is closed [2]. Mules know [1, 2][9].", {"1": "inn", "2": "pass"})
        ('pass', 'inn')
    """
    known = {**names, **{id_: id_ for id_ in names.values()}}
    written = (label for found in _BRACKETS.finditer(text) for label in _labels(found[1] or found[2], known))
    return tuple(dict.fromkeys(known[label] for label in written if label in known))


def _labels(inside: str, known: Mapping[str, str]) -> Iterator[str]:
    if inside.strip() in known:
        yield inside.strip()
        return
    for part in re.split(r"[,;]|\band\b", inside):
        label = _WORD.sub("", part.strip())
        if label not in known and (span := _RANGE.fullmatch(label)):
            low, high = int(span[1]), int(span[2])
            yield from map(str, range(low, min(high, low + len(known)) + 1))
        else:
            yield label
