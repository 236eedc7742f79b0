"""Judges by their names, as the command line and configurations give them."""

from arriero.evals.errors import EvalError
from arriero.evals.judgement import Judge

JUDGES = ("offline",)
"""Names that `judge_named` takes."""


def judge_named(name: str) -> Judge:
    """A judge by its name.

    Args:
        name: One of `JUDGES`.

    Returns:
        The judge.

    Raises:
        EvalError: There is no judge of this name, or it cannot be made ready.

    Example:
        >>> judge_named("offline").name
        'offline'
    """
    if name == "offline":
        from arriero.evals.judges.offline import OfflineJudge

        return OfflineJudge()
    raise EvalError(f"there is no judge {name!r}: use one of {', '.join(JUDGES)}")
