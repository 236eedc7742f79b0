from hypothesis import given
from hypothesis import strategies as st

from arriero.tools.ranking import Ranking

TEXTS = ["The Salt Pass is 3,210 metres high.", "The Grey Pass closes in winter.", "Mules eat hay and oats."]


def test_the_text_that_shares_rare_words_comes_first() -> None:
    assert Ranking(TEXTS).best("how high is the Salt Pass?") == [0, 1]


def test_case_and_punctuation_do_not_matter() -> None:
    assert Ranking(TEXTS).best("MULES, HAY?") == [2]


def test_a_query_that_shares_only_common_words_finds_nothing() -> None:
    assert Ranking(TEXTS).best("what is the of and") == []
    assert Ranking(TEXTS).best("") == []
    assert Ranking([]).best("mules") == []


def test_no_more_than_asked_for() -> None:
    assert Ranking(TEXTS).best("pass", 1) == [1]


@given(st.lists(st.text(alphabet="ab c", max_size=8), max_size=6), st.text(alphabet="ab c", max_size=8))
def test_every_text_found_shares_a_word_and_appears_once(texts: list[str], query: str) -> None:
    found = Ranking(texts).best(query, len(texts) + 1)
    assert len(found) == len(set(found))
    assert all(set(texts[position].split()) & set(query.split()) for position in found)
