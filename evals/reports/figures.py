"""What a report says, before it is known where: a headline, and tables."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from arriero.evals.evaluation import Evaluation, Group, Rate
from arriero.evals.statistics.estimate import Estimate

_BASES = (100, 1_000, 10_000)
_MOST_KINDS = 50
FEW = 10
"""Of so many documents the most flagged are shown in tables; the HTML report has them all."""

_ENOUGH = 10
"""Judged answers from which the rate of a document says something by itself."""

_CALIBRATE = (
    "`arriero eval calibrate` picks 100 to 200 answers, opens the page to label them, and gives the corrected rate."
)

_HOW = {
    "PPI++": "people labelled {labelled} of the {judged} judged answers, and the judge's scores of all of them sharpen"
    " what that sample says (prediction-powered inference, PPI++; right for labels that are a random sample)",
    "Rogan-Gladen": "the judge's own errors, measured on {labelled} labelled answers, are taken out of what it flags"
    " (Rogan-Gladen; right if it errs here as it does on the labelled answers)",
    "labels only": "from the {labelled} answers that people labelled, alone; the judge has no part in it",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The first thing that a report says.

    Args:
        number: The corrected rate, such as `12.7 %`; a dash where there is none.
        interval: Its interval, such as `9.0 to 17.0 %`; empty where there is none.
        sentence: What it means, for people who are no statisticians.
        how: How it was corrected, or how to get a rate where there is none.
        flagged: What the judge flags, called by its name: it is no rate of hallucination.
    """

    number: str
    interval: str
    sentence: str
    how: str
    flagged: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a report.

    Args:
        title: What it shows.
        columns: The heads of its columns; the first names the rows.
        rows: The cells.
        note: What a reader must know to read it; empty where nothing.
        filter: What the first column names, where a page can show the items of it alone: a kind, a document, a cause.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    filter: str = ""


def headline(evaluation: Evaluation) -> Headline:
    """The rate with its interval, in a sentence.

    Args:
        evaluation: What was found.

    Returns:
        The headline. Without a corrected rate it says that there is none, and how to get one.

    Example:
        >>> from arriero.evals.statistics import wilson
        >>> rate = Rate(wilson(19, 150), "labels only", None, None, None, None, 150, 150, 0)
        >>> headline(Evaluation("run", {}, {"name": "offline"}, 0.95, rate)).sentence
        'Of 100 answers about 13 hallucinate; the true number is between 8 and 19 with 95 % confidence.'
    """
    rate, judge = evaluation.answers, judge_named(evaluation.judge)
    flagged = "" if rate.flagged is None else f"{_of_100(rate.flagged.value)} are flagged by the judge ({judge})"
    if rate.corrected is None:
        why = _sentence(rate.refused or "no answer is labelled, and a judge's own errors are in what it flags")
        if "arriero eval calibrate" not in why:
            why += f" {_CALIBRATE}"
        return Headline(
            "—",
            "",
            "There is no rate of hallucination.",
            why,
            flagged and f"{flagged}: a ranking for review, not a rate of hallucination.",
        )
    method = rate.correction or "labels only"
    how = _HOW[method].format(labelled=f"{rate.labelled:,}", judged=f"{rate.judged:,}")
    if method == "labels only" and rate.refused:
        how += f": {rate.refused}"
    corrected = rate.corrected
    return Headline(
        percent(corrected.value),
        f"{100 * corrected.low:.1f} to {percent(corrected.high)}",
        _told(corrected),
        f"How: {how.rstrip('.')}.",
        flagged and (f"{_sentence(flagged)}" if method == "labels only" else f"Before correction {flagged}."),
    )


def tables(evaluation: Evaluation, *, enough: int = _ENOUGH) -> tuple[Table, ...]:
    """All figures of an evaluation.

    Args:
        evaluation: What was found.
        enough: Documents with fewer judged answers are not told apart.

    Returns:
        The tables that have something to show.
    """
    found = (
        _rates(evaluation),
        _judge(evaluation),
        _questions(evaluation),
        _causes(evaluation),
        _groups(_shared(evaluation), evaluation.kinds, _MOST_KINDS),
        documents(evaluation, FEW, enough=enough),
    )
    return tuple(table for table in found if table.rows)


def documents(evaluation: Evaluation, most: int, *, enough: int = 0) -> Table:
    """The rates of documents.

    Args:
        evaluation: What was found.
        most: How many at most, the most flagged first.
        enough: Least judged answers of each.

    Returns:
        The table.
    """
    kept = [group for group in evaluation.documents if group.rate.judged >= enough]
    table = _groups("document", kept, most)
    left_out = len(evaluation.documents) - len(kept)
    if not left_out:
        return table
    return replace(table, note=f"{table.note} {plural(left_out, 'document')} of fewer than {enough} answers left out.")


def counts(evaluation: Evaluation) -> str:
    """How many items the numbers rest on, and how many are not in them, as one sentence."""
    rate = evaluation.answers
    text = f"{plural(rate.judged, 'answer')} judged, {rate.labelled:,} of them labelled by people"
    if rate.failed:
        text += f"; {plural(rate.failed, 'answer')} without a judgement, left out of every number"
    if evaluation.answering is not None and evaluation.answering.errors:
        errors = evaluation.answering.errors
        text += f"; {plural(errors, 'question')} without an answer because the system failed, left out too"
    return text + "."


def reliability_table(evaluation: Evaluation) -> Table:
    """The judge's scores against labels, as the numbers behind the diagram."""
    rows = tuple(
        (
            f"{found.low:.2f} to {found.high:.2f}",
            f"{found.score:.2f}",
            f"{percent(found.rate.value)} ({interval(found.rate)})",
            f"{found.rate.n:,}",
        )
        for found in evaluation.reliability
    )
    return Table("Scores against labels", ("scores", "mean", "hallucinated", "labels"), rows)


def caveats_of(evaluation: Evaluation) -> tuple[str, ...]:
    """The caveats, less what the headline has said already."""
    said = evaluation.answers.refused if evaluation.answers.corrected is None else None
    return tuple(caveat for caveat in evaluation.caveats if said is None or said not in caveat)


def judge_named(fingerprint: Mapping[str, object]) -> str:
    """What a judge is called, with the model that it asks, if it asks one.

    Args:
        fingerprint: The judge's fingerprint.

    Returns:
        Its name; of a model in a folder the folder's name, not where that is.

    Example:
        >>> judge_named({"name": "offline"}), judge_named({"name": "llama", "model": "/models/Llama-3.1-8B"})
        ('offline', 'llama, model Llama-3.1-8B')
    """
    name, model = fingerprint.get("name"), fingerprint.get("model")
    if isinstance(model, str) and PurePath(model).is_absolute():
        model = PurePath(model).name
    return f"{name or 'unnamed'}, model {model}" if model and model != name else str(name or "unnamed")


def percent(share: float) -> str:
    """A share as a percentage, with enough digits to be no 0 that is none."""
    return f"{100 * share:.2f} %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def interval(estimate: Estimate) -> str:
    """An interval as a cell."""
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def value_text(value: object) -> str:
    """A recorded value as a cell."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _told(rate: Estimate) -> str:
    """A rate in whole answers of a round number of them, the ends rounded away from the rate."""
    base = next((base for base in _BASES if rate.value * base >= 1 or base == _BASES[-1]), _BASES[-1])
    base = 100 if rate.value == 0 else base
    about, low, high = round(rate.value * base), math.floor(rate.low * base + 1e-9), math.ceil(rate.high * base - 1e-9)
    verb = "hallucinates" if about == 1 else "hallucinate"
    return (
        f"Of {base:,} answers about {about:,} {verb}; the true number is between {low:,} and {high:,} with"
        f" {100 * rate.level:g} % confidence."
    )


def _of_100(share: float) -> str:
    return f"{100 * share:.1f} of 100 answers"


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _row(name: str, estimate: Estimate | None) -> Iterator[tuple[str, ...]]:
    if estimate is not None:
        yield name, percent(estimate.value), interval(estimate), f"{estimate.n:,}", estimate.method


def _score(name: str, found: Estimate) -> Iterator[tuple[str, ...]]:
    """A measure from 0 to 1 that is no share."""
    yield name, f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}", f"{found.n:,}", found.method


_CAUSES = (
    "Errors: answers that are hallucinated as people said, or else as the judge says; that are not among the accepted"
    " ones; that refuse what could be answered, or answer what could not."
)
_ESTIMATES = ("", "estimate", "interval", "of", "method")


def _rates(evaluation: Evaluation) -> Table:
    rows: list[tuple[str, ...]] = []
    for unit, rate in (("answers", evaluation.answers), ("claims", evaluation.claims)):
        if rate is not None:
            by = "by labels" if rate.correction == "labels only" else "corrected"
            rows += _row(f"{unit}: hallucinated, {by}", rate.corrected)
            if rate.labels_only != rate.corrected:
                rows += _row(f"{unit}: hallucinated, by labels", rate.labels_only)
            rows += _row(f"{unit}: flagged by the judge", rate.flagged)
    note = "What the judge flags holds its errors: it is not the rate of hallucination."
    if evaluation.repeats is not None:
        note += (
            f" From one generation to the next the flagged share varies by {100 * evaluation.repeats.spread:.1f} points"
            " (standard deviation)."
        )
    return Table("Rates", _ESTIMATES, tuple(rows), note)


def _judge(evaluation: Evaluation) -> Table:
    quality = evaluation.answers.quality
    if quality is None:
        return Table("", (), ())
    rows = [
        *_row("sensitivity: bad answers flagged", quality.sensitivity),
        *_row("specificity: good ones let pass", quality.specificity),
    ]
    threshold = evaluation.judge.get("threshold")
    at = f"It flags from a score of {threshold:g}." if isinstance(threshold, int | float) else ""
    return Table(f"The judge ({judge_named(evaluation.judge)})", _ESTIMATES, tuple(rows), at)


def _questions(evaluation: Evaluation) -> Table:
    rows: list[tuple[str, ...]] = []
    if (did := evaluation.answering) is not None:
        rows += _row("answered", did.answered)
        rows += _row("refused", did.refused)
        rows += _row("refused though answerable", did.wrongly_refused)
        rows += _row("answered though unanswerable", did.wrongly_answered)
        rows += _row("correct: has an accepted answer", did.correct)
    if (found := evaluation.retrieval) is not None:
        rows += _row(f"retrieval: recall of the first {found.k}", found.recall)
        rows += _score(f"retrieval: nDCG of the first {found.k}", found.ndcg)
        rows += _score("retrieval: mean reciprocal rank", found.mrr)
    if (cites := evaluation.citations) is not None:
        rows += _row("citations: precision", cites.precision)
        rows += _row("citations: recall", cites.recall)
    return Table("Questions, retrieval, citations", _ESTIMATES, tuple(rows))


def _causes(evaluation: Evaluation) -> Table:
    total = sum(evaluation.causes.values())
    rows = tuple(
        (cause, f"{count:,}", percent(count / total))
        for cause, count in sorted(evaluation.causes.items(), key=lambda entry: -entry[1])
        if count
    )
    return Table("Where the errors came from", ("cause", "answers", "share"), rows, _CAUSES, "cause")


def _shared(evaluation: Evaluation) -> str:
    """What the items of a group have in common."""
    items = [one.item for one in evaluation.items]
    if not items or any(item.extra.get("kind") for item in items):
        return "kind"
    return "model" if len({item.model for item in items}) > 1 else "dataset"


def _groups(unit: str, groups: Sequence[Group], most: int | None) -> Table:
    rows = tuple((group.name or "(none)", *_group_cells(group.rate)) for group in groups[:most])
    note = "What is hallucinated: corrected where there are labels enough, else from the labels alone."
    if len(rows) < len(groups):
        note += f" The first {len(rows)} of {plural(len(groups), unit)}."
    columns = (unit, "judged", "flagged by the judge", "labelled", "hallucinated")
    return Table(f"By {unit}", columns, rows, note, unit)


def _group_cells(rate: Rate) -> tuple[str, ...]:
    rated = rate.corrected or rate.labels_only
    told = "—" if rated is None else f"{percent(rated.value)} ({interval(rated)})"
    flagged = "—" if rate.flagged is None else percent(rate.flagged.value)
    return f"{rate.judged:,}", flagged, f"{rate.labelled:,}", told
