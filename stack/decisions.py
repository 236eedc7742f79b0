"""What people, or a policy, decide about calls that wait."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from arriero.prompts.errors import ArrieroError

Asked = Literal["approval", "interrupted", "answer"]
"""What is to be decided: whether a sensitive call may run; what becomes of a call that was running when its process
died; what the user answers to a question."""


class InvalidDecision(ArrieroError, ValueError):
    """A decision does not fit what was asked, or nothing was asked, or it was decided before."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided about a call.

    Args:
        choice: `run` the call (again); `edit` runs it with other arguments; `deny` does not run it, and the model reads
            that it was denied, with the text as the reason; `answer` does not run it, and the model reads the text as
            its result.
        text: The reason, or the answer.
        arguments: The arguments to run it with, for `edit`.
        by: Who decided.

    Raises:
        InvalidDecision: `edit` without arguments, or arguments without `edit`; or JSON cannot carry it.

    Example:
        >>> Decision.deny("too expensive", by="ana").choice
        'deny'
    """

    choice: Literal["run", "edit", "deny", "answer"]
    text: str = ""
    arguments: Mapping[str, Any] | None = None
    by: str = ""

    def __post_init__(self) -> None:
        if (self.choice == "edit") != (self.arguments is not None):
            raise InvalidDecision(
                f"decision {self.choice!r} with arguments {self.arguments!r}: only edit has arguments"
            )
        try:
            arguments = None if self.arguments is None else dict(self.arguments)
            json.dumps([self.text, arguments, self.by], ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidDecision(f"decision {self.choice!r} cannot be written as JSON: {error}") from error

    @classmethod
    def run(cls, *, by: str = "") -> Self:
        """Run the call as the model wrote it."""
        return cls("run", by=by)

    @classmethod
    def edit(cls, arguments: Mapping[str, Any], *, by: str = "") -> Self:
        """Run the call with other arguments."""
        return cls("edit", arguments=arguments, by=by)

    @classmethod
    def deny(cls, reason: str = "", *, by: str = "") -> Self:
        """Do not run the call; the model reads that it was denied, and why."""
        return cls("deny", reason, by=by)

    @classmethod
    def answer(cls, text: str, *, by: str = "") -> Self:
        """Do not run the call; the model reads this text as its result."""
        return cls("answer", text, by=by)
