"""What goes wrong with tools."""

from typing import Literal

from arriero.prompts.errors import ArrieroError


class ToolDefinitionError(ArrieroError):
    """A function cannot become a tool, or a set of tools cannot be offered together."""


class ToolError(ArrieroError):
    """A tool could not do its work. The text is written for the model, which reads it as the result.

    Raise it inside a tool to tell the model what went wrong in words of your own.

    Example:
        >>> def exchange_rate(year: int) -> float:
        ...     if year < 1999:
        ...         raise ToolError(f"no exchange rate is known for {year}")
        ...     return 1.1
    """


class ToolUnavailable(ToolError):
    """A tool cannot do its work now; the same call may work later. It is retried where the tool has retries.

    Example:
        >>> raise ToolUnavailable("the bank does not answer")
        Traceback (most recent call last):
        arriero.tools.errors.ToolUnavailable: the bank does not answer
    """


class ToolArgumentError(ToolError):
    """The arguments of a call do not fit the tool's parameters."""


class ToolTimeout(ToolError):
    """A tool ran longer than it may."""


class ToolPaused(ToolError):
    """A tool cannot go on before somebody has decided. The turn pauses, and the call is run again when they have.

    Outside of a turn it is an error like others.

    Args:
        question: What a person reads.
        asked: What is to be decided: `approval`, `interrupted` or `answer`.
        nested: Where a turn inside of the tool asks: its session and the call's name there, as in `"session#2.0"`.

    Example:
        >>> raise ToolPaused("May it be sent?", nested="alice/mailer-1#2.0")
        Traceback (most recent call last):
        arriero.tools.errors.ToolPaused: May it be sent?
    """

    def __init__(
        self, question: str, *, asked: Literal["approval", "interrupted", "answer"] = "approval", nested: str
    ) -> None:
        self.question = question
        self.asked: Literal["approval", "interrupted", "answer"] = asked
        self.nested = nested
        super().__init__(question)
