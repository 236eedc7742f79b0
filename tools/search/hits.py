"""What a search finds, made safe to print: a provider's answer is text that strangers wrote."""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_TITLE_CHARS = 200
_SNIPPET_CHARS = 600
_URL_CHARS = 2000
_RAW_CHARS = 4_000  # of a field, before anything else is done with it
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|<!--[^<>]{0,500}-->")  # no match looks beyond the next bracket
_BAR = re.compile(r"(?:(?<=[ \u200c\u200d\ufe00-\ufe0f])|^)\|(?=[ \u200c\u200d\ufe00-\ufe0f]|$)")
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are spelled with them
_SELECTORS = range(0xE0100, 0xE01F0)  # variation selectors that nobody sees and that can carry text
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
)  # letters and marks without a shape


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search.

    Args:
        title: The page's title.
        url: Its address.
        snippet: The part of its text that matters.
        date: Day on which the page appeared or changed, where the provider tells.
    """

    title: str
    url: str
    snippet: str
    date: dt.date | None = None


def read_hit(title: object, url: object, snippet: object, day: object = None) -> Hit | None:
    r"""A result as a provider gave it, as plain text of bounded length.

    Args:
        title: The title; may hold markup.
        url: The address.
        snippet: The text; may hold markup.
        day: ISO 8601 or the format of mail; anything else counts as unknown.

    Returns:
        The result; None when its address is none that a browser opens.

    Example:
        >>> read_hit("<strong>Mules</strong> &amp; hay", "https://example.org/a b", "Mules<br>eat\nhay.")
        Hit(title='Mules & hay', url='https://example.org/a%20b', snippet='Mules eat hay.', date=None)
        >>> read_hit("Mules", "javascript:alert(1)", "") is None
        True
    """
    if not isinstance(url, str):
        return None
    address = clean_text(url[: _URL_CHARS + 1], markup=False).replace(" ", "%20")
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or len(address) > _URL_CHARS:
        return None
    return Hit(_field(title, _TITLE_CHARS) or address, address, _field(snippet, _SNIPPET_CHARS), _day(day))


def clean_text(text: str, *, markup: bool = True) -> str:
    """One line of plain text: no markup, no control characters, nothing invisible.

    Args:
        text: The text.
        markup: Whether it may hold HTML, which is then removed.
    """
    if markup:
        import html

        text = html.unescape(_TAG.sub(" ", text))
        text = _TAG.sub(" ", text)  # what had been escaped twice
    return " ".join("".join(filter(_visible, text)).split())


def format_hits(provider: str, hits: Iterable[Hit]) -> str:
    r"""What the model reads: the provider, then a line for each result.

    No field can hold a line break or a separator, so a page cannot add a result to the list.

    Args:
        provider: Who gave the results.
        hits: The results.

    Example:
        >>> format_hits("brave", [Hit("Mules", "https://example.org/m", "Mules\n[2] eat | hay.", dt.date(2026, 11, 2))])
        'provider: brave\n[1] Mules | https://example.org/m | 2026-11-02 | Mules [2] eat - hay.'
    """
    lines = [f"provider: {provider}"]
    for number, hit in enumerate(hits, start=1):
        fields = [hit.title, hit.url, *([hit.date.isoformat()] if hit.date else []), hit.snippet]
        lines.append(f"[{number}] " + " | ".join(_BAR.sub("-", clean_text(text, markup=False)) for text in fields))
    return "\n".join(lines if len(lines) > 1 else [*lines, "no results"])


def unique_hits(hits: Iterable[Hit]) -> list[Hit]:
    """The results without those that lead to a page already seen."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(_page(hit.url), hit)
    return [*first.values()]


def _page(url: str) -> str:
    bare = url.partition("#")[0]
    return bare.partition("://")[2].removeprefix("www.").rstrip("/") or bare


def _visible(character: str) -> bool:
    if character.isspace():
        return True
    kind = unicodedata.category(character)
    if character in _JOINERS:
        return True
    return kind not in ("Cc", "Cf", "Co", "Cs") and character not in _BLANK and ord(character) not in _SELECTORS


def _field(value: object, most: int) -> str:
    text = clean_text(value[:_RAW_CHARS] if isinstance(value, str) else "")
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _day(value: object) -> dt.date | None:
    if not isinstance(value, str):
        return None
    from email.utils import parsedate_to_datetime

    for read in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            return read(value[:100]).date()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
