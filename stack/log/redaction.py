"""Events without what people and models said."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.events import (
    CallFinished,
    CallProgressed,
    CallStarted,
    DecisionAsked,
    DecisionGiven,
    Event,
    HandedOff,
    LimitReached,
    MessageAdded,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    PromptAppended,
    SessionForked,
    StepFinished,
    TextDelta,
    TranscriptRewritten,
    TurnFailed,
    TurnFinished,
    TurnPaused,
    TurnResumed,
    TurnStarted,
    VerdictGiven,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)

REMOVED = "(removed)"
"""What stands where a text was that says by being there that something went wrong."""


def redacted(event: Event) -> Event:
    """An event without what people, models and tools said.

    What stays: kinds, times, counts, tokens; names of models, agents, tools, shields, nodes and classes of errors;
    verdicts and their categories; what was decided, but not by whom. What goes: texts, token ids, arguments, results,
    files, ids of calls.

    Args:
        event: The event.

    Returns:
        An event of the same kind.

    Example:
        >>> from arriero.stack.engine import Usage
        >>> redacted(TurnFinished("Your code is 4711.", "answer", Usage(12, 7), 0.5)).text
        ''
    """
    match event:
        case TurnStarted(messages, tools=tools):
            return replace(event, messages=_silent(messages), tools=_names(tools))
        case TranscriptRewritten(messages=messages, tools=tools):
            return replace(event, messages=_silent(messages), token_ids=(), tools=_names(tools))
        case PromptAppended():
            return replace(event, token_ids=())
        case TextDelta():
            return replace(event, text="")
        case StepFinished(tool_calls=calls):
            return replace(event, token_ids=(), content="", tool_calls=tuple(_bare(call) for call in calls))
        case CallStarted(call=call):
            return replace(event, call=_bare(call))
        case CallProgressed(call=call):
            return replace(event, call=_bare(call), message="")
        case CallFinished(result=result):
            error = None if result.error is None else REMOVED
            bare = replace(result, call=_bare(result.call), content="", error=error, source=None, artifacts=())
            return replace(event, result=bare)
        case VerdictGiven(verdict=verdict):
            return replace(event, verdict=replace(verdict, reason=""))
        case MessageAdded(message=message):
            return replace(event, message=_silent((message,))[0])
        case DecisionAsked(call=call):
            return replace(event, call=_bare(call), question="")
        case DecisionGiven(decision=decision):
            arguments: dict[str, Any] | None = None if decision.arguments is None else {}
            return replace(event, decision=replace(decision, text="", arguments=arguments, by=""))
        case LimitReached():
            return replace(event, detail="")
        case TurnFailed():
            return replace(event, message="")
        case TurnFinished():
            return replace(event, text="")
        case WorkflowStarted():
            return replace(event, input=None)
        case NodeFinished():
            return replace(event, output=None)
        case NodeFailed():
            return replace(event, message="")
        case WorkflowFinished(error=error):
            return replace(event, output=None, error=error and REMOVED)
        case TurnPaused() | TurnResumed() | HandedOff() | SessionForked() | NodeStarted() | WorkflowPaused():
            return event
        case _:
            assert_never(event)


def _silent(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Who spoke, and what tools they called."""
    return tuple(
        replace(message, content="", tool_calls=tuple(_bare(call) for call in message.tool_calls))
        for message in messages
    )


def _bare(call: ToolCall) -> ToolCall:
    return ToolCall(call.name, {})


def _names(tools: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    """Declarations, of which only the names are left."""
    return tuple({"type": "function", "function": {"name": _name(tool)}} for tool in tools)


def _name(tool: Mapping[str, Any]) -> Any:
    function = tool.get("function")
    return (function if isinstance(function, Mapping) else tool).get("name")
