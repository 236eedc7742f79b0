"""The offline judge: scores, claims, spans, reasons, caveats."""

import random
import time
from dataclasses import replace
from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.evals.data.grounding import read_items
from arriero.evals.errors import EvalError
from arriero.evals.items import GroundingItem
from arriero.evals.judgement import Judgement
from arriero.evals.judges.choosing import judge_named
from arriero.evals.judges.offline import OfflineJudge

DATA = Path(__file__).parents[1] / "data" / "grounding"
PASSAGES = (
    "Mules are patient animals. A grown mule eats 7 kg of hay a day. The Andean pass opens in May.",
    "Dr. Elena Rojas of the University of Salta has bred mules since 1987. She does not sell them.",
)


def judged(*items: GroundingItem) -> list[Judgement]:
    return anyio.run(OfflineJudge().judge, items)


def said(response: str, *passages: str, question: str | None = None) -> Judgement:
    return judged(GroundingItem("a", passages or PASSAGES, response, question))[0]


def marked(response: str) -> list[str]:
    return [response[span.start : span.end] for span in said(response).spans]


@pytest.fixture(scope="module")
def real() -> list[GroundingItem]:
    names = ("mtrag_human", "wice", "begin", "q2", "summedits", "expertqa", "factcheck_gpt")
    return [item for name in names for item in read_items(DATA / f"{name}.jsonl.xz")[:12]]


def test_a_copied_sentence_is_below_an_invented_one() -> None:
    copied, invented = said("A grown mule eats 7 kg of hay a day."), said("Camels drink salted coffee in Norway.")
    assert copied.score is not None
    assert invented.score is not None
    assert copied.score < 0.3 < 0.6 < invented.score
    assert copied.spans == ()
    assert copied.claims[0].verdict == "supported"
    assert invented.claims[0].verdict == "not_mentioned"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("A grown mule eats 9 kg of hay a day.", 'numbers that the passages lack: "9"'),
        ("The Andean pass opens in September.", 'dates that the passages lack: "September"'),
        ("It was Dr. Marta Rojas who has bred mules.", 'names that the passages lack: "Marta"'),
        ("A grown mule eats 7 buckets of hay a day.", "numbers that stand with other words in the passages: 7 buckets"),
        ("The Andean pass never opens in May.", "negated, where the closest sentence of the passages is not"),
        ("She does sell them.", "not negated, where the closest sentence of the passages is"),
        ("A mule eats hay and turnips.", 'words that the passages lack: "turnips"'),
        ("A mule of Salta eats hay.", 'words that the closest sentences lack: "Salta"'),
    ],
)
def test_the_reason_names_what_is_not_found(response: str, reason: str) -> None:
    filler = " ".join(f"Passage line {name} says something about hay and mule eats." for name in "abcdef")
    passages = (*PASSAGES, filler) if "closest sentences lack" in reason else PASSAGES
    assert reason in said(response, *passages).reasons


def test_spans_hold_the_words_that_are_not_found() -> None:
    assert marked("A grown mule eats 7 kg of fresh turnips a day.") == ["of fresh turnips"]
    assert marked("A grown mule eats 7 kg of hay a day.") == []


@pytest.mark.parametrize("marker", [" [1]", "[1]", " [1, 2]", " [1][3]", " [2–4]"])
def test_a_marker_of_a_citation_is_no_number(marker: str) -> None:
    plain = said("A grown mule eats 7 kg of hay a day. It eats fresh turnips.")
    cited = said(f"A grown mule eats 7 kg of hay a day{marker}. It eats fresh turnips{marker}.")
    assert cited.reasons == plain.reasons
    assert [claim.verdict for claim in cited.claims] == [claim.verdict for claim in plain.claims]
    assert cited.claims[0].text == f"A grown mule eats 7 kg of hay a day{marker}."
    assert marked(f"Mules{marker} eat turnips{marker}.") == ["turnips"]
    assert said("[1]").score == 0.0


@pytest.mark.parametrize(
    "refusal", ["The documents do not say.", "I'm sorry. I don't have information on that in the documents [1]."]
)
def test_a_refusal_claims_nothing_and_says_so(refusal: str) -> None:
    one = said(refusal)
    assert (one.claims, one.spans) == ((), ())
    assert one.reasons == ("says that it cannot answer, and claims nothing else",)
    assert "a refusal is wrong where the passages do answer" in str(one.caveat)


def test_what_stands_beside_a_refusal_is_claimed() -> None:
    one = said("The documents do not say. Camels drink salted coffee in Norway.")
    assert [claim.text for claim in one.claims] == ["Camels drink salted coffee in Norway."]
    assert one.claims[0].score == one.score
    assert len(said("I am not sure, but camels drink salted coffee.").claims) == 1


def test_a_number_changed_in_a_known_sentence_reads_as_contradicted() -> None:
    claims = said("A grown mule eats 70 kg of hay and 20 kg of turnips each morning.").claims
    assert [claim.verdict for claim in claims] == ["contradicted"]


def test_a_response_scores_as_its_worst_claim(real: list[GroundingItem]) -> None:
    for item, one in zip(real, judged(*real), strict=True):
        assert one.score == max((claim.score for claim in one.claims), default=one.score)
        assert all(item.response[claim.span.start : claim.span.end] == claim.text for claim in one.claims if claim.span)
        flagged = bool(one.claims) and one.score >= OfflineJudge().threshold
        assert flagged == any(claim.verdict != "supported" for claim in one.claims)


def test_an_item_is_judged_the_same_whatever_stands_beside_it(real: list[GroundingItem]) -> None:
    together = {one.item_id: one for one in judged(*real)}
    shuffled = random.Random(1).sample(real, len(real))
    assert {one.item_id: one for one in judged(*shuffled)} == together
    assert all(judged(item)[0] == together[item.id] for item in real[::7])
    assert [one.item_id for one in judged(*shuffled)] == [item.id for item in shuffled]


def test_two_items_of_one_id_are_both_judged() -> None:
    first, other = judged(
        GroundingItem("a", PASSAGES, "Mules are patient animals."), GroundingItem("a", PASSAGES, "No.")
    )
    assert first.score != other.score


def test_labels_and_stored_scores_of_others_change_nothing(real: list[GroundingItem]) -> None:
    blank = [replace(item, label=None, doc_id="", dataset="", model="", detector_scores={}, extra={}) for item in real]
    assert judged(*blank) == judged(*real)


def test_no_passages_is_a_failure_that_says_so() -> None:
    for passages in ((), ("",), (" \n\x00 ", "...")):
        one = judged(GroundingItem("a", passages, "Mules fly."))[0]
        assert one.score is None
        assert one.failed is not None
        assert "passages" in one.failed


@pytest.mark.parametrize("response", ["", " \n ", "... !?", "\x00", "👍👍"])
def test_a_response_without_words_claims_nothing_and_says_so(response: str) -> None:
    one = said(response)
    assert (one.score, one.claims, one.spans) == (0.0, (), ())
    assert one.caveat is not None
    assert "no words" in one.caveat


@pytest.mark.parametrize(
    ("response", "about"),
    [
        ("Las mulas son animales muy pacientes y comen siete kilos de heno por la mañana.", "Spanish"),
        ("Мулы очень терпеливы и едят семь килограммов сена в день.", "Cyrillic"),
        ("骡子很有耐心，每天吃七公斤干草。", "Cjk"),
        ("البغال صبورة وتأكل سبعة كيلوغرامات من التبن يوميا.", "Arabic"),
    ],
)
def test_another_language_gets_a_caveat(response: str, about: str) -> None:
    caveat = said(response).caveat
    assert caveat is not None
    assert about in caveat


def test_a_very_long_response_gets_a_caveat() -> None:
    caveat = said("A grown mule eats 7 kg of hay a day. " * 1_000).caveat
    assert caveat is not None
    assert "longer than those it was trained on" in caveat


def test_texts_of_the_training_sets_get_no_caveat_and_others_do(real: list[GroundingItem]) -> None:
    known = [one.caveat for one in judged(*real)]
    assert known.count(None) > 0.85 * len(known)
    table = "\n".join(f"| {n} | {n * 3} |" for n in range(400))
    assert "unlike" in str(said("What is this? " * 12, *[table] * 15, question="? " * 300).caveat)


HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from("ab .,0'’\n\x00\ud800\udfff\u202e\u200d٣Ⅷ²%")), max_size=300
)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, st.lists(HOSTILE, max_size=3), st.none() | HOSTILE)
def test_any_text_is_judged_or_fails_in_words(response: str, passages: list[str], question: str | None) -> None:
    one = judged(GroundingItem("a", tuple(passages), response, question))[0]
    if one.failed is None:
        assert one.score is not None
        assert 0 <= one.score <= 1
    ends = [0, *(end for span in one.spans for end in (span.start, span.end)), len(response)]
    assert ends == sorted(ends)
    assert all(span.start < span.end for span in one.spans)


@pytest.mark.parametrize("piece", ["a", "mule eats hay ", "’", "骡", "A.B. "])
def test_long_text_is_judged_in_seconds(piece: str) -> None:
    long = piece * (200_000 // len(piece))
    started = time.process_time()
    said(long)
    said("A mule eats 7 kg.", long)
    assert time.process_time() - started < 15


def test_a_model_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 broken", b"\x80\x04."):
        (tmp_path / "model.npz").write_bytes(content)
        with pytest.raises(EvalError, match="no model of the offline judge"):
            OfflineJudge(model=tmp_path / "model.npz")
    np.savez(tmp_path / "pickled.npz", head=np.array([{"a": 1}], dtype=object))
    with pytest.raises(EvalError, match="no model of the offline judge"):
        OfflineJudge(model=tmp_path / "pickled.npz")


def test_the_fingerprint_tells_models_apart_and_unknown_judges_are_named(tmp_path: Path) -> None:
    assert OfflineJudge().fingerprint == judge_named("offline").fingerprint
    assert str(OfflineJudge().fingerprint["revision"]).startswith("sha256:")
    with pytest.raises(EvalError, match="no judge 'oracle'"):
        judge_named("oracle")
