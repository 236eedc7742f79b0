"""Made-up words, so that reading the prompt is the only way to be right.

Every word belongs either to training or to the test by a checksum of its letters: no name of the test
was ever seen in training.
"""

import random
import zlib
from typing import Literal

Split = Literal["train", "test"]

_ONSETS = [
    *list("bcdfghjklmnprstvwz"),
    "br",
    "ch",
    "cl",
    "dr",
    "fl",
    "gr",
    "pl",
    "pr",
    "qu",
    "sh",
    "sk",
    "st",
    "th",
    "tr",
]
_VOWELS = [*list("aaeeiioou"), "ai", "ea", "ee", "oo", "ou", "y"]
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "x", "ck", "nd", "st", "ng", "rt"]

REAL_NOUNS = """
height weight length width depth price cost rate speed distance temperature humidity pressure population area
balance salary budget forecast schedule timetable address phone email capital currency language owner author
birthday rating score rank level status stock invoice order parcel ticket flight hotel room table meeting
reminder alarm note message contact playlist song movie recipe calorie ingredient translation definition
synonym weather traffic route map parking fuel tax discount coupon warranty manual version license branch
commit build server database backup password account profile photo album video channel subscription battery
voltage current signal frequency color size shape volume density mass age gender nationality team league match
goal player coach stadium harvest yield rainfall tide sunrise sunset moon orbit star planet river bridge tower
museum library school teacher student exam grade course lesson book chapter page newspaper article headline
""".split()
"""English nouns that tools are often about; the checksum splits them like the made-up ones."""

COMPOUNDS = 0.15
"""Share of training's made-up words that hold a noun, as `birthdaysto`: a held-out noun is new, its tokens are not."""

_NAME_TAILS = ["Bay", "Hill", "Falls", "Bridge", "Valley", "Harbor", "Street", "Garden", "House", "River"]
_NAME_HEADS = ["Mount", "Lake", "Port", "Old", "New", "Saint", "Fort"]


def split_of(word: str) -> Split:
    """Which split a word belongs to."""
    return "test" if zlib.crc32(word.lower().encode()) % 5 == 0 else "train"


def word(rng: random.Random, split: Split, *, real: float = 0.0) -> str:
    """A lower-case word of one split.

    Args:
        rng: Source of randomness.
        split: Which split the word must belong to.
        real: Probability of an English noun instead of a made-up word.

    Returns:
        The word.

    Example:
        >>> split_of(word(random.Random(1), "test"))
        'test'
    """
    while True:
        if rng.random() < real:
            candidate = rng.choice(REAL_NOUNS)
        elif split == "train" and rng.random() < COMPOUNDS:
            parts = [rng.choice(REAL_NOUNS), rng.choice(_ONSETS) + rng.choice(_VOWELS)]
            candidate = "".join(parts if rng.random() < 0.5 else parts[::-1])
        else:
            inner = rng.choice(_CODAS) if rng.random() < 0.15 else ""
            candidate = rng.choice(_ONSETS) + rng.choice(_VOWELS) + inner
            candidate += rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        if split_of(candidate) == split:
            return candidate


def name(rng: random.Random, split: Split) -> str:
    """A proper name of one or two words, its distinctive word from one split."""
    stem = word(rng, split).capitalize()
    kind = rng.random()
    if kind < 0.2:
        return f"{stem} {rng.choice(_NAME_TAILS)}"
    if kind < 0.4:
        return f"{rng.choice(_NAME_HEADS)} {stem}"
    return stem


def code(rng: random.Random) -> str:
    """An identifier such as `KX-204`, or a currency-like code of three letters."""
    letters = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.choice((2, 3))))
    return letters if len(letters) == 3 else f"{letters}-{number(rng)}"


def number(rng: random.Random, most_digits: int = 4) -> int:
    """A positive integer whose number of digits is drawn evenly."""
    digits = rng.randint(1, most_digits)
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def decimal(rng: random.Random) -> str:
    """A decimal number that JSON writes just so, such as `12.5`."""
    return f"{number(rng, 3)}.{rng.randint(1, 9)}"


def date(rng: random.Random) -> str:
    """An ISO 8601 date."""
    return f"{rng.randint(2019, 2029)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
