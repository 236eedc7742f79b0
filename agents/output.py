"""What an agent's answers are: text, or values of a type, which the model writes as JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, Literal, cast, get_args

from typing_extensions import TypedDict, TypeVar

from arriero.prompts.errors import ArrieroError
from arriero.prompts.grammar import GrammarNotExpressible, answer_grammar, answer_schema

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Output = TypeVar("Output", default=str)
"""Type of an agent's answers."""

By = Literal["auto", "grammar", "retries"]
"""How a model is held to a type."""

_WRAPPED = "answer"
_READ_AS_CALL = frozenset({"name", "function", "tool", "tool_name", "function_name"})
"""Keys by which JSON is read as a call, whatever else it holds."""

_VALUES = frozenset({"const", "default", "enum", "examples"})
_BARE = frozenset({"integer", "number", "boolean"})
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_SHOWN_PROBLEMS = 5

_DESCRIPTION = """Your final answer is JSON that matches this schema, and nothing else:
{schema}"""

_UNDESCRIBED = 'Your final answer is JSON of the form {"answer": ...}, and nothing else.'

_AGAIN = """Your answer does not fit: {problem}
Write the whole answer again, as JSON and nothing else."""


class OutputInvalid(ArrieroError, ValueError):
    """An answer is no value of the agent's output type, or there is no answer."""


class UnusableOutput(ArrieroError, TypeError):
    """A type cannot be that of an agent's answers."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Output]):
    """The type of an agent's answers, and how the model is held to it.

    Args:
        kind: The type: a pydantic model, a dataclass, or any type that pydantic reads; `str` is text as it is. Where
            mypy does not take it for a type, as with `int | None`, say it twice: `Answer[int | None](int | None)`.
        by: `grammar` lets the model write nothing else, and refuses a type of which a grammar cannot say everything.
            `retries` checks the answer, and gives the model the problems to read. `auto` does both as far as they go.
        describe: Whether the system text ends with the type's JSON schema.

    Example:
        >>> AnswerReader(Answer(list[int], by="grammar")).read('{"answer": [85, 70]}')
        [85, 70]
    """

    kind: type[Output] | UnionType
    by: By = "auto"
    describe: bool = True


class AnswerReader(Generic[Output]):
    """Reads what a model writes as values of a type.

    JSON that could be read as a tool call, or as text, is written as `{"answer": ...}`: lists, texts, unions, objects
    with a field such as `name`. The value is without it.

    Args:
        answer: The type.

    Raises:
        UnusableOutput: Pydantic does not read the type, or `by` is no way to hold a model to it.
        GrammarNotExpressible: `by="grammar"`, and a grammar cannot express the type.

    Example:
        >>> reader = AnswerReader(Answer(bool))
        >>> reader.read("true"), reader.schema
        (True, {'type': 'boolean'})
    """

    def __init__(self, answer: Answer[Output]) -> None:
        kind, by = answer.kind, answer.by
        if by not in get_args(By):
            raise UnusableOutput(f"by={by!r} of the output type: use one of {', '.join(get_args(By))}")
        self.kind, self.by = kind, by
        self.text = kind is str and by == "auto"
        """Whether answers are text as it is."""
        self.schema: Mapping[str, Any] | None = None
        """What the model writes; None where there is no schema."""
        self.description = ""
        """What the model is told about it."""
        self._adapter: TypeAdapter[Any] | None = None
        self._wrapped = False
        if not self.text:
            self._read_as(kind, describe=answer.describe)

    def _read_as(self, kind: Any, *, describe: bool) -> None:
        self._adapter = _adapter(kind)
        schema = _schema(kind, required=self.by == "grammar")
        self._wrapped = schema is None or not _stands_alone(schema)
        if self._wrapped:
            self._adapter = _adapter(TypedDict("Wrapped", {_WRAPPED: kind}))  # type: ignore[operator]  # it is a value
        if schema is None:
            self.description = _UNDESCRIBED if describe else ""
            return
        self.schema = _wrap(schema) if self._wrapped else schema
        if self.by == "grammar":
            answer_grammar(dict(self.schema), strict=True)
        if describe:
            self.description = _DESCRIPTION.format(schema=json.dumps(self.schema, ensure_ascii=False))

    def read(self, text: str) -> Output:
        """The value of an answer.

        Args:
            text: What the model wrote. A code fence around it is left aside.

        Returns:
            The value.

        Raises:
            OutputInvalid: It is none of the type. The message is for the model to read.
        """
        if self._adapter is None:
            return cast("Output", text)
        from pydantic import ValidationError

        fenced = _FENCE.fullmatch(text.strip())
        try:
            value = self._adapter.validate_json(fenced[1] if fenced else text)
        except ValidationError as error:
            raise OutputInvalid(_problems(error)) from error
        return cast("Output", value[_WRAPPED] if self._wrapped else value)

    def again(self, problem: OutputInvalid) -> str:
        """What the model reads after an answer that does not fit.

        Args:
            problem: What `read` raised.

        Returns:
            The text of a message.
        """
        return _AGAIN.format(problem=problem)


TEXT: AnswerReader[str] = AnswerReader(Answer(str))
"""Answers that are text."""


def reader_of(output: type[Output] | Answer[Output] | None) -> AnswerReader[Output]:
    """What reads an agent's answers.

    Args:
        output: Their type; None for text.

    Returns:
        The reader.

    Raises:
        UnusableOutput: As for `AnswerReader`.
        GrammarNotExpressible: As for `AnswerReader`.
    """
    if output is None or output is str:
        return cast("AnswerReader[Output]", TEXT)
    return AnswerReader(output if isinstance(output, Answer) else Answer(output))


def _schema(kind: Any, *, required: bool) -> dict[str, Any] | None:
    """The type's schema; None where it has none, and none is needed."""
    try:
        return cast("dict[str, Any]", _untitled(answer_schema(kind)))
    except GrammarNotExpressible:
        if required:
            raise
        return None


def _untitled(schema: Any) -> Any:
    """The schema without the titles that pydantic gives everything, which are but names over again."""
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in _VALUES else _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }


def _stands_alone(schema: Mapping[str, Any]) -> bool:
    """Whether no JSON of the schema is read as a call, or tells anything but itself."""
    at = schema
    while "$ref" in at:
        at = schema["$defs"][at["$ref"].rpartition("/")[2]]
    if at.get("type") in _BARE:
        return True
    fields = at.get("properties")
    return at.get("type") == "object" and bool(fields) and not _READ_AS_CALL & set(fields or ())


def _wrap(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    outer = {"type": "object", "properties": {_WRAPPED: inner}, "required": [_WRAPPED]}
    return {"$defs": schema["$defs"], **outer} if "$defs" in schema else outer


def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    try:
        adapter = TypeAdapter(kind)
        if not adapter.pydantic_complete:
            adapter.rebuild(raise_errors=True)  # it says what is missing
        return adapter
    except Exception as error:  # pydantic raises whatever what is no type leads it to
        reason = str(error).partition("\n")[0]
        raise UnusableOutput(
            f"output={kind!r}: pydantic does not read it as a type ({reason}); use a pydantic model, a dataclass, or a"
            " type of Python's"
        ) from error


def _problems(error: Any) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    said = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'the answer'}: {problem['msg']}"
        for problem in found[:_SHOWN_PROBLEMS]
    ]
    more = [f"and {len(found) - _SHOWN_PROBLEMS} more"] if len(found) > _SHOWN_PROBLEMS else []
    return "; ".join([*said, *more])
