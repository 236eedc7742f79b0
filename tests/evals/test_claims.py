"""Responses taken apart into sentences."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.evals.judges.claims import claims_of


def texts(response: str) -> list[str]:
    return [one.text for one in claims_of(response)]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("It rained. It snowed!", ["It rained.", "It snowed!"]),
        ("Mr. J. K. Gray left the U.S. Army in Jan. 1901. He was 40.", None),
        ("He lives in the U.S. He likes it.", ["He lives in the U.S.", "He likes it."]),
        ("It has vitamin C. It is good.", ["It has vitamin C.", "It is good."]),
        ("Pay 3.50 dollars, e.g. by card. See example.org for more.", None),
        ("It is red.[1] It is blue [2, 3]. End", ["It is red.[1]", "It is blue [2, 3].", "End"]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("i like it . it was made in 1990 . ok", ["i like it .", "it was made in 1990 .", "ok"]),
        ("A line that is\nbroken to fit. Next.", ["A line that is\nbroken to fit.", "Next."]),
        (
            "# Title\n\nText here\n- one\n- two\n  1. three\n| a | b |",
            ["Title", "Text here", "one", "two", "three", "| a | b |"],
        ),
        ("Run:\n```\nx = 1. Y = 2\nprint(x)\n```\nDone.", ["Run:", "x = 1. Y = 2\nprint(x)", "Done."]),
        ("```\nnever closed. Yes", ["never closed. Yes"]),
        ("今日は雨です。明日は晴れ！そう", ["今日は雨です。", "明日は晴れ！", "そう"]),
        ("هل تمطر؟ نعم تمطر. غدا", ["هل تمطر؟", "نعم تمطر.", "غدا"]),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("", []),
        (" ... !!! -- \n\n **", []),
        ("no full stop", ["no full stop"]),
    ],
)
def test_sentences_are_found(response: str, expected: list[str] | None) -> None:
    if expected is None:
        cut = {"Mr": 2, "Pa": 2}[response[:2]]
        assert len(texts(response)) == cut, texts(response)
    else:
        assert texts(response) == expected


@given(st.text(st.one_of(st.characters(), st.sampled_from(".!?。\n\r -*#`\"')[1] \ud800\u2028aA"))))
def test_places_hold_and_no_letter_is_lost(response: str) -> None:
    found = claims_of(response)
    last = 0
    for one in found:
        assert last <= one.start < one.end
        assert response[one.start : one.end] == one.text
        assert one.text == one.text.strip()
        last = one.end
    kept = {place for one in found for place in range(one.start, one.end)}
    lost = "".join(char for place, char in enumerate(response) if place not in kept)
    # what is lost is space, punctuation, list markers ("1.", "a)") and the words beside a code fence
    assert not [char for char in lost if char.isalpha()] or "```" in response or ")" in response


@pytest.mark.parametrize(
    "piece", [".", "a", "a. ", "A. B. ", "```\n", ".[1,", "- ", "\n", "#", "1. ", "\"'", "。", " ", "..[1][2]"]
)
def test_time_grows_with_length_alone(piece: str) -> None:
    started = time.process_time()
    claims_of(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 10
