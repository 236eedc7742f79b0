"""A question set from one's own documents: written by a model, reviewed by a person."""

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from drafting_model import drafts
from typer.testing import CliRunner

from arriero import Stack
from arriero.cli import app
from arriero.evals.data import read_documents, read_questions
from arriero.evals.data.drafting import ANSWERED, NEAR_MISS, Drafted, draft_questions
from arriero.evals.data.review import accept_review, write_review
from arriero.evals.data.wording import tells
from arriero.evals.errors import EvalError, InvalidData
from arriero.evals.items import Passage, Question, QuestionSet
from arriero.stack.errors import EngineInterrupted, EngineUnavailable
from arriero.testing import Say, scripted_stack
from arriero.testing.stack import ScriptedStack
from arriero.tools.knowledge import SAMPLE_DOCUMENTS

pytestmark = pytest.mark.anyio

HANDBOOK = read_documents(SAMPLE_DOCUMENTS)


async def drafted(stack: ScriptedStack, count: int = 12, unanswerable: float = 0.25, seed: int = 0) -> Drafted:
    async with stack:
        return await draft_questions(
            stack, HANDBOOK, count=count, unanswerable=unanswerable, seed=seed, name="handbook", progress=False
        )


async def test_questions_are_spread_over_the_documents_and_name_their_passages() -> None:
    stack = scripted_stack(drafts())
    made = await drafted(stack, 12)
    asked = made.questions.questions
    assert (len(asked), made.tried, dict(made.dropped)) == (12, 12, {})
    documents = [question.doc_id for question in asked]
    assert {documents.count(document) for document in documents} == {2}
    answered = [question for question in asked if question.answerable]
    assert len(answered) == 9
    for question in answered:
        (passage,) = (made.questions.corpus[id_] for id_ in question.gold_ids)
        assert passage.text == question.extra["quote"]
        assert tells(passage.text, question.answers[0])
        assert (question.kind, question.extra["reviewed"], question.extra["written_by"]) == (
            ANSWERED,
            False,
            "scripted",
        )
    assert all(sampling.grammar is not None for sampling in stack.engine.samplings)


async def test_unanswerable_questions_have_a_near_miss_in_the_corpus_and_their_passage_is_not_there() -> None:
    made = await drafted(scripted_stack(drafts()), 16, 0.5)
    missed = [question for question in made.questions.questions if not question.answerable]
    assert len(missed) == len(made.withheld) == 8
    assert set(made.questions.corpus) == set(HANDBOOK) - set(made.withheld)
    for question in missed:
        near = made.questions.corpus[question.near_miss_ids[0]]
        assert near.id.split("#")[0] == question.doc_id
        assert not tells(near.text, str(question.extra["withheld_answer"]))
        assert (question.answers, question.gold_ids, question.kind) == ((), (), NEAR_MISS)
    assert any("index the corpus that is written" in note for note in made.notes)


async def test_the_same_seed_gives_the_same_set_and_another_one_another() -> None:
    one, same, other = [await drafted(scripted_stack(drafts()), seed=seed) for seed in (1, 1, 2)]
    assert one == same
    assert [q.question for q in one.questions.questions] != [q.question for q in other.questions.questions]


FAULTS: dict[str, Callable[[dict[str, str]], dict[str, str] | str | Say]] = {
    "it is no question": lambda draft: draft | {"question": "Mules?"},
    "there is no answer": lambda draft: draft | {"answer": " "},
    "the question speaks of the passage": lambda draft: draft | {"question": "What does the passage say of mules?"},
    "the quote is not in the passage": lambda draft: draft | {"quote": "Mules fly."},
    "the answer is not in the passage": lambda draft: draft | {"answer": "quite another thing"},
    "the question gives the answer away": lambda draft: draft | {"question": f"Is it really {draft['answer']}?"},
    "the question is about something else": lambda draft: draft | {"question": "Who wrote Don Quixote?"},
    "the answer had not the form of a draft": lambda draft: "I cannot.",
    "the request failed (EngineInterrupted)": lambda draft: Say("{", fault=EngineInterrupted("gone")),
}


@pytest.mark.parametrize("what", FAULTS)
async def test_a_draft_with_a_fault_is_counted_and_another_passage_taken(what: str) -> None:
    bad = {passage.text for passage in list(HANDBOOK.values())[::3]}
    stack = scripted_stack(drafts(lambda draft: FAULTS[what](draft) if draft["quote"] in bad else draft))
    made = await drafted(stack, 15)
    assert len(made.questions.questions) == 15
    assert made.tried == 15 + made.dropped[what]
    assert made.dropped[what] > 0
    assert set(made.dropped) == {what}
    assert not any(question.extra["quote"] in bad for question in made.questions.questions)


async def test_another_model_does_not_take_the_drafts_of_the_first(tmp_path: Path) -> None:
    for model in ("one", "other"):
        stack = scripted_stack(drafts(), model=model, log=tmp_path / "drafts.sqlite")
        made = await drafted(stack, 2)
        assert len(stack.engine.requests) == 2
        assert {question.extra["written_by"] for question in made.questions.questions} == {model}


async def test_a_question_is_asked_once() -> None:
    stack = scripted_stack(drafts(lambda draft: draft | {"question": "What is the one thing of which it is told?"}))
    passages = {f"d#{n}": Passage(f"d#{n}", f"The thing of Old Dost is {n} years.") for n in range(4)}
    async with stack:
        made = await draft_questions(stack, passages, count=3, unanswerable=0, progress=False)
    assert len(made.questions.questions) == 1
    assert dict(made.dropped) == {"the question was asked before": 3}
    assert made.notes == ("1 questions in place of 3: the question was asked before (3)",)


async def test_an_answer_of_the_wrong_form_is_asked_for_once_more() -> None:
    forms = iter(["no draft", None])

    stack = scripted_stack(drafts(lambda draft: next(forms) or draft))
    made = await drafted(stack, 1, 0)
    assert (len(made.questions.questions), made.tried, len(stack.engine.requests)) == (1, 1, 2)


async def test_an_engine_that_is_gone_is_an_error() -> None:
    with pytest.raises(EngineUnavailable, match="nobody there"):
        await drafted(scripted_stack(drafts(lambda _: Say(fault=EngineUnavailable("nobody there")))), 3)


async def test_work_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "drafts.sqlite"
    seen: list[str] = []
    scope = anyio.CancelScope()

    def breaks_off(draft: dict[str, str]) -> dict[str, str]:
        seen.append(draft["question"])
        if len(seen) == 6:
            scope.cancel()
        return draft

    one_by_one = partial(draft_questions, passages=HANDBOOK, count=12, concurrency=1, progress=False)
    async with scripted_stack(drafts(breaks_off), log=log) as stack:
        with scope:
            await one_by_one(stack)
    assert scope.cancelled_caught
    async with scripted_stack(drafts(), log=log) as stack:
        made = await one_by_one(stack)
        assert len(stack.engine.requests) == 12 - 5
    async with scripted_stack(drafts()) as stack:
        assert made == await one_by_one(stack)


async def test_the_bundled_model_is_held_to_the_form_of_a_draft_and_its_nonsense_is_refused() -> None:
    passages = {"inns.md#1": HANDBOOK["inns.md#1"]}
    async with Stack.local() as stack:
        with pytest.raises(EvalError, match="the model wrote no usable question about 1 passages: ") as caught:
            await draft_questions(stack, passages, count=1, progress=False)
    assert "form" not in str(caught.value)


@pytest.mark.parametrize(("count", "unanswerable"), [(0, 0.1), (3, 1.0), (3, -0.1)])
async def test_numbers_out_of_range_are_refused(count: int, unanswerable: float) -> None:
    with pytest.raises(EvalError, match="give 1 or more, and 0 to below 1"):
        await drafted(scripted_stack(), count, unanswerable)


async def test_documents_without_enough_text_are_refused() -> None:
    async with scripted_stack() as stack:
        with pytest.raises(EvalError, match="no passage has 5 words or more"):
            await draft_questions(stack, {"a": Passage("a", "Too short.")}, progress=False)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


async def test_a_review_keeps_corrects_and_rejects(tmp_path: Path) -> None:
    made = await drafted(scripted_stack(drafts()), 12)
    path = tmp_path / "handbook.review.csv"
    write_review(path, made.questions)
    rows = table(path)
    missed = [row for row in rows if row["answerable"] == "no"]
    answered = [row for row in rows if row["answerable"] == "yes"]
    assert all(row["near_miss"] and row["passage"] and row["answer"] for row in missed)
    for row in rows:
        row["keep"] = "yes"
    missed[0]["keep"], answered[0]["keep"], answered[1]["keep"] = "No", "n", ""
    answered[2] |= {"question": "How is it called?", "answer": "otherwise"}
    fill(path, rows)
    reviewed = accept_review(path, made.questions)
    assert (reviewed.kept, reviewed.corrected, reviewed.rejected, reviewed.undecided) == (9, 1, 2, 1)
    left = {question.id: question for question in reviewed.questions.questions}
    assert left[answered[2]["id"]].question == "How is it called?"
    assert left[answered[2]["id"]].answers == ("otherwise",)
    assert all(question.extra["reviewed"] for question in left.values())
    back = set(reviewed.questions.corpus) - set(made.questions.corpus)
    assert [HANDBOOK[id_].text for id_ in back] == [missed[0]["passage"]]


async def test_every_bad_line_of_a_review_is_named(tmp_path: Path) -> None:
    made = await drafted(scripted_stack(drafts()), 4, 0)
    path = tmp_path / "handbook.review.csv"
    write_review(path, made.questions)
    rows = table(path)
    rows[0]["keep"], rows[1]["id"], rows[3]["id"] = "perhaps", "other", rows[2]["id"]
    rows[2] |= {"keep": "yes", "question": " ", "answerable": "no"}
    fill(path, rows)
    with pytest.raises(InvalidData) as caught:
        accept_review(path, made.questions)
    for expected in (
        ":2: keep: is 'perhaps'; write yes or no, or nothing",
        ":3: id: 'other' is no question of the set",
        ":4: question: is blank",
        ":4: answerable: was changed, which needs other passages; write no to keep",
        ":5: id: 'handbook-003' was there before",
    ):
        assert expected in str(caught.value)


async def test_a_review_without_a_column_is_refused(tmp_path: Path) -> None:
    made = await drafted(scripted_stack(drafts()), 2, 0)
    path = tmp_path / "handbook.review.csv"
    path.write_text("id,question\nhandbook-001,?\n")
    with pytest.raises(InvalidData, match="has no column keep, answer, answerable; the header has id, question"):
        accept_review(path, made.questions)


async def test_a_review_survives_a_spreadsheet_that_writes_semicolons_and_empty_rows(tmp_path: Path) -> None:
    made = await drafted(scripted_stack(drafts()), 4, 0)
    path = tmp_path / "handbook.review.csv"
    write_review(path, made.questions)
    rows = [row | {"keep": "Yes"} for row in table(path)]
    fill(path, [*rows, dict.fromkeys(rows[0], "")], delimiter=";")
    assert (accept_review(path, made.questions).kept, accept_review(path, made.questions).corrected) == (4, 0)


@pytest.mark.parametrize("text", ["=HYPERLINK(A1)", "+1 metres", "-5 degrees", "@sum"])
def test_no_text_of_a_model_or_a_document_is_a_formula_to_a_spreadsheet(tmp_path: Path, text: str) -> None:
    asked = Question("a", text, answers=(text,), gold_ids=("p",), answerable=True)
    questions = QuestionSet("set", (asked,), {"p": Passage("p", text)})
    write_review(tmp_path / "set.review.csv", questions)
    (row,) = table(tmp_path / "set.review.csv")
    assert row["question"] == row["answer"] == row["passage"] == f"'{text}"
    fill(tmp_path / "set.review.csv", [row | {"keep": "x"}])
    reviewed = accept_review(tmp_path / "set.review.csv", questions)
    assert (reviewed.questions.questions[0].question, reviewed.corrected) == (text, 0)


def arriero(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


async def written_before(log: Path) -> None:
    """Drafts of a good model under the name of the bundled one: the command finds them in its log."""
    async with scripted_stack(drafts(), model="arriero-demo", log=log) as stack:
        await draft_questions(stack, HANDBOOK, count=8, name="handbook", progress=False)


@pytest.fixture
def handbook(tmp_path: Path) -> Path:
    """Where the command writes questions; its log has the drafts of another process."""
    anyio.run(written_before, tmp_path / "handbook.log.sqlite")
    return tmp_path / "handbook.jsonl"


def test_the_command_writes_questions_corpus_and_review_and_accepts_the_review(handbook: Path) -> None:
    code, out, err = arriero("eval", "new", SAMPLE_DOCUMENTS, "--out", handbook, "--questions", 8, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["questions"], said["answerable"], said["unanswerable"], said["dropped"]) == (8, 6, 2, {})
    assert "8 of 8 done, 8 known" in err
    beside = {"handbook.jsonl", "handbook.corpus.jsonl", "handbook.review.csv"}
    assert {path.name for path in handbook.parent.iterdir()} == beside
    asked = read_questions(handbook)
    assert len(asked.corpus) == len(HANDBOOK) - 2

    review = handbook.with_name("handbook.review.csv")
    rows = table(review)
    for row in rows[1:]:
        row["keep"] = "yes"
    rows[0]["keep"] = "no"
    fill(review, rows)
    reviewed = handbook.with_name("reviewed.jsonl")
    code, out, err = arriero("eval", "new", "--accept", review, "--out", reviewed)
    assert (code, out) == (0, f"7 questions in {reviewed}; 7 kept, 0 corrected, 1 rejected, 0 undecided\n")
    assert [question.id for question in read_questions(reviewed).questions] == [row["id"] for row in rows[1:]]


def test_files_that_are_left_out_are_named(handbook: Path, tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    shutil.copytree(SAMPLE_DOCUMENTS, documents)
    for number in range(7):
        (documents / f"minutes{number}.docx").write_bytes(b"PK")
    code, _, err = arriero("eval", "new", documents, "--out", handbook, "--questions", 8)
    assert code == 0, err
    assert "without text: minutes0.docx" in err
    assert "minutes4.docx and 2 more" in err


def test_the_command_says_what_to_do_next(handbook: Path) -> None:
    code, out, _ = arriero("eval", "new", SAMPLE_DOCUMENTS, "--out", handbook, "--questions", 8)
    assert code == 0
    assert f"8 questions in {handbook}: 6 answerable, 2 not; 8 passages tried" in out
    assert "nobody has reviewed them" in out
    assert f"arriero eval new --accept {handbook.with_name('handbook.review.csv')}" in out


def test_a_review_that_keeps_nothing_is_a_failure(handbook: Path) -> None:
    arriero("eval", "new", SAMPLE_DOCUMENTS, "--out", handbook, "--questions", 8)
    review = handbook.with_name("handbook.review.csv")
    code, _, err = arriero("eval", "new", "--accept", review, "--out", handbook.with_name("reviewed.jsonl"))
    assert code == 1
    assert "keeps no question" in err
    assert not handbook.with_name("reviewed.jsonl").exists()


def test_the_command_makes_trials_of_robustness(tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "data" / "questions" / "xquad_en"
    command = ("eval", "new", "--from", source, "--questions", 7, "--out", tmp_path / "hard.jsonl", "--json")
    code, out, err = arriero(*command, "--robustness", "noise, contradiction")
    assert code == 0, err
    assert json.loads(out)["questions"] == {"noise": 7, "contradiction": 7}
    assert len(read_questions(tmp_path / "hard.jsonl").questions) == 14


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one of DOCUMENTS, --accept and --robustness"),
        (("DOCS", "--robustness", "noise", "--from", "FILE"), "not DOCUMENTS and --robustness"),
        (("--robustness", "noise"), "--robustness and --from go together"),
        (("DOCS", "--from", "FILE"), "--robustness and --from go together"),
        (("--robustness", "heat", "--from", "FILE"), "there is no trial heat"),
        (("--accept", "FILE"), "are missing beside it"),
        (("DOCS", "--questions", "0"), "greater than or equal to 1"),
    ],
)
def test_misuse_is_told(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "FILE").write_text("")
    (tmp_path / "DOCS").mkdir()
    there = [str(tmp_path / part) if part in ("FILE", "DOCS") else part for part in arguments]
    code, _, err = arriero("eval", "new", *there, "--out", tmp_path / "out.jsonl")
    assert code == 2
    assert said in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", ["out.jsonl", "out.review.csv", "out.corpus.jsonl"])
def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    code, _, err = arriero("eval", "new", SAMPLE_DOCUMENTS, "--out", tmp_path / "out.jsonl")
    assert code == 2
    assert "is there already" in " ".join(err.replace("│", " ").split())
    assert (tmp_path / name).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_questions_of_another_kind_of_file_are_misuse(tmp_path: Path) -> None:
    code, _, err = arriero("eval", "new", SAMPLE_DOCUMENTS, "--out", tmp_path / "out.json")
    assert code == 2
    assert "must end in .jsonl" in " ".join(err.replace("│", " ").split())


def test_bad_questions_are_one_line_and_exit_code_one(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"id": "a"}\n[]\n')
    made = ("--robustness", "noise", "--out", tmp_path / "out.jsonl")
    code, _, err = arriero("eval", "new", "--from", tmp_path / "bad.jsonl", *made)
    assert code == 1
    assert "bad.jsonl:1: question: is missing" in err
    assert err.count("\n") == 1
