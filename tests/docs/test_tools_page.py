"""The tables of docs/tools.md and docs/cli.md say what the code does."""

import inspect
import re
from typing import get_args

from documents import ROOT
from typer.testing import CliRunner

from arriero.cli import app
from arriero.tools.declared import describe
from arriero.tools.events import Outcome

TEXT = (ROOT / "docs" / "tools.md").read_text("utf-8")
COMMANDS = (ROOT / "docs" / "cli.md").read_text("utf-8")


def rows(text: str, heading: str) -> list[list[str]]:
    table = text.split(heading, 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[1:] if line]


def test_every_option_of_a_tool_is_there() -> None:
    shown = {row[0].strip("`") for row in rows(TEXT, "| option of `@tool` ")}
    known = set(inspect.signature(describe).parameters) - {"function", "source", "close"}
    assert shown - {"---"} == known


def test_every_outcome_but_cancellation_is_there() -> None:
    shown = {row[2].strip("`") for row in rows(TEXT, "| what happened | result |")}
    assert shown - {"---"} == set(get_args(Outcome)) - {"completed", "cancelled"}


def test_every_option_of_the_command_exists() -> None:
    told = CliRunner().invoke(app, ["tools", "call", "--help"]).stdout
    options = re.findall(r"^\| `(--[a-z-]+)", COMMANDS.split("## tools", 1)[1].split("## mcp")[0], re.MULTILINE)
    assert len(options) > 8
    assert [option for option in options if option not in told] == []


def test_every_variable_of_the_environment_is_read() -> None:
    code = (ROOT / "arriero" / "toolbox.py").read_text() + (ROOT / "arriero" / "cli_tools.py").read_text()
    shown = set(re.findall(r"`(ARRIERO_[A-Z_]+)`", COMMANDS.split("## tools", 1)[1].split("## mcp")[0]))
    assert len(shown) == 6
    assert {name for name in shown - {"ARRIERO_MCP_NAME_TOKEN"} if name not in code} == set()
