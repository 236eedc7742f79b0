"""Every rendering by the name that render vectors give it, each run from a vector's `input` as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from arriero.prompts.code_result import format_code_result
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions
from arriero.prompts.prompt import Prompt

_OPTIONS: Mapping[str, type] = {
    "builtin_tools": list,
    "date_string": str,
    "tools_in_user_message": bool,
    "add_generation_prompt": bool,
    "continue_final_message": bool,
    "repair": bool,
}
_IGNORED = frozenset({"categories", "custom_tools", "excluded_category_keys"})
"""Names that published templates take and that are no option of ours; `custom_tools` is another name for the tools."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a format makes of an input. Only what the format gives is set.

    Args:
        text: The whole text.
        prompt: The prompt, where it is one.
        messages: The messages after tools were placed among them, in the vectors' shape.
        runs: Runs of image tokens, each the token and how often it stands there.
        token_count: How many tokens the runs are.
    """

    text: str | None = None
    prompt: Prompt | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None
    runs: tuple[tuple[str, int], ...] | None = None
    token_count: int | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """One way to render a vector's input.

    Args:
        make: Renders it.
        dialect: The dialect whose prompts these are, where they are prompts.
    """

    make: Callable[[Mapping[str, Any]], Rendered]
    dialect: Dialect | None = None

    def render(self, given: Mapping[str, Any]) -> Rendered:
        r"""What the format makes of an input.

        Args:
            given: The `input` of a render vector: `{"messages", "tools", "options"}`, or the fields that the format
                takes.

        Returns:
            The rendering.

        Raises:
            InvalidMessage: The input cannot be rendered.

        Example:
            >>> FORMATS["meta-tool-response"].render({"status": "completed", "stdout": "42", "stderr": ""}).text
            'completed\n[stdout]42[/stdout]'
        """
        return self.make(given)


def read_conversation(given: Mapping[str, Any]) -> tuple[list[Message], Sequence[Mapping[str, Any]], RenderOptions]:
    """What `Dialect.render` takes, out of JSON.

    Args:
        given: `{"messages", "tools"?, "options"?}`. An empty list of tools is announced, as the published templates do.

    Returns:
        Messages, tools, options.

    Raises:
        InvalidMessage: A field is missing or is of another kind.

    Example:
        >>> read_conversation({"messages": [{"role": "user", "content": "hi"}]})[0]
        [Message(role='user', content='hi', tool_calls=(), end=None)]
    """
    messages, options = given.get("messages"), given.get("options") or {}
    if not isinstance(messages, list):
        raise InvalidMessage("'messages' must be a list of messages")
    if not isinstance(options, Mapping):
        raise InvalidMessage(f"'options' must be an object, not {type(options).__name__}")
    tools = options.get("custom_tools", given.get("tools"))
    if tools is not None and not isinstance(tools, list):
        raise InvalidMessage(f"'tools' must be a list of declarations, not {type(tools).__name__}")
    read = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidMessage("it must be an object with 'role' and 'content'", index=index)
        read.append(Message.from_dict(message, index=index))
    return read, tools or (), read_options(options, announce=tools == [])


def read_options(given: Mapping[str, Any], *, announce: bool = False) -> RenderOptions:
    """`RenderOptions` out of JSON.

    Args:
        given: Options by name; those of published templates that are none of ours are left out.
        announce: Whether to announce that there is no tool.

    Returns:
        The options.

    Raises:
        InvalidMessage: An option is unknown or is of another kind.

    Example:
        >>> read_options({"builtin_tools": ["brave_search"]}).builtin_tools
        ('brave_search',)
    """
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name in _IGNORED or (value is None and name in ("builtin_tools", "date_string")):
            continue
        if name not in _OPTIONS:
            raise InvalidMessage(f"unknown option {name!r}; known: {', '.join(_OPTIONS)}")
        if not isinstance(value, _OPTIONS[name]):
            raise InvalidMessage(f"option {name!r} must be a {_OPTIONS[name].__name__}, not {type(value).__name__}")
        chosen[name] = tuple(value) if isinstance(value, list) else value
    return RenderOptions(announce_empty_tools=announce, **chosen)


def prompts_of(dialect: Dialect) -> Format:
    """The format of a dialect's own prompts.

    Args:
        dialect: The dialect.

    Returns:
        The format.
    """

    def make(given: Mapping[str, Any]) -> Rendered:
        prompt = dialect.render(*read_conversation(given))
        return Rendered(text=prompt.text, prompt=prompt)

    return Format(make, dialect)


def _judgement(dialect: Dialect) -> Format:
    def make(given: Mapping[str, Any]) -> Rendered:
        # Published templates of guards heed neither tools nor options.
        prompt = dialect.render(read_conversation({"messages": given.get("messages")})[0])
        return Rendered(text=prompt.text, prompt=prompt)

    return Format(make, dialect)


def _code_result(given: Mapping[str, Any]) -> Rendered:
    failed = given.get("status") in ("failure", "failed")
    text = format_code_result(failed=failed, stdout=given.get("stdout") or "", stderr=given.get("stderr") or "")
    return Rendered(text=text)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "hf-llama-2-chat": prompts_of(Dialect.get("llama2")),
        "hf-llama-3": prompts_of(Dialect.get("llama3")),
        "hf-llama-3.1": prompts_of(Dialect.get("llama3.1")),
        "hf-llama-3.2": prompts_of(Dialect.get("llama3.2")),
        "hf-llama-3.2-vision": prompts_of(Dialect.get("llama3.2-vision")),
        "hf-llama-3.2-vision-first": prompts_of(Dialect.get("llama3.2-vision", "first-release")),
        "hf-llama-3.3": prompts_of(Dialect.get("llama3.3")),
        "hf-llama-4": prompts_of(Dialect.get("llama4")),
        "vllm-llama3.1_json": prompts_of(Dialect.get("llama3.1", "llama3.1_json")),
        "vllm-llama3.2_json": prompts_of(Dialect.get("llama3.2", "llama3.2_json")),
        "vllm-llama3.2_pythonic": prompts_of(Dialect.get("llama3.2", "llama3.2_pythonic")),
        "vllm-llama4_json": prompts_of(Dialect.get("llama4", "llama4_json")),
        "vllm-llama4_pythonic": prompts_of(Dialect.get("llama4", "llama4_pythonic")),
        "hf-llama-guard-3-8b": _judgement(Dialect.get("llama-guard-3-8b")),
        "meta-tool-response": Format(_code_result),
    }
)
"""Formats by the name in a vector's `format`."""
