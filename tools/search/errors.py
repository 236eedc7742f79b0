"""What goes wrong with a search."""

from typing import Literal

from arriero.tools.errors import ToolError

Reason = Literal["key", "quota", "rate", "captcha", "timeout", "unreachable", "answer", "request", "settings"]
"""Why a provider gave nothing: its key was refused, the plan is used up, too many requests, it wants to see a
person, silence, no connection, an answer that cannot be read, a request it refuses, settings that cannot work."""


class SearchError(ToolError):
    """A provider gave no results, and why; the text names the provider and holds neither key nor query.

    Args:
        provider: Which provider.
        reason: Why, as a word that programs can act on.
        problem: Why, in words.
        again: Whether asking again a little later may help.
        wait: Seconds the provider asked to wait before that.

    Example:
        >>> str(SearchError("brave", "key", "refused the key (401)"))
        'brave: refused the key (401)'
    """

    def __init__(
        self, provider: str, reason: Reason, problem: str, *, again: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(f"{provider}: {problem}")
        self.provider = provider
        self.reason = reason
        self.problem = problem
        self.again = again
        self.wait = wait
