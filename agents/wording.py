"""Events in words: what a screen, a tree and a page say of each."""

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, assert_never

from arriero.prompts.messages import JSON, Message, TextPart, ToolCall
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

_RESULT_LINES = 8
_LINE_CHARS = 160
_OWNER_CHARS = 24

Tone = Literal["", "call", "good", "bad", "waits", "quiet"]
"""What kind of news a line is, which decides its colour."""


@dataclass(frozen=True, slots=True)
class Line:
    """An event in words.

    Args:
        label: What it is, in one word.
        text: What it says; it may have several lines.
        tone: What kind of news it is.
        note: Figures that belong to it: tokens, times.
        inner: Whether it is the engine's part, which a reader of the conversation does not need.
    """

    label: str
    text: str
    tone: Tone = ""
    note: str = ""
    inner: bool = False


def call_text(call: ToolCall) -> str:
    """A call on one line, as Python would write it.

    Example:
        >>> call_text(ToolCall("web_search", {"query": "Mount Orla"}))
        'web_search(query="Mount Orla")'
    """
    arguments = ", ".join(f"{name}={_json(value)}" for name, value in call.arguments.items())
    return f"{call.name}({arguments})"


def waiting_id(step: int, position: int) -> str:
    """Name of a call that waits for a decision.

    Example:
        >>> waiting_id(2, 0)
        '2.0'
    """
    return f"{step}.{position}"


def message_text(message: Message) -> str:
    """What a message says, as text.

    Example:
        >>> message_text(Message("tool", {"load": 85}))
        '{"load": 85}'
    """
    content = message.content
    if isinstance(content, tuple):
        parts = (part.text if isinstance(part, TextPart) else f"[picture {part.url}]" for part in content)
        return "\n".join(parts)
    return value_text(content)


def value_text(value: JSON) -> str:
    """A result as text: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else _json(value)


def cut(text: str, lines: int = _RESULT_LINES, chars: int = _LINE_CHARS) -> str:
    """Text that keeps to some lines, and its lines to some characters.

    Example:
        >>> cut("one two three", chars=8)
        'one two…'
    """
    short = [line if len(line) <= chars else line[: chars - 1] + "…" for line in text.split("\n")]
    if len(short) > lines:
        short[lines - 1 :] = [f"… {len(short) - lines + 1} more lines"]
    return "\n".join(short)


def tokens_text(usage: Usage) -> str:
    """Tokens of a request.

    Example:
        >>> tokens_text(Usage(40, 6, 32))
        '40 tokens read (32 cached), 6 written'
    """
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    return f"{usage.prompt_tokens} tokens read{cached}, {usage.completion_tokens} written"


def time_text(seconds: float) -> str:
    """A span of time, in the unit that people would choose.

    Example:
        >>> [time_text(seconds) for seconds in (0.012, 1.5, 90, 7300, 200_000)]
        ['12 ms', '1.50 s', '1 min 30 s', '2 h 1 min', '2 d 7 h']
    """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * max(seconds, 0):.0f} ms"
    for (unit, size), (part, smaller) in pairwise(_UNITS):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // smaller)} {part}"
    raise AssertionError("every number of seconds from 60 on has a unit")


_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def age_text(seconds: float) -> str:
    """How long ago something was, roughly.

    Example:
        >>> [age_text(seconds) for seconds in (0.2, 90, 7300, 200_000)]
        ['0 s', '1 min', '2 h', '2 d']
    """
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), _UNITS[-1])
    return f"{int(max(seconds, 0) // size)} {unit}"


def decision_text(decision: Decision) -> str:
    """What somebody decided.

    Example:
        >>> decision_text(Decision.deny("too expensive", by="ana"))
        'denied by ana: too expensive'
    """
    done = {"run": "approved", "edit": "approved with changes", "deny": "denied", "answer": "answered"}[decision.choice]
    by = f" by {decision.by}" if decision.by else ""
    said = decision.text if decision.arguments is None else _json(dict(decision.arguments))
    return f"{done}{by}" + (f": {said}" if said else "")


def question_text(asked: DecisionAsked) -> str:
    """What a person is asked about a call that waits."""
    if asked.question:
        return asked.question
    call = call_text(asked.call)
    return {"approval": f"May this run? {call}", "interrupted": f"Run it again? {call}", "answer": call}[asked.asked]


def line_of(event: Event) -> Line | None:
    """An event in words.

    Args:
        event: The event.

    Returns:
        The words; None for the beginning of a turn, which has none of its own.

    Example:
        >>> line_of(LimitReached("steps", "8 of 8"))
        Line(label='limit', text='steps: 8 of 8', tone='waits', note='', inner=False)
    """
    match event:
        case TurnStarted():
            return None
        case PromptAppended(step, token_ids):
            return Line("prompt", f"step {step}: {len(token_ids)} tokens appended", "quiet", inner=True)
        case TextDelta(_, text):
            return Line("answer", text)
        case StepFinished(step, _, _, _, _, usage, duration):
            text = f"step {step}: {tokens_text(usage)}, {time_text(duration)}"
            return Line("model", text, "quiet", inner=True)
        case CallStarted(_, call):
            return Line("call", call_text(call), "call")
        case CallProgressed(_, call, message, done, total):
            return Line("progress", _progress(call.name, message, done, total), "quiet", inner=True)
        case CallFinished(_, result):
            note = f"{result.call.name}: {'failed, ' if result.error else ''}{time_text(result.duration)}"
            return Line("result", cut(value_text(result.content)), "bad" if result.error else "", note)
        case TurnFailed(error, message):
            return Line("failed", f"{error}: {message}", "bad")
        case TurnFinished(_, reason, usage, duration):
            return Line("done", f"{reason}, {tokens_text(usage)}, {time_text(duration)}", "quiet", inner=True)
        case WorkflowStarted() | NodeStarted() | NodeFinished() | NodeFailed() | WorkflowPaused() | WorkflowFinished():
            return _workflow_line(event)
        case _:
            return _turn_line(event)


def _turn_line(
    event: VerdictGiven
    | MessageAdded
    | DecisionAsked
    | DecisionGiven
    | TurnPaused
    | TurnResumed
    | TranscriptRewritten
    | HandedOff
    | SessionForked
    | LimitReached,
) -> Line:
    match event:
        case VerdictGiven(where, verdict, duration, shield):
            said = "safe" if verdict.allowed else verdict.reason
            score = "" if verdict.score is None else f" ({verdict.score:.2f})"
            tone: Tone = "good" if verdict.allowed else "bad"
            return Line("verdict", f"{where}: {said}{score}", tone, f"{shield}: {time_text(duration)}")
        case MessageAdded(_, message, source):
            return Line("message", f"{source}: {cut(message_text(message))}")
        case DecisionAsked(step, position, _, asked):
            note = "" if asked == "answer" else asked
            return Line("asks", f"{waiting_id(step, position)}: {question_text(event)}", "waits", note, inner=True)
        case DecisionGiven(step, position, decision):
            tone = "bad" if decision.choice == "deny" else "good"
            return Line("decided", f"{waiting_id(step, position)}: {decision_text(decision)}", tone, inner=True)
        case TurnPaused(waiting):
            return Line("paused", f"it waits for {', '.join(waiting)}", "waits", inner=True)
        case TurnResumed(owner):
            by = f"by {cut(owner, chars=_OWNER_CHARS)}" if owner else "where it was left"
            return Line("resumed", by, "quiet", inner=True)
        case TranscriptRewritten(reason, policy, _, token_ids, _, _, dropped):
            by = f" by {policy}" if policy else ""
            return Line("rewritten", f"{reason}{by}: {dropped} tokens given up, {len(token_ids)} stay", "waits")
        case HandedOff(_, agent):
            return Line("handoff", f"{agent} takes over", "call")
        case SessionForked(session, seq):
            return Line("fork", f"of {session} at event {seq}", "quiet")
        case LimitReached(limit, detail):
            return Line("limit", f"{limit}: {detail}", "waits")
        case _:
            assert_never(event)


def _workflow_line(
    event: WorkflowStarted | NodeStarted | NodeFinished | NodeFailed | WorkflowPaused | WorkflowFinished,
) -> Line:
    match event:
        case WorkflowStarted(workflow, _, given):
            return Line("workflow", f"{workflow}: {cut(value_text(given))}")
        case NodeStarted(node, key, attempt):
            again = f", attempt {attempt}" if attempt > 1 else ""
            return Line("node", f"{node_text(node, key)}{again}", "call")
        case NodeFinished(node, key, output, duration):
            note = f"{node_text(node, key)}: {time_text(duration)}"
            return Line("output", cut(value_text(output)), note=note)
        case NodeFailed(node, key, attempt, error, message):
            return Line("failed", f"{node_text(node, key)}, attempt {attempt}: {error}: {message}", "bad")
        case WorkflowPaused(waiting):
            return Line("paused", f"it waits for {', '.join(waiting)}", "waits")
        case WorkflowFinished(output, error, duration):
            if error:
                return Line("failed", error, "bad", time_text(duration))
            return Line("output", cut(value_text(output)), "good", time_text(duration))
        case _:
            assert_never(event)


def node_text(node: str, key: str) -> str:
    """Name of a run of a workflow's node.

    Example:
        >>> node_text("fetch", "3"), node_text("join", "")
        ('fetch[3]', 'join')
    """
    return f"{node}[{key}]" if key and key != node else node


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _progress(tool: str, message: str, done: float | None, total: float | None) -> str:
    amount = "" if done is None else f" {done:g}" + ("" if total is None else f" of {total:g}")
    return f"{tool}{amount}" + (f": {message}" if message else "")
