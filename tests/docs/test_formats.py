"""The tables of docs/formats.md say what the code does."""

import re
from typing import get_args

import pytest
from documents import ROOT

from arriero.prompts.calls.forms import Syntax
from arriero.prompts.catalogue import DIALECTS
from arriero.prompts.guard import CATEGORIES
from arriero.prompts.options import RenderOptions

TEXT = (ROOT / "docs" / "formats.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in TEXT.splitlines() if line[:1] == "|"]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_dialect_is_there_with_its_sources() -> None:
    shown = {tuple(names(row[1])): names(row[2]) for row in ROWS if len(row) == 3 and row[2].startswith("`published`")}
    known: dict[tuple[str, ...], list[str]] = {}
    for name, source in DIALECTS:
        known.setdefault((name,), []).append(source)
    assert shown == known


def test_every_source_is_explained() -> None:
    explained = {name for row in ROWS if len(row) == 2 for name in names(row[0])}
    assert {source for _, source in DIALECTS} <= explained


def test_every_case_of_repair_is_there() -> None:
    documented = [line.strip() for line in (RenderOptions.__doc__ or "").splitlines() if line.strip()[:1] == "|"]
    assert len(documented) > 10
    assert "\n".join(documented) in TEXT


def test_every_syntax_of_calls_is_there() -> None:
    shown = {name for row in ROWS for name in names(row[0])}
    assert set(get_args(Syntax)) - {"auto"} <= shown


@pytest.mark.parametrize("version", CATEGORIES)
def test_every_guard_is_there_with_its_codes(version: str) -> None:
    (row,) = [row for row in ROWS if len(row) == 6 and names(row[0]) == [version]]
    codes = list(CATEGORIES[version])
    assert row[1].startswith(f"{codes[0]} to {codes[-1]}")
