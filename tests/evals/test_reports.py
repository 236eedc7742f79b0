"""What reports say, on a terminal, to machines and on model cards."""

import io
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported import EVIL, against, complete, conversations, without_rate
from rich.console import Console

from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Evaluation, Rate
from arriero.evals.judges.offline import OfflineJudge
from arriero.evals.reports import (
    UnreadableReport,
    comparison_to_json,
    comparison_to_markdown,
    from_json,
    html,
    print_comparison,
    print_report,
    to_json,
    to_markdown,
    too_high,
)
from arriero.evals.reports.figures import headline, tables
from arriero.evals.statistics import wilson
from arriero.evals.statistics.estimate import Estimate


def printed(evaluation: Evaluation, *, width: int = 120, terminal: bool = False) -> str:
    file = io.StringIO()
    print_report(evaluation, Console(file=file, width=width, force_terminal=terminal or None))
    return file.getvalue()


def compared(width: int = 160) -> str:
    file = io.StringIO()
    print_comparison(against(), Console(file=file, width=width))
    return file.getvalue()


def rated(value: float, low: float, high: float) -> Evaluation:
    rate = Rate(Estimate(value, low, high, 500, "PPI++"), "PPI++", None, None, None, None, 500, 150, 0)
    return Evaluation("run", {}, {"name": "offline"}, 0.95, rate)


def test_the_headline_is_a_sentence_in_whole_answers() -> None:
    told = headline(rated(0.127, 0.09, 0.17)).sentence
    assert told == ("Of 100 answers about 13 hallucinate; the true number is between 9 and 17 with 95 % confidence.")


def test_a_small_rate_is_told_of_as_many_answers_as_it_takes() -> None:
    assert headline(rated(0.004, 0.001, 0.011)).sentence.startswith("Of 1,000 answers about 4 hallucinate")
    assert headline(rated(0.0, 0.0, 0.024)).sentence.startswith("Of 100 answers about 0 hallucinate")


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted))
def test_the_ends_that_are_told_hold_the_interval(ends: list[float]) -> None:
    low, value, high = ends
    words = headline(rated(value, low, high)).sentence.replace(",", "").split()
    base, told_low, told_high = int(words[1]), int(words[-7]), int(words[-5])
    assert told_low <= low * base + 1e-6
    assert told_high >= high * base - 1e-6


def test_what_the_judge_flags_is_never_called_the_rate_of_hallucination() -> None:
    evaluation = without_rate()
    flagged = evaluation.answers.flagged
    assert flagged is not None
    told = headline(evaluation)
    assert told.sentence == "There is no rate of hallucination."
    assert "arriero eval calibrate" in told.how
    for text in (printed(evaluation), to_markdown(evaluation)):
        lines = [line for line in text.splitlines() if f"{100 * flagged.value:.1f}" in line]
        assert lines
        assert all("flagged by the judge" in line for line in lines if "|" in line or line.startswith("answers:"))
        assert "hallucinated, corrected" not in text


def test_a_terminal_shows_every_part() -> None:
    text = printed(complete(), width=300)
    for part in (
        "Of 100 answers about 13 hallucinate",
        "prediction-powered inference",
        "40.0 of 100 answers are flagged by the judge",
        "2 answers without a judgement",
        "3 questions without an answer",
        "claims: flagged by the judge",
        "refused though answerable",
        "recall of the first 5",
        "citations: precision",
        "answer ignored",
        "By kind",
        "By document",
        "varies by 2.0 points",
        "Before you believe a number",
    ):
        assert part in text, part
    assert "sensitivity" in printed(conversations())


def test_no_colours_where_nobody_looks_and_nothing_that_a_terminal_obeys() -> None:
    assert "\x1b" not in printed(complete("\x1b[31mred\x1b]0;title\x07"))
    assert "\x1b[1m" in printed(complete(), terminal=True)


@pytest.mark.parametrize("width", [44, 80])
def test_a_narrow_terminal_breaks_no_figure(width: int) -> None:
    for evaluation in (conversations(), complete("a-name-of-forty-letters-or-so-for-anything")):
        lines = printed(evaluation, width=width).splitlines()
        assert max(map(len, lines)) <= width
        for table in tables(evaluation):
            for figure in (cell for row in table.rows for cell in row[1:]):
                assert any(figure in line for line in lines), figure


def test_an_ordinary_terminal_has_a_line_for_each_figure_of_the_rate() -> None:
    lines = printed(conversations(), width=80).splitlines()
    begin = lines.index("Rates") + 2
    rows = tables(conversations())[0].rows
    assert all(line.startswith(row[0]) for line, row in zip(lines[begin:], rows, strict=False))


def test_documents_of_few_answers_are_told_apart_on_the_page_alone() -> None:
    evaluation = conversations()
    small = replace(
        evaluation, documents=tuple(replace(one, rate=replace(one.rate, judged=9)) for one in evaluation.documents)
    )
    some = replace(evaluation, documents=(*small.documents[:2], *evaluation.documents[2:]))
    assert "By document" not in printed(small)
    assert "By document" not in to_markdown(small)
    assert "By document" in html(small)
    assert "2 documents of fewer than 10 answers left out" in printed(some)


@pytest.mark.parametrize(
    ("judge", "name"),
    [
        (OfflineJudge().fingerprint, "(offline)"),
        ({"name": "llama", "model": "meta-llama/Llama-3.1-8B"}, "(llama, model meta-llama/Llama-3.1-8B)"),
        ({"name": "hhem", "model": "/home/ana/models/hhem-2.1"}, "(hhem, model hhem-2.1)"),
    ],
)
def test_a_judge_is_called_by_its_name_and_that_of_its_model(judge: dict[str, object], name: str) -> None:
    text = printed(replace(conversations(), judge=judge))
    assert f"flagged by the judge {name}." in text
    assert f"The judge {name}\n" in text


def test_json_comes_back_as_it_was() -> None:
    for evaluation in (complete(), complete(EVIL), conversations(), without_rate()):
        told = json.dumps(to_json(evaluation))
        again = from_json(told)
        assert to_json(again) == json.loads(told)
        assert again.answers == evaluation.answers
        assert [one.judgement for one in again.items] == [one.judgement for one in evaluation.items]


def test_json_has_keys_that_stay() -> None:
    told = to_json(complete(), items=False)
    assert (told["format"], told["version"]) == ("arriero.evaluation", 1)
    assert set(told) >= {
        *("format", "version", "headline", "name", "system", "judge", "level", "answers", "claims", "kinds"),
        *("documents", "answering", "retrieval", "citations", "causes", "repeats", "reliability", "caveats", "about"),
    }
    assert set(told["answers"]) == {
        *("corrected", "correction", "refused", "flagged", "labels_only", "quality", "judged", "labelled", "failed"),
    }
    assert set(told["answers"]["corrected"]) == {"value", "low", "high", "n", "method", "level"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[]", "format None"),
        ('{"format": "arriero.evaluation", "version": 2}', "version 2"),
        ('{"format": "arriero.evaluation", "version": 1, "name": "a"}', "Field required"),
    ],
)
def test_other_json_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(UnreadableReport, match=why):
        from_json(text)


def test_markdown_has_tables_whose_rows_are_whole() -> None:
    lines = to_markdown(conversations()).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert tables
    for line, after in pairwise(tables):
        if after.startswith("| ---"):
            assert line.count("|") == after.count("|")


def test_markdown_takes_nothing_for_markup() -> None:
    evaluation = complete("a|b <img src=x> [c](http://d) *e*\n# f")
    text = to_markdown(evaluation)
    assert "<img" not in text.replace("\\<img", "")
    assert "\n# f" not in text
    rows = [line for line in text.splitlines() if line.startswith("| a\\|b")]
    assert rows
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)


def test_the_upper_end_decides_whether_a_rate_is_too_high() -> None:
    evaluation = rated(0.03, 0.01, 0.06)
    assert too_high(evaluation, 0.06) is None
    assert "1.0 to 6.0 %" in str(too_high(evaluation, 0.05))
    assert "no corrected rate" in str(too_high(without_rate(), 0.99))
    with pytest.raises(EvalError, match="no share"):
        too_high(evaluation, 5)


def test_a_comparison_says_what_holds_and_how_sure_that_is() -> None:
    text = compared()
    for one in against():
        assert one.candidate in text
    assert "undecided" in text or "worse" in text
    assert "What flipped, gpt-4o" in text
    assert "People labelled both answers" in text


def test_a_difference_of_flags_is_called_one() -> None:
    flags = replace(against()[0], by="judge", corrected=None, refused="no pair has labels on both sides")
    file = io.StringIO()
    print_comparison([flags], Console(file=file, width=200))
    text = file.getvalue()
    assert "are flagged by the judge than with reference" in text
    assert "hallucinate than" not in text
    assert "no pair has labels on both sides" in text


def test_an_undecided_comparison_is_never_called_equal() -> None:
    found = against()[0]
    wide = replace(
        found,
        corrected=Estimate(0.01, -0.03, 0.05, 300, "cluster Tango"),
        conclusion="undecided",
    )
    text = comparison_to_markdown([wide])
    assert "Undecided" in text
    assert "between 3 fewer and 5 more" in text
    assert "equal" not in text


def test_comparisons_are_json_with_their_flips() -> None:
    told = json.loads(json.dumps(comparison_to_json(against(), items=False)))
    assert told["format"] == "arriero.comparison"
    assert told["base"] == "reference"
    first = told["comparisons"][0]
    assert sum(flip["pairs"] for flip in first["found"]["flips"]) == len(against()[0].pairs)
    assert "pairs" not in first
    assert len(comparison_to_json(against())["comparisons"][0]["pairs"]) == len(against()[0].pairs)


def test_comparisons_with_several_baselines_are_refused() -> None:
    one, other = against()
    with pytest.raises(EvalError, match="one baseline"):
        comparison_to_markdown([one, replace(other, base="else")])
    with pytest.raises(EvalError, match="one baseline"):
        comparison_to_json([])


def test_one_label_more_than_none_is_still_no_rate_where_it_was_refused() -> None:
    rate = Rate(None, None, "3 labels: label at least 20 items", None, wilson(1, 3), None, 90, 3, 0)
    told = headline(Evaluation("run", {}, {"name": "offline"}, 0.95, rate))
    assert told.number == "—"
    assert told.how.startswith("3 labels: label at least 20 items.")
