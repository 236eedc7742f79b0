"""What is evaluated: answers with the passages they must rest on, and questions with a corpus."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Span:
    """A range of characters of a response.

    Args:
        start: First character, from 0.
        end: The one after the last.
        label: What it is, such as `unsupported`.
    """

    start: int
    end: int
    label: str = "unsupported"


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document, as it is retrieved.

    Args:
        id: Unique in its corpus.
        text: The text.
        title: Title of its document.
    """

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class GroundingItem:
    """A response and the passages that it must be grounded in.

    Args:
        id: Unique in its set.
        context: The passages, as the model had them.
        response: What is judged.
        question: What was asked; None where nothing was.
        doc_id: Document, conversation or question behind it: the unit of splits and of cluster intervals. Its own
            id where a file names none.
        dataset: Name of its set.
        model: What wrote the response.
        label: 1 for hallucinated (not fully supported), 0 for supported, None where nobody said.
        spans: Unsupported ranges of the response, where people marked them.
        detector_scores: Stored scores of other detectors, higher for more likely hallucinated.
        split: `train` or `test`; None where there is no split.
        extra: All other fields of its line.

    Example:
        >>> GroundingItem("a", ("Mules are patient.",), "Mules fly.", label=1).doc_id
        ''
    """

    id: str
    context: tuple[str, ...]
    response: str
    question: str | None = None
    doc_id: str = ""
    dataset: str = ""
    model: str = ""
    label: Literal[0, 1] | None = None
    spans: tuple[Span, ...] = ()
    detector_scores: Mapping[str, float] = field(default_factory=dict)
    split: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """An earlier turn of a conversation.

    Args:
        role: `user` or `assistant`.
        text: What was said.
    """

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a system under test.

    Args:
        id: Unique in its set.
        question: The text.
        history: Earlier turns, oldest first.
        answers: Accepted answers; empty where there are none or nobody said.
        gold_ids: Passages that answer it.
        near_miss_ids: Passages that look right and do not answer it.
        answerable: Whether the corpus answers it; None where nobody said.
        doc_id: Unit of splits and cluster intervals; the id of the question where a file names none.
        kind: Group of questions that a report tells apart, such as a domain.
        passages: Passages to answer from, where they are given with the question and nothing is retrieved.
        extra: All other fields of its line.
    """

    id: str
    question: str
    history: tuple[Said, ...] = ()
    answers: tuple[str, ...] = ()
    gold_ids: tuple[str, ...] = ()
    near_miss_ids: tuple[str, ...] = ()
    answerable: bool | None = None
    doc_id: str = ""
    kind: str = ""
    passages: tuple[Passage, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions, and the corpus that they are asked about.

    Args:
        name: Name of the set.
        questions: The questions.
        corpus: Its passages by id; empty where the system under test has its own.
    """

    name: str
    questions: tuple[Question, ...]
    corpus: Mapping[str, Passage] = field(default_factory=dict)
