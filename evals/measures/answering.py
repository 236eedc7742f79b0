"""What became of the questions: answered or refused, rightly or wrongly."""

import re
import string
from collections.abc import Mapping, Sequence

from arriero.evals.evaluation import Answering
from arriero.evals.items import Question
from arriero.evals.measures.rates import share
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.systems.system import Answer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answering(questions: Mapping[str, Question], answers: Sequence[Answer], *, level: float = 0.95) -> Answering | None:
    """What became of the questions, by documents where several questions are about one.

    An empty answer is neither answered nor refused. A failed one is in `errors` alone.

    Args:
        questions: The questions by id.
        answers: The answers, failed ones among them.
        level: How often each interval is to hold the truth.

    Returns:
        The shares; None where no answer came back, or nobody looked whether answers refuse.

    Example:
        >>> asked = {"high": Question("high", "How high is the pass?", answers=("2140 metres",))}
        >>> answering(asked, [Answer("high", "It is 2140 metres high.", refused=False)]).correct.value
        1.0
    """
    known = [(questions[one.question_id], one) for one in answers if one.question_id in questions]
    errors = sum(one.error is not None for _, one in known)
    told = [(question, one) for question, one in known if one.error is None and one.refused is not None]
    if not told:
        return None

    def part(rows: Sequence[tuple[Question, Answer]], events: Sequence[bool]) -> Estimate | None:
        documents = [question.doc_id or question.id for question, _ in rows]
        return share(events, documents, level=level) if rows else None

    answerable = [row for row in told if row[0].answerable is True]
    unanswerable = [row for row in told if row[0].answerable is False]
    keyed = [row for row in told if row[0].answers]
    answered, refused = part(told, [gives(one) for _, one in told]), part(told, [bool(one.refused) for _, one in told])
    if answered is None or refused is None:
        return None
    return Answering(
        answered=answered,
        refused=refused,
        wrongly_refused=part(answerable, [bool(one.refused) for _, one in answerable]),
        wrongly_answered=part(unanswerable, [gives(one) for _, one in unanswerable]),
        correct=part(keyed, [correct(question, one) for question, one in keyed]),
        errors=errors,
    )


def gives(answer: Answer) -> bool:
    """Whether there is an answer: a text that is no refusal."""
    return bool(answer.text.strip()) and not answer.refused


def correct(question: Question, answer: Answer) -> bool:
    """Whether an answer holds an accepted one, whole words in their order, and does not refuse.

    Args:
        question: With its accepted answers.
        answer: What was said.

    Returns:
        Whether it does; False where no answer is accepted.

    Source: normalised as the evaluation of SQuAD does, Rajpurkar et al. (2016), arXiv 1606.05250: lower case, no
        punctuation, no articles, single blanks.

    Example:
        >>> asked = Question("high", "How high is the pass?", answers=("The Mule Inn",))
        >>> [correct(asked, Answer("high", text)) for text in ("In the house named Mule Inn.", "Mule Innsbruck")]
        [True, False]
    """
    said = f" {normalised(answer.text)} "
    return gives(answer) and any(f" {normalised(accepted)} " in said for accepted in question.answers)


def normalised(text: str) -> str:
    """Text as answers are compared by; as it is, in lower case, where nothing else would be left of it."""
    plain = " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())
    return plain or " ".join(text.lower().split())
