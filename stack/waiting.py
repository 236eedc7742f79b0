"""Calls that wait for a decision: which do, how they are named, and what becomes of them."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace

from arriero.prompts.messages import ToolCall
from arriero.stack.decisions import Decision, InvalidDecision
from arriero.stack.events import CallFinished, CallStarted, DecisionAsked, DecisionGiven
from arriero.stack.open_turn import CallState, OpenTurn
from arriero.stack.terms import Terms
from arriero.tools import ToolResult

_QUESTIONS = ("question", "text", "message", "prompt")
_TELLING = 400

_WAITS_FOR = {"approval": "an approval", "interrupted": "a decision", "answer": "the user to answer it"}

Plan = CallStarted | CallFinished | DecisionAsked
"""What happens to a call next."""


def plan(step: int, states: Collection[CallState], terms: Terms, running: Collection[int]) -> list[Plan]:
    """What happens next to the calls of a step.

    Args:
        step: Number of the step.
        states: How far its calls are.
        terms: The turn's terms.
        running: Positions of the calls that run in this process.

    Returns:
        An event for each call that neither runs, nor waits, nor has a result.
    """
    return [
        _next(step, position, state, terms)
        for position, state in enumerate(states)
        if state.result is None and not state.waits and position not in running
    ]


def _next(step: int, position: int, state: CallState, terms: Terms) -> Plan:
    call = state.call
    if state.decision is not None:
        return _decided(step, position, state, state.decision)
    if call.name in terms.asks:
        return DecisionAsked(step, position, call, "answer", _question(call))
    tool = terms.registry.get(call.name)
    if state.started and not (tool is not None and (tool.pure or tool.idempotent)):
        why = f"{call.name} was running when its process ended: it may have done its work, or not"
        return DecisionAsked(step, position, call, "interrupted", f"{why}. Run it again? {_written(call)}")
    if tool is not None and tool.sensitive and not state.approved and not terms.registry.asks:
        return DecisionAsked(step, position, call, "approval", f"May this run? {_written(call)}")
    return CallStarted(step, call, position)


def _decided(step: int, position: int, state: CallState, decision: Decision) -> Plan:
    call = state.call
    if decision.choice == "run" or (state.asked is not None and state.asked.nested):
        return CallStarted(step, call, position)
    if decision.choice == "edit":
        return CallStarted(step, replace(call, arguments=dict(decision.arguments or {})), position)
    if decision.choice == "answer":
        return CallFinished(step, ToolResult(call, decision.text), position)
    asked = state.asked.asked if state.asked is not None else "approval"
    denied = {
        "approval": f"{call.name} was not run: a person must approve it, and did not",
        "interrupted": f"{call.name} was interrupted, and was not run again: it may have done its work, or not",
        "answer": "the user did not answer",
    }[asked]
    problem = denied + (f": {decision.text}" if decision.text else "")
    return CallFinished(step, ToolResult(call, f"error: {problem}", problem), position)


def given(turn: OpenTurn | None, decisions: Mapping[str, Decision]) -> list[DecisionGiven]:
    """Decisions as events.

    Args:
        turn: The turn that waits.
        decisions: The decisions, by the names of the calls.

    Returns:
        The events.

    Raises:
        InvalidDecision: A decision does not fit what was asked, nothing was asked, or it was decided before.
    """
    events = []
    for name, decision in decisions.items():
        waiting = {f"{turn.step}.{at}": (at, state) for at, state in enumerate(turn.states)} if turn else {}
        if name not in waiting or turn is None:
            names = ", ".join(turn.names_waiting()) if turn else ""
            raise InvalidDecision(
                f"nothing waits as {name!r}; {f'what waits is {names}' if names else 'nothing waits'}"
            )
        position, state = waiting[name]
        if state.asked is None or not state.waits:
            raise InvalidDecision(f"about {name!r} ({state.call.name}) nothing is asked, or it was decided before")
        allowed = ("answer", "deny") if state.asked.asked == "answer" else ("run", "edit", "deny", "answer")
        if decision.choice not in allowed:
            raise InvalidDecision(
                f"{decision.choice!r} is no decision about {name!r} ({state.call.name}), which waits for"
                f" {_WAITS_FOR[state.asked.asked]}: give one of {', '.join(allowed)}"
            )
        events.append(DecisionGiven(turn.step, position, decision))
    return events


def _question(call: ToolCall) -> str:
    for name in _QUESTIONS:
        if isinstance(text := call.arguments.get(name), str):
            return text
    return _written(call)


def _written(call: ToolCall) -> str:
    written = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)
    text = f"{call.name}({written if call.arguments else ''})"
    return text if len(text) <= _TELLING else text[: _TELLING - 1] + "…"
