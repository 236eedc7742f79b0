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
        self._counts = [Counter(content_words(text)) for text in texts]
        self._lengths = [counts.total() for counts in self._counts]
        self._average = sum(self._lengths) / max(1, len(self._lengths)) or 1.0
        self._texts_with = Counter(word for counts in self._counts for word in counts)

    def best(self, query: str, count: int = 3) -> list[int]:
        """Positions of the best texts, best first; none that shares no word with the query."""
        words = set(content_words(query))
        scores = [(-self._score(words, position), position) for position in range(len(self._counts))]
        return [position for score, position in sorted(scores)[:count] if score < 0]

    def _score(self, words: set[str], position: int) -> float:
        counts = self._counts[position]
        norm = _K1 * (1 - _B + _B * self._lengths[position] / self._average)
        return sum(
            self._rarity(word) * counts[word] * (_K1 + 1) / (counts[word] + norm)
            for word in sorted(words & counts.keys())
        )

    def _rarity(self, word: str) -> float:
        with_word = self._texts_with[word]
        return math.log1p((len(self._counts) - with_word + 0.5) / (with_word + 0.5))


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
