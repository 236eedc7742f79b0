"""Free text that no parser here can take for a call."""

from collections.abc import Iterable, Sequence

from arriero.prompts.grammar.ebnf import EVERY, MISREAD, Rules, charset, literal, one_of, without

_CALL_MARKS = ("<|", "<function", '"parameters"', '"arguments"', "\\u00")
"""What is in every call as JSON or as a function tag, whatever it calls; keys can be spelled with escapes too."""

_SPACES = charset(" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000", (0x2000, 0x200A))
_BLANK = "[ \\t\\n\\r]"
_AFTER_NAME = ("(", " (", "\t(", "\n(", "\r(", "  (", ".call")


def prose(rules: Rules, names: Sequence[str], builtin: Sequence[str]) -> str:
    """Any text but one that could be read as a call: none at all, too.

    Kept out are special tokens, what marks a call in any syntax, an offered tool's name where it would be called or
    stands in quotes, and `[name(` at the beginning.

    Args:
        rules: Where named rules go.
        names: Names of the offered tools.
        builtin: Names that are called as `name.call(...)`, offered or not.

    Returns:
        The expression.
    """
    banned = [
        *_CALL_MARKS,
        *(f"{name}.call" for name in builtin if name not in names),
        *(f"{quote}{name}{quote}" for name in names for quote in "\"'"),
    ]
    banned += [name + after for name in names for after in _AFTER_NAME]
    begun = _begun(rules, banned, banned, closed="[")
    opened = rules.add("bracket", _bracket()) + " " + rules.add("prose", _free(banned))
    return rules.add("said", f'{_BLANK}* ("" | {begun} | "[" {opened})')


def code(rules: Rules, names: Sequence[str]) -> str:
    """Source code that is no call as a whole: at least one character.

    Args:
        rules: Where named rules go.
        names: Names of the offered tools, with none of which the code begins as a call.

    Returns:
        The expression.
    """
    calls = [name + after for name in names for after in _AFTER_NAME]
    return rules.add("code", _begun(rules, ["<|"], [*calls, "<function"], closed="[{"))


def _begun(rules: Rules, anywhere: Sequence[str], at_start: Sequence[str], closed: str) -> str:
    """Text that begins with a visible character, but neither with one of `closed` nor with a banned text.

    The automaton for banned texts begins after the first character, so the rest of a banned text that begins with it
    is banned as well: anywhere, which costs texts that begin so a little more than need be.
    """
    heads = dict.fromkeys(text[0] for text in at_start)
    ordinary = without(without(EVERY, _SPACES), charset("".join(heads), closed, "\x00"))
    choices = [f"{one_of(ordinary)} {rules.add('prose', _free(anywhere))}"]
    shared = [head for head in heads if head != "<"]  # one rule for them all costs the fewest states
    for group in [["<"] if "<" in heads else [], *([[head] for head in shared] if "{" in closed else [shared])]:
        rest = [text[1:] for text in at_start if text[0] in group]
        if group:
            choices.append(f"{one_of(charset(''.join(group)))} {rules.add('prose', _free([*anywhere, *rest]))}")
    return f"({' | '.join(choices)})"


def _free(banned: Iterable[str]) -> str:
    """Text without any of these; of one that xgrammar would misread, without its end."""
    unique = dict.fromkeys(MISREAD.split(text)[-1] for text in banned)
    return f"TagDispatch(excludes=({', '.join(map(literal, unique))},))"


def _bracket() -> str:
    """What may follow a bracket at the beginning: anything but a name and a parenthesis."""
    words = without(without(EVERY, _SPACES), charset("\x00()[]{}<>\"'`\\,:;="))
    inside, after = charset(*words, " \t\n\r"), charset("[]{}>\"',:;=`)")
    return f"{one_of(inside)}* {one_of(after)}"
