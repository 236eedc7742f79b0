"""The fixtures, in a pytest of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import anyio, pytest
from arriero import Agent, SQLiteLog, Stack
from arriero.prompts.dialect import Dialect
from arriero.testing import ScriptedEngine, byte_tokenizer

def ask(stack):
    async def run():
        return (await Agent(stack).run("Hello")).text
    return anyio.run(run)
"""
RECORDED = """
def test_it(recorded):
    async def run():
        async with recorded(lambda: ScriptedEngine(["Hi."]), tokenizer=byte_tokenizer()) as engine:
            return (await Agent(Stack(engine, Dialect.get("llama3.1"), log=SQLiteLog(":memory:"))).run("Hello")).text
    assert anyio.run(run) == "Hi."
"""


def pytest_of(folder: Path, test: str, *options: str) -> tuple[int, str]:
    (folder / "test_agents.py").write_text(HEAD + test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "arriero.testing.plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *options, "test_agents.py"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_test_gets_a_scripted_stack(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, "def test_it(scripted): assert ask(scripted('Hi.')) == 'Hi.'")
    assert code == 0, out


def test_an_answer_that_nobody_asked_for_fails_the_test(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, "def test_it(scripted): assert ask(scripted('Hi.', 'Bye.')) == 'Hi.'")
    assert code == 1
    assert "1 of the script's answers were never asked for, first 'Bye.'" in out


def test_a_test_that_fails_says_only_why_it_failed(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, "def test_it(scripted): assert ask(scripted('Hi.', 'Bye.')) == 'Ho.'")
    assert code == 1
    assert "never asked for" not in out


def test_a_test_is_recorded_once_and_then_replayed(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, RECORDED, "--record-engines", "never")
    assert code == 1, out
    assert "there is no recording" in out
    assert pytest_of(tmp_path, RECORDED)[0] == 0
    assert [file.name for file in (tmp_path / "recordings").iterdir()] == ["test_agents.test_it.jsonl"]
    assert pytest_of(tmp_path, RECORDED, "--record-engines", "never")[0] == 0


def test_no_part_but_the_plugin_needs_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; from arriero.testing import *; scripted_stack('Hi.')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", ["scripted", "recorded"])
def test_the_fixtures_say_what_they_are_for(tmp_path: Path, name: str) -> None:
    assert name in pytest_of(tmp_path, "", "--fixtures")[1]
