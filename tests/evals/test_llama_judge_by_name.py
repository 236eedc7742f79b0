"""Judges by the names that the command line takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.data import write_items
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judges.calibration import Calibration, InvalidCalibration
from arriero.evals.judges.choosing import JUDGES, check_judge, judge_named, opened_judge
from arriero.models import DEMO
from arriero.stack.errors import EngineUnavailable

pytestmark = pytest.mark.anyio

ITEMS = [
    GroundingItem("a", ("Mules are patient.",), "Mules fly.", doc_id="one", label=1),
    GroundingItem("b", ("Mules are patient.",), "Mules are patient.", doc_id="two", label=0),
]


async def test_a_llama_is_opened_by_its_folder() -> None:
    async with opened_judge(f"llama:{DEMO}") as judge:
        (found,) = await judge.judge(ITEMS[:1])
    assert judge.fingerprint["model"] == "arriero-demo"
    assert found.score is not None


async def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(EngineUnavailable, match="nothing answers"):
        async with opened_judge("llama:http://127.0.0.1:9/v1#some-model"):
            pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("magic", "there is no judge 'magic'"),
        ("llama:", "llama:MODEL"),
        ("offline:x", "write offline"),
        ("", "no judge"),
    ],
)
async def test_unknown_judges_are_refused(name: str, said: str) -> None:
    with pytest.raises(EvalError, match=said):
        check_judge(name)
    with pytest.raises(EvalError, match=said):
        async with opened_judge(name):
            pytest.fail("it was opened")


def test_every_name_is_known_and_a_llama_needs_an_engine() -> None:
    assert [check_judge(name) for name in JUDGES] == list(JUDGES)
    with pytest.raises(EvalError, match="needs an engine"):
        judge_named("llama")


async def test_a_calibration_makes_probabilities_of_its_own_judges_scores(tmp_path: Path) -> None:
    async with opened_judge("llama") as judge:
        plain = await judge.judge(ITEMS[:1])
        fitted = Calibration.fit([0.1, 0.9] * 15, [0, 1] * 15, judge=judge.fingerprint)
    file = tmp_path / "calibration.json"
    fitted.save(file)
    async with opened_judge("llama", calibration=file) as judge:
        found = await judge.judge(ITEMS[:1])
    assert [one.score for one in found] == [fitted.apply(one.score or 0.0) for one in plain]
    with pytest.raises(InvalidCalibration, match="another judge"):
        async with opened_judge("offline", calibration=file):
            pytest.fail("it was opened")


def test_the_command_judges_with_a_llama_and_warns_where_that_wrote_the_answers(tmp_path: Path) -> None:
    file, summary = tmp_path / "items.jsonl", tmp_path / "summary.json"
    write_items(file, [replace(ITEMS[0], model="arriero/Arriero-Demo"), ITEMS[1]])
    asked = ["eval", "judge", str(file), "--judge", "llama", "--json", "--claims", "--summary", str(summary)]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["a", "b"]
    assert all(line["claims"] for line in lines)
    assert "the judge is the model that it judges (arriero-demo)" in found.stderr
    assert json.loads(summary.read_text())["judges_its_own_answers"] == "arriero-demo"


def test_the_command_names_the_judges_it_knows(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    write_items(file, ITEMS)
    found = CliRunner().invoke(app, ["eval", "judge", str(file), "--judge", "magic"])
    assert found.exit_code == 2
    assert "lettucedetect" in found.output
