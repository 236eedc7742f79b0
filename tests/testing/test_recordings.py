"""An engine is recorded at the first run and replayed afterwards."""

import os
from pathlib import Path

import pytest

from arriero import Agent, SQLiteLog, Stack, tool
from arriero.models import DEMO
from arriero.prompts.dialect import Dialect
from arriero.stack.engine import Engine
from arriero.stack.errors import EngineError
from arriero.testing import ScriptedEngine, ScriptError, byte_tokenizer, call, recorded

pytestmark = pytest.mark.anyio

OPENED: list[str] = []


@tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def opened() -> Engine:
    OPENED.append("once more")
    return ScriptedEngine([call("double", number=4), "It is 8."])


@pytest.fixture(autouse=True)
def _fresh() -> None:
    OPENED.clear()


async def asked(engine: Engine, text: str = "Double 4") -> str:
    stack = Stack(engine, Dialect.get("llama3.1"), log=SQLiteLog(":memory:"))
    return (await Agent(stack, tools=[double]).run(text)).text


async def test_the_second_run_is_a_replay(tmp_path: Path) -> None:
    for _ in range(3):
        async with recorded(tmp_path / "new" / "eight.jsonl", opened, tokenizer=byte_tokenizer()) as engine:
            assert await asked(engine) == "It is 8."
    assert len(OPENED) == 1


async def test_an_engine_may_be_opened_in_a_coroutine(tmp_path: Path) -> None:
    async def later() -> Engine:
        return opened()

    async with recorded(tmp_path / "eight.jsonl", later, tokenizer=byte_tokenizer()) as engine:
        assert await asked(engine) == "It is 8."


async def test_a_run_that_fails_leaves_no_recording(tmp_path: Path) -> None:
    async def failing() -> None:
        async with recorded(tmp_path / "eight.jsonl", opened, tokenizer=byte_tokenizer()) as engine:
            await asked(engine)
            raise RuntimeError("my test failed")

    with pytest.raises(RuntimeError, match="my test"):
        await failing()
    assert os.listdir(tmp_path) == []


async def test_a_replay_refuses_what_was_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "eight.jsonl"
    async with recorded(path, opened, tokenizer=byte_tokenizer()) as engine:
        await asked(engine)
    async with recorded(path, opened, tokenizer=byte_tokenizer()) as engine:
        with pytest.raises(EngineError, match="first differs"):
            await asked(engine, "Double 5")


async def test_recording_may_be_forbidden_or_repeated(tmp_path: Path) -> None:
    path = tmp_path / "eight.jsonl"
    with pytest.raises(ScriptError, match="no recording"):
        async with recorded(path, opened, tokenizer=byte_tokenizer(), record="never"):
            pass
    for _ in range(2):
        async with recorded(path, opened, tokenizer=byte_tokenizer(), record="always") as engine:
            await asked(engine)
    assert len(OPENED) == 2
    async with recorded(path, opened, tokenizer=byte_tokenizer(), record="never") as engine:
        assert await asked(engine) == "It is 8."


async def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="another vocabulary"):
        async with recorded(tmp_path / "eight.jsonl", opened, tokenizer=DEMO):
            pass
    assert os.listdir(tmp_path) == []
