"""What happens in a session, as a closed union of values. State is a fold over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from arriero.prompts.messages import Message, ToolCall
from arriero.stack.decisions import Asked, Decision
from arriero.stack.engine import Usage
from arriero.stack.shields import Place, Verdict
from arriero.stack.workflow_events import (
    NodeFailed,
    NodeFinished,
    NodeStarted,
    WorkflowFinished,
    WorkflowPaused,
    WorkflowStarted,
)
from arriero.tools import ToolResult

__all__ = [
    "CallFinished",
    "CallProgressed",
    "CallStarted",
    "DecisionAsked",
    "DecisionGiven",
    "Event",
    "HandedOff",
    "Limit",
    "LimitReached",
    "MessageAdded",
    "NodeFailed",
    "NodeFinished",
    "NodeStarted",
    "PromptAppended",
    "Reason",
    "SessionForked",
    "StepFinished",
    "TextDelta",
    "TranscriptRewritten",
    "TurnFailed",
    "TurnFinished",
    "TurnPaused",
    "TurnResumed",
    "TurnStarted",
    "VerdictGiven",
    "WorkflowFinished",
    "WorkflowPaused",
    "WorkflowStarted",
]

Limit = Literal["steps", "calls", "calls_per_tool", "tokens", "cost", "seconds", "context", "repeats"]
"""What a turn can use up."""

Reason = Literal["answer", "refused", "limit", "failed", "cancelled"]
"""Why a turn is over."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began.

    Args:
        messages: What the turn adds to the conversation before the model speaks.
        model: The engine's model.
        dialect: Name of the dialect that renders the session.
        tools: Declarations that the prompt offers, as rendered.
        builtins: Built-in tools that the prompt turns on.
        vocabulary: Fingerprint of the tokenizer that wrote the ids.
        agent: Name of the agent that takes the turn.
    """

    messages: tuple[Message, ...]
    model: str = ""
    dialect: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    builtins: tuple[str, ...] = ()
    vocabulary: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class PromptAppended:
    """Ids were appended to the transcript: the first prompt, or what follows the model's last message."""

    step: int
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer for the reader. Streamed, never logged: the step's ids are."""

    step: int
    text: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The model finished one message.

    Args:
        step: Number of the step, from 1.
        token_ids: What the model generated, end token included.
        content: The text of the message.
        tool_calls: The calls of the message, in the order written.
        end: How the message ended: `end_of_turn`, `end_of_message`, `end_of_text` or `none`.
        usage: Tokens of the request.
        duration: Seconds from the request to its last token.
    """

    step: int
    token_ids: tuple[int, ...]
    content: str
    tool_calls: tuple[ToolCall, ...]
    end: str
    usage: Usage
    duration: float


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A tool call is about to run. It is on disk before the tool is touched, unless the tool is pure.

    Args:
        step: Number of the step that called it.
        call: The call, as it is run: a person or a hook may have changed its arguments.
        position: Its place among the calls of the step, from 0.
    """

    step: int
    call: ToolCall
    position: int = 0


@dataclass(frozen=True, slots=True)
class CallProgressed:
    """A running tool said how far it is. Streamed, never logged.

    Args:
        step: Number of the step that called it.
        call: The call.
        message: What it is doing, in the tool's words.
        done: How much is done, in the tool's own unit.
        total: How much there is to do.
    """

    step: int
    call: ToolCall
    message: str = ""
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A tool call has a result, which the model reads next.

    Args:
        step: Number of the step that called it.
        result: What came of it.
        position: Place of the call among the calls of the step, from 0.
    """

    step: int
    result: ToolResult
    position: int = 0


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """A shield judged the conversation.

    Args:
        where: The place that was gated.
        verdict: What the shield said.
        duration: Seconds it took.
        shield: The shield's name.
    """

    where: Place
    verdict: Verdict
    duration: float
    shield: str = ""


@dataclass(frozen=True, slots=True)
class MessageAdded:
    """A message that came while the turn ran. The model reads it before its next step.

    Args:
        step: The step that was running.
        message: The message.
        source: Who added it: the user, the check of the agent's output, or a hook.
    """

    step: int
    message: Message
    source: Literal["user", "output", "hook"] = "user"


@dataclass(frozen=True, slots=True)
class DecisionAsked:
    """A call waits until somebody decides about it.

    Args:
        step: Number of the step that called it.
        position: Place of the call among the calls of the step, from 0.
        call: The call, as the model wrote it.
        asked: What is to be decided.
        question: What a person reads.
        nested: Where a turn inside of the tool asks: its session and the call's name there, as in `session#2.0`. The
            call is then run again, whatever is decided, and hands the decision on. Empty for the call itself.
    """

    step: int
    position: int
    call: ToolCall
    asked: Asked
    question: str = ""
    nested: str = ""


@dataclass(frozen=True, slots=True)
class DecisionGiven:
    """Somebody decided about a call that waited.

    Args:
        step: Number of the step that called it.
        position: Place of the call among the calls of the step, from 0.
        decision: What they decided.
    """

    step: int
    position: int
    decision: Decision


@dataclass(frozen=True, slots=True)
class TurnPaused:
    """The turn waits for decisions, and the process may end. It goes on with `resume`.

    Args:
        waiting: What it waits for: `step.position` of each call.
        usage: Tokens of its steps so far.
        duration: Seconds that it has run.
    """

    waiting: tuple[str, ...]
    usage: Usage
    duration: float


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """A process took the turn, or the workflow, up again where it had paused, or where another process died.

    Args:
        owner: The process, as its lease names it.
    """

    owner: str = ""


@dataclass(frozen=True, slots=True)
class TranscriptRewritten:
    """The transcript begins anew with these ids. Nothing else ever changes ids that were sent.

    Args:
        reason: Why: it had to become shorter, other tools are offered, or another agent took over.
        policy: Name of the policy that chose what stays.
        messages: The conversation as it is from here on, the system's message included.
        token_ids: The same as ids, up to where the model speaks.
        tools: Declarations that the prompt offers, as rendered.
        builtins: Built-in tools that the prompt turns on.
        dropped: How many ids were given up.
    """

    reason: Literal["compaction", "tools", "handoff"]
    policy: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    builtins: tuple[str, ...] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class HandedOff:
    """Another agent took over the conversation.

    Args:
        step: Number of the step that called for it.
        agent: Name of the agent.
    """

    step: int
    agent: str


@dataclass(frozen=True, slots=True)
class SessionForked:
    """The session began as a copy of another one, up to one of its events.

    Args:
        session: The other session.
        seq: Position there of the last event that was copied.
    """

    session: str
    seq: int


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The turn ends because it used up what it was given."""

    limit: Limit
    detail: str


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn ends with an error, which is also raised to the caller.

    Args:
        error: Name of the error's class.
        message: The error's text.
    """

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is over.

    Args:
        text: What the user reads: the answer, or the refusal.
        reason: Why it is over.
        usage: Tokens of all steps together, shields not counted.
        duration: Seconds of the whole turn.
    """

    text: str
    reason: Reason
    usage: Usage
    duration: float


Event = (
    TurnStarted
    | PromptAppended
    | TextDelta
    | StepFinished
    | CallStarted
    | CallProgressed
    | CallFinished
    | VerdictGiven
    | MessageAdded
    | DecisionAsked
    | DecisionGiven
    | TurnPaused
    | TurnResumed
    | TranscriptRewritten
    | HandedOff
    | SessionForked
    | LimitReached
    | TurnFailed
    | TurnFinished
    | WorkflowStarted
    | NodeStarted
    | NodeFinished
    | NodeFailed
    | WorkflowPaused
    | WorkflowFinished
)
"""Everything that can happen. Every reader matches them all."""
