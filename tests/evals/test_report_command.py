"""`arriero eval report`, as a user types it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import pytest
from reported import items_of
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.data import write_items
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.labels import Label, append_label
from arriero.evals.reports import from_json
from arriero.evals.runs import read_subject
from arriero.evals.runs.judging import judge_subject


def report(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["eval", "report", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A file of answers, labelled by those who published them."""
    path = tmp_path / "answers.jsonl"
    write_items(path, items_of("begin")[:80])
    return path


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    path = tmp_path / "unlabelled.jsonl"
    lines = (json.loads(line) | {"label": None} for line in _lines(tmp_path))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def _lines(folder: Path) -> list[str]:
    whole = folder / "whole.jsonl"
    write_items(whole, items_of("begin")[:80])
    return whole.read_text("utf-8").splitlines()


def test_a_file_of_labelled_answers_is_judged_and_reported(answers: Path) -> None:
    code, out, err = report(answers)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith("Of 100 answers about ")
    assert "answers: flagged by the judge" in out
    assert "sensitivity" in out
    assert "\x1b" not in out
    assert [path.name for path in answers.parent.iterdir()] == ["answers.jsonl"]


def test_json_is_one_object_which_can_be_read_again(answers: Path) -> None:
    code, out, _ = report(answers, "--json")
    assert code == 0
    assert len(out.splitlines()) == 1
    found = from_json(out)
    assert (found.name, found.answers.judged, found.items) == ("answers", 80, ())
    assert len(from_json(report(answers, "--json", "--items")[1]).items) == 80


def test_a_page_and_markdown_are_written(answers: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    code, out, err = report(answers, "--markdown", "--html", page)
    assert code == 0
    assert out.startswith("### Hallucination: answers\n")
    assert "report.html has every answer" in err
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_the_upper_end_of_the_interval_decides_the_exit_code(answers: Path) -> None:
    corrected = from_json(report(answers, "--json")[1]).answers.corrected
    assert corrected is not None
    assert report(answers, "--fail-above", corrected.high + 0.001)[0] == 0
    code, out, err = report(answers, "--fail-above", (corrected.value + corrected.high) / 2)
    assert code == 1
    assert "Of 100 answers" in out
    assert "may be above" in err


def test_without_labels_there_is_no_rate_and_a_limit_fails(unlabelled: Path) -> None:
    code, out, _ = report(unlabelled)
    assert code == 0
    assert "There is no rate of hallucination." in out
    code, _, err = report(unlabelled, "--fail-above", 1)
    assert code == 1
    assert "no corrected rate" in err


def test_labels_that_were_chosen_are_corrected_otherwise_than_random_ones(unlabelled: Path) -> None:
    truth = [json.loads(line) for line in _lines(unlabelled.parent)]
    labels = read_subject(unlabelled).labels_path
    append_label(labels, *(Label(line["id"], "ana", line["label"]) for line in truth[::2]))
    random, chosen = (report(unlabelled, "--json", option)[1] for option in ("--random-labels", "--chosen-labels"))
    assert from_json(random).answers.correction == "PPI++"
    assert from_json(chosen).answers.correction == "Rogan-Gladen"


@dataclass(frozen=True)
class Sure:
    """A judge that flags everything."""

    name: str
    threshold: float = 0.5
    fingerprint: Mapping[str, object] = field(default_factory=dict)

    async def judge(self, items: Sequence[GroundingItem]) -> list[Judgement]:
        return [Judgement(item.id, self.name, 0.9) for item in items]


def test_judgements_that_are_there_are_taken_and_one_of_several_must_be_named(answers: Path) -> None:
    def judged(name: str) -> None:
        anyio.run(partial(judge_subject, read_subject(answers), Sure(name), progress=False))

    judged("first")
    found = from_json(report(answers, "--json")[1])
    assert found.judge["name"] == "first"
    assert found.answers.flagged is not None
    assert found.answers.flagged.value == 1
    judged("second")
    code, _, err = report(answers)
    assert code == 2
    assert "first, second" in err
    assert from_json(report(answers, "--json", "--judge", "second")[1]).judge["name"] == "second"
    assert from_json(report(answers, "--json", "--judge", "offline")[1]).judge["name"] == "offline"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--judge", "llama"), "has judged nothing here"),
        (("--markdown", "--json"), "leave --json out"),
        (("--items",), "give --json too"),
        (("--fail-above", "5"), "less than or equal to 1"),
    ],
)
def test_misuse_is_said_before_anything_is_judged(answers: Path, options: tuple[str, ...], why: str) -> None:
    code, out, err = report(answers, *options)
    assert (code, out) == (2, "")
    assert why in err


@pytest.mark.parametrize("wanted", [["--fail-above", "0.1"], ["--json"], ["--html", "report.html"]])
def test_a_run_that_nobody_judges_holds_no_limit_and_has_no_report(wanted: list[str]) -> None:
    done = CliRunner().invoke(app, ["eval", "run", "--limit", "1", "--judge", "none", *wanted])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "without a judge" in done.stderr


def test_standard_output_is_json_alone_where_a_limit_fails(unlabelled: Path, tmp_path: Path) -> None:
    code, out, err = report(unlabelled, "--json", "--html", tmp_path / "report.html", "--fail-above", 0.5)
    assert code == 1
    assert from_json(out).answers.corrected is None
    assert "no corrected rate" in err


def test_a_file_that_holds_no_answers_is_one_line_of_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": 1}\n')
    code, out, err = report(path)
    assert (code, out) == (1, "")
    assert "bad.jsonl:1" in err
