"""The examples in the docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest

from arriero import prompts

FOLDER = Path(prompts.__file__).resolve().parent
MODULES = sorted(
    ".".join(file.relative_to(FOLDER).with_suffix("").parts) for file in FOLDER.rglob("*.py") if file.stem != "__init__"
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"arriero.prompts.{module}"))
    assert outcome.failed == 0
