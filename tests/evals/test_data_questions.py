"""Questions, corpora and folders of documents: what is read, and what is said of those that break the rules."""

import json
import os
import sys
from pathlib import Path

import pytest

from arriero.evals.data import (
    SAMPLES,
    left_out,
    read_corpus,
    read_documents,
    read_folder,
    read_items,
    read_questions,
    sample,
    write_questions,
)
from arriero.evals.errors import EvalError, InvalidData
from arriero.evals.items import Passage, Question, QuestionSet, Said
from arriero.tools.knowledge import SAMPLE_DOCUMENTS
from arriero.tools.passages import read_passages

sys.path.append(str(Path(__file__).parent.parent / "tools" / "web"))

from pdfs import pdf

TESTS = Path(__file__).parent.parent
QUESTIONS = TESTS / "data" / "questions"


def rows(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


@pytest.mark.parametrize(
    ("name", "questions", "answerable", "passages", "documents"),
    [
        ("clapnq_dev", 600, 300, 596, 590),
        ("xquad_en", 1190, 1190, 240, 48),
        ("mtrag_un", 507, 332, 1152, 502),
        ("covidqa", 1235, 1235, 2157, 92),
    ],
)
def test_the_shared_sets_are_whole(name: str, questions: int, answerable: int, passages: int, documents: int) -> None:
    found = read_questions(QUESTIONS / name)
    assert found.name == name
    assert (len(found.questions), len(found.corpus)) == (questions, passages)
    assert sum(question.answerable is True for question in found.questions) == answerable
    assert len({question.doc_id for question in found.questions}) == documents


def test_what_is_written_is_read_again_with_its_corpus(tmp_path: Path) -> None:
    corpus = {"p": Passage("p", "It is 2140 metres.", "Passes"), "q": Passage("q", "It snows.")}
    given = Passage("own", "Mules eat hay.")
    questions = (
        Question("a", "How high?", answers=("2140 metres",), gold_ids=("p",), answerable=True, doc_id="d", kind="k"),
        Question("b", "And then?", history=(Said("user", "How high?"), Said("assistant", "High.")), doc_id="d"),
        Question("c", "What do they eat?", passages=(given,), gold_ids=("own",), answerable=True, doc_id="own"),
        Question("e", "Why?", near_miss_ids=("q",), answerable=False, doc_id="e", extra={"note": [1, None]}),
    )
    asked = QuestionSet("pass", questions, corpus)
    write_questions(tmp_path / "pass.jsonl.xz", asked)
    assert read_questions(tmp_path / "pass.jsonl.xz") == asked
    assert (tmp_path / "pass.corpus.jsonl.xz").is_file()


def test_what_follows_from_the_other_fields_is_filled_in(tmp_path: Path) -> None:
    rows(tmp_path / "corpus.jsonl", {"id": "p", "text": "x", "title": "Passes"}, {"id": "q", "text": "y"})
    path = rows(
        tmp_path / "queries.jsonl",
        {"id": 1, "question": "?", "gold_ids": ["p"], "domain": "hills"},
        {"id": 2, "question": "?", "gold_ids": ["q"]},
        {"id": 3, "question": "?", "history": [{"role": "agent", "content": "Yes."}], "answerable": False},
    )
    one, two, three = read_questions(path).questions
    assert (one.id, one.answerable, one.doc_id, one.kind) == ("1", True, "Passes", "hills")
    assert (two.doc_id, three.doc_id, three.answerable) == ("q", "3", False)
    assert three.history == (Said("assistant", "Yes."),)
    assert read_questions(tmp_path).name == tmp_path.name


def test_ids_may_be_numbers(tmp_path: Path) -> None:
    rows(tmp_path / "corpus.jsonl", {"id": 1, "text": "x"})
    given = [{"id": 2, "text": "y"}]
    path = rows(
        tmp_path / "asked.jsonl", {"id": 3, "question": "?", "gold_ids": [1], "near_miss_ids": [2], "passages": given}
    )
    (question,) = read_questions(path).questions
    assert (question.id, question.gold_ids, question.near_miss_ids) == ("3", ("1",), ("2",))
    assert question.passages == (Passage("2", "y"),)


@pytest.mark.parametrize("name", ["pass.jsonl", "pass.v2.jsonl", "pass.v2.jsonl.gz"])
def test_a_corpus_is_found_beside_its_questions_whatever_their_name(tmp_path: Path, name: str) -> None:
    asked = QuestionSet(name.split(".jsonl")[0], (Question("a", "?", doc_id="a"),), {"p": Passage("p", "x")})
    write_questions(tmp_path / name, asked)
    assert read_questions(tmp_path / name) == asked


def test_questions_without_a_corpus_may_name_passages_of_the_system(tmp_path: Path) -> None:
    path = rows(tmp_path / "asked.jsonl", {"id": "a", "question": "?", "gold_ids": ["theirs"]})
    assert read_questions(path).corpus == {}


def test_every_bad_line_of_questions_is_named(tmp_path: Path) -> None:
    rows(tmp_path / "corpus.jsonl", {"id": "p", "text": "x"})
    path = rows(
        tmp_path / "asked.jsonl",
        {"id": "a", "question": " "},
        {"id": "b", "question": "?", "gold_ids": ["p", "none"], "near_miss_ids": ["1", "2", "3", "4"]},
        {"id": "b", "question": "?"},
        {"id": "c", "question": "?", "history": [{"role": "robot", "text": "Beep."}]},
        {"id": "d", "question": "?", "passages": [{"id": "z", "text": ""}]},
        {"id": "e", "query": "?"},
        {"id": "f", "question": "?", "passages": [{"id": "z", "text": "x"}, {"id": "z", "text": "y"}]},
    )
    with pytest.raises(InvalidData) as caught:
        read_questions(path)
    for expected in (
        "7 lines are wrong",
        f"{path}:1: question: is blank",
        f"{path}:2: gold_ids: the corpus has no passage 'none'",
        f"{path}:2: near_miss_ids: the corpus has no passage '1', '2', '3' and 1 more",
        f"{path}:3: id: 'b' was there before",
        f"{path}:4: history[0].role: input should be 'user' or 'assistant'",
        f"{path}:5: passages[0].text: is blank",
        f"{path}:6: question: is missing; the line has 'id', 'query'",
        f"{path}:7: passages[1].id: 'z' was there before",
    ):
        assert expected in str(caught.value)


def test_every_bad_line_of_a_corpus_is_named(tmp_path: Path) -> None:
    path = rows(
        tmp_path / "corpus.jsonl", {"id": "p", "text": " "}, {"id": "q", "text": "y"}, {"id": "q", "text": "z"}, {}
    )
    with pytest.raises(InvalidData) as caught:
        read_corpus(path)
    for expected in (":1: text: is blank", ":3: id: 'q' was there before", ":4: id: is missing; the line has nothing"):
        assert f"{path}{expected}" in str(caught.value)


def test_questions_and_passages_are_read_from_csv(tmp_path: Path) -> None:
    (tmp_path / "corpus.csv").write_text("id,text\np,It is high.\n")
    path = tmp_path / "asked.csv"
    path.write_text(
        'id,question,answers,gold_ids,answerable,note\n1,How high?,"[""very"", ""high""]",p,,\n2,Why?,,,no,x\n'
    )
    first, second = read_questions(path).questions
    assert first == Question("1", "How high?", answers=("very", "high"), gold_ids=("p",), answerable=True, doc_id="p")
    assert (second.answerable, second.answers, second.extra) == (False, (), {"note": "x"})


def test_a_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="holds no questions; write them to"):
        read_questions(tmp_path)


def test_documents_of_every_kind_become_passages(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.md").write_text("Not this.")
    (tmp_path / "deep" / "mules.md").write_text("# Mules #\n\nMules eat\nhay.\n\n## More\n\nThey rest.\n")
    (tmp_path / "plain.txt").write_text("# no heading\n\nText.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "deep" / "empty.md").write_text("# Nothing\n")
    page = "<p>The Salda Pass is 2140 metres high and open from May to October each year.</p>"
    (tmp_path / "page.html").write_text(
        f"<html><head><title>Passes</title></head><body><main>{page}</main></body></html>"
    )
    (tmp_path / "paper.pdf").write_bytes(pdf("The Morun Pass is 1875 metres high.", title="A paper"))
    passages = read_documents(tmp_path)
    assert left_out(tmp_path, passages) == ("deep/empty.md", "picture.png")
    assert {passage.id: (passage.title, passage.text) for passage in passages.values()} == {
        "deep/mules.md#1": ("Mules", "Mules eat hay."),
        "deep/mules.md#2": ("Mules", "They rest."),
        "page.html#1": ("Passes", "The Salda Pass is 2140 metres high and open from May to October each year."),
        "paper.pdf#1": ("A paper", "The Morun Pass is 1875 metres high."),
        "plain.txt#1": ("", "# no heading"),
        "plain.txt#2": ("", "Text."),
    }


def test_long_paragraphs_are_cut_where_sentences_end(tmp_path: Path) -> None:
    sentences = [f"Sentence number {number} is about mules, hay, passes and snow." for number in range(60)]
    (tmp_path / "long.md").write_text(" ".join(sentences))
    texts = [passage.text for passage in read_documents(tmp_path).values()]
    assert " ".join(texts) == " ".join(sentences)
    assert max(map(len, texts)) <= 1000
    assert all(text.endswith(".") for text in texts)


@pytest.mark.parametrize("word", ["word ", "無", "骡子吃干草。"])
def test_no_passage_is_too_long_whatever_its_language(tmp_path: Path, word: str) -> None:
    (tmp_path / "long.txt").write_text(word * 3000)
    texts = [passage.text for passage in read_documents(tmp_path).values()]
    assert "".join("".join(texts).split()) == "".join((word * 3000).split())
    assert max(map(len, texts)) <= 1000
    assert min(map(len, texts[:-1])) > 900


def test_passages_of_a_folder_are_those_that_agents_search() -> None:
    ours = [(passage.id.split("#")[0], passage.text) for passage in read_documents(SAMPLE_DOCUMENTS).values()]
    assert ours == [(passage.file, passage.text) for passage in read_passages(SAMPLE_DOCUMENTS)]


def test_documents_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "broken.pdf").write_bytes(b"no pdf")
    (tmp_path / "good.md").write_text("Good.")
    with pytest.raises(InvalidData) as caught:
        read_documents(tmp_path)
    assert "2 documents cannot be read" in str(caught.value)
    assert f"{tmp_path / 'latin.txt'}: cannot be read: it is not UTF-8" in str(caught.value)
    assert f"{tmp_path / 'broken.pdf'}: cannot be read" in str(caught.value)


def test_folders_without_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"holds no text; give \.md"):
        read_documents(tmp_path)
    with pytest.raises(InvalidData, match="there is no such folder"):
        read_documents(tmp_path / "none")
    with pytest.raises(InvalidData, match="there is no such folder"):
        read_folder(tmp_path / "none", sample("handbook").path)


async def read_within_a_loop() -> int:
    return len(read_documents(os.environ["DOCUMENTS"]))


def test_documents_are_read_inside_of_an_event_loop_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import anyio

    (tmp_path / "page.html").write_text("<html><body><p>The pass is open from May to October.</p></body></html>")
    monkeypatch.setenv("DOCUMENTS", str(tmp_path))
    assert anyio.run(read_within_a_loop) == 1


def test_samples_are_of_test_splits_alone_and_unchanged() -> None:
    source: dict[str, set[tuple[object, ...]]] = {}
    for name in ("begin", "q2", "mtrag_human"):
        items = read_items(TESTS / "data" / "grounding" / f"{name}.jsonl.xz")
        source[name] = {
            (*item.context, item.response, item.model, item.label) for item in items if item.split == "test"
        }
    for name in set(SAMPLES) - {"handbook"}:
        items = sample(name).items()
        assert {(*item.context, item.response, item.model, item.label) for item in items} <= source[items[0].dataset]
        assert {item.label for item in items} == {0, 1}


@pytest.mark.parametrize("pair", [("talk-dodeca", "talk-memnet"), ("rag-llama", "rag-gpt4o")])
def test_paired_samples_have_the_same_ids_questions_and_passages(pair: tuple[str, str]) -> None:
    one, other = ([(item.id, item.question, item.context) for item in sample(name).items()] for name in pair)
    assert sorted(one) == sorted(other)


def test_the_handbook_sample_asks_about_the_documents_that_ship() -> None:
    asked = sample("handbook").questions()
    assert asked.corpus == read_documents(SAMPLE_DOCUMENTS)
    assert read_folder(SAMPLE_DOCUMENTS, sample("handbook").path).questions == asked.questions
    for question in asked.questions:
        if question.answerable:
            assert question.answers[0] in asked.corpus[question.gold_ids[0]].text
        else:
            assert question.near_miss_ids
            assert not question.gold_ids


def test_samples_are_small_and_say_where_they_are_from() -> None:
    folder = sample("grounding").path.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 500_000
    readme = (folder / "README.md").read_text()
    assert all(name in readme or f"{name.split('-')[0]}-*" in readme for name in SAMPLES)


def test_an_unknown_sample_is_refused() -> None:
    with pytest.raises(EvalError, match="use one of grounding, talk-dodeca"):
        sample("grundung")
