"""`arriero eval judge`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arriero.cli import app
from arriero.evals.data.grounding import read_items, write_items

DATA = Path(__file__).parents[1] / "data" / "grounding" / "mtrag_human.jsonl.xz"


def arriero(*arguments: object, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Run the command in this process: exit code, standard output, standard error."""
    done = CliRunner().invoke(app, ["eval", "judge", *map(str, arguments)], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Items with nothing but what is needed."""
    rows = [
        {"id": "b", "context": ["Mules are patient animals."], "response": "Mules are patient animals."},
        {"id": "a", "context": ["Mules are patient animals."], "response": "Camels drank 12 coffees in Norway."},
        {"id": "c", "context": ["Mules are patient animals."], "response": ""},
        {"id": "d", "context": ["..."], "response": "Mules fly."},
    ]
    file = tmp_path / "bare.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_each_item_is_one_line_in_the_order_of_the_file(bare: Path) -> None:
    code, shown, told = arriero(bare, "--judge", "offline", "--json")
    assert code == 0
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [line["id"] for line in lines] == ["b", "a", "c", "d"]
    assert all({"id", "score", "spans", "reasons"} <= set(line) for line in lines)
    assert lines[0]["score"] < 0.5 < lines[1]["score"]
    assert lines[1]["spans"]
    assert set(lines[1]["spans"][0]) == {"start", "end", "label"}
    assert 'numbers that the passages lack: "12"' in lines[1]["reasons"]
    assert (lines[2]["score"], lines[3]["score"]) == (0.0, None)
    assert "no words" in lines[2]["caveat"]
    assert "passages" in lines[3]["failed"]
    assert "3 items judged, 1 failed; 1 flagged by the judge" in told
    assert "no rate of hallucination" in told
    assert "AUROC" not in told
    assert sorted(path.name for path in bare.parent.iterdir()) == ["bare.jsonl"]


def test_labels_are_measured_with_intervals_by_document(tmp_path: Path) -> None:
    code, shown, told = arriero(DATA, "--json", "--summary", tmp_path / "summary.json")
    assert code == 0
    assert len(shown.splitlines()) == 315
    measured = json.loads((tmp_path / "summary.json").read_text())["sets"]["mtrag_human"]
    assert measured["items"] == 315
    assert measured["auroc"]["method"] == "cluster bootstrap"
    assert measured["auroc"]["low"] < measured["auroc"]["value"] < measured["auroc"]["high"]
    assert f"AUROC {measured['auroc']['value']:.3f}" in told


def test_labels_of_one_class_are_not_measured_and_it_says_why(tmp_path: Path) -> None:
    write_items(tmp_path / "one.jsonl", [item for item in read_items(DATA) if item.label == 0][:5])
    code, _, told = arriero(tmp_path / "one.jsonl", "--json")
    assert code == 0
    assert "not measured: all 5 labels are 0" in told


def test_items_come_from_standard_input_too(bare: Path) -> None:
    assert arriero("-", "--json", stdin=bare.read_bytes())[:2] == arriero(bare, "--json")[:2]


def test_claims_are_written_where_they_are_asked_for(bare: Path) -> None:
    _, shown, _ = arriero(bare, "--json", "--claims")
    claims = json.loads(shown.splitlines()[1])["claims"]
    assert [claim["verdict"] for claim in claims] == ["not_mentioned"]
    assert claims[0]["text"] == "Camels drank 12 coffees in Norway."


def test_people_get_the_highest_first(bare: Path) -> None:
    code, shown, _ = arriero(bare)
    assert code == 0
    assert [line.split()[1] for line in shown.splitlines()[:3]] == ["a", "b", "c"]
    assert "no rate of hallucination" in shown


def test_judgements_are_kept_where_that_is_asked_for_and_taken_up_again(bare: Path) -> None:
    first = arriero(bare, "--keep", "--json")
    kept = bare.with_name("bare.jsonl.judgements.offline.jsonl")
    size = kept.stat().st_size
    assert arriero(bare, "--keep", "--json")[1] == first[1] == arriero(bare, "--json")[1]
    assert kept.stat().st_size == size


def test_bad_lines_are_told_before_anything_is_judged(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"id": "a", "context": ["x"], "response": "y"}\n{"id": "b", "response": 7}\nno json\n')
    for arguments, stdin in (((file,), None), (("-",), file.read_bytes())):
        code, shown, told = arriero(*arguments, "--json", stdin=stdin)
        assert (code, shown) == (1, "")
        assert "jsonl:2: " in told or "stdin:2: " in told
        assert "jsonl:3: " in told or "stdin:3: " in told


@pytest.mark.parametrize(
    ("arguments", "what"),
    [(("nowhere.jsonl",), "there is no nowhere.jsonl"), ((DATA, "--judge", "oracle"), "no judge 'oracle'")],
)
def test_misuse_ends_with_2(arguments: tuple[object, ...], what: str) -> None:
    code, shown, told = arriero(*arguments)
    assert (code, shown) == (2, "")
    assert what in " ".join(told.replace("│", " ").split())
