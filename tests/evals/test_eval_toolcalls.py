"""`arriero eval toolcalls` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from arriero.cli import app
from arriero.evals.toolcalls import SAMPLE, read_tool_items


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", "toolcalls", *map(str, arguments)])


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """One question that wants a call, and one that wants none."""
    chosen = ("simple_2", "irrelevance_2")
    kept = [line for line in SAMPLE.read_text("utf-8").splitlines() if json.loads(line)["id"] in chosen]
    file = tmp_path / "few.jsonl"
    file.write_text("\n".join(kept), encoding="utf-8")
    return file


def test_prompts_are_compared_and_a_second_call_goes_on_from_what_was_answered(few: Path, tmp_path: Path) -> None:
    brief = tmp_path / "brief.txt"
    brief.write_text("Use the tools. Be brief.\n", encoding="utf-8")
    options = (few, "--system", "-", "--system", brief, "--out", tmp_path / "run", "--json")
    first = run(*options)
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert [one["name"] for one in told["variants"]] == ["plain", "brief"]
    assert told["variants"][1]["system"]["prompting"]["system"] == "Use the tools. Be brief."
    assert told["variants"][0]["measures"]["right"]["n"] == 2
    assert told["comparisons"][0]["conclusion"] == "undecided"
    assert "2 items are too few" in first.stderr
    assert len((tmp_path / "run" / "plain" / "answers.jsonl").read_text("utf-8").splitlines()) == 2
    again = run(*options)
    assert json.loads(again.stdout) == told
    assert len((tmp_path / "run" / "plain" / "answers.jsonl").read_text("utf-8").splitlines()) == 2


def test_recorded_answers_are_scored_without_a_model(tmp_path: Path) -> None:
    items = read_tool_items(SAMPLE)
    rows = []
    for item in items:
        messages = [
            [{"name": name, "arguments": {key: values[0] for key, values in arguments.items()}}]
            for step in item.steps
            for call in step.accepted
            for name, arguments in call.items()
        ]
        rows.append({"id": item.id, "messages": messages})
    rows[0]["messages"] = []
    file = tmp_path / "recorded.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = run("--answers", file)
    assert done.exit_code == 0, done.output
    assert "98.3 %" in done.stdout  # 59 of 60
    assert "0 without an answer" in done.stdout
    table = run("--answers", file, "--markdown").stdout
    assert table.startswith("### Tool calls: sample")
    assert "| all steps right | 100.0 % |" in table


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--markdown", "--json"), 2, "give one of them"),
        (("--quantization", "int3"), 2, "give one of bf16, int8, int4"),
        (("--quantization", "int8", "--url", "http://localhost:1/v1"), 2, "a server chooses it itself"),
        (("--system", "/no/such/file"), 2, "cannot be read"),
        (("/no/such/file",), 2, "does not exist"),
        (("--grammar", "maybe"), 2, "maybe"),
    ],
)
def test_misuse_is_told(arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert said in " ".join(done.output.replace("│", " ").split())


def test_a_bad_file_is_one_error_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"id": "a"}\n', encoding="utf-8")
    done = run(file)
    assert done.exit_code == 1
    assert "bad.jsonl:1: tools is absent" in done.stderr
