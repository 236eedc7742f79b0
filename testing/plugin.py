"""Fixtures for pytest. Installing Arriero makes them known to it."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from arriero.prompts.tokens import Tokenizer
    from arriero.stack.engine import Engine
    from arriero.testing.script import Answer, Rule
    from arriero.testing.stack import ScriptedStack

_PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says when to record."""
    parser.getgroup("arriero").addoption(
        "--record-engines",
        choices=("once", "never", "always"),
        default="once",
        help="engines of the fixture `recorded`: record where there is no recording yet (once, the default),"
        " fail there (never), or record anew (always)",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Note whether the test passed."""
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.fixture
def scripted(request: pytest.FixtureRequest) -> "Iterator[Callable[..., ScriptedStack]]":
    """Makes stacks over scripted engines, as `arriero.testing.scripted_stack` does.

    A test that passes, and leaves an answer of a script unsaid, fails after all: its agent asked less than expected.
    """
    from arriero.testing.stack import scripted_stack

    made: list[ScriptedStack] = []

    def make(*script: "Answer | Rule", **settings: Any) -> "ScriptedStack":
        made.append(scripted_stack(*script, **settings))
        return made[-1]

    yield make
    unsaid = [answer for stack in made for answer in stack.engine.unsaid]
    if unsaid and request.node.stash.get(_PASSED, False):
        pytest.fail(f"{len(unsaid)} of the script's answers were never asked for, first {unsaid[0]!r}", pytrace=False)


@pytest.fixture
def recorded(
    request: pytest.FixtureRequest,
) -> "Callable[..., AbstractAsyncContextManager[Engine]]":
    """Makes engines that are recorded at the first run, as `arriero.testing.recorded` does.

    The recording lies in the folder `recordings` beside the test's file, under the test's name.
    """
    from arriero.testing.recording import recorded as in_file

    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    folder = Path(request.node.path).parent / "recordings"

    def make(
        open_engine: "Callable[[], Engine | Awaitable[Engine]]",
        *,
        tokenizer: "Tokenizer | str | Path",
        suffix: str = "",
    ) -> "AbstractAsyncContextManager[Engine]":
        path = folder / f"{Path(request.node.path).stem}.{name}.jsonl"
        return in_file(path, open_engine, tokenizer=tokenizer, record=request.config.getoption("--record-engines"))

    return make
