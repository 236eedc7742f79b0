"""What happens to a tool call, as a closed union of values.

They carry names, ids, sizes and times and can be logged as they are: no arguments, no results, no error texts.
What a tool says of its progress is its own text, and so is an exception, which stays out of the `repr`.
"""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["completed", "failed", "timed out", "denied", "unknown tool", "bad arguments", "cancelled"]
"""How a call ended."""

Refusal = Literal["denied", "nobody to ask", "asking failed"]
"""Why a call was not approved."""


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A call has come in.

    Args:
        call_id: The call's id.
        tool: The tool's name, or what the model wrote when there is none of that name.
        session: Session that it belongs to.
        run: The turn's id.
        idempotency_key: Names the call to other services.
    """

    call_id: str
    tool: str
    session: str
    run: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class ToolCallApproved:
    """A person agreed to the call, or to something that it asked.

    Args:
        call_id: The call's id.
        tool: The tool's name.
        duration: Seconds they took.
    """

    call_id: str
    tool: str
    duration: float


@dataclass(frozen=True, slots=True)
class ToolCallDenied:
    """Nobody agreed to the call, or to something that it asked.

    Args:
        call_id: The call's id.
        tool: The tool's name.
        reason: Why not.
        duration: Seconds it took.
    """

    call_id: str
    tool: str
    reason: Refusal
    duration: float


@dataclass(frozen=True, slots=True)
class ToolCallProgressed:
    """The tool said how far it is.

    Args:
        call_id: The call's id.
        tool: The tool's name.
        message: What it is doing, in the tool's words.
        done: How much is done, in the tool's unit.
        total: How much there is to do.
    """

    call_id: str
    tool: str
    message: str = ""
    done: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCallRetried:
    """An attempt failed, and there will be another.

    Args:
        call_id: The call's id.
        tool: The tool's name.
        attempt: Number of the attempt that failed, from 1.
        delay: Seconds until the next one.
        exception: What it raised.
    """

    call_id: str
    tool: str
    attempt: int
    delay: float
    exception: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFinished:
    """A call is over.

    Args:
        call_id: The call's id.
        tool: The tool's name, or what the model wrote when there is none of that name.
        outcome: How it ended.
        duration: Seconds from its start, waiting for its turn and for approval included.
        attempts: How often the tool was run.
        cached: Whether its result was known from an earlier call.
        artifacts: How many files were kept.
        cut: Whether the model reads the result without its middle.
        thread_left_running: Whether a sync tool's thread runs on, which cannot be stopped.
        task_left_running: Whether an async tool did not listen when it was cancelled, and runs on.
        exception: What the tool raised.
    """

    call_id: str
    tool: str
    outcome: Outcome
    duration: float
    attempts: int = 0
    cached: bool = False
    artifacts: int = 0
    cut: bool = False
    thread_left_running: bool = False
    task_left_running: bool = False
    exception: BaseException | None = field(default=None, repr=False, compare=False)


ToolEvent = (
    ToolCallStarted | ToolCallApproved | ToolCallDenied | ToolCallProgressed | ToolCallRetried | ToolCallFinished
)
"""What can happen to a call."""
