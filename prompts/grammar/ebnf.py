"""EBNF as xgrammar reads it: literals, classes of characters, named rules."""

import re
from collections.abc import Iterable

CharSet = tuple[tuple[int, int], ...]
"""Ranges of code points, both ends included, in order and apart."""

MISREAD = re.compile("(?<=[\x00-\x1f\x7f-\xff])(?=[0-9a-fA-F])")
"""Where xgrammar 0.2.8 misreads a literal: it prints such a character as `\\xNN`, and reads more digits into it."""

EVERY: CharSet = ((0x0, 0xD7FF), (0xE000, 0x10FFFF))
"""Every character of a text. Ranges match no bytes that are no UTF-8; a negated class lets some of them through."""


def charset(*ranges: tuple[int, int] | str) -> CharSet:
    """A set of characters.

    Args:
        ranges: Ranges of code points, or texts whose characters count one by one.

    Returns:
        The set.

    Example:
        >>> charset("ba", (99, 101))
        ((97, 101),)
    """
    found: list[tuple[int, int]] = []
    singles = [(ord(character), ord(character)) for text in ranges if isinstance(text, str) for character in text]
    for low, high in sorted([*singles, *(item for item in ranges if not isinstance(item, str))]):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def without(one: CharSet, other: CharSet) -> CharSet:
    """The characters of `one` that are not in `other`.

    Example:
        >>> without(charset((97, 101)), charset("c"))
        ((97, 98), (100, 101))
    """
    left = list(one)
    for low, high in other:
        left = [
            part
            for start, end in left
            for part in ((start, min(end, low - 1)), (max(start, high + 1), end))
            if part[0] <= part[1]
        ]
    return tuple(left)


def within(one: CharSet, other: CharSet) -> CharSet:
    """The characters that both sets hold."""
    return without(one, without(EVERY, other))


def literal(text: str) -> str:
    r"""Exactly this text.

    Example:
        >>> print(literal('a"b\n'))
        "a\"b\u000a"
    """
    parts = ['"' + "".join(map(_quoted, part)) + '"' for part in MISREAD.split(text)]
    return parts[0] if len(parts) == 1 else f"({' '.join(parts)})"


def one_of(characters: CharSet) -> str:
    r"""One character of the set.

    Example:
        >>> print(one_of(charset("abc-")))
        [a-c\u002d]
    """
    members = sorted(characters, key=lambda item: not chr(item[0]).isalnum())  # see MISREAD
    ranges = [_bound(low) if low == high else f"{_bound(low)}-{_bound(high)}" for low, high in members]
    return f"[{''.join(ranges)}]"


def either(choices: Iterable[str]) -> str:
    """One of several expressions; the expression itself when there is one.

    Example:
        >>> either(['"a"', '"b"']), either(['"a"'])
        ('("a" | "b")', '"a"')
    """
    unique = list(dict.fromkeys(choices))
    return unique[0] if len(unique) == 1 else f"({' | '.join(unique)})"


def repeated(expression: str, least: int, most: int | None) -> str:
    """An expression so many times; without end when `most` is None.

    Example:
        >>> repeated("c", 0, None), repeated("c", 2, 5), repeated("c", 0, 0)
        ('(c)*', '(c){2,5}', '""')
    """
    if most == 0:
        return '""'
    if most is None and least < 2:
        return f"({expression}){'+' if least else '*'}"
    return f"({expression}){{{least},{'' if most is None else most}}}"


class Rules:
    """Named rules in the making. Equal bodies share one rule.

    Example:
        >>> rules = Rules()
        >>> rules.add("digit", "[0-9]"), rules.add("number", "[0-9]"), rules.add("digit", "[1-9]")
        ('digit', 'digit', 'digit_1')
        >>> print(rules.text('digit "0"'))
        root ::= digit "0"
        digit ::= [0-9]
        digit_1 ::= [1-9]
    """

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def add(self, name: str, body: str) -> str:
        """Name an expression; the name it has, if it has one.

        Args:
            name: Wanted name, an identifier.
            body: The expression.

        Returns:
            The rule's name.
        """
        known = self._names.get(body)
        if known is not None:
            return known
        free, number = name, 0
        while free in self._bodies:
            number += 1
            free = f"{name}_{number}"
        self._bodies[free] = body
        self._names[body] = free
        return free

    def define(self, name: str, body: str) -> str:
        """Name an expression that may name itself; the name says all about it, so the first body stays."""
        self._bodies.setdefault(name, body)
        return name

    def text(self, root: str) -> str:
        """The grammar, with `root` as what a whole message is."""
        return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._bodies.items())])


def _quoted(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else _bound(ord(character))


def _bound(code: int) -> str:
    if code < 0x80 and chr(code).isalnum():
        return chr(code)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
