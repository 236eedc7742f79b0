"""What a turn may use up, held against what it has used."""

from collections import Counter
from collections.abc import Sequence

from arriero.prompts.messages import ToolCall
from arriero.stack.engine import Usage
from arriero.stack.events import LimitReached
from arriero.stack.open_turn import OpenTurn
from arriero.stack.terms import Terms
from arriero.tools import ToolResult


def before_calls(turn: OpenTurn, terms: Terms, calls: Sequence[ToolCall], usage: Usage) -> LimitReached | None:
    """The limit that forbids the calls of the step that has just been generated.

    Args:
        turn: The turn, without that step.
        terms: Its terms.
        calls: The calls.
        usage: Tokens of all steps, with that one.

    Returns:
        The limit, or None.
    """
    limits = terms.limits
    found = before_step(terms, turn.step + 1, usage, "the model wants to call a tool")
    if found is None and turn.calls + len(calls) > limits.calls:
        found = LimitReached("calls", f"{turn.calls + len(calls)} of {limits.calls}")
    if found is None and limits.calls_per_tool:
        for name, count in Counter(call.name for call in calls).items():
            most, wanted = limits.calls_per_tool.get(name), turn.calls_of.get(name, 0) + count
            if most is not None and wanted > most:
                return LimitReached("calls_per_tool", f"{wanted} of {most} calls of {name}")
    return found


def before_step(terms: Terms, steps: int, usage: Usage, why: str) -> LimitReached | None:
    """The limit that forbids another step.

    Args:
        terms: The turn's terms.
        steps: Steps so far.
        usage: Tokens of all of them.
        why: What another step is for.

    Returns:
        The limit, or None.
    """
    limits = terms.limits
    if steps >= limits.steps:
        return LimitReached("steps", f"{steps} of {limits.steps}, and {why}")
    if usage.completion_tokens >= limits.tokens:
        return LimitReached("tokens", f"{usage.completion_tokens} of {limits.tokens}, and {why}")
    if limits.cost is not None and terms.price is not None and (cost := terms.price.of(usage)) >= limits.cost:
        return LimitReached("cost", f"{cost:g} of {limits.cost:g}, and {why}")
    return None


def after_calls(turn: OpenTurn, terms: Terms, results: list[ToolResult]) -> LimitReached | None:
    """The limit on calls that go round in circles.

    Args:
        turn: The turn.
        terms: Its terms.
        results: Results of the last step.

    Returns:
        The limit, or None.
    """
    times = turn.repeats_with(results) if results else 0
    if times > terms.limits.repeats:
        names = ", ".join(dict.fromkeys(result.call.name for result in results))
        return LimitReached("repeats", f"{names} gave the same {times} times in a row; {terms.limits.repeats} may be")
    return None
