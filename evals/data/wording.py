"""What texts have in common, by their words."""

import re
from collections.abc import Iterator, Mapping

from arriero.evals.items import Passage
from arriero.tools.ranking import Ranking, content_words

_TOKEN = re.compile(r"\w+")
_TOLD = 0.7


def tokens(text: str) -> list[str]:
    """Words and numbers of a text, in lower case.

    Args:
        text: The text.

    Returns:
        They, in order.
    """
    return _TOKEN.findall(text.casefold())


def occurs(part: str, text: str) -> bool:
    """Whether words stand in a text one after the other, whatever stands between them.

    Args:
        part: The words.
        text: The text.

    Returns:
        Whether they do; False for no words.

    Example:
        >>> occurs("the Salda pass", "On the Salda-Pass, snow."), occurs("pass", "passage")
        (True, False)
    """
    words = tokens(part)
    return bool(words) and f" {' '.join(words)} " in f" {' '.join(tokens(text))} "


def covered(part: str, text: str) -> float:
    """Share of the content words of one text that another one has.

    Args:
        part: The text whose words are looked for.
        text: Where.

    Returns:
        From 0 to 1; 0 for no words.
    """
    words = set(content_words(part))
    return len(words & set(content_words(text))) / len(words) if words else 0.0


def tells(text: str, answer: str) -> bool:
    """Whether a text may tell an answer: it has the words of a short one, or most of those of a long one.

    Args:
        text: The text.
        answer: The answer.

    Returns:
        Whether it may.
    """
    return occurs(answer, text) or (len(set(content_words(answer))) > 2 and covered(answer, text) >= _TOLD)


class Lookup:
    """Passages of a corpus, by the words they share with a question.

    Args:
        corpus: The passages.
    """

    def __init__(self, corpus: Mapping[str, Passage]) -> None:
        self._passages = tuple(corpus.values())
        self._ranking = Ranking([f"{passage.title} {passage.text}" for passage in self._passages])

    def similar(self, question: str) -> Iterator[Passage]:
        """Passages that share words with a question, most similar first.

        Args:
            question: The question.

        Yields:
            The passages.
        """
        for position in self._ranking.best(question, len(self._passages)):
            yield self._passages[position]
