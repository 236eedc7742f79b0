"""Whether an answer says that it cannot answer."""

import re
from dataclasses import dataclass
from functools import lru_cache

from arriero.evals.errors import EvalError
from arriero.evals.systems.facts import digest_of_text

_SOURCE = r"(?:documents?|passages?|context|(?:search )?results?|sources?|texts?|information|articles?|excerpts?)"
_HOLD = r"(?:say|mention|contain|provide|state|tell|include|specify|answer|address|have|give|discuss|cover|indicate)"
_NOT = r"(?:do(?:es)? not|don't|doesn't|did not|didn't)"
_CANNOT = r"(?:cannot|can't|can not|could not|couldn't|am unable to|am not able to|was unable to)"
_SERVE = r"(?:answer|find|determine|tell|say|provide|help|assist|respond|confirm|give|advise|calculate)"

PHRASES = (
    rf"\b{_SOURCE}(?: \w+){{0,3}} {_NOT}(?: \w+)? {_HOLD}",  # The documents do not say.
    rf"\bi (?:currently )?{_NOT} (?:currently )?(?:have|know|find|see)\b",  # I don't have an answer to your question.
    rf"\bi {_CANNOT} (?:\w+ )?{_SERVE}",
    r"\b(?:there is|there's|i have|found) (?:no|not enough|insufficient) (?:\w+ )?(?:information|answer|mention|data)",
    r"\bnot enough information\b|\binsufficient information\b",
    r"\bi(?:'m| am) not (?:sure|certain|aware)\b",
    r"\b(?:is|are|was|were) not (?:mentioned|specified|stated|provided|given|found|included|discussed) in\b",
    r"\bunanswerable\b|\bno answer\b|\bcannot be (?:answered|determined)\b",
)
"""Regular expressions, for lower-case text with straight quotes, one of which a refusal holds."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_APOLOGY = re.compile(r"(?:i'm|i am)? ?(?:very )?sorry\b|i apologi[sz]e|unfortunately\W*$")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """Tells refusals from answers.

    An answer is a refusal if a sentence of it holds one of the phrases and the rest says next to nothing: words of
    other sentences, and those before the phrase, are counted, apologies left out. A model that says what the documents
    lack and then goes on has answered, and what it goes on with may be wrong. An empty answer says nothing, and is no
    refusal.

    Args:
        phrases: Regular expressions for lower-case text with straight quotes.
        words: Most words beside the refusal.

    Raises:
        EvalError: A phrase is no regular expression.

    Example:
        >>> rule = RefusalRule()
        >>> rule.refuses("The documents do not say."), rule.refuses("The pass is 2140 metres high [1].")
        (True, False)
    """

    phrases: tuple[str, ...] = PHRASES
    words: int = 10

    def __post_init__(self) -> None:
        _pattern(self.phrases)

    @property
    def digest(self) -> str:
        """What tells this rule from others, for fingerprints."""
        return digest_of_text(repr((self.phrases, self.words)))[:16]

    def refuses(self, text: str) -> bool:
        """Whether an answer is a refusal.

        Args:
            text: The answer.

        Returns:
            Whether it is.
        """
        plain = text.translate(_QUOTES).lower()
        pattern, refused, beside = _pattern(self.phrases), False, 0
        for sentence in filter(None, map(str.strip, _SENTENCE.split(plain))):
            found = pattern.search(" ".join(sentence.split()))
            refused |= found is not None
            if not _APOLOGY.match(sentence):
                beside += len((sentence if found is None else found.string[: found.start()]).split())
        return refused and beside <= self.words


@lru_cache(16)
def _pattern(phrases: tuple[str, ...]) -> "re.Pattern[str]":
    try:
        return re.compile("|".join(f"(?:{phrase})" for phrase in phrases) or r"\Z\A")
    except re.error as error:
        raise EvalError(f"the phrases of refusals are no regular expressions: {error}") from error
