"""Prompts within a budget of tokens: what a conversation can do without, and what each tool costs."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arriero.prompts.errors import BudgetExceeded
from arriero.prompts.messages import Message

if TYPE_CHECKING:
    from arriero.prompts.prompt import Prompt
    from arriero.prompts.tokens import Tokenizer

Tools = Sequence[Mapping[str, Any]]
"""Tool declarations in the OpenAI shape."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a prompt was rendered from.

    Args:
        messages: The messages, oldest first.
        tools: The tool declarations.
        render: Renders other messages and tools in the same dialect, with the same options.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    render: Callable[[Sequence[Message], Tools], "Prompt"]


@dataclass(frozen=True, slots=True)
class ToolCosts:
    """How many tokens of a prompt its tools take.

    Args:
        declarations: Tokens that one more declaration of each tool adds, by the tool's position.
        frame: Tokens of what stands around the declarations: the preamble, and what it switches on.
    """

    declarations: tuple[tuple[str, int], ...]
    frame: int

    @property
    def total(self) -> int:
        """Tokens that the prompt would lose without its tools."""
        return self.frame + sum(cost for _, cost in self.declarations)


def shortened(conversation: Conversation, tokenizer: "Tokenizer", budget: int) -> "Prompt":
    """The prompt of as much of a conversation as a budget allows. See `Prompt.truncate`."""
    shorter = [conversation.messages, *_ever_shorter(conversation.messages)]

    def excess(messages: Sequence[Message]) -> int:
        return conversation.render(messages, conversation.tools).count(tokenizer) - budget

    at = bisect_left(shorter, 0, key=lambda messages: -max(0, excess(messages)))
    if at == len(shorter):
        least = excess(shorter[-1]) + budget
        raise BudgetExceeded(
            f"{least} tokens are the least, {budget} were allowed: the system text, the tools and the last question "
            "stay; shorten those or allow more"
        )
    return conversation.render(shorter[at], conversation.tools)


def tool_costs(conversation: Conversation, tokenizer: "Tokenizer") -> ToolCosts:
    """What each tool of a conversation costs. See `Prompt.tool_costs`."""

    def count(tools: Tools) -> int:
        return conversation.render(conversation.messages, tools).count(tokenizer)

    tools = conversation.tools
    if not tools:
        return ToolCosts((), 0)
    total = count(tools)
    declarations = tuple((_name(tool), count((*tools, tool)) - total) for tool in tools)
    return ToolCosts(declarations, total - count(()) - sum(cost for _, cost in declarations))


def _ever_shorter(messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    """The conversation without its oldest turn, without its two oldest, and so on down to what must stay.

    A turn begins with a user message. Of the last turn, the question stays, and the newest step; the steps between,
    each an assistant message with the results that answer it, go from the oldest on. System messages stay in place.
    """
    others = [at for at, message in enumerate(messages) if message.role != "system"]
    turns = _split(others, lambda at: messages[at].role == "user")
    if not turns:
        return []
    question, *steps = _split(turns[-1], lambda at: messages[at].role == "assistant")
    stays = set(range(len(messages))) - set(others)
    cuts = [(turn[0], stays) for turn in turns[1:]] + [(step[0], stays | set(question)) for step in steps[1:]]
    return [
        tuple(message for at, message in enumerate(messages) if at >= first or at in always) for first, always in cuts
    ]


def _split(places: Sequence[int], opens: Callable[[int], bool]) -> list[list[int]]:
    """Runs of places, a new one at each place that opens one."""
    runs: list[list[int]] = []
    for at in places:
        if not runs or opens(at):
            runs.append([])
        runs[-1].append(at)
    return runs


def _name(tool: Mapping[str, Any]) -> str:
    body = tool.get("function", tool)
    return str(body.get("name")) if isinstance(body, Mapping) else ""
