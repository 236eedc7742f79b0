"""`arriero eval compare` and `arriero eval size`, as a user types them."""

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.data import read_items, write_items
from arriero.evals.judges.offline import OfflineJudge
from arriero.evals.runs import read_subject
from arriero.evals.runs.judging import judge_subject

SET = Path(__file__).parents[1] / "data" / "grounding" / "mtrag_human.jsonl.xz"
LLAMA, REFERENCE = "llama-3.1-405b-instruct", "reference"


def arriero(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


compare = partial(arriero, "compare")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Answers of three systems to the same questions; half the questions have labels, chosen at random."""
    items = read_items(SET)
    tasks = sorted({str(item.extra["task_id"]) for item in items})
    known = set(random.Random(0).sample(tasks, len(tasks) // 2))
    path = tmp_path / "answers.jsonl"
    write_items(path, [item if item.extra["task_id"] in known else replace(item, label=None) for item in items])
    return path


def test_systems_of_one_file_are_told_apart_by_model_and_paired_by_a_field() -> None:
    code, out, err = compare(f"{SET}@{REFERENCE}", f"{SET}@{LLAMA}", "--pair", "task_id", "--by", "labels")
    assert code == 0
    assert err.startswith("105 questions of 14 documents: a difference shows from about")
    assert f"{LLAMA} is worse than {REFERENCE}" in out
    assert "+12.4 points" in out
    assert "The pairs are of 14 documents only" in out


def test_it_fails_a_pipeline_where_a_candidate_is_worse_or_nothing_is_decided() -> None:
    names = f"{SET}@{REFERENCE}", f"{SET}@{LLAMA}", "--pair", "task_id", "--by", "labels"
    code, _, err = compare(*names, "--fail-if-worse")
    assert (code, err.endswith(f"failed: {LLAMA} is worse")) == (1, True)
    assert compare(*reversed(names[:2]), *names[2:], "--fail-if-worse")[0] == 0
    several = compare(names[0], names[1], f"{SET}@gpt-4o", *names[2:], "--fail-if-undecided")
    assert (several[0], "is undecided" in several[2]) == (1, True)


def test_the_judges_flags_are_corrected_by_pairs_that_have_labels(answers: Path) -> None:
    names = f"{answers}@{REFERENCE}", f"{answers}@{LLAMA}", "--pair", "task_id"
    code, out, _ = compare(*names, "--random-labels", "--json")
    assert code == 0
    (found,) = json.loads(out)["comparisons"]
    assert (found["by"], found["labelled"]) == ("judge", 52)
    assert found["corrected"]["method"] == "PPI++"
    assert found["corrected"]["low"] < 0.124 < found["corrected"]["high"]
    assert found["judge"]["name"] == "offline"
    (chosen,) = json.loads(compare(*names, "--json")[1])["comparisons"]
    assert chosen["corrected"] is None
    assert "no random sample" in chosen["refused"]


def test_judgements_that_are_kept_decide_and_others_are_not_made_up(answers: Path) -> None:
    anyio.run(partial(judge_subject, read_subject(answers), OfflineJudge(), progress=False))
    names = f"{answers}@{REFERENCE}", f"{answers}@{LLAMA}", "--pair", "task_id"
    code, out, _ = compare(*names)
    assert (code, out.startswith("By the judge's flags alone: ")) == (0, True)
    code, _, err = compare(*names, "--judge", "llama")
    assert (code, "llama has judged nothing here" in err) == (2, True)


def test_it_writes_a_page_markdown_and_pairs(tmp_path: Path) -> None:
    names = f"{SET}@{REFERENCE}", f"{SET}@{LLAMA}", "--pair", "task_id", "--by", "labels"
    page = tmp_path / "page.html"
    code, out, err = compare(*names, "--html", page, "--markdown")
    assert (code, "has every pair" in err) == (0, True)
    assert "| " in out
    assert "<!doctype html>" in page.read_text("utf-8")[:100].lower()
    whole = json.loads(compare(*names, "--json", "--items")[1])["comparisons"][0]
    assert len(whole["pairs"]) == 105
    for wrong in (("--items",), ("--json", "--markdown")):
        assert compare(*names, *wrong)[0] == 2


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    code, _, err = compare(f"{SET}@{REFERENCE}", f"{SET}@{LLAMA}", "--by", "labels")
    assert (code, "name the field that pairs them" in err) == (1, True)
    code, _, err = compare(f"{SET}@{REFERENCE}", f"{SET}@mule")
    assert (code, "there are gpt-4o, llama-3.1-405b-instruct, reference" in err) == (2, True)
    code, _, err = compare(tmp_path / "nothing", tmp_path / "nothing")
    assert (code, "there is no" in err) == (1, True)


def test_sizes_are_told_in_words_and_as_json() -> None:
    code, out, _ = arriero("size", "--rate", "0.127", "--width", "0.1")
    assert code == 0
    assert "171 with no judge" in out
    _, out, _ = arriero("size", "--difference", "0.05", "--flipped", "0.15", "--json")
    assert json.loads(out)["items_for_difference"] == 469
    _, out, _ = arriero("size", "--items", "300", "--labels", "100", "--per-document", "5", "--candidates", "2")
    assert "2 systems against one baseline" in out
    assert "300 questions show in 8 of 10 such studies a difference" in out
    assert arriero("size", "--rate", "1.5")[0] == 2
