"""What a comparison of runs says, before it is known where."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arriero.evals.comparing import RunComparison
from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Judged
from arriero.evals.reports.figures import Table, plural
from arriero.evals.reports.packing import Row
from arriero.evals.statistics.estimate import Estimate

_WORDS = {
    "worse": "{candidate} is worse than {base}.",
    "better": "{candidate} is better than {base}.",
    "not worse": "{candidate} is not worse than {base} by more than {margin} of 100 answers.",
    "undecided": "Undecided: these items do not tell {candidate} from {base}, nor show that they are alike.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first thing that a comparison says.

    Args:
        conclusion: What holds.
        number: The difference in percentage points, such as `+9.8`.
        interval: Its interval, such as `+7.0 to +13.2 points`.
        sentence: What the numbers mean, for people who are no statisticians.
        how: What decided, and what to do where it decided little.
    """

    conclusion: str
    number: str
    interval: str
    sentence: str
    how: str


def verdict(found: RunComparison) -> Verdict:
    """What a comparison says, in sentences.

    Args:
        found: The comparison.

    Returns:
        The verdict. A difference of flags is called that, never one of hallucination.
    """
    estimate, margin = decisive(found), 100 * found.found.margin
    conclusion = _WORDS[found.conclusion].format(base=found.base, candidate=found.candidate, margin=f"{margin:g}")
    flags = found.corrected is None
    if flags:
        conclusion = f"By the judge's flags alone: {conclusion}"
    what = "are flagged by the judge" if flags else "hallucinate"
    more, than = _more(estimate.value)
    sentence = (
        f"With {found.candidate} {more} of 100 answers {what} {than} with {found.base}; the true difference is"
        f" {_between(estimate)} with {100 * estimate.level:g} % confidence."
    )
    return Verdict(
        conclusion,
        points(estimate.value),
        f"{points(estimate.low)} to {points(estimate.high)} points",
        sentence,
        _how(found),
    )


def decisive(found: RunComparison) -> Estimate:
    """The difference that the conclusion is drawn from."""
    return found.corrected or found.found.difference


def comparison_tables(found: Sequence[RunComparison]) -> tuple[Table, ...]:
    """All figures of comparisons with one baseline.

    Args:
        found: The comparisons.

    Returns:
        The tables.

    Raises:
        EvalError: There are none, or they have several baselines.
    """
    check_one_base(found)
    return (_differences(found), *(_flips(one, len(found) > 1) for one in found))


def check_one_base(found: Sequence[RunComparison]) -> None:
    """Refuse comparisons that do not belong side by side.

    Raises:
        EvalError: There are none, or they have several baselines.
    """
    if len({one.base for one in found}) != 1:
        raise EvalError(f"{plural(len(found), 'comparison')}: give comparisons with one baseline, at least one")


def all_caveats(found: Sequence[RunComparison]) -> tuple[str, ...]:
    """The caveats of several comparisons, each once."""
    return tuple(dict.fromkeys(caveat for one in found for caveat in one.caveats))


def rows(found: Sequence[RunComparison]) -> list[Row]:
    """The answers side by side: the baseline's, then each candidate's.

    Args:
        found: Comparisons with one baseline.

    Returns:
        What pairs them, and the answers; None where a candidate has none that was compared.
    """
    sides: dict[str, list[Judged | None]] = {}
    for at, one in enumerate(found):
        for pair in one.pairs:
            row = sides.setdefault(pair.key, [None] * (len(found) + 1))
            row[0], row[at + 1] = pair.base, pair.candidate
    return list(sides.items())


def points(difference: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def _how(found: RunComparison) -> str:
    pairs = plural(len(found.pairs), "pair")
    if found.by == "labels":
        text = f"People labelled both answers of {pairs}."
    elif found.corrected is not None:
        text = f"The judge compared {pairs}; its errors are taken out by the {found.labelled:,} that people labelled."
    else:
        text = f"The judge compared {pairs}, and its errors are in the difference: {found.refused}."
    if found.conclusion == "undecided" and found.smallest is not None:
        text += (
            f" With so many pairs a difference shows from about {100 * found.smallest:.1f} points on:"
            " `arriero eval size` says how many a smaller one needs."
        )
    return text


def _differences(found: Sequence[RunComparison]) -> Table:
    cells = []
    for one in found:
        for name, estimate in _estimates(one):
            cells.append(
                (
                    f"{one.candidate}: {name}",
                    f"{points(estimate.value)} points",
                    f"{points(estimate.low)} to {points(estimate.high)}",
                    f"{len(one.pairs):,}",
                    one.conclusion if estimate == decisive(one) else "",
                    _p(one.p_adjusted) if estimate == decisive(one) else "",
                )
            )
    columns = ("", "difference", "interval", "pairs", "conclusion", "p, adjusted" if len(found) > 1 else "p")
    note = (
        f"Less is better. A candidate may be worse by {100 * found[0].found.margin:g} points and count as not worse."
        " p: how often a difference as large would come up if both were alike."
    )
    return Table(f"Against {found[0].base}", columns, tuple(cells), note)


def _estimates(found: RunComparison) -> list[tuple[str, Estimate]]:
    if found.by == "labels":
        return [("hallucinated", found.found.difference)]
    flagged = [("flagged by the judge", found.found.difference)]
    return flagged if found.corrected is None else [("hallucinated, corrected", found.corrected), *flagged]


def _flips(found: RunComparison, several: bool) -> Table:
    said = ("supported", "hallucinated") if found.by == "labels" else ("let pass", "flagged")
    flips = found.found.flips
    cells = tuple(
        (f"{found.base}: {said[was]}", *(f"{flips.get((was, now), 0):,}" for now in (0, 1))) for was in (0, 1)
    )
    note = ""
    if found.failed or any(found.unpaired):
        note = (
            f"Left out: {plural(found.failed, 'pair')} without a word on both sides,"
            f" {found.unpaired[0]:,} answers of {found.base} and {found.unpaired[1]:,} of {found.candidate} that the"
            " other lacks."
        )
    title = f"What flipped{f', {found.candidate}' if several else ''}"
    return Table(title, ("answers", *(f"{found.candidate}: {word}" for word in said)), cells, note)


def _more(difference: float) -> tuple[str, str]:
    count = round(100 * abs(difference))
    if count == 0:
        return "about as many", "as"
    return f"about {count} {'more' if difference > 0 else 'fewer'}", "than"


def _between(estimate: Estimate) -> str:
    low, high = math.floor(100 * estimate.low + 1e-9), math.ceil(100 * estimate.high - 1e-9)
    if low >= 0:
        return f"between {low} and {high} more"
    if high <= 0:
        return f"between {-high} and {-low} fewer"
    return f"between {-low} fewer and {high} more"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
