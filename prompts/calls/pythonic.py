"""`[f(a=1, b='x'), g()]`: calls as Python writes them (FORMATS.md section 5). Literals are read, nothing is run."""

import re
from keyword import iskeyword
from typing import Any

from arriero.prompts.calls.json_calls import writable
from arriero.prompts.calls.literals import MAX_CALLS, Literals
from arriero.prompts.calls.repair import NotACall, Repairs
from arriero.prompts.messages import ToolCall

NAME = r"\w[\w.\-]{0,199}"
"""How long a name is and what it is made of. Python has no hyphens in names; tools do."""

_OPENING = re.compile(rf"({NAME})\s{{0,9}}\(")
_PARAMETER = re.compile(r"([^\W\d][\w\-]*)\s*=(?!=)\s*")
_MARK = re.compile(r"[\"'()\[\]{}\\]")
_INNER_OPENS = re.compile(r"[\w/$~{\"'<-]")
_CLOSES = {"(": ")", "[": "]", "{": "}"}


def pythonic_calls(text: str, repairs: Repairs) -> tuple[ToolCall, ...]:
    """The calls of a list, or of several lists one after the other.

    Args:
        text: From bracket to bracket.
        repairs: Where what is not documented is noted.

    Returns:
        The calls, at least one. With repair, a call that cannot be read is left out and its siblings are kept.

    Raises:
        NotACall: It is no list of calls.

    Example:
        >>> pythonic_calls("[add(a=1, b=-2.5)]", Repairs(False, None))[0].arguments
        {'a': 1, 'b': -2.5}
    """
    try:
        calls = _list(Literals(text, repairs, python=True), repairs)
    except RecursionError:
        raise NotACall("nested too deep") from None
    if not calls:
        raise NotACall("no calls")
    return calls


def bare_call(text: str, repairs: Repairs) -> tuple[ToolCall, ...]:
    """A call that stands without a list, to a tool that is known to be offered.

    Raises:
        NotACall: It is none.
    """
    literals = Literals(text, repairs, python=True)
    found = _OPENING.match(text)
    if found is None or not repairs.offers(found.group(1)):
        raise NotACall("not the name of an offered tool")
    repairs.fix("read a call without its list")
    try:
        call, at = _call(literals, found, repairs)
    except RecursionError:
        raise NotACall("nested too deep") from None
    if literals.skip(at) < len(text):
        raise NotACall("text after the call")
    return (call,)


def _list(literals: Literals, repairs: Repairs) -> tuple[ToolCall, ...]:
    text = literals.text
    calls: list[ToolCall] = []
    left_out: list[re.Match[str]] = []
    at = literals.expect(0, "[")
    comma = True
    while True:
        at = literals.skip(at)
        if text.startswith("]", at) or at == len(text):
            break
        found = _OPENING.match(text, at)
        if found is None or len(calls) + len(left_out) == MAX_CALLS:
            raise NotACall(f"no call at {at}, or too many")
        if not comma:
            repairs.fix("read calls without commas between them")
        made = repairs.count
        try:
            call, at = _call(literals, found, repairs)
            calls.append(call)
        except NotACall:
            if not repairs.allowed:
                raise
            repairs.take_back(made)
            left_out.append(found)
            at = _closing(text, found.end())
        at = literals.skip(at)
        comma = text.startswith(",", at)
        at += comma or text.startswith(";", at)
    if at < len(text) and literals.skip(at + 1) < len(text):
        raise NotACall("text after the list")
    if len(left_out) == 1 and not calls:
        return (_requoted(literals, left_out[0], repairs),)
    if at == len(text) and not left_out:
        raise NotACall("a list without end")
    for found in left_out:
        repairs.fix(f"left out a call to {found.group(1)} that cannot be read")
    return tuple(calls)


def _call(literals: Literals, opening: "re.Match[str]", repairs: Repairs) -> tuple[ToolCall, int]:
    text, at = literals.text, opening.end()
    arguments: dict[str, Any] = {}
    comma = True
    while True:
        at = literals.skip(at)
        if text.startswith(")", at):
            return writable(ToolCall(_name(opening.group(1), repairs), arguments)), at + 1
        found = _PARAMETER.match(text, at)
        if found is None or not comma:
            raise NotACall(f"no argument at {at}")
        parameter = _parameter(found.group(1), arguments, repairs)
        arguments[parameter], at = literals.value(literals.skip(found.end()), 2)
        at = literals.skip(at)
        comma = text.startswith(",", at)
        at += comma


def _name(name: str, repairs: Repairs) -> str:
    if not all(_is_pythons(part) for part in name.split(".")):
        repairs.fix("read a name that Python has not")
    return name


def _parameter(name: str, arguments: dict[str, Any], repairs: Repairs) -> str:
    if name in arguments:
        raise NotACall(f"{name} given twice")
    if not _is_pythons(name):
        repairs.fix("read a name that Python has not")
    return name


def _is_pythons(name: str) -> bool:
    return name.isidentifier() and not iskeyword(name)


def _closing(text: str, at: int) -> int:
    """The position after the bracket that closes the one before `at`; the end of the text if none does."""
    stack, quote = [")"], ""
    while stack and (found := _MARK.search(text, at)):
        mark, at = found.group(), found.end()
        if mark == "\\":
            at += 1
        elif quote or mark in "\"'":
            quote = "" if mark == quote else quote or mark
        elif mark in _CLOSES:
            stack.append(_CLOSES[mark])
        elif mark == stack[-1]:
            stack.pop()
        else:
            raise NotACall("brackets that do not match")
    return at if not stack else len(text)


def _requoted(literals: Literals, opening: "re.Match[str]", repairs: Repairs) -> ToolCall:
    """The one call of a list, in whose strings the quotes are not escaped (FORMATS.md section 5).

    A string ends at a quote that is followed by the next argument or the end. The quotes before that must stand in
    pairs around words, or be apostrophes, else more than one reading is possible and none is taken.
    """
    text = literals.text.rstrip()
    if not text.endswith("]") or not (inner := text[:-1].rstrip()).endswith(")"):
        raise NotACall("no single call")
    end = len(inner) - 1
    arguments: dict[str, Any] = {}
    at = literals.skip(opening.end())
    while at < end:
        found = _PARAMETER.match(text, at, end)
        if found is None:
            raise NotACall(f"no argument at {at}")
        parameter = _parameter(found.group(1), arguments, repairs)
        at = found.end()
        if text[at] in "\"'":
            arguments[parameter], at = _quoted(text, at, end)
        else:
            arguments[parameter], at = literals.value(at, 2)
        at = literals.skip(at)
        if at < end:
            at = literals.skip(literals.expect(at, ","))
    repairs.fix("kept quotes that are not escaped inside a string")
    return writable(ToolCall(_name(opening.group(1), repairs), arguments))


def _quoted(text: str, at: int, end: int) -> tuple[str, int]:
    quote = text[at]
    closing = re.compile(rf"{quote}(?=\s*,\s*[^\W\d][\w\-]*\s*=(?!=))|{quote}(?=\s*\Z)").search(text, at + 1, end)
    if closing is None:
        raise NotACall("a string without end")
    value = text[at + 1 : closing.start()]
    opened = False
    for found in re.finditer(re.escape(quote), value):
        at = found.start()
        before, after = value[max(at - 1, 0) : at], value[at + 1 : at + 2]
        if before.isalnum() and after.isalnum() and not opened:
            continue
        if not opened and ((before and not before.isspace() and before not in "([{=") or not _INNER_OPENS.match(after)):
            raise NotACall("quotes with more than one reading")
        if opened and (before.isspace() or after.isalnum()):
            raise NotACall("quotes with more than one reading")
        opened = not opened
    if opened or "\\" in value:
        raise NotACall("quotes with more than one reading")
    return value, closing.end()
