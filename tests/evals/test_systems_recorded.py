"""Recorded answers as the system under test."""

import json
from pathlib import Path

import pytest

from arriero.evals.errors import InvalidData
from arriero.evals.items import Passage, Question
from arriero.evals.systems.recorded import RecordedSystem
from arriero.evals.systems.system import Answer

pytestmark = pytest.mark.anyio

CORPUS = {"p1": Passage("p1", "Mules eat hay.", "mules.md")}


async def first(path: Path, question: Question | None = None) -> Answer:
    return await RecordedSystem(path, corpus=CORPUS).answer(question or Question("a", "?"))


@pytest.mark.parametrize(
    ("row", "passages"),
    [
        ({"id": "a", "answer": "Hay [1]."}, [("own", "the question's own")]),
        ({"question_id": "a", "response": "Hay [1].", "context": ["Mules eat hay."]}, [("p1", "Mules eat hay.")]),
        ({"id": "a", "text": "Hay [1].", "passages": ["p1"]}, [("p1", "Mules eat hay.")]),
        ({"id": "a", "answer": "Hay [1].", "passages": [{"id": "p1"}]}, [("p1", "Mules eat hay.")]),
        ({"id": "a", "answer": "Hay [1].", "passages": [{"id": "x", "text": "Other."}]}, [("x", "Other.")]),
        ({"id": "a", "answer": "Hay [1].", "contexts": []}, []),
    ],
)
async def test_lines_of_several_shapes_are_read(
    tmp_path: Path, row: dict[str, object], passages: list[tuple[str, str]]
) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps(row))
    answer = await first(file, Question("a", "?", passages=(Passage("own", "the question's own"),)))
    assert answer.text == "Hay [1]."
    assert [(passage.id, passage.text) for passage in answer.passages] == passages
    assert answer.cited == tuple(id_ for id_, _ in passages)


async def test_a_csv_is_read(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text('id,answer,context\na,"The documents do not say.","[""one"", ""two""]"\nb,Hay,just one text\n')
    system = RecordedSystem(file)
    refused, other = [await system.answer(Question(id_, "?")) for id_ in ("a", "b")]
    assert (refused.refused, [passage.text for passage in refused.passages]) == (True, ["one", "two"])
    assert (other.refused, [passage.text for passage in other.passages]) == (False, ["just one text"])


async def test_a_missing_answer_is_an_error_of_its_question(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "b", "answer": "Hay."}')
    answer = await first(file)
    assert answer.error == "answers.jsonl has no answer with this id"
    assert RecordedSystem(file).ids == {"b"}


def test_all_bad_lines_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    lines = ['{"id": "a", "answer": "x"}', '{"id": "a", "answer": "y"}', '{"answer": "z"}', '{"id": "c"}', "oops"]
    lines += ['{"id": "d", "answer": "w", "passages": [3]}']
    file.write_text("\n".join(lines))
    with pytest.raises(InvalidData) as caught:
        RecordedSystem(file)
    for line, field in ((2, "id: 'a' is there twice"), (3, "id"), (4, "answer"), (5, "is no JSON"), (6, "passages")):
        assert f"answers.jsonl:{line}: {field}" in str(caught.value)


def test_a_file_that_changed_is_another_system(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    prints = []
    for text in ("Hay.", "Oats."):
        file.write_text(json.dumps({"id": "a", "answer": text}))
        prints.append(RecordedSystem(file).fingerprint)
    assert prints[0] != prints[1]


def test_a_file_and_what_its_ids_stand_for_make_the_record(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"id": "a", "answer": "Hay.", "passages": ["p1"]}')
    other = {"p1": Passage("p1", "Mules eat oats.", "mules.md")}
    prints = [RecordedSystem(file, corpus=corpus).fingerprint for corpus in (CORPUS, CORPUS, other)]
    assert prints[0] == prints[1] != prints[2]
    file.write_text('{"id": "a", "answer": "Oats.", "passages": ["p1"]}')
    assert RecordedSystem(file, corpus=CORPUS).fingerprint != prints[0]
