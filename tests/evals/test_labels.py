"""What people said: the file it is kept in, and what several people say together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.evals.labels import Label, append_label, consensus, latest, read_labels
from arriero.evals.runs import DamagedRun

WORDS = st.builds(Label, st.sampled_from("abc"), st.sampled_from(["ana", "ben", "cara"]), st.sampled_from([0, 1, None]))
WITHDRAWN = st.builds(
    Label, st.sampled_from("abc"), st.sampled_from(["ana", "ben"]), st.none(), withdrawn=st.just(True)
)
HISTORIES = st.lists(WORDS | WITHDRAWN, max_size=20)


def test_what_was_said_is_read_again(tmp_path: Path) -> None:
    said = (Label("a", "ana", 1, 'a "note"\nof two lines', 12.5), Label("b", "ben", None), Label("ü\0", "ana", 0))
    append_label(tmp_path / "labels.jsonl", *said)
    assert read_labels(tmp_path / "labels.jsonl") == said
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 3


def test_where_nobody_said_anything_there_are_no_labels(tmp_path: Path) -> None:
    assert read_labels(tmp_path / "labels.jsonl") == ()


def test_the_last_word_of_each_person_holds(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    for value in (1, None, 0):
        append_label(path, Label("a", "ana", value))
    append_label(path, Label("a", "ben", 1))
    assert [(label.annotator, label.value) for label in read_labels(path)] == [("ana", 0), ("ben", 1)]


def test_a_withdrawn_word_was_never_said(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append_label(path, Label("a", "ana", 1))
    append_label(path, Label("a", "ana", None, withdrawn=True))
    assert read_labels(path) == ()


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_line_that_was_only_begun_is_passed_over_and_then_taken_away(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "labels.jsonl"
    append_label(path, Label("a", "ana", 1), Label("b", "ana", 0, "cut off"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert [label.item_id for label in read_labels(path)] == ["a"]
    append_label(path, Label("c", "ana", 1))
    assert [label.item_id for label in read_labels(path)] == ["a", "c"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_line_that_is_no_label_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append_label(path, Label("a", "ana", 1))
    with path.open("a") as file:
        file.write('{"item_id": "b", "annotator": "ana", "value": 2}\n')
    with pytest.raises(DamagedRun, match=r"labels\.jsonl:2: value"):
        read_labels(path)


def test_on_a_full_disk_all_or_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append_label(path, Label("a", "ana", 1))
    before = path.read_bytes()
    code = """
import resource, signal, sys
from arriero.evals.labels import Label, append_label
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
append_label(sys.argv[1], Label("b", "ana", 1), Label("c", "ana", 0))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(len(before) + 60)], capture_output=True, text=True, check=False
    )
    assert "DamagedRun" in done.stderr
    assert path.read_bytes() == before


def test_two_processes_that_label_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    code = """
import sys
from arriero.evals.labels import Label, append_label
for number in range(40):
    append_label(sys.argv[1], Label(str(number), sys.argv[2], number % 2))
"""
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("ana", "ben")]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(read_labels(path)) == 80


@given(HISTORIES)
def test_only_the_last_words_count_for_the_consensus(history: list[Label]) -> None:
    assert consensus(history) == consensus(latest(history))


@given(HISTORIES)
def test_each_item_that_somebody_labelled_is_settled_disputed_or_unsure(history: list[Label]) -> None:
    found = consensus(history)
    said = {label.item_id for label in latest(history)}
    assert sorted([*found.labels, *found.disputed, *found.unsure]) == sorted(said)
    assert sum(found.annotators.values()) == len(latest(history))


@given(HISTORIES, st.sampled_from([0, 1]))
def test_a_further_person_settles_what_is_disputed(history: list[Label], word: int) -> None:
    before = consensus(history)
    after = consensus([*history, *(Label(item, "dora", 1 if word else 0) for item in before.disputed)])
    assert after.disputed == ()
    assert all(after.labels[item] == word for item in before.disputed)
    assert all(after.labels[item] == value for item, value in before.labels.items())


@given(HISTORIES)
def test_whoever_cannot_say_decides_nothing(history: list[Label]) -> None:
    unsure = [Label(item, "dora", None) for item in "abc"]
    before, after = consensus(history), consensus([*history, *unsure])
    assert (after.labels, set(after.disputed)) == (before.labels, set(before.disputed))
