"""How values are written in a call: as JSON, or as Python literals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arriero.prompts.grammar.ebnf import (
    EVERY,
    CharSet,
    Rules,
    charset,
    either,
    literal,
    one_of,
    within,
    without,
)
from arriero.prompts.grammar.grammar import GrammarNotExpressible

_CONTROLS = charset((0x0, 0x1F))
_SHORT = {"\n": "n", "\r": "r", "\t": "t"}
_HEX = "[0-9a-fA-F]"
_ONE_UNIT = (
    f'("000" [1-9a-fA-F] | "00" [1-9a-fA-F] {_HEX} | "0" [1-9a-fA-F] {_HEX}{{2}}'
    f" | [1-9abcefABCEF] {_HEX}{{3}} | [dD] [0-7] {_HEX}{{2}})"
)
_PAIR = f'"\\\\u" [dD] [89abAB] {_HEX}{{2}} "\\\\u" [dD] [c-fC-F] {_HEX}{{2}}'


@dataclass(frozen=True, slots=True)
class Notation:
    """One way to write values.

    No text in it holds `<|`, with which every special token of a Llama begins: a back end takes a special token for
    the text that spells it, so a grammar that lets the text through lets the token through. A model can still write
    these characters, as an escape.

    Args:
        name: Its name, for the names of rules.
        quote: What stands around a text.
        escapes: Characters that may follow a backslash, beside `u` and four digits.
        pairs: Whether two escapes make one character beyond U+FFFF.
        words: How None, True and False are written.
    """

    name: str
    quote: str
    escapes: str
    pairs: bool
    words: Mapping[bool | None, str]

    @property
    def raw(self) -> CharSet:
        """Characters that stand for themselves wherever they are: all but the quote, the backslash, `<`, controls."""
        return without(without(EVERY, _CONTROLS), charset(self.quote, "\\<"))

    def string(self, rules: Rules, least: int = 0, most: int | None = None) -> str:
        """Any text, of so many characters.

        In a text without bounds `<` may stand for itself unless `|` follows; in one with bounds it is an escape.
        """
        return f"{literal(self.quote)} {self._rest(rules, least, most)}"

    def _rest(self, rules: Rules, least: int, most: int | None) -> str:
        """What is left of a text, its closing quote included.

        One rule for each length: xgrammar 0.2.8 takes a second for a token inside of a repetition of such characters,
        with a vocabulary of 128,000, and 0.03 ms in a rule that ends with another.
        """
        escape, close = self._escape(rules), literal(self.quote)
        name = f"{self.name}_{least}_{'' if most is None else most}"
        if most is None and not least:
            after = one_of(without(self.raw, charset("|")))
            tail = f'{escape} {name} | "<" {name}less | {close}'
            rules.define(f"{name}less", f"{after} {name} | {tail}")
            return rules.define(name, f"{one_of(self.raw)} {name} | {tail}")
        for left in range(most or least, -1, -1):  # the shortest last, so that no rule is written before its name
            self._step(rules, max(0, least - (most or least) + left), left if most is not None else None, escape)
        return name

    def _step(self, rules: Rules, least: int, most: int | None, escape: str) -> None:
        name = f"{self.name}_{least}_{'' if most is None else most}"
        choices = [] if least else [literal(self.quote)]
        if most is None and not least:
            self._rest(rules, 0, None)
            return
        if most != 0:
            after = f"{self.name}_{max(0, least - 1)}_{'' if most is None else most - 1}"
            choices += [f"{one_of(self.raw)} {after}", f"{escape} {after}"]
        rules.define(name, " | ".join(choices))

    def characters(self, wanted: CharSet) -> str | None:
        """One of these characters, written as one text inside the quotes; None when there is none to write."""
        wanted = without(wanted, charset("\x00"))
        plain = within(wanted, self.raw)
        choices = [one_of(plain)] if plain else []
        for low, high in without(wanted, self.raw):
            choices += [literal(self._written(chr(code))) for code in range(low, high + 1)]
        return either(choices) if choices else None

    def constant(self, value: Any) -> str:
        """The text of one value.

        Raises:
            GrammarNotExpressible: The value is no strict JSON.
        """
        if value is None or isinstance(value, bool):
            return self.words[value]
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self.constant, value))}]"
        if isinstance(value, Mapping):
            entries = [f"{self._text(str(key))}: {self.constant(item)}" for key, item in value.items()]
            return f"{{{', '.join(entries)}}}"
        try:
            return json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise GrammarNotExpressible(f"{value!r} is no strict JSON: a schema's constants must be") from error

    def _text(self, value: str) -> str:
        if any(0xD800 <= ord(character) <= 0xDFFF for character in value) or "\x00" in value:
            raise GrammarNotExpressible(f"{value!r} holds half a surrogate pair or a NUL, which no call can carry")
        written = "".join(
            character if any(low <= ord(character) <= high for low, high in self.raw) else self._written(character)
            for character in value.replace("<|", "\x00|")
        )
        return self.quote + written.replace("\\u0000|", "\\u003c|") + self.quote

    def _written(self, character: str) -> str:
        if character in "\\" + self.quote:
            return "\\" + character
        if character in _SHORT:
            return "\\" + _SHORT[character]
        return f"\\u{ord(character):04x}"

    def _escape(self, rules: Rules) -> str:
        short = f"{literal(chr(92))} {one_of(charset(self.escapes))}"
        choices = [short, f'"\\\\u" {_ONE_UNIT}', *([_PAIR] if self.pairs else [])]
        return rules.add(f"{self.name}_escape", " | ".join(choices))


JSON_TEXT = Notation("json", '"', '"\\/bfnrt', True, {None: "null", True: "true", False: "false"})
"""JSON."""

PYTHON_SINGLE = Notation("single", "'", "'\"\\nrt", False, {None: "None", True: "True", False: "False"})
"""Python literals with single quotes."""

PYTHON_DOUBLE = Notation("double", '"', "'\"\\nrt", False, {None: "None", True: "True", False: "False"})
"""Python literals with double quotes."""
