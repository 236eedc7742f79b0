"""Which items went wrong, measure by measure."""

from collections.abc import Mapping, Sequence

from arriero.evals.items import Question
from arriero.evals.measures.answering import correct
from arriero.evals.systems.system import Answer
from arriero.evals.toolcalls.comparing import Outcomes
from arriero.evals.toolcalls.running import Variant


def answer_outcomes(name: str, questions: Mapping[str, Question], answers: Sequence[Answer]) -> dict[str, Outcomes]:
    """Which answers went wrong, measure by measure.

    Args:
        name: The variant.
        questions: The questions by id.
        answers: Their answers; failed ones are in no measure.

    Returns:
        `refuses rightly`: of questions that say whether the corpus answers them, whether it refused just the others.
        `cites the right passage`: of answerable questions that had a right passage, whether the answer names one.
        `answers as accepted`: of questions with accepted answers, whether the answer holds one. Measures without a
        question are not there.
    """
    found: dict[str, dict[str, bool]] = {
        "refuses rightly": {},
        "cites the right passage": {},
        "answers as accepted": {},
    }
    for answer in answers:
        question = questions[answer.question_id]
        if answer.error is not None:
            continue
        if question.answerable is not None and answer.refused is not None:
            found["refuses rightly"][question.id] = answer.refused == question.answerable
        given = {passage.id for passage in answer.passages} & set(question.gold_ids)
        if given and question.answerable is not False:
            found["cites the right passage"][question.id] = not given & set(answer.cited)
        if question.answers and question.answerable is not False:
            found["answers as accepted"][question.id] = not correct(question, answer)
    return {measure: Outcomes(name, bad) for measure, bad in found.items() if bad}


def call_outcomes(calls: Variant | None) -> dict[str, Outcomes]:
    """Which tool calls went wrong, measure by measure.

    Args:
        calls: The variant's tool calls; None where none were asked for.

    Returns:
        `tool calls exact`, `all steps right` and `no call where none is right`, where there are such items.
    """
    if calls is None:
        return {}
    scores = [score for score in calls.scores if score.error is None]
    groups = {
        "tool calls exact": [score for score in scores if score.wants_call and not score.multi_step],
        "all steps right": [score for score in scores if score.wants_call and score.multi_step],
        "no call where none is right": [score for score in scores if not score.wants_call],
    }
    return {
        measure: Outcomes(calls.name, {score.item_id: not score.right for score in group})
        for measure, group in groups.items()
        if group
    }
