"""Questions with tools, and the calls that count as right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arriero.evals.data.lines import Problems, read_rows
from arriero.evals.errors import InvalidData
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import JSON, Message

Accepted = Mapping[str, Mapping[str, Sequence[Any]]]
"""A right call: the tool's name, and for each argument the values that are right. An empty text among them means that
the argument may be left out."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the model is to do next.

    Args:
        accepted: The right calls, in one message or one after the other, in any order; none where the model is to
            answer without a call.
        results: What the tools return, one for each accepted call; None where the item ends with the calls.
        messages: What the model reads first: a further turn of the user's.
    """

    accepted: tuple[Accepted, ...]
    results: tuple[JSON, ...] | None = None
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolItem:
    """A question, the tools that are offered with it, and the calls that count as right.

    Args:
        id: Unique in its file.
        category: Group that a report tells apart. With one that ends in `irrelevance` no call is right.
        messages: The conversation, ending with the user.
        tools: Declarations in the OpenAI shape, types named as in JSON Schema.
        steps: What the model is to do. Items of one step are single questions; those of more are counted by whether
            all steps are right.
        doc_id: Unit of cluster intervals; empty where items are independent.
        extra: All other fields of its line.
    """

    id: str
    category: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    steps: tuple[Step, ...]
    doc_id: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def multi_step(self) -> bool:
        """Whether it goes on after the first calls."""
        return len(self.steps) > 1 or any(step.results is not None for step in self.steps)

    @property
    def wants_call(self) -> bool:
        """Whether any call is right."""
        return any(step.accepted for step in self.steps)


def read_tool_items(path: str | Path) -> tuple[ToolItem, ...]:
    """Read questions with tools: JSON lines in the form of the Berkeley Function Calling Leaderboard.

    A line has `id`, `category`, `messages` (or `question`, one text), `tools` (bare or in the OpenAI shape; `dict`,
    `float` and `tuple` are read as the types of JSON Schema) and `accepted`, a list of `{name: {argument: [values]}}`.
    One of several steps has `steps` in place of `accepted`: a list of `{"accepted": [...], "results": [...],
    "messages": [...]}`.

    Args:
        path: The file, `.jsonl`; it may end in `.gz` or `.xz` after that.

    Returns:
        The items.

    Raises:
        InvalidData: The file cannot be read, holds nothing, or has bad lines; all are named, up to twenty.

    Source: https://github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard.

    Example:
        >>> from arriero.evals.toolcalls import SAMPLE
        >>> read_tool_items(SAMPLE)[0].category
        'simple'
    """
    file = Path(path)
    problems = Problems(file)
    items: list[ToolItem] = []
    seen: dict[str, int] = {}
    for number, raw in read_rows(file, problems):
        try:
            item = _item(raw)
        except (InvalidData, InvalidMessage) as error:
            problems.add(number, "", str(error))
            continue
        if item.id in seen:
            problems.add(number, "id", f"{item.id!r} stands in line {seen[item.id]} already: ids must differ")
        seen.setdefault(item.id, number)
        items.append(item)
    problems.check()
    return tuple(items)


_TYPES = {
    "dict": "object",
    "float": "number",
    "double": "number",
    "tuple": "array",
    "list": "array",
    "int": "integer",
    "bool": "boolean",
    "str": "string",
    "any": "string",
}
"""Other names of types in files of this form, as its own checker takes them."""

_FIELDS = {"id", "category", "messages", "question", "tools", "accepted", "steps", "doc_id"}


def _item(raw: Mapping[str, Any]) -> ToolItem:
    identity = raw.get("id")
    if not isinstance(identity, str) or not identity:
        raise InvalidData(f"id is {identity!r}: give a text")
    category = raw.get("category", "")
    doc_id = raw.get("doc_id") or ""
    if not isinstance(category, str) or not isinstance(doc_id, str):
        raise InvalidData("category and doc_id must be texts")
    tools = tuple(_declared(tool, index) for index, tool in enumerate(_listed(raw, "tools")))
    steps = _steps(raw, {tool["function"]["name"] for tool in tools})
    if category.endswith("irrelevance") and any(step.accepted for step in steps):
        raise InvalidData(f"accepted: category {category!r} wants no call, and calls are accepted")
    extra = {key: value for key, value in raw.items() if key not in _FIELDS}
    return ToolItem(identity, category, _messages(raw), tools, steps, doc_id, extra)


def _messages(raw: Mapping[str, Any]) -> tuple[Message, ...]:
    if "messages" not in raw and isinstance(raw.get("question"), str):
        return (Message("user", raw["question"]),)
    found = tuple(Message.from_dict(each, index=at) for at, each in enumerate(_objects(raw, "messages")))
    if not found:
        raise InvalidData("messages: none; give at least what the user says")
    return found


def _steps(raw: Mapping[str, Any], offered: set[str]) -> tuple[Step, ...]:
    if "steps" not in raw:
        return (Step(_accepted(raw, offered)),)
    steps: list[Step] = []
    for at, given in enumerate(_objects(raw, "steps")):
        try:
            steps.append(_step(given, offered))
        except InvalidData as error:
            raise InvalidData(f"steps[{at}]: {error}") from None
    if not steps:
        raise InvalidData("steps: none; give at least one, or `accepted`")
    for at, step in enumerate(steps[:-1]):
        if step.accepted and step.results is None:
            raise InvalidData(f"steps[{at}]: no results, and steps follow; say what the tools return")
        if not step.accepted and not steps[at + 1].messages:
            raise InvalidData(f"steps[{at + 1}]: nothing to read after an answer; give messages of the user's")
    return tuple(steps)


def _step(raw: Mapping[str, Any], offered: set[str]) -> Step:
    accepted = _accepted(raw, offered)
    results = raw.get("results")
    if results is not None and (not isinstance(results, list) or len(results) != len(accepted)):
        raise InvalidData(f"results: give a list of {len(accepted)}, one for each accepted call")
    heard = tuple(Message.from_dict(each) for each in _objects(raw, "messages")) if "messages" in raw else ()
    return Step(accepted, None if results is None or not accepted else tuple(results), heard)


def _accepted(raw: Mapping[str, Any], offered: set[str]) -> tuple[Accepted, ...]:
    found: list[Accepted] = []
    for at, call in enumerate(_objects(raw, "accepted")):
        if len(call) != 1:
            raise InvalidData(f"accepted[{at}]: {len(call)} names; give {{name: {{argument: [values]}}}}")
        ((name, arguments),) = call.items()
        if name not in offered:
            raise InvalidData(f"accepted[{at}]: {name!r} is none of the tools ({', '.join(sorted(offered))})")
        if not _in_lists(arguments) or not all(_in_lists(part) for part in _objects_in(arguments)):
            raise InvalidData(f"accepted[{at}]: give for each argument of {name!r} a list of right values")
        found.append(call)
    return tuple(found)


def _in_lists(arguments: Any) -> bool:
    """Whether each argument has a list of values."""
    return isinstance(arguments, dict) and all(isinstance(values, list) for values in arguments.values())


def _objects_in(arguments: Mapping[str, Sequence[Any]]) -> Iterator[Mapping[str, Any]]:
    """Objects among right values, alone or in lists: theirs stand in lists, too."""
    for values in arguments.values():
        for value in values:
            yield from (part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict))


def _declared(raw: Any, index: int) -> Mapping[str, Any]:
    body = raw.get("function", raw) if isinstance(raw, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get("name"), str) or not body["name"]:
        raise InvalidData(f"tools[{index}]: no tool with a name")
    schema = body.get("parameters")
    if not isinstance(schema, dict | None):
        raise InvalidData(f"tools[{index}]: parameters of {body['name']!r} are no JSON schema")
    parameters = _renamed(schema or {"type": "object", "properties": {}})
    required = parameters.get("required") or []
    if not isinstance(parameters.get("properties") or {}, dict) or not isinstance(required, list):
        raise InvalidData(f"tools[{index}]: properties of {body['name']!r} must be an object, and required a list")
    if not all(isinstance(name, str) for name in required):
        raise InvalidData(f"tools[{index}]: required of {body['name']!r} must hold names")
    return {"type": "function", "function": {**body, "parameters": parameters}}


def _renamed(schema: Any) -> Any:
    """A schema with its types named as in JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    if isinstance(made.get("type"), str):
        made["type"] = _TYPES.get(made["type"], made["type"])
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _renamed(made[key])
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(made.get(key), list):
            made[key] = [_renamed(each) for each in made[key]]
    if isinstance(made.get("properties"), dict):
        made["properties"] = {name: _renamed(each) for name, each in made["properties"].items()}
    return made


def _listed(raw: Mapping[str, Any], name: str) -> list[Any]:
    found = raw.get(name)
    if not isinstance(found, list):
        raise InvalidData(f"{name} is {type(found).__name__ if name in raw else 'absent'}: give a list")
    return found


def _objects(raw: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for at, each in enumerate(_listed(raw, name)):
        if not isinstance(each, dict):
            raise InvalidData(f"{name}[{at}] is {type(each).__name__}: give an object")
        yield each
