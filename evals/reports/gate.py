"""Whether a rate is low enough, for pipelines that must stop where it is not."""

from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.figures import interval


def too_high(evaluation: Evaluation, above: float) -> str | None:
    """Say why a rate of hallucination is not known to be low enough.

    The upper end of the interval decides: a rate that few labels leave open is not known to be low.

    Args:
        evaluation: What was found.
        above: Greatest rate that will do, as a share.

    Returns:
        Why it will not do; None where it will.

    Raises:
        EvalError: `above` is no share.

    Example:
        >>> from arriero.evals.evaluation import Rate
        >>> from arriero.evals.statistics import wilson
        >>> rate = Rate(wilson(2, 150), "labels only", None, None, None, None, 150, 150, 0)
        >>> found = Evaluation("run", {}, {}, 0.95, rate)
        >>> print(too_high(found, 0.05))
        None
        >>> print(too_high(found, 0.02))
        the rate of hallucination may be above 2 %: its interval is 0.4 to 4.7 %
    """
    if not 0 <= above <= 1:
        raise EvalError(f"{above!r} is no share: give one between 0 and 1, such as 0.05")
    corrected = evaluation.answers.corrected
    if corrected is None:
        why = evaluation.answers.refused or "no answer is labelled"
        return f"there is no corrected rate to hold against {100 * above:g} %: {why}"
    if corrected.high > above:
        return f"the rate of hallucination may be above {100 * above:g} %: its interval is {interval(corrected)}"
    return None
