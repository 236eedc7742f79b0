"""Rows of data files as values."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from arriero.evals.data.lines import Problems, parsed, quoted, type_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Value = TypeVar("Value", bound=DataclassInstance)
else:
    Value = TypeVar("Value")

_LISTS = ("context", "answers", "gold_ids", "near_miss_ids")
_NESTED = (*_LISTS, "spans", "detector_scores", "history", "passages")
_NAMES = ("id", "doc_id")
_IDS = ("gold_ids", "near_miss_ids")
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # a column with gaps is one of fractions to pandas
_SHORT = 40
_INSTANCE = re.compile(r"a dictionary or an instance of \w+")


class Values(Generic[Value]):
    """Makes values of rows, and says what is wrong with a row.

    Args:
        kind: Dataclass with a field `id`. Fields that it lacks go to its `extra`, or are left out where it has none.
        problems: Takes what is wrong.
        text: Whether all values are text, as in a CSV.
    """

    def __init__(self, kind: type[Value], problems: Problems, *, text: bool = False) -> None:
        self._adapter = TypeAdapter(kind)
        self._fields = {field.name for field in fields(kind)} - {"extra"}
        self._keeps = any(field.name == "extra" for field in fields(kind))
        self._problems = problems
        self._text = text

    def read(self, line: int, row: Mapping[str, object]) -> Value | None:
        """Make a value.

        Args:
            line: Number of its line.
            row: What stands there. A field of the value that is null counts as absent, as does an
                empty cell of a CSV.

        Returns:
            The value; None where a problem was added.
        """
        given: dict[str, Any] = {}
        extra: dict[str, object] = {}
        for name, value in row.items():
            if self._text and value == "" and name != "response":
                continue
            if name not in self._fields:
                extra[name] = value
            elif value is not None:
                given[name] = self._cell(line, name, value) if self._text else _said(name, value)
        if self._keeps:
            given["extra"] = extra
        try:
            made = self._adapter.validate_python(given)
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                self._problems.add(line, _place(problem["loc"]), _what(problem, row))
            return None
        if not given["id"].strip():
            self._problems.add(line, "id", "is blank")
            return None
        return made

    def _cell(self, line: int, name: str, cell: object) -> object:
        """A CSV cell of a field that is no text."""
        text = str(cell)
        if name == "label":
            return _LABELS.get(text.strip(), text)
        if name not in _NESTED:
            return text
        if text.lstrip().startswith(("[", "{")):
            try:
                return _said(name, parsed(text, strict=False))  # spreadsheets break lines inside of texts
            except ValueError as error:
                if name not in _LISTS or text.lstrip().startswith('["'):  # "[1] A passage." is a text
                    self._problems.add(line, name, str(error))
                    return [] if name != "detector_scores" else {}
        return [text] if name in _LISTS else text


def _said(name: str, value: object) -> object:
    """Spellings that other files use: numbers as ids, `content` for the text of a turn, `agent` for the assistant."""
    if name in _NAMES:
        return _id(value)
    if name == "label" and isinstance(value, bool):
        return json.dumps(value)  # true may mean that a response is good, too: it is refused as a text is
    if name == "detector_scores" and isinstance(value, dict):
        return {detector: score for detector, score in value.items() if score is not None}
    if not isinstance(value, list):
        return value
    if name in _IDS:
        return [_id(one) for one in value]
    if name == "passages":
        return [{**one, "id": _id(one.get("id"))} if isinstance(one, dict) else one for one in value]
    return [_turn(turn) for turn in value] if name == "history" else value


def _id(value: object) -> object:
    return str(value) if type(value) is int else value


def _turn(turn: object) -> object:
    if not isinstance(turn, dict):
        return turn
    role = "assistant" if turn.get("role") == "agent" else turn.get("role")
    return {"role": role, "text": turn.get("text", turn.get("content"))}


def _place(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _what(problem: Any, row: Mapping[str, object]) -> str:
    if problem["type"] == "missing":
        return f"is missing; the line has {', '.join(map(quoted, list(row)[:12])) or 'nothing'}"
    value = problem["input"]
    short = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _SHORT)
    message = _INSTANCE.sub("an object", problem["msg"])
    for python, plain in (("tuple", "list"), ("dictionary", "object"), ("string", "text")):
        message = message.replace(python, plain)
    return f"{message[0].lower()}{message[1:]}; it is {json.dumps(value) if short else type_name(value)}"


def row_of(value: "DataclassInstance") -> dict[str, object]:
    """The fields of a value as its line has them: what is unknown is left out, `extra` stands beside the others.

    Args:
        value: The value.

    Returns:
        JSON values.
    """
    unknown = {field.name: field.default for field in fields(value)} | {"detector_scores": {}}
    row = asdict(value)
    return {**row.pop("extra", {}), **{name: field for name, field in row.items() if field != unknown[name]}}
