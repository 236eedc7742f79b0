"""The review of drafted questions: a table for a person, and what is left after it."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from arriero.evals.data.lines import Problems, quoted, read_rows, stem, write_whole
from arriero.evals.errors import InvalidData
from arriero.evals.items import Passage, Question, QuestionSet

COLUMNS = ("keep", "id", "question", "answer", "answerable", "passage", "near_miss")
"""Columns of a review: a person fills `keep`, and may correct `question` and `answer`."""

_YES = ("yes", "y", "true", "1", "x")
_NO = ("no", "n", "false", "0")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a review left.

    Args:
        questions: The kept questions, as they were corrected.
        kept: How many were kept.
        corrected: How many of these were changed.
        rejected: How many were rejected.
        undecided: How many nobody decided about; they are left out.
    """

    questions: QuestionSet
    kept: int
    corrected: int
    rejected: int
    undecided: int


def review_beside(path: Path) -> Path:
    """Where the review of a file of questions is written.

    Args:
        path: The file.

    Returns:
        `NAME.review.csv` for `NAME.jsonl`.
    """
    return path.with_name(f"{stem(path)}.review.csv")


def write_review(path: str | Path, questions: QuestionSet) -> None:
    """Write a table in which a person says which questions are good.

    Args:
        path: The file, `.csv`.
        questions: Drafted questions.

    Raises:
        InvalidData: It cannot be written.
    """
    table = io.StringIO(newline="")
    rows = csv.writer(table)
    rows.writerow(COLUMNS)
    for question in questions.questions:
        held = _held(question)
        gold = [questions.corpus[id_].text for id_ in question.gold_ids if id_ in questions.corpus]
        near = [questions.corpus[id_].text for id_ in question.near_miss_ids if id_ in questions.corpus]
        passage = [held.text] if held else gold
        shown = ("", question.id, question.question, _answer(question), "yes" if question.answerable else "no")
        rows.writerow(map(_cell, [*shown, "\n\n".join(passage), "\n\n".join(near)]))
    write_whole(Path(path), table.getvalue().encode("utf-8-sig"))  # a spreadsheet takes it for UTF-8 by its mark


def accept_review(path: str | Path, questions: QuestionSet) -> Reviewed:
    """Keep the questions that a person kept, as they corrected them.

    Args:
        path: The review.
        questions: The drafted questions that it was made from.

    Returns:
        What is left. Passages of rejected unanswerable questions are in the corpus again.

    Raises:
        InvalidData: A column is missing, or a line is wrong: `keep` is neither yes nor no nor empty, `answerable` was
            changed, an id is unknown or occurs twice, or a kept question is blank.
    """
    path = Path(path)
    problems = Problems(path)
    by_id = {question.id: question for question in questions.questions}
    decided: dict[str, tuple[bool | None, Mapping[str, object]]] = {}
    for line, row in read_rows(path, problems):
        missing = [name for name in COLUMNS[:5] if name not in row]
        if missing:
            raise InvalidData(f"{path}: has no column {', '.join(missing)}; the header has {', '.join(row)}")
        id_ = str(row["id"]).strip()
        if id_ not in by_id or id_ in decided:
            what = "was there before" if id_ in decided else "is no question of the set"
            problems.add(line, "id", f"{quoted(id_)} {what}")
            continue
        said = str(row["keep"]).strip().casefold()
        if said and said not in (*_YES, *_NO):
            problems.add(line, "keep", f"is {quoted(said)}; write yes or no, or nothing")
        if said in _YES and not str(row["question"]).strip():
            problems.add(line, "question", "is blank")
        answerable = str(row["answerable"]).strip().casefold()
        if answerable not in (_YES if by_id[id_].answerable else _NO):
            problems.add(line, "answerable", "was changed, which needs other passages; write no to keep")
        decided[id_] = ((said in _YES) if said else None, row)
    problems.check()
    kept = [_corrected(by_id[id_], row) for id_, (keep, row) in decided.items() if keep]
    corpus = dict(questions.corpus)
    for question in questions.questions:
        held = _held(question)
        if held and question.id not in {one.id for one in kept}:
            corpus[held.id] = held
    rejected = sum(keep is False for keep, _ in decided.values())
    corrected = sum(_text(one) != _text(by_id[one.id]) for one in kept)
    left = QuestionSet(questions.name, tuple(kept), corpus)
    return Reviewed(left, len(kept), corrected, rejected, len(by_id) - len(kept) - rejected)


def _corrected(question: Question, row: Mapping[str, object]) -> Question:
    text, answer = (_uncelled(str(row[name]).strip()) for name in ("question", "answer"))
    extra = {**question.extra, "reviewed": True}
    if not question.answerable:
        return replace(question, question=text, extra=extra)
    return replace(question, question=text, answers=(answer,) if answer else question.answers, extra=extra)


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: a model wrote it, about documents of anybody."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _uncelled(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _text(question: Question) -> tuple[str, tuple[str, ...]]:
    return question.question, question.answers


def _answer(question: Question) -> str:
    return question.answers[0] if question.answers else str(question.extra.get("withheld_answer", ""))


def _held(question: Question) -> Passage | None:
    """The passage that was withheld for a question."""
    held = question.extra.get("withheld")
    if held is None:
        return None
    try:
        return Passage(str(held["id"]), str(held["text"]), str(held["title"]))  # type: ignore[index]
    except (KeyError, TypeError) as error:
        raise InvalidData(f"question {question.id!r}: its field withheld is no passage; make the set again") from error
