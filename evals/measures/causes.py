"""Where errors came from."""

from arriero.evals.evaluation import Cause
from arriero.evals.items import Question
from arriero.evals.measures.answering import correct, gives
from arriero.evals.systems.system import Answer


def cause(question: Question, answer: Answer, hallucinated: bool) -> Cause | None:
    """Where the error of an answer came from.

    An answer is an error where it is hallucinated, holds none of the accepted answers, refuses a question that the
    corpus answers, or answers one that it does not. In this order:

    1. The question names its right passages and none of them was retrieved: retrieval missed.
    2. The answer is hallucinated, or refuses though a right passage was there: answer ignored (its passages).
    3. It follows its passages and is wrong nevertheless: passage wrong.

    Where nobody named the right passages of a question that has some, a hallucination is `unknown`: the passages may
    have been of no use, or have been ignored.

    Args:
        question: What was asked.
        answer: What was said, and from which passages.
        hallucinated: Whether it is not supported by those: what people said, else the judge's flag.

    Returns:
        The cause; None where there is no error.

    Example:
        >>> from arriero.evals.items import Passage
        >>> asked = Question("high", "How high is the pass?", answers=("2140 metres",), gold_ids=("pass",))
        >>> cause(asked, Answer("high", "3000 metres.", passages=(Passage("inn", ""),)), hallucinated=True)
        'retrieval missed'
        >>> cause(asked, Answer("high", "3000 metres.", passages=(Passage("pass", ""),)), hallucinated=True)
        'answer ignored'
        >>> cause(asked, Answer("high", "3000 metres.", passages=(Passage("pass", ""),)), hallucinated=False)
        'passage wrong'
    """
    refused_wrongly = bool(answer.refused) and question.answerable is not False
    answered_wrongly = question.answerable is False and gives(answer)
    incorrect = bool(question.answers) and question.answerable is not False and not correct(question, answer)
    if not (hallucinated or answered_wrongly or incorrect or (refused_wrongly and question.answerable)):
        return None
    if question.gold_ids and not {passage.id for passage in answer.passages} & set(question.gold_ids):
        return "retrieval missed"
    if not question.gold_ids and question.answerable is not False:
        return "unknown"
    return "answer ignored" if hallucinated or refused_wrongly or not answer.text.strip() else "passage wrong"
