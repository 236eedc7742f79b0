"""What people said, as a judge says it; and on the command line."""

import json
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from labelling_server import mules
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.calibrating import choose, write_plan
from arriero.evals.data import write_items
from arriero.evals.human import HumanJudge, judged_by_people
from arriero.evals.items import GroundingItem, Span
from arriero.evals.judgement import Judge, Judgement
from arriero.evals.labels import Label, append_label
from arriero.evals.runs import judge_subject, read_subject
from arriero.evals.runs.evaluating import evaluate_subject


def judged(judge: Judge, *items: GroundingItem) -> list[Judgement]:
    return anyio.run(judge.judge, items)


def arriero(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process: exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """90 answers without labels, a third of them hallucinated."""
    file = tmp_path / "answers.jsonl"
    write_items(file, [replace(item, label=None) for item in mules(90)])
    return file


def label(file: Path, ids: list[str], *names: str) -> None:
    truth = {item.id: item.label for item in mules(90)}
    append_label(f"{file}.labels.jsonl", *(Label(id_, name, truth[id_]) for id_ in ids for name in names))


def test_most_people_decide_and_what_is_not_settled_fails() -> None:
    labels = [Label("mule-0", "ana", 1, "no llamas"), Label("mule-0", "ben", 1), Label("mule-0", "cara", 0, "fine")]
    labels += [
        Label("mule-1", "ana", 0),
        Label("mule-2", "ana", 0),
        Label("mule-2", "ben", 1),
        Label("mule-3", "ana", None),
    ]
    said = judged(HumanJudge(labels), *(replace(item, label=None) for item in mules(5)))
    assert [one.score for one in said] == [1.0, 0.0, None, None, None]
    assert said[0].reasons == ("ana: no llamas",)
    assert [one.failed for one in said[2:]] == [
        "people differ on it: a further person has to settle it",
        "nobody could say",
        "nobody labelled it",
    ]


def test_labels_that_items_came_with_count_where_nobody_said_otherwise() -> None:
    item = replace(mules(1)[0], spans=(Span(0, 4),))
    (alone,) = judged(HumanJudge(), item)
    assert (alone.score, alone.spans) == (1.0, (Span(0, 4),))
    (other,) = judged(HumanJudge([Label(item.id, "ana", 0)]), item)
    assert (other.score, other.spans) == (0.0, ())
    (unsure,) = judged(HumanJudge([Label(item.id, "ana", None)]), item)
    assert unsure.failed == "nobody could say"
    (withdrawn,) = judged(HumanJudge([Label(item.id, "ana", 0), Label(item.id, "ana", None, withdrawn=True)]), item)
    assert withdrawn.score == 1.0


def test_judgements_that_are_kept_are_made_anew_when_somebody_says_more(answers: Path) -> None:
    label(answers, ["mule-0"], "ana")
    for count in (1, 2):
        subject = read_subject(answers)
        found = anyio.run(judge_subject, subject, HumanJudge(subject.labels))
        assert sum(one.score is not None for one in found.judgements.values()) == count
        label(answers, ["mule-1"], "ben")


def test_what_was_said_of_items_that_were_not_chosen_does_not_count(answers: Path) -> None:
    plan = choose(read_subject(answers).items, 40)
    write_plan(answers, plan)
    label(answers, list(plan.ids), "ana")
    before = evaluate_subject(read_subject(answers), anyio.run(judged_by_people, read_subject(answers)))
    wrong = [item.id for item in mules(90) if item.label and item.id not in plan.ids]
    label(answers, wrong, "ana")
    after = evaluate_subject(read_subject(answers), anyio.run(judged_by_people, read_subject(answers)))
    assert after.answers == before.answers
    assert after.answers.correction == "labels only"
    assert after.answers.quality is None
    assert any(caveat.startswith("People settled 40 of 90 items.") for caveat in after.caveats)


def test_a_report_of_what_people_said_of_all_needs_no_other_judge(answers: Path) -> None:
    label(answers, [item.id for item in mules(90)], "ana", "ben")
    code, out, told = arriero("report", answers, "--judge", "human", "--json")
    assert code == 0, told
    found = json.loads(out)
    assert (found["judge"]["name"], found["judge"]["annotators"]) == ("human", ["ana", "ben"])
    assert found["answers"]["corrected"]["value"] == pytest.approx(1 / 3)
    assert not Path(f"{answers}.judgements.human.jsonl").exists()


def test_labels_of_some_that_nobody_drew_at_random_give_no_rate(answers: Path) -> None:
    label(answers, [item.id for item in mules(90) if item.label], "ana")
    code, out, _ = arriero("report", answers, "--judge", "human", "--fail-above", "0.9")
    assert code == 1
    assert "There is no rate of hallucination." in out
    assert "30 of 90 items have labels, which are no random sample" in " ".join(out.split())
    code, out, _ = arriero("report", answers, "--judge", "human", "--random-labels", "--json")
    assert json.loads(out)["answers"]["correction"] == "labels only"


def test_two_systems_are_compared_by_what_people_said(answers: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    write_items(other, [replace(item, label=None) for item in mules(90)])
    ids = [item.id for item in mules(90)][:60]
    label(answers, ids, "ana")
    append_label(f"{other}.labels.jsonl", *(Label(id_, "ben", 0) for id_ in ids))
    code, out, told = arriero("compare", answers, other, "--judge", "human", "--json")
    assert code == 0, told
    (found,) = json.loads(out)["comparisons"]
    assert (found["by"], found["conclusion"], found["labelled"], found["failed"]) == ("labels", "better", 60, 30)
    assert arriero("compare", answers, other, "--judge", "human", "--by", "judge")[0] == 2


@pytest.mark.parametrize("command", ["judge", "calibrate"])
def test_people_are_not_asked_by_the_commands_that_ask_judges(answers: Path, command: str) -> None:
    code, _, told = arriero(command, answers, "--judge", "human")
    assert code == 2
    assert "arriero eval label" in " ".join(told.replace("│", " ").split())
