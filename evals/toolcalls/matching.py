"""Whether a call is a right one, by the rules of the Berkeley Function Calling Leaderboard (BFCL).

Source: https://github.com/ShishirPatil/gorilla at 6ea57973, bfcl_eval/eval_checker/ast_eval. One thing differs: where
several calls are right in any order, they are paired so that as many as possible are right, while BFCL takes for each
right call the first that fits; the outcome differs only where one call fits several right ones.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from arriero.evals.toolcalls.items import Accepted
from arriero.prompts.messages import ToolCall

_PASSED_OVER = re.compile(r"[ ,./\-_*^]")
_CLASSES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


@dataclass(frozen=True, slots=True)
class CallMatch:
    """How a call compares with a right one.

    Args:
        name: Whether it is the tool that was wanted.
        right: Arguments that are right.
        wrong: Arguments that are wrong, absent or too many, each with what is wrong; of a wrong tool, all that were
            wanted.
    """

    name: bool
    right: tuple[str, ...]
    wrong: Mapping[str, str]

    @property
    def exact(self) -> bool:
        """Whether it is right in all."""
        return self.name and not self.wrong


@dataclass(frozen=True, slots=True)
class Pairing:
    """How the calls of a message compare with those that are right, in any order.

    Args:
        pairs: For each right call the position of the call that was paired with it, and how they compare; None where
            no call is left for it.
        surplus: Positions of calls that nothing was paired with.
    """

    pairs: tuple[tuple[int, CallMatch] | None, ...]
    surplus: tuple[int, ...]

    @property
    def exact(self) -> bool:
        """Whether all calls are right, none is absent and none too many."""
        return not self.surplus and all(pair is not None and pair[1].exact for pair in self.pairs)

    @property
    def names(self) -> bool:
        """Whether the right tools were called, each as often as is right."""
        return not self.surplus and all(pair is not None and pair[1].name for pair in self.pairs)


def match_call(call: ToolCall, accepted: Accepted, tool: Mapping[str, Any]) -> CallMatch:
    """Compare a call with a right one.

    Args:
        call: The call.
        accepted: The right one.
        tool: Declaration of its tool, in the OpenAI shape.

    Returns:
        What is right and wrong about it.

    Example:
        >>> schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
        >>> tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
        >>> accepted = {"weather": {"city": ["New York, NY"], "days": [1, ""]}}
        >>> match_call(ToolCall("weather", {"city": "new york NY"}), accepted, tool).exact
        True
        >>> match_call(ToolCall("weather", {"city": "Boston", "days": "1"}), accepted, tool).wrong
        {'city': "'Boston' is none of ['New York, NY']", 'days': "'1' is no integer"}
    """
    ((name, wanted),) = accepted.items()
    if call.name != name:
        return CallMatch(False, (), dict.fromkeys(wanted, f"{call.name!r} was called"))
    schema = tool["function"].get("parameters") or {}
    properties = schema.get("properties") or {}
    right: list[str] = []
    wrong: dict[str, str] = {}
    for argument, value in call.arguments.items():
        if argument not in properties or argument not in wanted:
            wrong[argument] = "not wanted"
            continue
        problem = _problem(value, wanted[argument], properties[argument])
        if problem is None:
            right.append(argument)
        else:
            wrong[argument] = problem
    required = schema.get("required") or ()
    for argument, values in wanted.items():
        if argument not in call.arguments:
            if argument in required or "" not in values:
                wrong[argument] = "absent"
            else:
                right.append(argument)
    wrong |= {argument: "absent" for argument in required if argument not in call.arguments}
    return CallMatch(True, tuple(right), wrong)


def pair_calls(calls: Sequence[ToolCall], accepted: Sequence[Accepted], tools: Sequence[Mapping[str, Any]]) -> Pairing:
    """Compare calls with those that are right, in any order.

    Args:
        calls: The calls of a message.
        accepted: The right ones.
        tools: Declarations of the offered tools.

    Returns:
        The pairing with the most right calls, then the most right names, then the most right arguments.

    Example:
        >>> add = {"function": {"name": "add", "parameters": {"properties": {"n": {"type": "integer"}}}}}
        >>> calls = [ToolCall("add", {"n": 2}), ToolCall("add", {"n": 1})]
        >>> pair_calls(calls, [{"add": {"n": [1, 2]}}, {"add": {"n": [2]}}], [add]).exact
        True
    """
    from scipy.optimize import linear_sum_assignment

    declared = {tool["function"]["name"]: tool for tool in tools}
    matches = [[match_call(call, wanted, declared[next(iter(wanted))]) for call in calls] for wanted in accepted]
    pairs: list[tuple[int, CallMatch] | None] = [None] * len(accepted)
    if calls and accepted:
        rows, columns = linear_sum_assignment([[_worth(match) for match in row] for row in matches], maximize=True)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            pairs[row] = (column, matches[row][column])
    taken = {pair[0] for pair in pairs if pair is not None}
    return Pairing(tuple(pairs), tuple(at for at in range(len(calls)) if at not in taken))


def _worth(match: CallMatch) -> float:
    given = len(match.right) + len(match.wrong)
    return 1e6 * match.exact + 1e3 * match.name + (len(match.right) / given if given else 0.0)


def _problem(value: Any, accepted: Sequence[Any], schema: Any) -> str | None:
    """What is wrong about a value; None where it is right."""
    typed: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
    named = next((type(each) for each in accepted if each != ""), None)  # of what is accepted
    declared = typed.get("type")
    expected = _CLASSES.get(declared, named) if isinstance(declared, str) else named
    if expected is float and type(value) is int:
        with suppress(OverflowError):
            value = float(value)
    if expected is not None and not _fits(value, accepted, expected, named, typed):
        return f"{value!r} is no {declared or expected.__name__}"
    # Values of another type than declared are compared as they are: BFCL takes them for names of variables
    as_declared = named is None or named is expected
    right = _among(value, accepted, typed) if as_declared else value in accepted
    return None if right else f"{value!r} is none of {list(accepted)!r}"


def _fits(value: Any, accepted: Sequence[Any], expected: type, named: type | None, schema: Mapping[str, Any]) -> bool:
    """Whether a value is of the declared type, or else of the type of what is accepted."""
    parts: Sequence[Any] = value if isinstance(value, list) else ()
    if type(value) is not expected:
        return named is not None and type(value) is named
    inner = schema.get("items")
    of = inner.get("type") if isinstance(inner, dict) else None
    item = _CLASSES.get(of) if expected is list and isinstance(of, str) else None
    return item is None or any(
        not isinstance(each, list) or all(_item_fits(part, each, item) for part in parts) for each in accepted
    )


def _item_fits(part: Any, accepted: Sequence[Any], item: type) -> bool:
    named = next((type(each) for each in accepted if each != ""), None)
    return type(part) is item or (named is not None and type(part) is named)


def _among(value: Any, accepted: Sequence[Any], schema: Mapping[str, Any]) -> bool:
    if isinstance(value, dict):
        return any(isinstance(each, dict) and _same_object(value, each) for each in accepted)
    if isinstance(value, list):
        inner = schema.get("items")
        if isinstance(inner, dict) and inner.get("type") == "object":
            return any(isinstance(each, list) and _same_objects(value, each) for each in accepted)
        plain = [_plain(part) for part in value]
        # An empty list is right where the argument may be left out, as an empty text is
        return any(plain == [_plain(part) for part in each] for each in accepted if isinstance(each, list | str))
    return _plain(value) in [_plain(each) for each in accepted if isinstance(each, str) == isinstance(value, str)]


def _same_object(value: Mapping[str, Any], accepted: Mapping[str, Sequence[Any]]) -> bool:
    for key, part in value.items():
        if key not in accepted or _plain(part) not in [_plain(each) for each in accepted[key]]:
            return False
    return all(key in value or "" in parts for key, parts in accepted.items())


def _same_objects(value: Sequence[Any], accepted: Sequence[Any]) -> bool:
    return len(value) == len(accepted) and all(
        isinstance(part, dict) and isinstance(each, dict) and _same_object(part, each)
        for part, each in zip(value, accepted, strict=True)
    )


def _plain(value: Any) -> Any:
    """A text without what the comparison passes over; anything else as it is."""
    return _PASSED_OVER.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
