"""Where and in which words Meta's stack declares tools: as messages among those of the conversation.

FORMATS.md sections 3 and 4. Unlike published templates, nothing is escaped as JSON here: names and descriptions are
written as they are, between quotes.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message, TextPart
from arriero.prompts.options import ToolFormat
from arriero.prompts.template import json_text, render

Placement = Literal["llama3.1", "llama3.2", "llama3.2-2025-02", "llama4"]
"""Ways to place tools: Llama 3.1 and 3.2 vision in a user message, 3.2 and 3.3 in the system block, these in February
2025 and 4 there in other words."""

SystemMessageBehavior = Literal["append", "replace"]
"""Whether the caller's system text follows the pythonic tool preamble or stands in its place."""

_WORDS: Mapping[str, str] = {
    "llama3.2": "python-list",
    "llama3.2-2025-02": "python-list-2025-02",
    "llama4": "python-list-llama4",
}
_PLACEHOLDER = re.compile(r"\{\{\s*function_description\s*\}\}")
_HTML_SAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&'"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool, in the words that Meta's templates print.

    Args:
        name: Its name.
        type: Its type.
        description: What it means.
        default: Its default; empty for none, and for one that is falsy, which Meta's templates leave out.
    """

    name: str
    type: str = "string"
    description: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class DeclaredTool:
    """A custom tool as Meta's templates print it.

    Args:
        name: Its name.
        description: What it does.
        parameters: Its parameters.
        required: Names of the parameters that a call must give, as JSON.
        shown: The parameters as JSON, for the function-tag form.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...] = field(default=())
    required: str = "[]"
    shown: str = "{}"


def read_tool(tool: Mapping[str, Any]) -> DeclaredTool:
    """Read a declaration in the OpenAI shape, as Meta's stack does.

    Args:
        tool: `{"type": "function", "function": {"name", "description", "parameters"}}`, or the inner object.

    Returns:
        The tool.

    Raises:
        InvalidMessage: It has no name, its parameters are no object schema, or it is not strict JSON.

    Example:
        >>> read_tool({"name": "now", "description": "The time."}).name
        'now'
    """
    body = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(body.get("name"), str):
        raise InvalidMessage(f"no tool declaration: {str(tool)[:80]!r}; it needs a text 'name'")
    schema = _object(body.get("parameters"), body["name"])
    properties = _object(schema.get("properties"), body["name"])
    parameters = tuple(
        Parameter(
            name,
            str(_object(value, body["name"]).get("type", "string")),
            str(value.get("description", "")),
            str(value.get("default") or ""),
        )
        for name, value in properties.items()
    )
    required = schema.get("required", [])
    if not isinstance(required, list | tuple):
        raise InvalidMessage(f"declaration of tool {body['name']!r}: 'required' must be a list of names")
    shown = {
        name: {key: inner for key, inner in value.items() if key != "default"} for name, value in properties.items()
    }
    return DeclaredTool(
        body["name"],
        str(body.get("description")),
        parameters,
        _stock_json(required),
        _stock_json(shown),
    )


def read_definition(definition: Mapping[str, Any]) -> DeclaredTool:
    """Read a tool in the shape that Meta's prompt generators took until 2025.

    Args:
        definition: `{"name", "description", "parameters": {name: {"param_type", "description", "required",
            "default"}}}`; a parameter is required unless it says otherwise.

    Returns:
        The tool.

    Raises:
        InvalidMessage: It has no name, or its parameters are no objects.

    Example:
        >>> read_definition({"name": "f", "parameters": {"n": {"param_type": "int"}}}).required
        '["n"]'
    """
    name = definition.get("name", definition.get("tool_name"))
    if not isinstance(name, str):
        raise InvalidMessage(f"no tool definition: {str(definition)[:80]!r}; it needs a text 'name'")
    given = _object(definition.get("parameters"), name)
    fields = {
        parameter: {
            "description": _object(value, name).get("description"),
            "param_type": value.get("param_type"),
            "required": value.get("required", True),
        }
        for parameter, value in given.items()
    }
    parameters = tuple(
        Parameter(
            parameter, str(value["param_type"]), str(value["description"]), str(given[parameter].get("default") or "")
        )
        for parameter, value in fields.items()
    )
    required = [parameter for parameter, value in fields.items() if value["required"]]
    return DeclaredTool(
        name, str(definition.get("description")), parameters, _stock_json(required), _stock_json(fields)
    )


def builtin_block(names: Sequence[str]) -> str:
    r"""The system block's lines that switch the Python environment and built-in tools on.

    Args:
        names: Built-in tools. `code_interpreter` needs no line: the environment is enough.

    Returns:
        The lines; without a line of tools they end with a newline.

    Example:
        >>> builtin_block(["code_interpreter"])
        'Environment: ipython\n'
    """
    return render("meta/builtin.jinja", {"names": [name for name in names if name != "code_interpreter"]}).text


def date_block(date: str) -> str:
    r"""The system block's lines about dates.

    Args:
        date: Today, as Meta's code writes it: `21 September 2024`.

    Returns:
        The lines.

    Example:
        >>> date_block("21 September 2024")
        'Cutting Knowledge Date: December 2023\nToday Date: 21 September 2024'
    """
    return render("meta/dates.jinja", {"date": date}).text


def declare(template: str, tools: Sequence[DeclaredTool], override: str | None = None) -> str:
    """The text that declares custom tools.

    Args:
        template: Whose words: `json`, `function-tag`, `python-list`, `python-list-2025-02`, `python-list-llama4`.
        tools: The tools.
        override: A system prompt to stand in place of Meta's, for pythonic tools. Where it says
            `{{ function_description }}` the tools are described; nothing else in it is a template.

    Returns:
        The text.

    Raises:
        InvalidMessage: Something in a declaration is not valid Unicode.
    """
    texts = None if override is None else _PLACEHOLDER.split(override.removesuffix("\n"))
    return render(f"meta/{template}.jinja", {"tools": tools, "override": texts}).text


def place_tools(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    *,
    placement: Placement,
    builtin_tools: Sequence[str] = (),
    tool_format: ToolFormat | None = None,
    tool_choice: str = "auto",
    system_message_behavior: SystemMessageBehavior = "append",
    date: str,
) -> list[Message]:
    """The conversation with its tools declared where Meta's stack declares them.

    Args:
        messages: The conversation; a system message stands first or nowhere.
        tools: Custom tools in the OpenAI shape.
        placement: The generation's way.
        builtin_tools: Built-in tools to switch on.
        tool_format: Form of calls; None for the placement's own. 3.1 knows `json` and `function_tag`, the others
            `python_list`.
        tool_choice: `auto`, `required`, `none`, or the name of the tool to use.
        system_message_behavior: Where the caller's system text goes beside pythonic tools.
        date: Today, as `21 September 2024`; 3.1 writes it.

    Returns:
        The messages, the first of which is always a system message.

    Raises:
        InvalidMessage: Two system messages, a form that the placement does not know, a declaration that cannot be
            written.

    Example:
        >>> place_tools([Message("user", "Hi")], [], placement="llama3.1", date="1 May 2025")[0].content[-10:]
        '1 May 2025'
    """
    rest = list(messages)
    system = rest.pop(0) if rest and rest[0].role == "system" else None
    if rest and rest[0].role == "system":
        raise InvalidMessage("a second system message: join it with the first", index=1)
    declared = [read_tool(tool) for tool in tools]
    block = f"{builtin_block(builtin_tools)}\n" if builtin_tools or (declared and placement == "llama3.1") else ""
    must = _tool_choice_text(tool_choice)
    if placement == "llama3.1":
        block += date_block(date) + (f"\n{_text(system)}" if system else "") + must
        return [Message("system", block), *_tool_message(declared, tool_format or "json"), *rest]
    replaces = bool(declared) and system_message_behavior == "replace"
    if declared:
        block += _pythonic_block(declared, placement, tool_format, _text(system) if system and replaces else None)
    block += (_text(system) if system and not replaces else "") + must
    return [Message("system", block.strip("\n")), *rest]


def _tool_message(tools: Sequence[DeclaredTool], tool_format: ToolFormat) -> list[Message]:
    if tools and tool_format == "python_list":
        raise InvalidMessage("Meta's stack declares no python_list tools for this model: use json or function_tag")
    return [Message("user", declare(tool_format.replace("_", "-"), tools))] if tools else []


def _pythonic_block(
    tools: Sequence[DeclaredTool], placement: Placement, tool_format: ToolFormat | None, override: str | None
) -> str:
    if tool_format not in (None, "python_list"):
        raise InvalidMessage(f"Meta's stack declares no {tool_format} tools for this model: use python_list")
    return f"{declare(_WORDS[placement], tools, override or None)}\n"


def _tool_choice_text(choice: str) -> str:
    if choice in ("auto", "none"):
        return ""
    named = "one of the provided functions/tools" if choice == "required" else f"the tool `{choice}`"
    return f"\nYou MUST use {named} to answer the user query."


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    if isinstance(message.content, tuple) and all(isinstance(part, TextPart) for part in message.content):
        return "\n".join(part.text for part in message.content if isinstance(part, TextPart))
    raise InvalidMessage("a system message holds text only", index=0)


def _object(value: Any, tool: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidMessage(f"declaration of tool {tool!r}: {str(value)[:60]!r} must be an object")
    return value


def _stock_json(value: Any) -> str:
    # Meta's templates run on stock Jinja, whose tojson sorts keys, escapes what is not ASCII and what HTML minds.
    json_text(value)
    return json.dumps(value, sort_keys=True).translate(_HTML_SAFE)
