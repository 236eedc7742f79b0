"""What became of the questions, what was found for them, and where errors came from."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Cause, Judged
from arriero.evals.items import GroundingItem, Passage, Question
from arriero.evals.judgement import Judgement
from arriero.evals.measures.answering import answering, correct
from arriero.evals.measures.causes import cause
from arriero.evals.measures.language import language, other_language
from arriero.evals.measures.reliability import reliability
from arriero.evals.measures.repeats import repeats
from arriero.evals.measures.retrieval import citations, mean_of_shares, ranking, retrieval
from arriero.evals.systems.system import Answer


def asked(*questions: Question) -> dict[str, Question]:
    return {one.id: one for one in questions}


@pytest.mark.parametrize(
    ("text", "accepted", "holds"),
    [
        ("It was the Battle of Hastings, in 1066.", "battle of hastings", True),
        ("1,066 men", "1066", True),
        ("Hastings saw no battle", "battle of hastings", False),
        ("The category", "cat", False),
        ("It is THE who", "Who?", True),
        ("grade A", "A", False),
        ("", "x", False),
    ],
)
def test_an_answer_is_correct_where_it_holds_an_accepted_one_as_words(text: str, accepted: str, holds: bool) -> None:
    assert correct(Question("q", "?", answers=("nothing of the kind", accepted)), Answer("q", text)) is holds


def test_refusals_are_told_from_answers_by_what_the_corpus_holds() -> None:
    questions = asked(
        *(Question(f"a{n}", "?", answerable=True) for n in range(4)),
        *(Question(f"u{n}", "?", answerable=False) for n in range(2)),
        Question("x", "?"),
    )
    answers = [
        *(Answer(f"a{n}", "The inn.", refused=n == 0) for n in range(4)),
        Answer("u0", "The documents do not say.", refused=True),
        Answer("u1", "The inn.", refused=False),
        Answer("x", "  ", refused=False),
    ]
    found = answering(questions, answers)
    assert found is not None
    assert (found.answered.value, found.refused.value) == (pytest.approx(4 / 7), pytest.approx(2 / 7))
    assert found.wrongly_refused is not None
    assert (found.wrongly_refused.value, found.wrongly_refused.n) == (0.25, 4)
    assert found.wrongly_answered is not None
    assert (found.wrongly_answered.value, found.wrongly_answered.n) == (0.5, 2)
    assert found.correct is None
    assert found.errors == 0


def test_where_nobody_looked_for_refusals_nothing_is_said_of_them() -> None:
    assert answering(asked(Question("a", "?")), [Answer("a", "The inn.")]) is None


@given(st.lists(st.sampled_from("abcdefgh"), max_size=8), st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_ranks_are_shares_and_best_where_the_right_come_first(found: Sequence[str], gold: set[str]) -> None:
    right = sorted(gold)
    assert all(0 <= value <= 1 for value in ranking(right, found, 5))
    first = [*right, *(name for name in found if name not in gold)]
    best = ranking(right, first, 5)
    assert all(value <= top + 1e-12 for value, top in zip(ranking(right, found, 5), best, strict=True))
    assert best[1:] == (1, 1)


def test_ranks_are_those_of_the_books() -> None:
    recall, ndcg, mrr = ranking(["a", "b"], ["x", "a", "y", "b"], 5)
    assert (recall, mrr) == (1, 0.5)
    assert ndcg == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3)))
    assert ranking(["a"], ["x", "x", "a"], 2) == (1, pytest.approx(1 / math.log2(3)), 0.5)


def test_only_questions_that_name_the_right_passages_count_for_retrieval() -> None:
    questions = asked(Question("a", "?", gold_ids=("p",)), Question("b", "?"), Question("c", "?", gold_ids=("p",)))
    answers = [Answer(name, "", passages=(Passage("p", ""),)) for name in "ab"] + [Answer("c", "", error="no engine")]
    found = retrieval(questions, answers)
    assert found is not None
    assert (found.recall.n, found.recall.value) == (1, 1)
    assert found.recall.low < 0.5  # one question says little
    assert retrieval(asked(Question("b", "?")), answers) is None
    with pytest.raises(EvalError, match="k is 0"):
        retrieval(questions, answers, k=0)


def test_a_mean_of_shares_over_documents_is_wider_than_one_over_items() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(40), 10)
    items = mean_of_shares(values, list(range(400)))
    documents = mean_of_shares(values, [n // 10 for n in range(400)])
    assert documents.width > 2 * items.width
    assert 0 <= documents.low < documents.high <= 1
    sure = mean_of_shares([1.0] * 30, list(range(30)))
    assert sure.value == 1.0
    assert sure.low < 0.9  # thirty of thirty is no certainty


def test_citing_nothing_costs_recall_and_refusals_count_nowhere() -> None:
    questions = asked(*(Question(name, "?", gold_ids=("p",)) for name in "abc"))
    found = citations(
        questions,
        [
            Answer("a", "x [1]", cited=("p", "q")),
            Answer("b", "x"),
            Answer("c", "The documents do not say.", refused=True),
        ],
    )
    assert found is not None
    assert (found.precision.value, found.precision.n) == (0.5, 1)
    assert (found.recall.value, found.recall.n) == (0.5, 2)
    assert citations(questions, [Answer("b", "x")]) is None


HIGH = Question("q", "How high?", answers=("2140 metres",), gold_ids=("pass",), answerable=True)
NONE = Question("q", "How high?", near_miss_ids=("inn",), answerable=False)
PASS, INN = (Passage("pass", ""),), (Passage("inn", ""),)


@pytest.mark.parametrize(
    ("question", "answer", "hallucinated", "found"),
    [
        (HIGH, Answer("q", "2140 metres.", passages=PASS), False, None),
        (HIGH, Answer("q", "2140 metres.", passages=INN), False, None),  # right, though nothing said so
        (HIGH, Answer("q", "2140 metres.", passages=INN), True, "retrieval missed"),
        (HIGH, Answer("q", "900 metres.", passages=PASS), True, "answer ignored"),
        (HIGH, Answer("q", "I cannot say.", passages=PASS, refused=True), False, "answer ignored"),
        (HIGH, Answer("q", "I cannot say.", passages=INN, refused=True), False, "retrieval missed"),
        (HIGH, Answer("q", "", passages=PASS), False, "answer ignored"),
        (HIGH, Answer("q", "900 metres.", passages=PASS), False, "passage wrong"),
        (NONE, Answer("q", "I cannot say.", passages=INN, refused=True), False, None),
        (NONE, Answer("q", "900 metres.", passages=INN), True, "answer ignored"),
        (NONE, Answer("q", "900 metres.", passages=INN), False, "passage wrong"),
        (Question("q", "?"), Answer("q", "900 metres.", passages=INN), True, "unknown"),
        (Question("q", "?"), Answer("q", "900 metres.", passages=INN), False, None),
    ],
)
def test_an_error_comes_from_the_first_thing_that_went_wrong(
    question: Question, answer: Answer, hallucinated: bool, found: Cause | None
) -> None:
    assert cause(question, answer, hallucinated) == found


def generated(rates: Sequence[float], generations: int, seed: int) -> list[Judged]:
    rng = np.random.default_rng(seed)
    return [
        Judged(
            item=GroundingItem(f"{question}#{repeat}", (), "", doc_id=str(question)),
            judgement=Judgement(f"{question}#{repeat}", "made", 0.5),
            flagged=bool(rng.random() < rate),
            answer=Answer(str(question), "", repeat),
        )
        for question, rate in enumerate(rates)
        for repeat in range(generations)
    ]


def test_repeats_tell_what_chance_decides_from_what_questions_decide() -> None:
    chance = repeats(generated([0.3] * 400, 4, seed=1))
    assert chance is not None
    assert chance.within == pytest.approx(0.21, abs=0.02)
    assert chance.between == pytest.approx(0, abs=0.02)
    assert chance.spread == pytest.approx(math.sqrt(0.21 / 400), rel=0.1)
    questions = repeats(generated([0.0] * 280 + [1.0] * 120, 4, seed=1))
    assert questions is not None
    assert (questions.within, questions.unstable.value) == (0, 0)
    assert questions.between == pytest.approx(0.21, abs=0.005)
    assert repeats(generated([0.3] * 40, 1, seed=1)) is None


def test_the_spread_is_that_of_runs_that_are_made_again() -> None:
    rates = np.random.default_rng(10_000).random(100)
    again = [np.mean([one.flagged or False for one in generated(list(rates), 1, seed)]) for seed in range(300)]
    found = repeats(generated(list(rates), 8, seed=1_000))
    assert found is not None
    assert found.spread == pytest.approx(float(np.std(again)), rel=0.15)


def test_bars_of_reliability_hold_all_labelled_scores_once() -> None:
    rng = np.random.default_rng(0)
    items = [
        Judged(GroundingItem(str(n), (), ""), Judgement(str(n), "made", score), True, label=int(rng.random() < score))
        for n, score in enumerate([*rng.random(2_000), 0.0, 1.0])
    ]
    bars = reliability([*items, Judged(GroundingItem("none", (), ""), Judgement("none", "made", 0.5), True)])
    assert sum(bar.rate.n for bar in bars) == 2_002
    assert all(bar.low <= bar.score <= bar.high for bar in bars)
    assert sum(bar.rate.low <= bar.score <= bar.rate.high for bar in bars) >= 8


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("La casa está en el monte y los caminos son largos.", "Spanish"),
        ("Das Haus ist auf dem Berg und die Wege sind nicht kurz.", "German"),
        ("Le refuge est dans les montagnes et les chemins sont longs.", "French"),
        ("山上的旅馆从十月到五月关闭。", "Cjk"),
        ("2140 m", None),
        ("", None),
    ],
)
def test_languages_are_told_by_their_letters_and_words(text: str, found: str | None) -> None:
    assert language(text) == found


def test_an_answer_too_short_to_tell_is_in_no_other_language() -> None:
    assert not other_language("Sí.", ("The pass is closed from October to May, and the inn is not open.",))
