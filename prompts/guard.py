"""Llama Guard 3: the prompt that asks for a verdict, and the verdict's text read back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from markupsafe import Markup

from arriero.prompts.errors import InvalidMessage, UnreadableVerdict
from arriero.prompts.messages import Message
from arriero.prompts.prompt import Prompt
from arriero.prompts.template import render, stripped

CATEGORIES: Mapping[str, str] = MappingProxyType(
    {
        "S1": "Violent Crimes",
        "S2": "Non-Violent Crimes",
        "S3": "Sex Crimes",
        "S4": "Child Exploitation",
        "S5": "Defamation",
        "S6": "Specialized Advice",
        "S7": "Privacy",
        "S8": "Intellectual Property",
        "S9": "Indiscriminate Weapons",
        "S10": "Hate",
        "S11": "Self-Harm",
        "S12": "Sexual Content",
        "S13": "Elections",
        "S14": "Code Interpreter Abuse",
    }
)
"""What Llama Guard 3 (8B) looks for, by code, in the words of its prompt."""

_OURS = {
    "names": {"user": Markup("User"), "assistant": Markup("Agent")},
    "categories": {Markup(code): Markup(name) for code, name in CATEGORIES.items()},  # noqa: S704  our own constants
}
_CODE = re.compile(r"\bS\d+\b")
_END = re.compile(r"<\|(?:end_of_text|eom_id|eot_id)\|>")


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """What a guard model said.

    Args:
        safe: Whether the last message is safe.
        categories: Codes of the violated categories, in the order written; may be empty when unsafe.
    """

    safe: bool
    categories: tuple[str, ...] = ()


def guard_variables(messages: Sequence[Message]) -> dict[str, Any]:
    """What the guard template reads.

    Args:
        messages: User and assistant messages in turn, the user first.

    Returns:
        The template's variables.

    Raises:
        InvalidMessage: Empty conversation, another order of roles, a content that is not text.
    """
    if not messages:
        raise InvalidMessage("the conversation is empty: give the message to judge")
    for index, message in enumerate(messages):
        expected = ("user", "assistant")[index % 2]
        if message.role != expected:
            raise InvalidMessage(
                f"a guard prompt takes user and assistant in turn, beginning with user: expected {expected}, "
                f"got {message.role}; leave out system and tool messages, join neighbours",
                index=index,
            )
        try:
            stripped(message.content)
        except InvalidMessage as error:
            raise InvalidMessage(str(error), index=index) from None
    return {"messages": messages, **_OURS}


def render_guard(messages: Sequence[Message], *, version: Literal["llama-guard-3-8b"] = "llama-guard-3-8b") -> Prompt:
    """The prompt that has the last message judged: the user's when it is one, else the agent's.

    Text and ids are those of the published template, the space before `<|begin_of_text|>` included: the first id is a
    space (220 in Meta's vocabulary), since that is what transformers and vLLM feed the model and what its published
    use was measured with. Nothing follows the assistant's header, so the model itself writes the two newlines.

    The lines that frame the conversation are ordinary text, which a message can imitate (special tokens it cannot).

    Args:
        messages: User and assistant messages in turn, the user first.
        version: The guard's format.

    Returns:
        The prompt.

    Raises:
        InvalidMessage: Empty conversation, another order of roles, a content that is not text.

    Example:
        >>> "User: How do I bake bread?" in render_guard([Message("user", "How do I bake bread?")]).text
        True
    """
    return render(f"{version}.jinja", guard_variables(messages))


def parse_guard(text: str) -> GuardVerdict:
    r"""Read a verdict. It fails closed: what is not clearly a verdict is an error, never safe.

    Args:
        text: What the guard model wrote, end token or not.

    Returns:
        The verdict. `unsafe` without readable codes is unsafe.

    Raises:
        UnreadableVerdict: The first line is neither `safe` nor `unsafe`, or `safe` is followed by more.

    Example:
        >>> parse_guard("\n\nunsafe\nS2")
        GuardVerdict(safe=False, categories=('S2',))
    """
    answer = _END.split(text, maxsplit=1)[0].strip()
    first, *inline = answer.partition("\n")[0].split(maxsplit=1) or [""]
    codes = tuple(dict.fromkeys(_CODE.findall(answer.upper())))
    # Codes on the verdict's own line are seen in practice; any other company makes it prose.
    if first.lower() == "unsafe" and not _CODE.sub("", " ".join(inline).upper()).strip(" ,"):
        return GuardVerdict(safe=False, categories=codes)
    if answer.lower() == "safe":
        return GuardVerdict(safe=True)
    shown = answer if len(answer) <= 40 else f"{answer[:40]}..."
    raise UnreadableVerdict(f"no verdict in {shown!r}: expected 'safe' or 'unsafe'; treat the message as unsafe")
