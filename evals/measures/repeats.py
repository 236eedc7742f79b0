"""How much of a rate is chance of the generation."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from arriero.evals.evaluation import Judged, Repeats
from arriero.evals.measures.rates import share


def repeats(items: Sequence[Judged], *, level: float = 0.95) -> Repeats | None:
    """How the flags of several answers to one question vary.

    Args:
        items: The items; those made from answers count, and of them those of questions with several that were judged.
        level: How often the interval is to hold the truth.

    Returns:
        Variance within and between questions; None where no question has several judged answers.

    Source: analysis of variance with one random factor, Searle, Casella and McCulloch (1992), Variance Components,
        chapter 3: between = variance of the questions' means less what chance adds to it, at least 0.

    Example:
        >>> from arriero.evals.items import GroundingItem
        >>> from arriero.evals.judgement import Judgement
        >>> from arriero.evals.systems.system import Answer
        >>> def judged(question, repeat, flagged):
        ...     item = GroundingItem(f"{question}#{repeat}", (), "")
        ...     answer = Answer(question, "", repeat)
        ...     return Judged(item, Judgement(item.id, "j", float(flagged)), flagged, answer=answer)
        >>> found = repeats([judged(q, n, q == "b" and n == 1) for q in "abcd" for n in (0, 1)])
        >>> found.generations, found.unstable.value, found.within
        (2, 0.25, 0.125)
    """
    flags: dict[str, list[bool]] = defaultdict(list)
    documents: dict[str, str] = {}
    for one in items:
        if one.answer is not None and one.flagged is not None:
            flags[one.answer.question_id].append(one.flagged)
            documents[one.answer.question_id] = one.item.doc_id or one.answer.question_id
    several = {name: row for name, row in flags.items() if len(row) > 1}
    if not several:
        return None
    sizes = np.array([len(row) for row in several.values()], dtype=np.float64)
    means = np.array([np.mean(row) for row in several.values()])
    chance = means * (1 - means) * sizes / (sizes - 1)  # unbiased variance of one flag of each question
    # Questions with more answers say more of the chance: weighted by their degrees of freedom
    within = float((chance * (sizes - 1)).sum() / (sizes - 1).sum())
    between = float(np.var(means, ddof=1) - (chance / sizes).mean()) if sizes.size > 1 else 0.0
    return Repeats(
        generations=int(sizes.max()),
        spread=float(np.sqrt(chance.mean() / sizes.size)),
        between=max(0.0, between),
        within=within,
        unstable=share([0 < mean < 1 for mean in means], [documents[name] for name in several], level=level),
    )
