"""The vectors of tests/data, read once."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parent.parent / "data"


@lru_cache
def _lines(name: str) -> tuple[dict[str, Any], ...]:
    with (DATA / name).open(encoding="utf-8") as file:
        return tuple(json.loads(line) for line in file)


def rendered(*prefixes: str) -> list[Any]:
    """Render vectors of the formats that begin so, as parameters named by their ids."""
    lines = _lines("render_vectors.jsonl")
    return [pytest.param(line, id=line["id"]) for line in lines if line["format"].startswith(prefixes)]


def parsed(*dialects: str, level: str = "must") -> list[Any]:
    """Parse vectors of these dialects, as parameters named by their ids."""
    lines = _lines("parse_vectors.jsonl")
    return [
        pytest.param(line, id=line["id"]) for line in lines if line["dialect"] in dialects and line["level"] == level
    ]
