"""Putting questions to a system: once each, several at once, whatever fails."""

import json
import os
import signal
import sqlite3
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest
from asked_system import AskedSystem, questions

from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question, QuestionSet, Said
from arriero.evals.runs import RunFolder
from arriero.evals.runs.cache import AnswerCache, CacheUnusable
from arriero.evals.runs.running import RunStopped, run_system, sampled
from arriero.evals.systems.system import Answer

pytestmark = pytest.mark.anyio

run = partial(run_system, progress=False)
HERE = Path(__file__).parent


def errors(folder: RunFolder) -> dict[str, str | None]:
    return {answer.question_id: answer.error for answer in folder.answers().values()}


async def test_every_question_is_asked_once_and_several_at_once(tmp_path: Path) -> None:
    system = AskedSystem()
    folder = await run(tmp_path / "run", system, questions(*["?"] * 20), concurrency=5, seed=3)
    assert system.asked == {(f"q{number}", 3): 1 for number in range(20)}
    assert system.most_running == 5
    assert [answer.text for answer in folder.answered().answers] == [f"answer to q{n}" for n in range(20)]


async def test_each_repeat_has_a_seed_of_its_own(tmp_path: Path) -> None:
    system = AskedSystem()
    folder = await run(tmp_path / "run", system, questions("?", "?"), seed=3, repeats=3)
    assert set(system.asked) == {(id_, seed) for id_ in ("q0", "q1") for seed in (3, 4, 5)}
    assert [item.id for item in folder.items()] == ["q0", "q0#1", "q0#2", "q1", "q1#1", "q1#2"]


async def test_a_finished_run_asks_nothing(tmp_path: Path) -> None:
    system = AskedSystem()
    for _ in range(2):
        await run(tmp_path / "run", system, questions("?", "?"))
    assert system.asked.total() == 2


async def test_a_question_that_fails_is_recorded_and_asked_again_on_demand_alone(tmp_path: Path) -> None:
    asked = questions("?", "fail bug", "fail long", "?", "fail unavailable", "?")
    system = AskedSystem()
    folder = await run(tmp_path / "run", system, asked, concurrency=1)
    assert errors(folder) == {
        "q0": None,
        "q1": "KeyError: 'a bug of the system'",
        "q2": "ContextTooLong: " + errors(folder)["q2"].split(": ", 1)[1],  # type: ignore[union-attr]
        "q3": None,
        "q4": "EngineUnavailable: nothing answers there",
        "q5": None,
    }
    await run(tmp_path / "run", system, asked)
    assert system.asked.total() == 6
    await run(tmp_path / "run", system, asked, retry_errors=True)
    assert {id_ for (id_, _), times in system.asked.items() if times == 2} == {"q1", "q2", "q4"}


async def test_an_engine_that_is_gone_stops_the_run_which_goes_on_later(tmp_path: Path) -> None:
    system, asked = AskedSystem(), questions(*["?"] * 30)
    system.down = True
    with pytest.raises(RunStopped, match="EngineUnavailable: nothing answers there"):
        await run(tmp_path / "run", system, asked, concurrency=4)
    assert system.asked.total() < 12
    assert RunFolder.open(tmp_path / "run").answers() == {}
    system.down = False
    folder = await run(tmp_path / "run", system, asked)
    assert set(errors(folder).values()) == {None}


async def test_an_engine_that_goes_away_in_the_middle_leaves_what_was_answered(tmp_path: Path) -> None:
    system, asked = AskedSystem(), questions(*["?"] * 6, *["fail rejected"] * 6)
    with pytest.raises(RunStopped, match="3 questions in a row"):
        await run(tmp_path / "run", system, asked, concurrency=1)
    kept = RunFolder.open(tmp_path / "run").answers()
    assert [id_ for id_, _ in kept] == [f"q{number}" for number in range(6)]


async def test_even_one_question_tells_that_the_engine_is_gone(tmp_path: Path) -> None:
    system = AskedSystem()
    system.down = True
    with pytest.raises(RunStopped, match="1 questions in a row"):
        await run(tmp_path / "run", system, questions("?"))
    assert RunFolder.open(tmp_path / "run").answers() == {}


async def test_a_last_question_that_always_fails_does_not_keep_a_run_from_its_end(tmp_path: Path) -> None:
    asked = questions("?", "?", "fail unavailable")
    begun = RunFolder.create(tmp_path / "run", asked, system=AskedSystem().fingerprint)
    with begun.answering() as append:  # as a run that was killed before the last one
        append(Answer("q0", "Yes."), Answer("q1", "Yes."))
    folder = await run(tmp_path / "run", AskedSystem(), asked)
    assert errors(folder)["q2"] == "EngineUnavailable: nothing answers there"


async def test_a_cancelled_run_keeps_its_answers(tmp_path: Path) -> None:
    system = AskedSystem(go=tmp_path / "go")
    asked = questions("?", "?", "wait", "wait")
    with anyio.move_on_after(5) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(run, tmp_path / "run", system, asked))
            while system.asked.total() < 4 or system.running > 2:  # noqa: ASYNC110
                await anyio.sleep(0.005)
            group.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert system.running == 0
    (tmp_path / "go").touch()
    await run(tmp_path / "run", system, asked)
    assert {id_: times for (id_, _), times in system.asked.items()} == {"q0": 1, "q1": 1, "q2": 2, "q3": 2}


async def test_progress_counts_what_was_known_and_what_failed(tmp_path: Path) -> None:
    told: list[str] = []
    asked = questions("?", "fail bug", "?")
    await run(tmp_path / "run", AskedSystem(), asked, progress=lambda now: told.append(str(now)))
    await run(tmp_path / "run", AskedSystem(), asked, progress=lambda now: told.append(str(now)), retry_errors=True)
    assert (told[5], told[-1]) == ("3 of 3 done, 1 failed", "3 of 3 done, 1 failed, 2 known")


class Odd(AskedSystem):
    """Answers all questions in the same way, or raises the error."""

    def __init__(self, said: Answer | Exception) -> None:
        super().__init__()
        self._odd = said

    async def _answer(self, question: Question) -> Answer:
        if isinstance(self._odd, Exception):
            raise self._odd
        return self._odd


@pytest.mark.parametrize(
    "said",
    [
        Answer("?", "half \ud83d a pair", passages=(Passage("p\udcff", "\udcff"),)),
        Answer("?", "", calls=({"name": "look", "arguments": {"for": "\ud83d", "object": object()}},)),
        ValueError("a file \udcff cannot be read"),
    ],
)
async def test_what_no_file_can_hold_is_written_as_well_as_may_be(tmp_path: Path, said: Answer | Exception) -> None:
    folder = await run(tmp_path / "run", Odd(said), questions("?", "?"))
    answers = folder.answered().answers
    assert [answer.question_id for answer in answers] == ["q0", "q1"]
    assert "?" in "".join(map(str, (answers[0].text, answers[0].calls, answers[0].error)))


async def test_a_question_that_no_file_can_hold_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"'q0'.*half of a surrogate pair"):
        await run(tmp_path / "run", AskedSystem(), questions("What \ud83d?"))


async def test_an_answer_is_to_the_question_that_was_asked_whatever_it_says(tmp_path: Path) -> None:
    folder = await run(tmp_path / "run", Odd(Answer("another", "Yes.", repeat=7)), questions("?"))
    assert list(folder.answers()) == [("q0", 0)]


async def test_answers_of_the_cache_do_not_hide_that_the_engine_is_gone(tmp_path: Path) -> None:
    system, cache = AskedSystem(), tmp_path / "cache.sqlite"
    asked = questions(*[f"Question {number}?" for number in range(20)])
    await run(tmp_path / "half", system, QuestionSet("half", asked.questions[::2]), cache=cache)
    system.down = True
    with pytest.raises(RunStopped, match="3 questions in a row"):
        await run(tmp_path / "all", system, asked, cache=cache, concurrency=1)
    assert all(answer.cached for answer in RunFolder.open(tmp_path / "all").answers().values())


async def test_a_cache_that_cannot_be_written_loses_no_answer(tmp_path: Path) -> None:
    cache = tmp_path / "cache.sqlite"
    with AnswerCache(cache):
        pass
    database = sqlite3.connect(cache)
    database.execute("CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    database.close()
    with pytest.raises(CacheUnusable, match="disk is full"):
        await run(tmp_path / "run", AskedSystem(), questions("?", "?"), cache=cache, concurrency=1)
    assert [answer.text for answer in RunFolder.open(tmp_path / "run").answers().values()] == ["answer to q0"]


@pytest.mark.parametrize(("how", "problem"), [({"concurrency": 0}, "concurrency"), ({"repeats": 0}, "repeats")])
async def test_a_number_of_nothing_is_refused(tmp_path: Path, how: dict[str, int], problem: str) -> None:
    with pytest.raises(EvalError, match=problem):
        await run(tmp_path / "run", AskedSystem(), questions("?"), **how)


async def test_runs_share_what_was_asked_before(tmp_path: Path) -> None:
    system, cache = AskedSystem(), tmp_path / "cache.sqlite"
    await run(tmp_path / "first", system, questions("a?", "b?", "fail bug"), cache=cache)
    second = await run(tmp_path / "second", system, questions("b?", "a?", "fail bug", "c?"), cache=cache)
    assert system.asked.total() == 5  # what failed is no answer to share
    assert {a.question_id: a.cached for a in second.answers().values()} == {
        "q0": True,
        "q1": True,
        "q2": False,
        "q3": False,
    }


@pytest.mark.parametrize(
    "question",
    [
        Question("q", "Other?"),
        Question("q", "?", history=(Said("user", "before"),)),
        Question("q", "?", passages=(Passage("p", "text"),)),
    ],
)
def test_a_cached_answer_is_to_the_very_same_question(question: Question) -> None:
    system = AskedSystem()
    same = AnswerCache.key(system, Question("q", "?"), 0, 0)
    assert AnswerCache.key(system, Question("another id", "?"), 0, 0) == same
    others = {
        AnswerCache.key(system, question, 0, 0),
        AnswerCache.key(AskedSystem(model="n"), Question("q", "?"), 0, 0),
        AnswerCache.key(system, Question("q", "?"), 1, 0),
        AnswerCache.key(system, Question("q", "?"), 0, 1),
    }
    assert len({same, *others}) == 5


async def test_a_file_that_is_no_cache_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite").write_text("this is a letter, and no database at all")
    with pytest.raises(CacheUnusable, match="delete this one"):
        await run(tmp_path / "run", AskedSystem(), questions("?"), cache=tmp_path / "cache.sqlite")


def test_a_limit_draws_the_same_questions_in_their_order() -> None:
    asked = questions(*["?"] * 50)
    some = sampled(asked, 10, 1).questions
    assert [question.id for question in some] == sorted(
        (question.id for question in some), key=lambda id_: int(id_[1:])
    )
    assert sampled(asked, 10, 1).questions == some != sampled(asked, 10, 2).questions
    assert sampled(asked, None, 0) is asked
    with pytest.raises(EvalError, match="limit"):
        sampled(asked, 0, 0)


PROGRAM = """
import sys
from functools import partial
from pathlib import Path
import anyio
from asked_system import AskedSystem, questions
from arriero.evals.runs.running import run_system
home = Path(sys.argv[1])
system = AskedSystem(home / "asked", home / "go")
texts = ["?" if number % 3 else "wait" for number in range(30)]
anyio.run(partial(run_system, home / "run", system, questions(*texts), concurrency=4, progress=False))
"""


async def asked_until_killed(home: Path, answers: int, how: signal.Signals) -> list[str]:
    """Run the program until there are so many answers, and end it."""
    environment = os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    file = home / "run" / "answers.jsonl"
    async with await anyio.open_process([sys.executable, "-c", PROGRAM, str(home)], env=environment) as process:
        with anyio.fail_after(60):
            while not file.exists() or file.read_bytes().count(b"\n") < answers:  # noqa: ASYNC110
                await anyio.sleep(0.005)
            process.send_signal(how)
            await process.wait()
    return file.read_text().splitlines()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_a_run_that_was_killed_goes_on_and_asks_only_what_was_in_flight_again(
    tmp_path: Path, how: signal.Signals
) -> None:
    before = await asked_until_killed(tmp_path, 4, how)
    with (tmp_path / "run" / "answers.jsonl").open("a") as file:
        file.write('{"question_id": "q2", "te')  # as a write that the kill cut in two
    finished = {json.loads(line)["question_id"] for line in before}
    (tmp_path / "go").touch()
    system = AskedSystem(tmp_path / "asked", tmp_path / "go")
    texts = ["?" if number % 3 else "wait" for number in range(30)]
    folder = await run(tmp_path / "run", system, questions(*texts))
    lines = (tmp_path / "run" / "answers.jsonl").read_text().splitlines()
    assert lines[: len(before)] == before
    assert sorted(json.loads(line)["question_id"] for line in lines) == sorted(f"q{n}" for n in range(30))
    asked = (tmp_path / "asked").read_text().split()
    assert all(asked.count(id_) == 1 for id_ in finished)
    assert len(asked) <= 30 + 4
    assert len(folder.items()) == 30


def test_the_sha256_of_the_questions_is_in_the_record(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path / "a", questions("?"), system={}, file="asked.jsonl").head.questions
    second = RunFolder.create(tmp_path / "b", QuestionSet("s", (Question("q0", "!"),)), system={}).head.questions
    assert (first["file"], first["count"], len(first["sha256"])) == ("asked.jsonl", 1, 64)
    assert first["sha256"] != second["sha256"]
