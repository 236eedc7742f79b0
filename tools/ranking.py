"""BM25 over a handful of short texts, in plain Python.

The offline web index must work in the core installation. The libraries for this need numpy, which the core does
without, and take longer to import than a few hundred texts take to rank.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_K1, _B = 1.5, 0.75  # the usual values: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009)
# words that say nothing about the subject: a query made of them alone must find nothing
_COMMON = frozenset(
    _WORD.findall(
        "a about an and are as at be by can did do does for from had has have how i in is it its me my of on or than"
        " that the their there this to was were what when where which who why will with you your"
    )
)


class Ranking:
    """Texts ranked by the words they share with a query.

    Args:
        texts: The texts.

    Example:
        >>> ranking = Ranking(["The pass is closed in winter.", "Mules eat hay.", "Hay is dry grass."])
        >>> ranking.best("what do mules eat?", 2), ranking.best("what is the")
        ([1], [])
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(content_words(text)) for text in texts]
        lengths = [count.total() for count in counts]
        average = sum(lengths) / max(1, len(lengths)) or 1.0
        self._norms = [_K1 * (1 - _B + _B * length / average) for length in lengths]
        self._places: dict[str, list[tuple[int, int]]] = {}
        for position, count in enumerate(counts):
            for word, times in count.items():
                self._places.setdefault(word, []).append((position, times))

    def best(self, query: str, count: int = 3) -> list[int]:
        """Positions of the best texts, best first; none that shares no word with the query."""
        scores: dict[int, float] = {}
        for word in sorted(set(content_words(query)) & self._places.keys()):
            places = self._places[word]
            rarity = math.log1p((len(self._norms) - len(places) + 0.5) / (len(places) + 0.5))
            for position, times in places:
                gain = rarity * times * (_K1 + 1) / (times + self._norms[position])
                scores[position] = scores.get(position, 0.0) + gain
        return [position for _, position in sorted((-score, position) for position, score in scores.items())[:count]]


def content_words(text: str) -> list[str]:
    """Words in lower case, without those that say nothing about the subject.

    Args:
        text: The text.

    Returns:
        The words, in order.

    Example:
        >>> content_words("What do the Mules eat?")
        ['mules', 'eat']
    """
    return [word for word in _WORD.findall(text.casefold()) if word not in _COMMON]
