"""A Python file becomes a program to run."""

import importlib.util
import sys
from pathlib import Path

import pytest

from arriero.agents.program import load

DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Mule:
    name: str

async def main() -> None:
    print(Mule("Zuri"))
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_file_with_postponed_annotations_and_a_dataclass_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mules.py"
    file.write_text(DATACLASS)
    assert load(file).main is not None


def test_a_file_named_like_a_module_does_not_take_its_place(tmp_path: Path) -> None:
    file = tmp_path / "json.py"
    file.write_text(DATACLASS)
    before = sys.modules["json"]
    load(file)
    assert sys.modules["json"] is before
    assert importlib.util.find_spec("json") is before.__spec__


def test_a_file_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        load(file)
    assert not any("broken.py" in name for name in sys.modules)
