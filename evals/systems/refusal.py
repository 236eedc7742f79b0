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

PHRASES = (
    rf"\b{_SOURCE}(?: \w+){{0,3}} {_NOT}(?: \w+)? {_HOLD}",  # The documents do not say.
    rf"\bi {_NOT} (?:have|know|find|see)\b",  # I don't have an answer to your question.
    rf"\bi {_CANNOT} (?:\w+ )?(?:answer|find|determine|tell|say|provide|help|assist|respond)",
    r"\b(?:there is|there's|i have|found) (?:no|not enough|insufficient) (?:\w+ )?(?:information|answer|mention|data)",
    r"\bnot enough information\b|\binsufficient information\b",
    r"\bi(?:'m| am) not (?:sure|certain|aware)\b",
    r"\b(?:is|are|was|were) not (?:mentioned|specified|stated|provided|given|found|included|discussed) in\b",
    r"\bunanswerable\b|\bno answer\b|\bcannot be (?:answered|determined)\b",
)
"""Regular expressions, for lower-case text with straight quotes, one of which a refusal holds."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_OPENER = re.compile(r"^(?:i'm sorry|i am sorry|sorry|unfortunately|i apologi[sz]e)\W*$")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"'})


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """Tells refusals from answers.

    An answer is a refusal if its first sentence holds one of the phrases, and what follows is short: a model that says
    first what the documents lack and then answers at length has answered. An opener such as "I'm sorry." is no sentence
    of its own. An empty answer is no refusal: it says nothing.

    Args:
        phrases: Regular expressions for lower-case text with straight quotes.
        words: Most words of the whole answer.

    Raises:
        EvalError: A phrase is no regular expression.

    Example:
        >>> rule = RefusalRule()
        >>> rule.refuses("The documents do not say."), rule.refuses("The pass is 2140 metres high [1].")
        (True, False)
    """

    phrases: tuple[str, ...] = PHRASES
    words: int = 60

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
        plain = " ".join(text.translate(_QUOTES).lower().split(" ")).strip()
        if len(plain.split()) > self.words:
            return False
        sentences = [sentence for sentence in _SENTENCE.split(plain) if not _OPENER.match(sentence)]
        return bool(sentences) and _pattern(self.phrases).search(" ".join(sentences[0].split())) is not None


@lru_cache(16)
def _pattern(phrases: tuple[str, ...]) -> "re.Pattern[str]":
    try:
        return re.compile("|".join(f"(?:{phrase})" for phrase in phrases) or r"\Z\A")
    except re.error as error:
        raise EvalError(f"the phrases of refusals are no regular expressions: {error}") from error
