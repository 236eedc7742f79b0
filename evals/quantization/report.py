"""What a comparison of quantizations found, for people, machines and model cards."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from arriero.evals.quantization.asking import VariantFound
from arriero.evals.quantization.comparing import QuantizationReport
from arriero.evals.quantization.cost import Speed
from arriero.evals.reports.figures import Table, interval, percent
from arriero.evals.reports.machine import comparison_to_json as runs_to_json
from arriero.evals.reports.machine import to_json
from arriero.evals.reports.markdown import tables_to_markdown
from arriero.evals.reports.terminal import print_tables
from arriero.evals.toolcalls.report import comparison_table, comparison_to_json

if TYPE_CHECKING:
    from rich.console import Console

_MEGA = 1_000_000


def tables(report: QuantizationReport) -> tuple[Table, ...]:
    """The tables of a report.

    Args:
        report: The report.

    Returns:
        What each variant does and costs, how alike its tokens are, and whether its differences are real.
    """
    found = [_side_by_side(report), _agreement(report)]
    if report.flags:
        found.append(_hallucination(report))
    if report.comparisons:
        found.append(comparison_table(report.comparisons, report.margin))
    return tuple(table for table in found if table.rows)


def print_quantization(report: QuantizationReport, console: "Console") -> None:
    """Print what was found.

    Args:
        report: The report.
        console: Where to; one that is no terminal gets no colours.
    """
    print_tables(tables(report), report.caveats, console)


def quantization_to_markdown(report: QuantizationReport) -> str:
    """What was found, as the tables of a model card.

    Args:
        report: The report.

    Returns:
        Markdown.
    """
    return tables_to_markdown(f"Quantization: {_named(report)}", tables(report), report.caveats)


def quantization_to_json(report: QuantizationReport) -> dict[str, Any]:
    """What was found, as JSON values.

    Args:
        report: The report.

    Returns:
        All of it but the answers' texts, which are in the run's folder.
    """
    whole = {
        "kind": "quantization",
        "level": report.level,
        "margin": report.margin,
        "variants": [_variant(one) for one in report.variants],
        "comparisons": [comparison_to_json(one) for one in report.comparisons],
        "hallucination": runs_to_json(report.flags, items=False) if report.flags else None,
        "caveats": report.caveats,
    }
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return plain


def _variant(one: VariantFound) -> dict[str, Any]:
    return {
        "name": one.name,
        "facts": one.facts,
        "calls": None if one.calls is None else asdict(one.calls.measures),
        "answers": None if one.answers is None else to_json(one.answers, items=False),
        "outcomes": {measure: dict(outcomes.bad) for measure, outcomes in one.outcomes.items()},
        "agreement": None if one.agreement is None else asdict(one.agreement),
        "apart": one.apart,
        "speed": asdict(one.speed) if isinstance(one.speed, Speed) else one.speed,
        "memory": None if one.memory is None else asdict(one.memory),
    }


def _side_by_side(report: QuantizationReport) -> Table:
    measures = tuple(dict.fromkeys(measure for one in report.variants for measure in one.outcomes))
    rows = [(measure, *(_right(one, measure) for one in report.variants)) for measure in measures]
    if any(one.answers is not None for one in report.variants):
        rows.append(("refused", *(_refused(one) for one in report.variants)))
        rows.append(("hallucinated, corrected", *(_corrected(one) for one in report.variants)))
        rows.append(("flagged by the judge", *(_flagged(one) for one in report.variants)))
    rows.append(("tokens a second", *(_speed(one) for one in report.variants)))
    rows.append(("weights, MB", *(_memory(one) for one in report.variants)))
    note = "Speed: median of the repeats. Flags hold the judge's errors: they are not the rate of hallucination."
    return Table("Side by side", ("", *(one.name for one in report.variants)), tuple(rows), note)


def _agreement(report: QuantizationReport) -> Table:
    base = report.variants[0].name
    rows = tuple(
        (
            one.name,
            f"{found.divergence.value:.2g}",
            f"{found.divergence.low:.2g} to {found.divergence.high:.2g}",
            f"{found.divergence_95:.2g}",
            percent(found.same.value),
            interval(found.same),
            f"{found.places} of {found.answers}",
            "all tokens" if found.exact else "lower bound",
        )
        for one in report.variants
        if (found := one.agreement) is not None
    )
    columns = ("variant", "KL, nats", "interval", "95 % below", "same first", "interval", "places of answers", "of")
    note = f"KL({base} || variant) at each place of {base}'s own answers; same first: the likeliest token is the same."
    return Table(f"Agreement of next tokens with {base}", columns, rows, note)


def _hallucination(report: QuantizationReport) -> Table:
    rows = []
    for one in report.flags:
        decisive = one.corrected or one.found.difference
        what = "hallucinated" if one.corrected is not None else "flagged by the judge"
        ends = f"{100 * decisive.low:+.1f} to {100 * decisive.high:+.1f}"
        p_value = f"{one.p_adjusted:.3f}" if one.p_adjusted >= 0.001 else "< 0.001"
        rows.append((what, one.candidate, f"{100 * decisive.value + 0.0:+.1f}", ends, p_value, one.conclusion))
    columns = ("share of answers", "variant", "difference", "interval", "p", "conclusion")
    note = f"Differences in points, more than 0 is worse. Margin: {100 * report.margin:g} points."
    return Table(f"Hallucination, against {report.variants[0].name}", columns, tuple(rows), note)


def _named(report: QuantizationReport) -> str:
    first, *others = report.variants
    return f"{', '.join(one.name for one in others)} against {first.name}"


def _right(one: VariantFound, measure: str) -> str:
    outcomes = one.outcomes.get(measure)
    if outcomes is None:
        return "-"
    right = sum(not bad for bad in outcomes.bad.values())
    return f"{percent(right / len(outcomes.bad))} of {len(outcomes.bad)}"


def _refused(one: VariantFound) -> str:
    answering = None if one.answers is None else one.answers.answering
    return "-" if answering is None else percent(answering.refused.value)


def _corrected(one: VariantFound) -> str:
    found = None if one.answers is None else one.answers.answers.corrected
    return "not known" if found is None else f"{percent(found.value)} ({interval(found)})"


def _flagged(one: VariantFound) -> str:
    found = None if one.answers is None else one.answers.answers.flagged
    return "-" if found is None else f"{percent(found.value)} of {found.n}"


def _speed(one: VariantFound) -> str:
    return f"{one.speed.tokens_per_second:.0f}" if isinstance(one.speed, Speed) else "-"


def _memory(one: VariantFound) -> str:
    return "not known" if one.memory is None else " ".join(_sizes(one.memory.held, one.memory.packed))


def _sizes(held: int, packed: int) -> Iterator[str]:
    yield f"{held / _MEGA:.1f}"
    if packed < held:
        yield f"({packed / _MEGA:.1f} packed)"
