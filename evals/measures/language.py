"""Which language a text is in, as far as is needed to say that an answer is in another than its passages."""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

_WORD = re.compile(r"[^\W\d_]+")
_FEWEST = 6
"""Words below which a text tells no language."""

# The most frequent words of languages in Latin letters, those that several of them share left out
_FREQUENT = {
    "English": "the of and to is that it was for with as are this be from not have which by or",
    "Spanish": "el los las y que una por con para del se su al como más pero sus está son",
    "French": "le les et des est dans qui une pour pas sur au avec ce il sont plus par du",
    "German": "der die und das ist nicht ein eine zu den mit auf für von dem sich auch werden als",
    "Portuguese": "o os e que uma para com não do da dos das em por mais são foi ao pelo",
    "Italian": "il di che è per non una sono con del della gli dei nel più anche si lo alla",
}
_SETS = {name: frozenset(words.split()) for name, words in _FREQUENT.items()}
_ENOUGH = 600
"""Characters that tell a language."""
_SHARE = 0.1
"""Share of a text's words that are frequent ones of its language, at least."""


def language(text: str) -> str | None:
    """The language of a text by its letters and most frequent words.

    Args:
        text: The text; its first 600 characters count.

    Returns:
        Name of a language, or of a script for letters that are not Latin; None where the text is short or unclear.

    Example:
        >>> language("The pass is closed from October to May, and the inn is not open."), language("No.")
        ('English', None)
        >>> language("Перевал закрыт с октября по май, и гостиница тоже не работает.")
        'Cyrillic'
    """
    return _language(text[:_ENOUGH])


@lru_cache(maxsize=4_096)  # many answers have the same passages
def _language(text: str) -> str | None:
    if not text.isascii():
        letters = Counter(_script(letter) for letter in text if letter.isalpha())
        script, count = letters.most_common(1)[0] if letters else ("Latin", 0)
        if script != "Latin":
            return script if count > max(4, letters.total() / 2) else None
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < _FEWEST:
        return None
    counts = {name: sum(word in frequent for word in words) for name, frequent in _SETS.items()}
    (best, most), (_, next_most) = Counter(counts).most_common(2)
    return best if most >= _SHARE * len(words) and most > next_most else None


def other_language(response: str, passages: tuple[str, ...]) -> bool:
    """Whether a response is in another language than its passages, as far as both can be told."""
    said = language(response)
    if said is None:
        return False
    given = language(" ".join(passage[:_ENOUGH] for passage in passages[:3]))
    return given is not None and said != given


@lru_cache(maxsize=4_096)
def _script(letter: str) -> str:
    if letter.isascii():
        return "Latin"
    return unicodedata.name(letter, "unknown").split(" ", 1)[0].split("-", 1)[0].capitalize()
