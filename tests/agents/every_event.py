"""A session in which everything happens that can happen."""

from typing import get_args

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.decisions import Decision
from arriero.stack.engine import Usage
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
from arriero.stack.log import Record
from arriero.stack.shields import Verdict
from arriero.tools import ToolResult

SEARCH = ToolCall("web_search", {"query": "Orla"})
ERASE = ToolCall("erase", {"path": "notes"})
OTHER = ToolCall("erase", {"path": "drafts"})
ASK = ToolCall("ask_user", {"question": "Which one?"})
SAFE = Verdict(True, (), 0.01)


def every_event(text: str = "text") -> list[tuple[str, float, Event]]:
    """Turn, time and event of everything; `text` stands wherever somebody else writes."""
    declared = {"type": "function", "function": {"name": "erase", "description": text}}
    return [
        (
            "turn-1",
            0.0,
            TurnStarted((Message("system", text), Message("user", text)), "llama", "llama3.1", (declared,)),
        ),
        ("turn-1", 0.0, PromptAppended(1, (128000, 1, 2))),
        ("turn-1", 0.1, VerdictGiven("input", SAFE, 0.05, "llama-guard")),
        ("turn-1", 1.0, TextDelta(1, text)),
        ("turn-1", 1.0, StepFinished(1, (3, 4), text, (SEARCH, ERASE, ASK), "end_of_turn", Usage(3, 2, 1), 1.0)),
        ("turn-1", 1.0, CallStarted(1, SEARCH, 0)),
        ("turn-1", 1.1, CallProgressed(1, SEARCH, text, 1, 3)),
        ("turn-1", 1.0, DecisionAsked(1, 1, ERASE, "approval", text)),
        ("turn-1", 1.0, DecisionAsked(1, 2, ASK, "answer", text)),
        ("turn-1", 1.5, CallFinished(1, ToolResult(SEARCH, {"found": text}, None, 0.5), 0)),
        ("turn-1", 1.5, TurnPaused(("1.1", "1.2"), Usage(3, 2), 1.5)),
        ("turn-1", 90_000.0, DecisionGiven(1, 1, Decision.edit({"path": "drafts"}, by=text))),
        ("turn-1", 90_000.0, TurnResumed("host:1")),
        ("turn-1", 90_000.0, DecisionGiven(1, 2, Decision.answer(text))),
        ("turn-1", 90_000.0, CallStarted(1, OTHER, 1)),
        ("turn-1", 90_000.5, CallFinished(1, ToolResult(OTHER, text, text, 0.4), 1)),
        ("turn-1", 90_000.5, CallFinished(1, ToolResult(ASK, text), 2)),
        ("turn-1", 90_000.6, MessageAdded(1, Message("user", text))),
        ("turn-1", 90_000.7, TranscriptRewritten("compaction", text, (Message("user", text),), (7, 8), (), (), 5)),
        ("turn-1", 90_000.8, HandedOff(1, text)),
        ("turn-1", 90_000.9, LimitReached("steps", text)),
        ("turn-1", 90_001.0, TurnFailed("EngineError", text)),
        ("turn-1", 90_001.0, TurnFinished(text, "refused", Usage(3, 2), 2.5)),
        ("turn-1", 90_002.0, SessionForked(text, 7)),
        ("flow-1", 90_003.0, WorkflowStarted("triage", "v1", {"case": text})),
        ("flow-1", 90_003.0, NodeStarted("read", "0")),
        ("flow-1", 90_004.0, NodeFailed("read", "0", 1, "ValueError", text)),
        ("flow-1", 90_004.0, NodeStarted("read", "0", 2)),
        ("flow-1", 90_005.0, NodeFinished("read", "0", text, 1.0)),
        ("flow-1", 90_005.0, WorkflowPaused(("sort",), 2.0)),
        ("flow-1", 90_006.0, WorkflowFinished(text, "", 3.0)),
    ]


def records(text: str = "text", session: str = "alice") -> list[Record]:
    """The same as a log has it."""
    logged = [entry for entry in every_event(text) if not isinstance(entry[2], TextDelta | CallProgressed)]
    return [Record(session, turn, seq, 1e9 + time, event) for seq, (turn, time, event) in enumerate(logged)]


assert {type(event) for _, _, event in every_event()} == set(get_args(Event)), "an event is missing here"
