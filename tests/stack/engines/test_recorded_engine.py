"""What a real engine said is written down and replayed."""

from contextlib import aclosing
from pathlib import Path

import pytest

from arriero.stack.engine import Delta, Sampling
from arriero.stack.engines.local import TransformersEngine
from arriero.stack.engines.recorded import RecordedEngine, Recorder
from arriero.stack.errors import ContextTooLong, EngineError, EngineRejected

pytestmark = pytest.mark.anyio
PROMPT = [10, 20, 30, 40]
SAMPLING = Sampling(max_tokens=4, stop_ids=(1, 2), logprobs=2)


@pytest.fixture(scope="module")
def local(tiny_llama: Path) -> TransformersEngine:
    return TransformersEngine(tiny_llama)


@pytest.fixture
def recorder(local: TransformersEngine, tmp_path: Path) -> Recorder:
    return Recorder(local, tmp_path / "said.jsonl")


def replay(recorder: Recorder, tmp_path: Path) -> RecordedEngine:
    return RecordedEngine(tmp_path / "said.jsonl", recorder.tokenizer)


async def said(engine: Recorder | RecordedEngine, prompt: list[int], sampling: Sampling) -> list[Delta]:
    return [delta async for delta in engine.generate(prompt, sampling)]


async def test_a_replay_says_the_same(recorder: Recorder, tmp_path: Path) -> None:
    live = await said(recorder, PROMPT, SAMPLING)
    replayed = replay(recorder, tmp_path)
    assert await said(replayed, PROMPT, SAMPLING) == live
    assert (replayed.model, replayed.context_length) == (recorder.model, recorder.context_length)


async def test_a_request_asked_twice_gets_its_answers_in_order(recorder: Recorder, tmp_path: Path) -> None:
    hot = Sampling(max_tokens=8, temperature=3.0)
    live = [await said(recorder, PROMPT, hot) for _ in range(2)]
    replayed = replay(recorder, tmp_path)
    assert [await said(replayed, PROMPT, hot) for _ in range(3)] == [*live, live[-1]]


async def test_another_prompt_is_refused_with_the_place_where_it_differs(recorder: Recorder, tmp_path: Path) -> None:
    await said(recorder, [10, 99], SAMPLING)
    await said(recorder, PROMPT, SAMPLING)
    with pytest.raises(EngineError, match=r"\(line 3, 4 ids\) first differs at id 2: 31 here, 30 recorded"):
        await said(replay(recorder, tmp_path), [10, 20, 31], SAMPLING)


async def test_a_prompt_that_goes_on_differs_at_the_recorded_end(recorder: Recorder, tmp_path: Path) -> None:
    await said(recorder, PROMPT, SAMPLING)
    with pytest.raises(EngineError, match="at id 4: 50 here, the end recorded"):
        await said(replay(recorder, tmp_path), [*PROMPT, 50], SAMPLING)


async def test_other_sampling_is_refused_with_what_differs(recorder: Recorder, tmp_path: Path) -> None:
    await said(recorder, PROMPT, SAMPLING)
    with pytest.raises(
        EngineError, match=r"that of line 2, but with max_tokens 9 instead of 4, seed 5 instead of None"
    ):
        await said(replay(recorder, tmp_path), PROMPT, Sampling(max_tokens=9, stop_ids=(1, 2), logprobs=2, seed=5))


async def test_an_error_is_replayed(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(EngineRejected) as live:
        await said(recorder, [10**6], SAMPLING)
    with pytest.raises(EngineRejected) as replayed:
        await said(replay(recorder, tmp_path), [10**6], SAMPLING)
    assert str(replayed.value) == str(live.value)


async def test_a_prompt_too_long_is_refused_by_both(recorder: Recorder, tmp_path: Path) -> None:
    for engine in (recorder, replay(recorder, tmp_path)):
        with pytest.raises(ContextTooLong):
            await said(engine, [1] * 512, SAMPLING)


async def test_an_answer_that_was_left_replays_up_to_there(recorder: Recorder, tmp_path: Path) -> None:
    async with aclosing(recorder.generate(PROMPT, SAMPLING)) as deltas:
        first = await anext(deltas)
    replayed = replay(recorder, tmp_path).generate(PROMPT, SAMPLING)
    assert await anext(replayed) == first
    with pytest.raises(EngineError, match="left after 1 deltas"):
        await anext(replayed)


async def test_a_recording_is_never_overwritten(local: TransformersEngine, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    path.write_text("mine")
    with pytest.raises(EngineError, match="exists"):
        Recorder(local, path)
    assert path.read_text() == "mine"


async def test_a_place_that_cannot_be_written_is_named(local: TransformersEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be written"):
        Recorder(local, tmp_path / "no" / "folder.jsonl")


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "nonsense", '{"format": 1, "model": "m", "context_length": 9}\n{"x": 1}']
)
async def test_a_file_that_is_no_recording_is_refused(local: TransformersEngine, tmp_path: Path, text: str) -> None:
    path = tmp_path / "said.jsonl"
    path.write_text(text)
    with pytest.raises(EngineError, match=r"said\.jsonl, line [12] is no recording"):
        RecordedEngine(path, local.tokenizer)


async def test_a_recording_that_is_absent_is_named(local: TransformersEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"absent\.jsonl"):
        RecordedEngine(tmp_path / "absent.jsonl", local.tokenizer)
