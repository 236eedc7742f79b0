"""What a call in the sandbox gave."""

from dataclasses import dataclass
from typing import Literal

from arriero.tools.artifacts import Attachment

Status = Literal["completed", "failed", "killed"]
Reason = Literal["time", "memory", "disk", "cpu", "exit", "channel", "cancelled"]


@dataclass(frozen=True, slots=True)
class FileEntry:
    r"""A file in the workspace.

    Args:
        path: Where it is, below the workspace. What cannot be printed is written as in Python's text literals,
            and so is the backslash: `\x1b`, `\udcff`, `\\`.
        size: Bytes.
    """

    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a call gave. Every text in it was written by untrusted code.

    Args:
        status: `completed`; `failed` when the code raised; `killed` when the sandbox ended it, or its worker died.
        stdout: Standard output.
        stderr: Standard error.
        value: `repr` of the last statement's value, if that is an expression whose value is not None.
        error: The traceback, from the user's code on; when killed, what happened in words.
        reason: Why it was killed.
        figures: The open matplotlib figures as PNG.
        files: Files written or changed by the call.
        state_lost: Variables and files of earlier calls are gone: the worker was replaced in this call or before it.
        cut: Output, value or error was longer than the limit and lacks its middle.
        duration: Seconds.
    """

    status: Status
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    error: str | None = None
    reason: Reason | None = None
    figures: tuple[Attachment, ...] = ()
    files: tuple[FileEntry, ...] = ()
    state_lost: bool = False
    cut: bool = False
    duration: float = 0.0
