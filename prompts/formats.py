"""Every rendering by the name that render vectors give it, each run from a vector's `input` as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, get_args

from arriero.prompts.code_result import format_code_result
from arriero.prompts.dates import in_full
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.guard import CATEGORIES, GuardVersion, guard_question, render_guard
from arriero.prompts.images import IMAGE, image_runs, patches_per_tile, vision_mask
from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions, ToolFormat
from arriero.prompts.prompt import Prompt
from arriero.prompts.tokens import Tokenizer
from arriero.prompts.writers.meta import render_completion
from arriero.prompts.writers.meta_tools import (
    Placement,
    builtin_block,
    date_block,
    declare,
    place_tools,
    read_definition,
)

_OPTIONS: Mapping[str, type] = {
    "builtin_tools": list,
    "date_string": str,
    "tools_in_user_message": bool,
    "add_generation_prompt": bool,
    "continue_final_message": bool,
    "tool_format": str,
    "repair": bool,
}
_IGNORED = frozenset({"categories", "custom_tools", "excluded_category_keys"})
"""Names that published templates take and that are no option of ours; `custom_tools` is another name for the tools."""


_PLACEMENTS: Mapping[str, Placement] = {"3.1": "llama3.1", "3.2-vision": "llama3.1", "4": "llama4"}
_GENERATORS: Mapping[str, str] = {
    "JsonCustomToolGenerator": "json",
    "FunctionTagCustomToolGenerator": "function-tag",
    "PythonListCustomToolGenerator": "python-list-2025-02",
}


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

    def vision_mask(self, tokenizer: Tokenizer) -> tuple[tuple[int, int], ...]:
        """From which tokens each picture is seen; see `arriero.prompts.images.vision_mask`.

        Args:
            tokenizer: The model's tokenizer.

        Returns:
            The mask; empty where there is no picture, and for Llama 4, which reads pictures as tokens.

        Raises:
            VocabularyMismatch: The tokenizer has no id for a special token of the prompt.
        """
        place = tokenizer.special_ids.get(IMAGE)
        if self.prompt is None or place is None or "<|patch|>" in tokenizer.special_ids:
            return ()
        return vision_mask(self.prompt.encode(tokenizer), place)


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
        try:
            return self.make(given)
        except (AttributeError, KeyError, TypeError) as error:
            if self.dialect is not None:  # a dialect checks its input itself: this is no fault of the caller's
                raise
            raise InvalidMessage(f"the input has another shape than the format takes: {error}") from error


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
    messages, options = given.get("messages"), _options(given)
    if not isinstance(messages, list):
        raise InvalidMessage("'messages' must be a list of messages")
    tools = options.get("custom_tools", given.get("tools"))
    if tools is not None and not isinstance(tools, list):
        raise InvalidMessage(f"'tools' must be a list of declarations, not {type(tools).__name__}")
    read = []
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidMessage("it must be an object with 'role' and 'content'", index=index)
        read.append(Message.from_dict(message, index=index))
    return read, tools or (), read_options(options, announce=tools == [])


def _options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    options = given.get("options") or {}
    if not isinstance(options, Mapping):
        raise InvalidMessage(f"'options' must be an object, not {type(options).__name__}")
    return options


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
        if name in _IGNORED or (value is None and name in ("builtin_tools", "date_string", "tool_format")):
            continue
        if name not in _OPTIONS:
            raise InvalidMessage(f"unknown option {name!r}; known: {', '.join(_OPTIONS)}")
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise InvalidMessage(f"option {name!r} must be a list of texts")
        if not isinstance(value, _OPTIONS[name]):
            raise InvalidMessage(f"option {name!r} must be a {_OPTIONS[name].__name__}, not {type(value).__name__}")
        if name == "tool_format" and value not in get_args(ToolFormat):
            raise InvalidMessage(f"unknown tool format {value!r}; known: {', '.join(get_args(ToolFormat))}")
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


def _code_result(given: Mapping[str, Any]) -> Rendered:
    failed = given.get("status") in ("failure", "failed")
    text = format_code_result(failed=failed, stdout=given.get("stdout") or "", stderr=given.get("stderr") or "")
    return Rendered(text=text)


def _completion(given: Mapping[str, Any]) -> Rendered:
    content = Message.from_dict({"role": "user", "content": given.get("content")}).content
    if not isinstance(content, str | tuple):
        raise InvalidMessage(f"'content' must be text or parts, not {type(content).__name__}")
    prompt = render_completion(content)
    return Rendered(text=prompt.text, prompt=prompt)


def _picture(given: Mapping[str, Any]) -> Rendered:
    measures = {name: given[name] for name in ("tile", "patch", "pixel_shuffle_ratio") if name in given}
    runs = image_runs(given.get("tiles_high", 1), given.get("tiles_wide", 1), patches=patches_per_tile(**measures))
    return Rendered(runs=runs, token_count=sum(count for _, count in runs))


def _stack_messages(given: Mapping[str, Any]) -> Rendered:
    messages, tools, _ = read_conversation({**given, "options": {}})
    if not messages:
        raise InvalidMessage("the conversation is empty: give at least one message")
    options = given.get("options") or {}
    form = options.get("tool_format")
    # A vector says beside its input for which model it is; without that, the form of calls tells most.
    generation = given.get("generation") or ("3.2" if form == "python_list" else "3.1")
    placed = place_tools(
        messages,
        tools,
        placement=_PLACEMENTS.get(generation, "llama3.2"),
        builtin_tools=given.get("builtin_tools") or (),
        tool_format=form,
        tool_choice=options.get("tool_choice") or "auto",
        system_message_behavior=options.get("system_message_behavior") or "append",
        date=in_full(_day(options.get("today"))),
    )
    added = placed[: len(placed) - len(messages) + (messages[0].role == "system")]
    kept = given["messages"][messages[0].role == "system" :]
    return Rendered(messages=(*({"role": message.role, "content": message.content} for message in added), *kept))


def _day(text: Any) -> date:
    try:
        return date.today() if text is None else date.fromisoformat(text)
    except (TypeError, ValueError):
        raise InvalidMessage(f"no date: {text!r}; write it as 2024-09-21") from None


def _system_prompt(given: Mapping[str, Any]) -> Rendered:
    generator = given.get("generator")
    if generator == "SystemDefaultGenerator":
        return Rendered(text=date_block(in_full(_day(given.get("today")))))
    if generator == "BuiltinToolGenerator":
        return Rendered(text=builtin_block(given.get("builtin_tools") or ()))
    if generator not in _GENERATORS:
        raise InvalidMessage(f"unknown generator {generator!r}; known: {', '.join(_GENERATORS)}")
    tools = [read_definition(definition) for definition in given.get("tool_definitions") or ()]
    return Rendered(text=declare(_GENERATORS[str(generator)], tools, given.get("system_prompt")))


def _judgement(version: GuardVersion) -> Format:
    def make(given: Mapping[str, Any]) -> Rendered:
        options = _options(given)
        categories = options.get("categories")
        if not isinstance(categories, Mapping | None):
            raise InvalidMessage(f"option 'categories' must be an object, not {type(categories).__name__}")
        prompt = render_guard(
            read_conversation({"messages": given.get("messages")})[0],
            version=version,
            categories=categories,
            excluded=_codes(options, "excluded_category_keys"),
            as_published=True,
        )
        return Rendered(text=prompt.text, prompt=prompt)

    return Format(make, Dialect.get(version))


def _stack_question(given: Mapping[str, Any]) -> Rendered:
    messages = read_conversation({"messages": given.get("messages")})[0]
    return Rendered(text=guard_question(messages, excluded=_codes(_options(given), "excluded")))


def _codes(options: Mapping[str, Any], name: str) -> Sequence[str]:
    codes = options.get(name) or ()
    if not isinstance(codes, list | tuple) or not all(isinstance(code, str) for code in codes):
        raise InvalidMessage(f"option {name!r} must be a list of codes")
    return codes


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
        "meta-llama3": prompts_of(Dialect.get("llama3.2-vision", "meta")),
        "meta-llama3-2025-02": prompts_of(Dialect.get("llama3.2-vision", "meta-2025-02")),
        "meta-llama4": prompts_of(Dialect.get("llama4", "meta")),
        "meta-llama3-base": Format(_completion),
        "meta-llama4-image": Format(_picture),
        "meta-stack-messages": Format(_stack_messages),
        "meta-system-prompt": Format(_system_prompt),
        "meta-tool-response": Format(_code_result),
        **{f"hf-{version}": _judgement(version) for version in CATEGORIES},
        "meta-guard-cookbook-1": prompts_of(Dialect.get("llama-guard-1", "cookbook")),
        "meta-guard-cookbook-2": prompts_of(Dialect.get("llama-guard-2", "cookbook")),
        "meta-guard-cookbook-3": prompts_of(Dialect.get("llama-guard-3-8b", "cookbook")),
        "meta-guard-stack-usermessage": Format(_stack_question),
    }
)
"""Formats by the name in a vector's `format`."""
