"""Questions to the user as a tool: the turn pauses, and the answer is the result."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from arriero.tools import Tool, ToolError
from arriero.tools.declared import describe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question(Tool):
    """A tool that is never run: a call of it is a question, and what the user answers is its result."""


def ask_user(*, name: str = "ask_user") -> Question:
    """A tool with which the model asks the user something in the middle of a turn.

    The turn pauses (`Turn.reason` is `"paused"`), and the process may end. It goes on when the session is resumed with
    the answer: `Decision.answer("...")`, or `Decision.deny()` where there will be none.

    Args:
        name: Name that the model writes.

    Returns:
        The tool.

    Raises:
        ToolDefinitionError: The name cannot be written.

    Example:
        >>> ask_user().declaration["function"]["parameters"]["required"]
        ['question']
    """

    def ask_user(question: str, choices: list[str] | None = None) -> str:
        """Ask the user something that only the user can know or decide, and wait for the answer.

        Args:
            question: What to ask.
            choices: Answers to choose from.
        """
        raise ToolError("the user cannot be asked here")  # only a turn can wait for an answer

    asking = describe(ask_user, name=name, source="user")
    return Question(**{field.name: getattr(asking, field.name) for field in fields(Tool)})


def questions(tools: Iterable[Tool]) -> frozenset[str]:
    """Names of the tools that are questions to the user.

    Args:
        tools: The tools.

    Returns:
        Their names, for `Terms.asks`.

    Example:
        >>> from arriero import tool
        >>> @tool
        ... def look(mule: str) -> str:
        ...     '''Look at a mule.'''
        ...     return mule
        >>> sorted(questions([look, ask_user(), ask_user(name="ask_driver")]))
        ['ask_driver', 'ask_user']
    """
    return frozenset(tool.name for tool in tools if isinstance(tool, Question))
