"""Trials of robustness, built from the shared question sets."""

import random
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.data import read_questions, write_questions
from arriero.evals.data.contradiction import contradicted
from arriero.evals.data.robustness import TRIALS, Trial, robustness
from arriero.evals.data.wording import covered, occurs, tells
from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question, QuestionSet, Said

QUESTIONS = Path(__file__).parent.parent / "data" / "questions"


@cache
def asked(name: str) -> QuestionSet:
    return read_questions(QUESTIONS / name)


@cache
def trials(name: str, trial: Trial, count: int | None = 60) -> tuple[tuple[Question, Question], ...]:
    """The questions of a trial, each with the one that it was made from."""
    before = {question.id: question for question in asked(name).questions}
    made = robustness(asked(name), [trial], count=count).questions
    return tuple((one, before[first(one.extra["made_from"])]) for one in made)


def first(ids: object) -> str:
    return str(ids[0]) if isinstance(ids, list) else str(ids)


@pytest.mark.parametrize(
    ("name", "trial", "fewest"),
    [
        ("xquad_en", "noise", 200),
        ("xquad_en", "no-answer", 200),
        ("xquad_en", "two-passages", 200),
        ("xquad_en", "contradiction", 200),
        ("clapnq_dev", "noise", 200),
        ("clapnq_dev", "no-answer", 200),
        ("mtrag_un", "two-passages", 40),
    ],
)
def test_the_shared_sets_give_enough_questions_of_each_trial(name: str, trial: Trial, fewest: int) -> None:
    made = trials(name, trial, 200)
    assert len(made) >= fewest
    assert {one.kind for one, _ in made} == {trial}
    assert len({one.id for one, _ in made}) == len(made)


def test_noise_stands_beside_the_right_passage_and_tells_no_answer() -> None:
    for one, before in trials("xquad_en", "noise"):
        assert (one.question, one.answers, one.answerable, one.doc_id) == (
            before.question,
            before.answers,
            True,
            before.doc_id,
        )
        assert len(one.passages) == 5
        others = [passage for passage in one.passages if passage.id not in before.gold_ids]
        assert len(others) == 4
        assert not any(passage.title == before.doc_id for passage in others)
        assert not any(occurs(answer, passage.text) for passage in others for answer in before.answers)


def test_the_right_passage_may_stand_anywhere() -> None:
    places = [[p.id in one.gold_ids for p in one.passages].index(True) for one, _ in trials("xquad_en", "noise")]
    assert set(places) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", ["xquad_en", "clapnq_dev", "mtrag_un"])
def test_without_an_answer_near_misses_are_left(name: str) -> None:
    for one, before in trials(name, "no-answer"):
        assert (one.answerable, one.answers, one.gold_ids) == (False, (), ())
        given_ids = {passage.id for passage in one.passages}
        assert given_ids == set(one.near_miss_ids)
        assert not given_ids & set(before.gold_ids)
        assert set(before.near_miss_ids) <= given_ids
        if before.answerable:
            assert not any(tells(passage.text, answer) for passage in one.passages for answer in before.answers)
        assert any(covered(one.question, f"{passage.title} {passage.text}") > 0 for passage in one.passages)


def test_two_passages_that_a_long_answer_needs_each_tell_a_part_of_it() -> None:
    for one, before in trials("mtrag_un", "two-passages"):
        gold = [passage for passage in one.passages if passage.id in one.gold_ids]
        assert len(gold) >= 2
        together = " ".join(passage.text for passage in gold)
        for passage in gold:
            assert covered(before.answers[0], passage.text) < covered(before.answers[0], together)


def test_two_questions_in_one_need_the_passages_of_both() -> None:
    by_id = {question.id: question for question in asked("xquad_en").questions}
    for one, _ in trials("xquad_en", "two-passages"):
        parts = [by_id[str(id_)] for id_ in one.extra["made_from"]]  # type: ignore[attr-defined]
        assert all(part.question.strip() in one.question for part in parts)
        assert set(one.gold_ids) == {part.gold_ids[0] for part in parts}
        assert len(one.gold_ids) == 2
        assert one.doc_id == parts[0].doc_id == parts[1].doc_id
        for part, other in (parts, parts[::-1]):
            assert not any(occurs(answer, asked("xquad_en").corpus[other.gold_ids[0]].text) for answer in part.answers)


@pytest.mark.parametrize("name", ["xquad_en", "clapnq_dev", "covidqa"])
def test_a_contradicting_passage_tells_the_new_answer_and_nowhere_the_old_one(name: str) -> None:
    for one, before in trials(name, "contradiction"):
        (passage,) = one.passages
        assert passage.id == one.gold_ids[0] == f"{before.gold_ids[0]}-changed"
        assert one.extra["world_answer"] == before.answers[0]
        assert one.answers != before.answers
        old, new = before.answers[0].strip(), one.answers[0]
        if len(old.split()) <= 6:
            assert new in passage.text
            assert not occurs(old, passage.text)
        else:
            changed = set(re.findall(r"\d+", old)) - set(re.findall(r"\d+", new))
            assert changed
            assert not any(re.search(rf"(?<![\w.,-]){number}(?![\w,.])", passage.text) for number in changed)


def test_a_name_is_replaced_wherever_a_part_of_it_stands() -> None:
    text = "The founder, Ysa Grell, came in 1402. Grell's mules were famous; nobody but Ysa could lead them."
    changed = contradicted("Who founded it?", text, "Ysa Grell", ["1402", "hay", "Mina Corsk"], random.Random(0))
    assert changed is not None
    assert changed.answer == "Mina Corsk"
    assert changed.text == (
        "The founder, Mina Corsk, came in 1402. Corsk's mules were famous; nobody but Mina could lead them."
    )


@pytest.mark.parametrize(
    ("question", "text", "answer"),
    [
        ("Is it 2140 metres high?", "It is 2140 metres high.", "2140 metres"),
        ("Who was it?", "Economists were there.", "Economists"),
        ("What did they eat?", "They ate hay.", "hay"),
        ("When was it?", "In the 1970s.", "1970s"),
        ("How high is it?", "Nobody knows.", "2140 metres"),
        ("Who was Ysa?", "There was Ysa Grell.", "Ysa Grell"),
        ("How high is it?", "It is high.", ""),
    ],
)
def test_answers_that_cannot_be_replaced_by_rule_are_left_alone(question: str, text: str, answer: str) -> None:
    assert contradicted(question, text, answer, ["Mina Corsk", "Mina"], random.Random(0)) is None


@given(st.integers(1, 10**7), st.sampled_from(("{}", "{:,}")), st.integers())
@settings(max_examples=200, deadline=None)
def test_another_number_has_the_form_and_about_the_size_of_the_old_one(value: int, form: str, seed: int) -> None:
    old = form.format(value)
    changed = contradicted("How much?", f"It is {old} in all, {old}!", old, [], random.Random(seed))
    assert changed is not None
    assert changed.text == f"It is {changed.answer} in all, {changed.answer}!"
    other = int(changed.answer.replace(",", ""))
    assert other != value
    assert changed.answer == form.format(other)
    assert len(str(other)) == len(str(value))


def test_the_same_seed_gives_the_same_trials_and_another_one_others() -> None:
    one, same, other = (robustness(asked("xquad_en"), count=5, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert [sum(q.kind == trial for q in one.questions) for trial in TRIALS] == [5, 5, 5, 5]


def test_trials_are_written_and_read_as_any_questions(tmp_path: Path) -> None:
    made = robustness(asked("xquad_en"), count=10)
    write_questions(tmp_path / "hard.jsonl", made)
    assert read_questions(tmp_path / "hard.jsonl").questions == made.questions


def test_questions_of_a_conversation_are_not_joined() -> None:
    corpus = {"p": Passage("p", "Mules eat hay."), "q": Passage("q", "It snows.")}
    one = Question("a", "What do they eat?", answers=("hay",), gold_ids=("p",), answerable=True, doc_id="p")
    other = Question("b", "And the weather?", answers=("snows",), gold_ids=("q",), answerable=True, doc_id="q")
    assert len(robustness(QuestionSet("set", (one, other), corpus), ["two-passages"]).questions) == 1
    follows = replace(other, history=(Said("user", "How are the mules?"),))
    with pytest.raises(EvalError, match="no question of set"):
        robustness(QuestionSet("set", (one, follows), corpus), ["two-passages"])


def test_sets_that_give_no_trial_are_refused() -> None:
    corpus = {"p": Passage("p", "Mules eat hay."), "q": Passage("q", "It snows.")}
    short = QuestionSet("few", (Question("a", "What?", answers=("hay",), gold_ids=("p",), answerable=True),), corpus)
    for trial in ("two-passages", "contradiction", "no-answer"):
        with pytest.raises(EvalError, match=f"no question of few can be made a trial '{trial}'"):
            robustness(short, [trial])  # type: ignore[list-item]
    with pytest.raises(EvalError, match="there is no trial 'heat'"):
        robustness(short, ["heat"])  # type: ignore[list-item]
    with pytest.raises(EvalError, match="passages is 1"):
        robustness(short, passages=1)
