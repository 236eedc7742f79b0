"""Answers that were written elsewhere, read as the model's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arriero.evals.data.lines import Problems, read_rows
from arriero.evals.errors import InvalidData
from arriero.evals.systems.system import Answer
from arriero.evals.toolcalls.asking import written_calls
from arriero.evals.toolcalls.items import ToolItem
from arriero.prompts.dialect import Dialect
from arriero.prompts.errors import InvalidMessage
from arriero.prompts.messages import Message


def read_recorded_calls(path: str | Path, items: Sequence[ToolItem], dialect: Dialect) -> tuple[Answer, ...]:
    """Read recorded answers to tool-call questions.

    A line has the `id` of its item and one of: `text`, what the model wrote, special tokens spelled out or not;
    `texts`, a list of them, message by message; `calls`, a list of calls in the OpenAI shape or as
    `{"name", "arguments"}`; `messages`, a list of such lists; `error`, why there is no answer.

    Args:
        path: The file, JSON lines.
        items: The items; answers to others are refused.
        dialect: How the model writes, by which texts are parsed.

    Returns:
        The answers, in the order of the file.

    Raises:
        InvalidData: The file cannot be read, or has bad lines; all are named, up to twenty.

    Example:
        >>> import json, tempfile
        >>> from arriero.evals.toolcalls import SAMPLE, read_tool_items
        >>> items = read_tool_items(SAMPLE)
        >>> line = {"id": items[0].id, "text": '{"name": "star", "parameters": {"plotam": "Hygreax"}}'}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "answers.jsonl"
        ...     _ = file.write_text(json.dumps(line))
        ...     read_recorded_calls(file, items, Dialect.get("llama3.1"))[0].calls[0]["arguments"]
        {'plotam': 'Hygreax'}
    """
    file = Path(path)
    problems = Problems(file)
    known = {item.id: item for item in items}
    answers: dict[str, Answer] = {}
    for number, raw in read_rows(file, problems):
        try:
            answer = _answer(raw, known, dialect)
        except (InvalidData, InvalidMessage) as error:
            problems.add(number, "", str(error))
            continue
        if answer.question_id in answers:
            problems.add(number, "id", f"{answer.question_id!r} is answered twice")
        answers[answer.question_id] = answer
    problems.check()
    return tuple(answers.values())


def _answer(raw: Mapping[str, Any], items: Mapping[str, ToolItem], dialect: Dialect) -> Answer:
    if not isinstance(raw.get("id"), str) or raw["id"] not in items:
        raise InvalidData(f"id is {raw.get('id')!r}, which is no item's")
    item = items[raw["id"]]
    if "error" in raw:
        return Answer(item.id, "", error=str(raw["error"]))
    if "text" in raw or "texts" in raw:
        return _read(item, [raw["text"]] if "text" in raw else raw["texts"], dialect)
    messages = raw.get("messages", [raw["calls"]] if "calls" in raw else None)
    if not isinstance(messages, list) or not all(isinstance(calls, list) for calls in messages):
        raise InvalidData("neither text, texts, calls, messages nor error: give one of them")
    found = [
        {"name": call.name, "arguments": dict(call.arguments), "message": at}
        for at, calls in enumerate(messages)
        for call in Message.from_dict({"role": "assistant", "tool_calls": calls}).tool_calls
    ]
    return Answer(item.id, "", calls=tuple(found))


def _read(item: ToolItem, texts: Any, dialect: Dialect) -> Answer:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidData("text must be a text, texts a list of them")
    parsed = [dialect.parse(text, item.tools) for text in texts]
    calls = [call for at, message in enumerate(parsed) for call in written_calls(message, at)]
    said = "\n".join(message.content for message in parsed if message.content)
    return Answer(item.id, said, calls=tuple(calls))
