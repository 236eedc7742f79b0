"""What the README and the docs show works as shown."""

import ast
import doctest
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from documents import DOCUMENTS, ROOT, Shown, commands, programs, without_times

SERVER = "http://localhost:8000/v1"
CHECK = doctest.OutputChecker()
SERVES = re.compile(r"\barriero serve\b")
LINK = re.compile(r"\]\(([^)#\s]+)")


def cases(found: Iterable[Shown]) -> list[Any]:
    """One case each, marked where it needs the server."""
    marks = {True: [pytest.mark.vllm], False: []}
    return [
        pytest.param(
            shown,
            id=f"{shown.where} {' '.join(shown.text.split())[:60]}",
            marks=marks[SERVER in shown.text and not SERVES.search(shown.text)],
        )
        for shown in found
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository and may be written to."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


@pytest.mark.parametrize("shown", cases(shown for shown in commands() if "arriero " in shown.text))
def test_a_command_does_what_is_shown(shown: Shown, checkout: Path, request: pytest.FixtureRequest) -> None:
    command = shown.text
    if SERVES.search(command):
        command += " --help"  # it would run for ever; this still refuses options that do not exist
    elif SERVER in command:
        command = command.replace(SERVER, request.getfixturevalue("vllm_server").url)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if shown.prints.strip():
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert CHECK.check_output(without_times(shown.prints), without_times(done.stdout), flags), done.stdout


@pytest.mark.parametrize("shown", cases(shown for shown in commands() if shown.text.startswith("make ")))
def test_a_make_target_exists(shown: Shown) -> None:
    done = subprocess.run(
        ["make", "-n", *shown.text.split()[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.anyio
@pytest.mark.parametrize("shown", cases(programs()))
async def test_a_program_runs(shown: Shown, checkout: Path, request: pytest.FixtureRequest, monkeypatch) -> None:
    monkeypatch.chdir(checkout)
    text = shown.text
    if SERVER in text:
        text = text.replace(SERVER, request.getfixturevalue("vllm_server").url)
    text = re.sub(r'model="meta-llama/[^"]*"', "model=None", text)
    code = compile(text, shown.where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, {"__name__": "__main__"})
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("file", [file for file in DOCUMENTS if file.is_file()], ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    links = [link for link in LINK.findall(file.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (file.parent / link).exists()] == []
