"""The folder of a run: what it keeps, what it refuses, what survives."""

import json
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from asked_system import AskedSystem, questions
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.calibrating import Plan, write_plan
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem, Passage, Question, QuestionSet, Said
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, append_label
from arriero.evals.runs import (
    DamagedRun,
    NoRun,
    RunBusy,
    RunDiffers,
    RunFolder,
    judge_run,
    judge_subject,
    read_subject,
)
from arriero.evals.runs.evaluating import evaluate_subject, labels_of
from arriero.evals.runs.lines import Lines
from arriero.evals.runs.running import run_system
from arriero.evals.systems.system import Answer

pytestmark = pytest.mark.anyio

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def made(path: Path, *answers: Answer, count: int = 2, repeats: int = 1) -> RunFolder:
    run = RunFolder.create(path, questions(*["?"] * count), system={"model": "m"}, repeats=repeats)
    with run.answering() as append:
        append(*answers)
    return run


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(Answer, TEXT, TEXT, passages=st.tuples(st.builds(Passage, TEXT, TEXT)), error=TEXT)))
def test_lines_give_back_what_was_appended(tmp_path_factory: pytest.TempPathFactory, answers: list[Answer]) -> None:
    lines = Lines(tmp_path_factory.mktemp("lines") / "answers.jsonl", Answer)
    for answer in answers:
        with lines.appending() as append:
            append(answer)
    assert lines.read() == answers


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200))
def test_a_file_that_was_cut_anywhere_keeps_its_whole_lines_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    lines = Lines(tmp_path_factory.mktemp("lines") / "answers.jsonl", Answer)
    with lines.appending() as append:
        append(*(Answer(f"q{number}", "text") for number in range(5)))
    whole = lines.path.read_bytes()
    left = whole[: max(0, len(whole) - cut)]
    lines.path.write_bytes(left)
    kept = left.count(b"\n")
    assert [one.question_id for one in lines.read()] == [f"q{number}" for number in range(kept)]
    with lines.appending() as append:
        append(Answer("new", "text"))
    assert [one.question_id for one in lines.read()] == [*(f"q{number}" for number in range(kept)), "new"]


def test_a_line_that_is_no_answer_is_named(tmp_path: Path) -> None:
    run = made(tmp_path / "run", Answer("q0", "yes"))
    with (run.path / "answers.jsonl").open("a") as file:
        file.write('{"question_id": "q1", "text": 3}\n')
    with pytest.raises(DamagedRun, match=r"answers\.jsonl:2: text: "):
        run.answers()


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    with run.answering(), pytest.raises(RunBusy, match="another process"), RunFolder.open(run.path).answering():
        pass


def test_a_run_comes_back_with_everything_that_was_asked(tmp_path: Path) -> None:
    question = Question(
        "a",
        "And then?",
        history=(Said("user", "First?"), Said("assistant", "Hay.")),
        answers=("oats",),
        gold_ids=("p",),
        answerable=True,
        doc_id="d",
        kind="k",
        passages=(Passage("p", "text", "title"),),
        extra={"level": 3},
    )
    RunFolder.create(tmp_path / "run", QuestionSet("s", (question,)), system={"model": "m"}, seed=7)
    run = RunFolder.open(tmp_path / "run")
    assert run.questions == {"a": question}
    assert (run.head.seed, run.head.system, run.name) == (7, {"model": "m"}, "run")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"system": {"model": "m", "prompt": {"sha256": "b"}}}, r'system\.prompt\.sha256 "a" where it is "b" now'),
        ({"seed": 1}, "seed 0 where it is 1 now"),
        ({"repeats": 2}, "repeats 1 where it is 2 now"),
        ({"questions": questions("other?")}, "questions "),
    ],
)
def test_going_on_with_something_else_is_refused_by_name(tmp_path: Path, change: dict[str, object], named: str) -> None:
    before: dict[str, object] = {
        "questions": questions("?"),
        "system": {"model": "m", "prompt": {"sha256": "a"}},
        "seed": 0,
        "repeats": 1,
    }
    RunFolder.create(tmp_path, **before)  # type: ignore[arg-type]
    RunFolder.create(tmp_path, **before)  # type: ignore[arg-type]  the same goes on
    with pytest.raises(RunDiffers, match=named):
        RunFolder.create(tmp_path, **before | change)  # type: ignore[arg-type]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(NoRun, match=r"letter\.txt"):
        RunFolder.create(tmp_path, questions("?"), system={})
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_that_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"id": "ha')
    with pytest.raises(NoRun, match="holds no run"):
        RunFolder.open(tmp_path)
    assert list(RunFolder.create(tmp_path, questions("?"), system={}).questions) == ["q0"]


def test_questions_that_were_changed_in_the_folder_are_noticed(tmp_path: Path) -> None:
    run = made(tmp_path / "run", Answer("q0", "yes"))
    file = run.path / "questions.jsonl"
    file.write_text(file.read_text().replace("q1", "q9"))
    with pytest.raises(DamagedRun, match=r"questions\.jsonl is not what was asked"):
        RunFolder.open(run.path)


def test_of_those_who_make_one_folder_with_different_questions_one_wins(tmp_path: Path) -> None:
    def make(number: int) -> str | None:
        try:
            RunFolder.create(tmp_path / "run", questions(*["?"] * number), system={})
        except RunDiffers:
            return None
        return f"q{number - 1}"

    with ThreadPoolExecutor(8) as threads:
        made_by = [id_ for id_ in threads.map(make, range(1, 33)) if id_ is not None]
    (winner,) = made_by
    assert list(RunFolder.open(tmp_path / "run").questions)[-1] == winner


@pytest.mark.parametrize(
    ("ids", "repeats", "problem"),
    [((), 1, "no question"), (("a", "a"), 1, "'a' is there twice"), (("a", "a#1"), 2, "'a#1' is there twice")],
)
def test_questions_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, ids: tuple[str, ...], repeats: int, problem: str
) -> None:
    asked = QuestionSet("s", tuple(Question(id_, "?") for id_ in ids))
    with pytest.raises(EvalError, match=problem):
        RunFolder.create(tmp_path, asked, system={}, repeats=repeats)


def test_answers_are_in_the_order_of_the_questions_and_the_last_one_counts(tmp_path: Path) -> None:
    run = made(
        tmp_path / "run",
        Answer("q1", "b", repeat=1),
        Answer("q0", "", error="down"),
        Answer("q1", "a"),
        Answer("q0", "again"),
        repeats=2,
    )
    assert [(one.question_id, one.repeat, one.text) for one in run.answered().answers] == [
        ("q0", 0, "again"),
        ("q1", 0, "a"),
        ("q1", 1, "b"),
    ]
    assert [item.id for item in run.items()] == ["q0", "q1", "q1#1"]


def test_answers_that_failed_are_no_items(tmp_path: Path) -> None:
    run = made(tmp_path / "run", Answer("q0", "", error="down"), Answer("q1", ""))
    assert [item.id for item in run.items()] == ["q1"]
    assert len(run.answered().answers) == 2


class Lengths:
    """A judge: long answers are hallucinated. It counts what it judged."""

    name, threshold = "lengths", 0.5

    def __init__(self, version: int = 1) -> None:
        self.fingerprint = {"version": version}
        self.judged: list[str] = []
        self.fails_on: set[str] = set()

    async def judge(self, items: list[GroundingItem]) -> list[Judgement]:
        self.judged += [item.id for item in items]
        return [
            Judgement(item.id, self.name, None, failed="no")
            if item.id in self.fails_on
            else Judgement(item.id, self.name, min(1.0, len(item.response) / 10))
            for item in items
        ]


async def test_items_are_judged_once_by_each_version_of_a_judge(tmp_path: Path) -> None:
    run = made(tmp_path / "run", Answer("q0", "short"), Answer("q1", "long " * 9))
    first, second = Lengths(), Lengths(2)
    for judge in (first, first, second, first):
        judging = await judge_run(run, judge, progress=False)
        assert {id_: said.score for id_, said in judging.judgements.items()} == {"q0": 0.5, "q1": 1.0}
        assert read_subject(run.path).judgings["lengths"] == judging
    assert (first.judged, second.judged) == (["q0", "q1"], ["q0", "q1"])
    assert run.judgements("lengths").keys() == {"q0", "q1"}


async def test_an_answer_that_changed_is_judged_again(tmp_path: Path) -> None:
    run, judge = made(tmp_path / "run", Answer("q0", "short"), Answer("q1", "other")), Lengths()
    await judge_run(run, judge, progress=False)
    with run.answering() as append:
        append(Answer("q0", "something else"))
    assert run.judgements("lengths").keys() == {"q1"}
    await judge_run(run, judge, progress=False)
    assert judge.judged == ["q0", "q1", "q0"]
    assert run.judgements("lengths")["q0"].score == 1.0


async def test_what_a_judge_failed_on_is_kept_and_judged_again_on_demand(tmp_path: Path) -> None:
    run, judge = made(tmp_path / "run", Answer("q0", "short"), Answer("q1", "other")), Lengths()
    judge.fails_on = {"q1"}
    assert (await judge_run(run, judge, progress=False)).judgements["q1"].failed == "no"
    judge.fails_on = set()
    assert (await judge_run(run, judge, progress=False)).judgements["q1"].failed == "no"
    again = await judge_run(run, judge, progress=False, retry_failed=True)
    assert (again.judgements["q1"].score, judge.judged) == (0.5, ["q0", "q1", "q1"])


async def test_a_judge_that_forgets_items_is_refused(tmp_path: Path) -> None:
    class Forgetful(Lengths):
        async def judge(self, items: list[GroundingItem]) -> list[Judgement]:
            return (await super().judge(items))[1:]

    run = made(tmp_path / "run", Answer("q0", "short"), Answer("q1", "other"))
    with pytest.raises(EvalError, match="not one for each of 2"):
        await judge_run(run, Forgetful(), progress=False)


@contextmanager
def disk_with(bytes_free: int) -> Iterator[None]:
    """Let no file grow above so many bytes, as on a full disk: what was begun may be written in part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("free", [0, 300, 900, 1500, 1540, 1575])
async def test_a_full_disk_at_any_moment_is_a_typed_error_and_the_same_run_goes_on(tmp_path: Path, free: int) -> None:
    asked, judge = questions(*["?"] * 30), Lengths()

    async def all_of_it() -> None:
        folder = await run_system(tmp_path / "run", AskedSystem(), asked, progress=False)
        await judge_run(folder, judge, progress=False)

    with disk_with(free), pytest.raises((NoRun, DamagedRun)):
        await all_of_it()
    await all_of_it()
    run = RunFolder.open(tmp_path / "run")
    assert len((run.path / "answers.jsonl").read_text().splitlines()) == len(run.items()) == 30
    with disk_with((run.path / "judgements.lengths.jsonl").stat().st_size + 50), pytest.raises(DamagedRun):
        await judge_run(run, Lengths(2), progress=False)
    assert len((await judge_run(run, Lengths(2), progress=False)).judgements) == 30


async def test_a_file_of_items_is_a_subject_with_labels_and_judgements_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "answers [1].jsonl"
    file.write_text(
        "".join(json.dumps({"id": f"i{n}", "context": ["c"], "response": "r", "label": n}) + "\n" for n in (0, 1))
    )
    subject = read_subject(file)
    assert ([item.label for item in subject.items], subject.questions, subject.answers) == ([0, 1], None, None)
    append_label(subject.labels_path, Label("i0", "ana", 1))
    await judge_subject(subject, Lengths(), progress=False)
    again = read_subject(file)
    assert [label.value for label in again.labels] == [1]
    assert again.judgings["lengths"].judgements.keys() == {"i0", "i1"}
    assert set(os.listdir(tmp_path)) == {
        "answers [1].jsonl",
        "answers [1].jsonl.labels.jsonl",
        "answers [1].jsonl.judgements.lengths.jsonl",
    }


def test_what_is_no_subject_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="there is no"):
        read_subject(tmp_path / "nothing")
    with pytest.raises(NoRun, match=r"run\.json"):
        read_subject(tmp_path)


def test_an_answer_is_an_item_of_its_question(tmp_path: Path) -> None:
    asked = QuestionSet("s", (replace(questions("?").questions[0], doc_id="d", kind="k"),))
    run = RunFolder.create(tmp_path / "run", asked, system={"model": "llama"})
    with run.answering() as append:
        append(Answer("q0", "text", passages=(Passage("p", "one"), Passage("q", "two"))))
    (item,) = run.items()
    assert (item.context, item.doc_id, item.model, item.extra["kind"]) == (("one", "two"), "d", "llama", "k")


def labelled_file(folder: Path, labels: list[int | None]) -> Path:
    """A file of items with these labels."""
    file = folder / "items.jsonl"
    rows = [{"id": f"i{n}", "context": ["c"], "response": "r", "label": label} for n, label in enumerate(labels)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_labels_of_people_replace_those_that_items_came_with(tmp_path: Path) -> None:
    file = labelled_file(tmp_path, [0, 1, None])
    append_label(read_subject(file).labels_path, Label("i0", "ana", 1), Label("i2", "ana", 0), Label("i1", "ana", None))
    assert labels_of(read_subject(file)) == ({"i0": 1, "i2": 0}, False)


def test_labels_are_a_random_sample_where_all_are_labelled_or_a_calibration_chose_them(tmp_path: Path) -> None:
    file = labelled_file(tmp_path, [0, 1, 0])
    assert labels_of(read_subject(file)) == ({"i0": 0, "i1": 1, "i2": 0}, True)
    write_plan(file, Plan(0, ("i2", "i1"), 3, 2, 3))
    assert labels_of(read_subject(file)) == ({"i1": 1, "i2": 0}, True)


async def test_retrieval_is_measured_over_as_many_passages_as_are_retrieved(tmp_path: Path) -> None:
    asked = QuestionSet("s", (Question("q0", "?", gold_ids=("p",), answerable=True),))
    run = RunFolder.create(tmp_path / "run", asked, system={"index": {"k": 2}})
    with run.answering() as append:
        append(Answer("q0", "text", passages=tuple(Passage(id_, "one") for id_ in ("a", "b", "p")), refused=False))
    judging = await judge_run(run, Lengths(), progress=False)
    found = evaluate_subject(read_subject(run.path), judging)
    assert found.retrieval is not None
    assert (found.retrieval.k, found.retrieval.recall.value) == (2, 0.0)
    assert evaluate_subject(read_subject(run.path), judging, k=3).retrieval.recall.value == 1.0  # type: ignore[union-attr]
