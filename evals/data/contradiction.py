"""Passages that say otherwise than the world: one number or name of them replaced throughout."""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from arriero.evals.data.wording import occurs, tokens

_NUMBER = re.compile(r"(?<![\w.,-])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
_NAME = re.compile(r"[A-Z][\w'’.-]*(?: (?:of|the|de|van|von|and|[A-Z][\w'’.-]*)){0,4}")
_LOWER = frozenset("of the de van von and".split())
_COUNTS = re.compile(r"^\W*when\b|\bhow (?:many|much|long|old|far|high|tall|big|large)\b|\bwhat (?:year|date|time)\b")
_ASKS = re.compile(r"\b(who|whom|whose|where|(?:what|which) (?!is\b|are\b|was\b|were\b|did\b|do\b|does\b|has\b)\w+)\b")
_MOST_WORDS = 6


@dataclass(frozen=True, slots=True)
class Changed:
    """A passage that says something else.

    Args:
        text: The passage.
        answer: What it tells now.
    """

    text: str
    answer: str


def asked_for(question: str) -> str:
    """What kind of name a question asks for, by its words.

    Args:
        question: The question.

    Returns:
        `who`, `which city` and the like; empty where that cannot be told.

    Example:
        >>> asked_for("In which city did they meet?"), asked_for("What is a mule?")
        ('which city', '')
    """
    found = _ASKS.search(question.casefold())
    return found.group() if found else ""


def contradicted(question: str, text: str, answer: str, names: Iterable[str], chance: random.Random) -> Changed | None:
    """Replace what a passage answers, everywhere in it.

    Args:
        question: The question; an answer that stands in it is left alone.
        text: The passage.
        answer: What it tells: a number with its unit, a date, or a name; or a longer answer to a question for a number
            or a date. Other answers are left alone.
        names: Names of the kind that is asked for, to take another one from.
        chance: Decides what is put in its place.

    Returns:
        The passage and what it tells now; None where it cannot be changed by a number or a name.

    Example:
        >>> import random
        >>> changed = contradicted("How high is it?", "It is 2140 metres high.", "2140 metres", [], random.Random(1))
        >>> changed is not None and changed.answer != "2140 metres" and changed.answer in changed.text
        True
    """
    answer = answer.strip()
    if occurs(answer, question):
        return None
    short = 0 < len(tokens(answer)) <= _MOST_WORDS and answer in text
    if _NUMBER.search(answer):
        return _other_numbers(question, text, answer, chance) if short or _COUNTS.search(question.casefold()) else None
    named = short and _NAME.fullmatch(answer) is not None and not any(letter.isdigit() for letter in answer)
    # a word that is capital only where sentences begin is no name
    inside = re.search(rf"[\w,;] {re.escape(answer)}(?!\w)", text) is not None
    return _other_name(question, text, answer, names) if named and inside else None


def _other_numbers(question: str, text: str, answer: str, chance: random.Random) -> Changed | None:
    there = set(_NUMBER.findall(text))
    asked = set(_NUMBER.findall(question))
    new: dict[str, str] = {}
    for old in dict.fromkeys(_NUMBER.findall(answer)):
        if old in asked:
            continue
        if old not in there:
            return None
        other = _other_number(old, there | set(new.values()), chance)
        if other is None:
            return None
        new[old] = other
    if not new or sorted(new, key=_value) != sorted(new, key=lambda old: _value(new[old])):
        return None  # what was the smaller one, or the earlier, stays so
    replaced = (_NUMBER.sub(lambda found: new.get(found.group(), found.group()), part) for part in (text, answer))
    return Changed(*replaced)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _other_number(old: str, taken: set[str], chance: random.Random) -> str | None:
    """A number of the same form and about the same size."""
    whole, point, decimals = old.replace(",", "").partition(".")
    if len(whole) > 1 and whole.startswith("0"):
        return None
    value, digits = int(whole), len(whole)
    year = digits == 4 and "," not in old and not point and 1000 <= value <= 2100
    reach = 30 if year else max(4, value // 2)
    low = max(value - reach, 10 ** (digits - 1) if digits > 1 or not point else 0)
    high = min(value + reach, 2030 if year else 10**digits - 1)
    if digits == 2 and not point and value <= 31:
        low, high = 10, 28  # it may be a day of a month
    for _ in range(50):
        other = chance.randint(low, high)
        written = f"{other:,}" if "," in old else str(other)
        written += f"{point}{decimals}"
        if written not in taken and written != old and other != value:
            return written
    return None


def _other_name(question: str, text: str, answer: str, names: Iterable[str]) -> Changed | None:
    """Another name of as many words; a part of it that stands alone is replaced by the same part of the other."""
    words = answer.split()
    if any(occurs(word, question) for word in words if word not in _LOWER):
        return None
    for other in names:
        parts = other.strip().split()
        shape = [word[:1].isupper() for word in words] == [part[:1].isupper() for part in parts]
        fits = len(parts) == len(words) and shape and _NAME.fullmatch(other.strip()) and not _NUMBER.search(other)
        if not fits or any(occurs(part, text) or occurs(part, question) for part in parts if part not in _LOWER):
            continue
        pairs = {answer: other.strip()}
        pairs |= {old: new for old, new in zip(words, parts, strict=True) if old not in _LOWER and old[0].isupper()}
        return Changed(_replaced(text, pairs), other.strip())
    return None


def _replaced(text: str, pairs: Mapping[str, str]) -> str:
    longest_first = sorted(pairs, key=len, reverse=True)
    found = re.compile("|".join(rf"\b{re.escape(old)}(?!\w)" for old in longest_first))
    return found.sub(lambda match: pairs[match.group()], text)
