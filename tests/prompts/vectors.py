"""The vectors of tests/data, read once."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from arriero.prompts.messages import Message
from arriero.prompts.options import RenderOptions

DATA = Path(__file__).resolve().parent.parent / "data"


@lru_cache
def _lines(name: str) -> tuple[dict[str, Any], ...]:
    with (DATA / name).open(encoding="utf-8") as file:
        return tuple(json.loads(line) for line in file)


def rendered(*formats: str) -> list[Any]:
    """Render vectors of these formats, as parameters named by their ids."""
    lines = _lines("render_vectors.jsonl")
    return [pytest.param(line, id=line["id"]) for line in lines if line["format"] in formats]


def parsed(*dialects: str, level: str = "must") -> list[Any]:
    """Parse vectors of these dialects, as parameters named by their ids."""
    lines = _lines("parse_vectors.jsonl")
    return [
        pytest.param(line, id=line["id"]) for line in lines if line["dialect"] in dialects and line["level"] == level
    ]


def conversation(vector: dict[str, Any]) -> tuple[list[Message], list[dict[str, Any]], RenderOptions]:
    """What a render vector is rendered from."""
    given = vector["input"]
    options = dict(given["options"])
    tools = options.pop("custom_tools", given["tools"])
    if options.get("builtin_tools") is not None:
        options["builtin_tools"] = tuple(options["builtin_tools"])
    messages = [Message.from_dict(message, index=index) for index, message in enumerate(given["messages"])]
    return messages, tools or [], RenderOptions(announce_empty_tools=tools == [], **options)
