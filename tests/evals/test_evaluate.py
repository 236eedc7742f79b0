"""From items, judgements and labels to a rate, and to what must be said beside it."""

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.errors import EvalError
from arriero.evals.evaluate import evaluate
from arriero.evals.evaluation import Evaluation
from arriero.evals.items import GroundingItem, Passage, Question, Span
from arriero.evals.judgement import Claim, Judgement
from arriero.evals.systems.system import Answer

JUDGE = {"name": "made"}
TEXT = ("The pass is closed from October to May, and the inn is not open in winter.",)


def made(count: int, *, documents: int | None = None, good: float = 0.85, seed: int = 0) -> list[GroundingItem]:
    rng = random.Random(seed)
    return [
        GroundingItem(
            str(n), TEXT, "The inn is open all year.", doc_id="" if documents is None else f"d{n % documents}",
            label=int(rng.random() < 0.2), extra={"right": rng.random() < good},
        )
        for n in range(count)
    ]  # fmt: skip


def said(items: Iterable[GroundingItem]) -> list[Judgement]:
    return [Judgement(one.id, "made", 0.9 if bool(one.label) == one.extra["right"] else 0.1) for one in items]


def of(
    items: list[GroundingItem], labelled: int, judgements: list[Judgement] | None = None, *, random_labels: bool = True
) -> Evaluation:
    labels: dict[str, Literal[0, 1]] = {one.id: one.label or 0 for one in items[:labelled]}
    given = said(items) if judgements is None else judgements
    return evaluate(items, given, judge=JUDGE, threshold=0.5, name="made", labels=labels, random_labels=random_labels)


def caveats(found: Evaluation) -> str:
    return "\n".join(found.caveats)


def test_a_random_sample_of_labels_corrects_what_the_judge_flags() -> None:
    items = made(2_000, documents=400)
    found = of(items, 200).answers
    truth = sum(one.label or 0 for one in items) / len(items)
    assert (found.correction, found.refused) == ("PPI++", None)
    assert found.corrected is not None
    assert found.corrected.low < truth < found.corrected.high
    assert found.flagged is not None
    assert found.flagged.low > truth  # the judge flags too many: its share is no rate
    assert (found.judged, found.labelled, found.failed) == (2_000, 200, 0)


def test_labels_that_are_no_random_sample_correct_by_the_judges_quality() -> None:
    items = made(2_000)
    chosen = sorted(items, key=lambda one: -(one.label or 0))[:100] + items[:100]
    labels: dict[str, Literal[0, 1]] = {one.id: one.label or 0 for one in chosen}
    found = evaluate(items, said(items), judge=JUDGE, threshold=0.5, name="m", labels=labels, random_labels=False)
    truth = sum(one.label or 0 for one in items) / len(items)
    assert found.answers.correction == "Rogan-Gladen"
    assert found.answers.corrected is not None
    assert found.answers.corrected.low < truth < found.answers.corrected.high
    assert found.answers.labels_only is not None
    assert found.answers.labels_only.low > truth  # of the labels alone: far off, as they were chosen
    assert "no random sample" in caveats(found)


def test_without_labels_there_is_no_rate_but_what_to_do() -> None:
    found = of(made(300), 0)
    assert found.answers.corrected is None
    assert found.answers.quality is None
    assert "label 100 to 200 items, chosen at random" in (found.answers.refused or "")
    assert "No rate of hallucination is given: no labels" in caveats(found)


def test_labels_of_one_class_are_refused_and_shown_alone() -> None:
    items = [replace(one, label=0) for one in made(300)]
    found = of(items, 100).answers
    assert found.corrected is None
    assert "all 100 labels are 'supported'" in (found.refused or "")
    assert found.labels_only is not None
    assert found.labels_only.value == 0 < found.labels_only.high


def test_a_judge_no_better_than_chance_is_left_out_or_refused() -> None:
    items = made(600, good=0.5)
    sampled, chosen = of(items, 150), of(items, 150, random_labels=False)
    assert sampled.answers.correction == "labels only"
    assert sampled.answers.corrected == sampled.answers.labels_only
    assert "says too little to be corrected" in (sampled.answers.refused or "")
    assert "the judge adds nothing" in caveats(sampled)
    assert chosen.answers.corrected is None
    assert "says too little to be corrected" in (chosen.answers.refused or "")


def test_few_labels_are_refused_or_said() -> None:
    items = made(400)
    assert "10 labels: label at least 20" in (of(items, 10).answers.refused or "")
    assert "Only 60 labels" in caveats(of(items, 60))
    assert "Only" not in caveats(of(items, 150))


def test_where_all_items_are_labelled_the_labels_are_the_rate() -> None:
    items = made(300, documents=60)
    found = evaluate(items, said(items), judge=JUDGE, threshold=0.5, name="made").answers
    assert (found.correction, found.refused) == ("labels only", None)
    assert found.corrected == found.labels_only


def test_items_that_the_judge_failed_are_counted_and_bounded() -> None:
    items = made(400)
    judgements = [
        replace(one, score=None, failed="timed out") if n % 8 == 0 else one for n, one in enumerate(said(items))
    ]
    del judgements[-1]
    found = of(items, 200, judgements)
    assert (found.answers.failed, found.answers.judged, found.answers.labelled) == (51, 349, 175)
    assert "failed on 51 of 400 items, which are left out (timed out: 50; it was not judged: 1)" in caveats(found)
    assert "Labelled items without a score: 25" in caveats(found)
    assert "if none of them were hallucinated" in caveats(found)
    assert sum(one.flagged is None for one in found.items) == 51


def test_a_judge_that_fails_on_all_gives_no_number() -> None:
    found = of(made(30), 30, []).answers
    assert (found.corrected, found.flagged) == (None, None)
    assert "no score to any of 30 items" in (found.refused or "")


@pytest.mark.parametrize("score", [-0.1, 1.5, float("nan")])
def test_a_score_that_is_none_is_a_failure(score: float) -> None:
    items = made(30)
    found = of(items, 0, [replace(one, score=score) for one in said(items)])
    assert found.answers.failed == 30
    assert "the score is not from 0 to 1" in caveats(found)


def test_ids_that_are_there_twice_are_refused() -> None:
    items = made(3)
    with pytest.raises(EvalError, match="items: '1' are there twice"):
        of([*items, items[1]], 0, [])
    with pytest.raises(EvalError, match="judgements: '1' are there twice"):
        of(items, 0, [*said(items), said(items)[1]])
    with pytest.raises(EvalError, match="there are no items"):
        of([], 0)


def test_one_document_has_an_interval_of_items_and_a_caveat() -> None:
    found = of(made(300, documents=1), 150)
    assert found.answers.corrected is not None
    assert "All items are of one document" in caveats(found)
    assert "of 12 documents only" in caveats(of(made(300, documents=12), 150))


@pytest.mark.parametrize("good", [0.85, 0.5])
def test_labels_of_two_documents_say_nothing_of_others(good: float) -> None:
    items = sorted(made(900, documents=30, good=good), key=lambda one: one.doc_id)
    found = of(items, 60).answers
    assert found.corrected is None
    assert found.labels_only is not None


def test_odd_texts_are_counted() -> None:
    items = made(100)
    items[0] = replace(items[0], response="  ")
    items[1] = replace(items[1], context=())
    items[2] = replace(
        items[2], response="El refugio está abierto todo el año, y los caminos no se cierran por la nieve."
    )
    items[3] = replace(items[3], response="Перевал закрыт с октября по май, и гостиница тоже не работает.")
    found = caveats(of(items, 0))
    assert "Empty answers: 1" in found
    assert "Items without passages: 1" in found
    assert "Answers in another language than their passages: 2" in found


def test_what_the_judge_doubts_and_who_it_is_are_told() -> None:
    items = [replace(one, model="llama") for one in made(40)]
    judgements = [replace(one, caveat="unlike what it was made for") for one in said(items)]
    found = evaluate(items, judgements, judge={**JUDGE, "model": "llama"}, threshold=0.5, name="made", labels={"x": 1})
    assert "doubts its own word: 40 (unlike what it was made for: 40)" in caveats(found)
    assert "The judge is the model that it judges (llama)" in caveats(found)
    assert "Labels of items that are not there: 1" in caveats(found)


def test_groups_are_corrected_by_their_own_labels_or_not_at_all() -> None:
    items = [replace(one, extra={**one.extra, "kind": "law" if n % 4 else "tax"}) for n, one in enumerate(made(800))]
    kinds = {group.name: group.rate for group in of(items, 120).kinds}
    assert kinds["law"].correction == "PPI++"
    assert kinds["law"].labelled == 90
    few = {group.name: group.rate for group in of(items, 60).kinds}
    assert few["tax"].corrected is None
    assert "15 labels" in (few["tax"].refused or "")
    assert few["tax"].flagged is not None


def test_documents_come_most_flagged_first() -> None:
    found = of(made(300, documents=10), 0).documents
    rates = [group.rate.flagged.value for group in found if group.rate.flagged is not None]
    assert len(rates) == 10
    assert rates == sorted(rates, reverse=True)
    assert of(made(30), 0).documents == ()


def test_claims_are_corrected_only_where_people_marked_them() -> None:
    def claims(item: GroundingItem) -> tuple[Claim, ...]:
        verdict: Literal["supported", "not_mentioned"] = "not_mentioned" if item.label else "supported"
        return (
            Claim("The inn", "supported", 0.1, Span(0, 7)),
            Claim("is open all year.", verdict, 0.9 if item.label else 0.1, Span(8, 25)),
        )

    items = made(400)
    judgements = [replace(one, claims=claims(item)) for one, item in zip(said(items), items, strict=True)]
    unmarked = of(items, 200, judgements).claims
    assert unmarked is not None
    assert unmarked.corrected is None
    assert "did not mark what in them is unsupported" in (unmarked.refused or "")
    assert unmarked.judged == 800
    marked = [replace(one, spans=(Span(11, 15),) if one.label else ()) for one in items]
    found = of(marked, 200, judgements).claims
    assert found is not None
    assert found.corrected is not None
    assert found.corrected.value == pytest.approx(sum(one.label or 0 for one in items) / 800, abs=0.02)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_items_and_the_names_of_documents_change_nothing(rng: random.Random) -> None:
    items = made(200, documents=40)
    labels: dict[str, Literal[0, 1]] = {one.id: one.label or 0 for one in items[:80]}
    names = rng.sample(range(1_000), 40)
    other = [replace(one, doc_id=f"x{names[int(one.doc_id[1:])]}") for one in items]
    rng.shuffle(other)
    judgements = said(items)
    one = evaluate(items, judgements, judge=JUDGE, threshold=0.5, name="made", labels=labels).answers
    two = evaluate(other, judgements, judge=JUDGE, threshold=0.5, name="made", labels=labels).answers
    for before, after in (
        (one.corrected, two.corrected),
        (one.flagged, two.flagged),
        (one.labels_only, two.labels_only),
    ):
        assert before is not None
        assert after is not None
        assert (after.value, after.low, after.high) == pytest.approx((before.value, before.low, before.high))


def test_a_run_is_told_by_its_questions_answers_and_failures() -> None:
    passage, other = Passage("inn", TEXT[0]), Passage("mule", "Mules eat hay.")
    questions = {
        name: Question(name, "When is the inn open?", answers=("May",), gold_ids=("inn",), answerable=True, kind=kind)
        for name, kind in (("a", "inn"), ("b", "inn"), ("c", "pass"))
    }
    answers = [
        Answer("a", "From May on [1].", passages=(passage, other), cited=("inn",), refused=False),
        Answer("b", "All year.", passages=(other,), refused=False),
        Answer("c", "", error="the engine timed out"),
    ]
    items = [one.item(questions[one.question_id]) for one in answers if one.error is None]
    judgements = [Judgement("a", "made", 0.1), Judgement("b", "made", 0.9)]
    found = evaluate(
        items, judgements, judge=JUDGE, threshold=0.5, name="run", questions=questions, answers=answers, k=1
    )
    assert found.answering is not None
    assert found.answering.errors == 1
    assert found.answering.correct is not None
    assert found.answering.correct.value == 0.5
    assert found.retrieval is not None
    assert (found.retrieval.recall.value, found.retrieval.mrr.value) == (0.5, 0.5)
    assert found.citations is not None
    assert (found.citations.precision.value, found.citations.recall.value) == (1, 0.5)
    assert dict(found.causes) == {"retrieval missed": 1}
    assert [one.cause for one in found.items] == [None, "retrieval missed"]
    assert "The system failed on 1 of 3 questions, which are left out (the engine timed out: 1)" in caveats(found)


def test_a_right_refusal_is_no_error_whatever_the_judge_flags() -> None:
    questions = {name: Question(name, "Who?", answerable=False) for name in ("refused", "told")}
    passages = (Passage("p", "Mules walk."),)
    answers = [
        Answer("refused", "The documents do not say.", passages=passages, refused=True),
        Answer("told", "Ana.", passages=passages, refused=False),
    ]
    items = [answer.item(questions[answer.question_id]) for answer in answers]
    said = [Judgement(item.id, "mine", 0.9) for item in items]
    found = evaluate(
        items, said, judge={"name": "mine"}, threshold=0.5, name="mules", questions=questions, answers=answers
    )
    assert [one.cause for one in found.items] == [None, "answer ignored"]
    assert found.causes == {"answer ignored": 1}
