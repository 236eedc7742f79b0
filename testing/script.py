"""What a scripted engine says, and when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from arriero.prompts.errors import ArrieroError
from arriero.prompts.messages import ToolCall
from arriero.stack.engine import Sampling


class ScriptError(ArrieroError, AssertionError):
    """The program under test asked for what the script does not have, or not as an engine may be asked."""


@dataclass(frozen=True, slots=True)
class Say:
    """One answer, and what happens around it.

    Args:
        text: The text, special tokens spelled out. One that does not end a message is ended as the dialect ends a turn.
        calls: Calls that follow the text, written as the dialect writes them.
        before: Called before the first token. What it returns is awaited if it can be; what it raises ends the request.
        after: The same, before the last token.
        delay: Seconds before the first token.
        pace: Seconds before each further token.
        fault: Raised when the text has been delivered, in place of the answer's end: an `EngineError`, for instance.
        finish: Why the answer ends; None for an engine that breaks off without a word.
        logprobs: For each token the log-probabilities of alternatives, by id.

    Example:
        >>> from arriero.stack.errors import EngineInterrupted
        >>> Say("The mule car", fault=EngineInterrupted("the server went away"), delay=0.1).finish
        'stop'
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    delay: float = 0.0
    pace: float = 0.0
    fault: Exception | None = None
    finish: Literal["stop", "length"] | None = "stop"
    logprobs: tuple[dict[int, float], ...] = ()


Answer = str | ToolCall | Sequence[ToolCall] | Say
"""An answer: text with special tokens spelled out, a call, several in one message, or either and what happens."""


def as_say(answer: Answer) -> Say:
    """Any form of an answer as the one that says all."""
    match answer:
        case Say():
            return answer
        case str():
            return Say(answer)
        case ToolCall():
            return Say(calls=(answer,))
        case _:
            return Say(calls=tuple(answer))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, for rules and assertions.

    Args:
        prompt: The whole prompt, special tokens spelled out.
        new: What came since the model last spoke; the whole prompt where it has not spoken.
        sampling: How the answer is to be sampled.
    """

    prompt: str
    new: str
    sampling: Sampling


@dataclass(slots=True)
class Rule:
    """An answer to requests of a kind. Make one with `when`.

    Args:
        fits: Whether a request is one of them.
        answer: The answer, or a function of the request that gives it.
        times: How many requests it answers; None for all.
        used: How many it has answered.
    """

    fits: Callable[[Asked], bool]
    answer: Answer | Callable[[Asked], Answer]
    times: int | None = None
    used: int = field(default=0, init=False)

    def answers(self, asked: Asked) -> bool:
        """Whether it has an answer to this request."""
        return (self.times is None or self.used < self.times) and self.fits(asked)


def when(
    condition: str | Callable[[Asked], bool],
    answer: Answer | Callable[[Asked], Answer],
    *,
    times: int | None = None,
) -> Rule:
    """Answer requests that fit a condition, in whatever order they come.

    Args:
        condition: Text that must occur in what came since the model last spoke, or a function of the request.
        answer: The answer, or a function of the request that gives it.
        times: How many requests to answer; None for all.

    Returns:
        The rule.

    Example:
        >>> rule = when("weather", "It is sunny.", times=1)
        >>> rule.answers(Asked("", "How is the weather?", Sampling()))
        True
    """
    if isinstance(condition, str):
        text = condition
        return Rule(lambda asked: text in asked.new, answer, times)
    return Rule(condition, answer, times)
