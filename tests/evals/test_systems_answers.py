"""What is read from an answer: refusals and citations; and what is found for a question."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.evals.errors import EvalError
from arriero.evals.items import Passage, Question, Said
from arriero.evals.systems.citations import cited_ids, numbered
from arriero.evals.systems.refusal import RefusalRule
from arriero.evals.systems.retrieval import BM25, Embeddings, corpus_digest, retriever_named

REFUSALS = [
    "The documents do not say.",
    "The search results do not say.",
    "I'm sorry, but I don't have an answer to your question.",
    "I’m sorry. I don’t have that information.",
    "Unfortunately, I cannot answer this from the passages.",
    "The provided context does not contain information about the price of the Copper Inn.",
    "There is no information about the price in the passages.",
    "Sorry, but I do not know if a specific group is required to take the vaccine.",
    "I do not have that information. You should contact the court.",
    "I currently do not have sufficient information to answer your question.",
    "Not enough information.",
    "The price is not mentioned in the documents.",
]
ANSWERS = [
    "The height of the Salda Pass is 2140 metres [1].",
    "The documents say that the pass is closed in winter.",
    "I do not have specific information about arch rivals. However, Parks and Recreation, 30 Rock and Community were"
    " seen as competitors in the same years by most critics.",
    "The similar series are Arrested Development, Community, and 30 Rock but the document does not state that those are"
    " an arch rival.",
    "You might not be able to apply a code because you don't have the required access.",
    "Mules do not know fear.",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_told(text: str) -> None:
    assert RefusalRule().refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not RefusalRule().refuses(text)


def test_phrases_of_ones_own_replace_the_others() -> None:
    rule = RefusalRule(phrases=(r"\bkeine ahnung\b",))
    assert rule.refuses("Keine Ahnung.")
    assert not rule.refuses("The documents do not say.")
    assert rule.digest != RefusalRule().digest
    assert not RefusalRule(phrases=()).refuses("Keine Ahnung.")
    with pytest.raises(EvalError, match="no regular expressions"):
        RefusalRule(phrases=("(",))


PASSAGES = tuple(Passage(f"p{number}", "text") for number in range(1, 6))


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("It is high [1].", ["p1"]),
        ("It is high [2, 1] and cold [2].", ["p2", "p1"]),
        ("It is high [1][3].", ["p1", "p3"]),
        ("It is high [2-4].", ["p2", "p3", "p4"]),
        ("It is high 【5】.", ["p5"]),
        ("It is high [doc 1; passage 2].", ["p1", "p2"]),
        ("It is high [p4].", ["p4"]),
        ("It is high [9], [0], [1.5], [], [x].", []),
        ("It is [very] high [1-9999].", ["p1", "p2", "p3", "p4", "p5"]),
        ("", []),
    ],
)
def test_citations_are_read(text: str, cited: list[str]) -> None:
    assert list(cited_ids(text, numbered(PASSAGES))) == cited


@given(st.text(st.sampled_from("[]0123456789,;-– doc【】"), max_size=60))
def test_any_text_cites_passages_that_are_there_each_once(text: str) -> None:
    cited = cited_ids(text, numbered(PASSAGES))
    assert set(cited) <= {passage.id for passage in PASSAGES}
    assert len(set(cited)) == len(cited)


CORPUS = {
    "hay": Passage("hay", "Mules eat hay and oats.", "mules.md"),
    "pass": Passage("pass", "The road over the mountain is closed by snow.", "passes.md"),
    "toll": Passage("toll", "Crossing the bridge costs three silver coins.", "bridges.md"),
}


def found(retriever: BM25 | Embeddings, text: str, k: int) -> list[str]:
    return [passage.id for passage in anyio.run(retriever.find, Question("q", text), k)]


def test_bm25_finds_by_words_and_embeddings_by_meaning() -> None:
    assert found(BM25(CORPUS), "What do mules eat?", 2) == ["hay"]
    assert found(BM25(CORPUS), "What animals are fed?", 2) == []
    assert found(Embeddings(CORPUS), "What are the animals fed?", 1) == ["hay"]
    assert len(found(Embeddings(CORPUS), "money", 2)) == 2


def test_a_question_in_a_conversation_is_searched_with_what_the_user_said_before() -> None:
    history = (Said("user", "Tell me of the bridge."), Said("assistant", "Of hay?"), Said("user", "What do mules eat?"))
    passages = anyio.run(BM25(CORPUS).find, Question("q", "And what more?", history=history), 3)
    assert [passage.id for passage in passages] == ["hay"]


def test_an_index_is_known_by_its_corpus() -> None:
    other = CORPUS | {"hay": Passage("hay", "Mules eat straw.", "mules.md")}
    assert corpus_digest(CORPUS) == corpus_digest(dict(reversed(CORPUS.items()))) != corpus_digest(other)
    assert BM25(CORPUS).fingerprint["corpus"] == corpus_digest(CORPUS)
    assert retriever_named("embeddings", CORPUS).fingerprint["embedder"]
    with pytest.raises(EvalError, match="no passage"):
        BM25({})
