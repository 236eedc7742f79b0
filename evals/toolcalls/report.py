"""What an evaluation of tool calls found, for people, machines and model cards."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from arriero.evals.reports.figures import Table, interval, percent
from arriero.evals.reports.markdown import tables_to_markdown
from arriero.evals.reports.terminal import print_tables
from arriero.evals.statistics.estimate import Estimate
from arriero.evals.toolcalls.comparing import VariantComparison
from arriero.evals.toolcalls.running import ToolCallReport, Variant

if TYPE_CHECKING:
    from rich.console import Console

_ROWS = (
    ("all right", "right"),
    ("calls exact", "exact"),
    ("right tools called", "names"),
    ("arguments right", "arguments"),
    ("no call where none is right", "irrelevance"),
    ("all steps right", "multi_step"),
)


def tables(report: ToolCallReport) -> tuple[Table, ...]:
    """The tables of a report.

    Args:
        report: The report.

    Returns:
        Rates of each variant, rates by category, comparisons.
    """
    several = len(report.variants) > 1
    found = [
        Table(
            f"Tool calls: {one.name}" if several else "Tool calls",
            ("share", "rate", f"{100 * report.level:g} % interval", "of", "method"),
            tuple(_rates(one)),
            _counts(one),
        )
        for one in report.variants
    ]
    categories = tuple(dict.fromkeys(name for one in report.variants for name in one.categories))
    if len(categories) > 1:
        columns = ("category", *(part for one in report.variants for part in (one.name, "interval", "of")))
        rows = tuple((name or "none", *_category(report.variants, name)) for name in categories)
        found.append(Table("All right, by category", columns, rows))
    if report.comparisons:
        found.append(comparison_table(report.comparisons, report.margin))
    return tuple(found)


def comparison_table(comparisons: Sequence[VariantComparison], margin: float) -> Table:
    """Comparisons as a table.

    Args:
        comparisons: The comparisons.
        margin: Largest loss that counts as not worse.

    Returns:
        The table; differences are of what goes right, so that less than 0 is a loss.
    """
    return Table(
        f"Against {comparisons[0].base}" if comparisons else "Comparisons",
        ("measure", "variant", "base", "rate", "difference", "interval", "lost", "won", "p", "conclusion"),
        tuple(_compared(one) for one in comparisons),
        "Differences in points, less than 0 is a loss. 'Not worse' means by no more than"
        f" {100 * margin:g} points; 'undecided' does not mean equal. p: exact McNemar, adjusted by Holm.",
    )


def print_toolcalls(report: ToolCallReport, console: "Console") -> None:
    """Print what was found.

    Args:
        report: The report.
        console: Where to; one that is no terminal gets no colours.
    """
    print_tables(tables(report), report.caveats, console)


def toolcalls_to_markdown(report: ToolCallReport) -> str:
    """What was found, as the tables of a model card.

    Args:
        report: The report.

    Returns:
        Markdown.
    """
    return tables_to_markdown(f"Tool calls: {report.name}", tables(report), report.caveats)


def toolcalls_to_json(report: ToolCallReport) -> dict[str, Any]:
    """What was found, as JSON values.

    Args:
        report: The report.

    Returns:
        All of it, each item among it.
    """
    comparisons = [comparison_to_json(one) for one in report.comparisons]
    variants = [asdict(one) for one in report.variants]
    whole = {
        "kind": "tool calls",
        "name": report.name,
        "level": report.level,
        "margin": report.margin,
        "variants": variants,
        "comparisons": comparisons,
        "caveats": report.caveats,
    }
    plain: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return plain


def comparison_to_json(comparison: VariantComparison) -> dict[str, Any]:
    """A comparison as JSON values.

    Args:
        comparison: The comparison.

    Returns:
        Its fields; flips by `baseline,candidate`, 1 for what went wrong.
    """
    flips = {f"{before},{after}": count for (before, after), count in comparison.found.flips.items()}
    difference = asdict(comparison.found.difference)
    found = {"difference_of_errors": difference, "flips": flips, "p_value": comparison.found.p_value}
    kept = ("measure", "base", "candidate", "p_adjusted", "conclusion", "items", "left_out")
    rates = {name: asdict(getattr(comparison, name)) for name in ("base_rate", "candidate_rate")}
    return {**{name: getattr(comparison, name) for name in kept}, **rates, **found}


def _rates(variant: Variant) -> Iterator[tuple[str, ...]]:
    for title, name in _ROWS:
        found: Estimate | None = getattr(variant.measures, name)
        if found is not None:
            yield title, percent(found.value), interval(found), str(found.n), found.method


def _counts(variant: Variant) -> str:
    measures = variant.measures
    parts = [f"{measures.items} items", f"{measures.errors} without an answer"]
    parts += [f"{measures.unparsable} with an unreadable call", f"{measures.unoffered} calling a tool not offered"]
    return ", ".join(parts) + "."


def _category(variants: Sequence[Variant], name: str) -> Iterator[str]:
    for one in variants:
        found = one.categories[name].right if name in one.categories else None
        yield from ("-", "-", "0") if found is None else (percent(found.value), interval(found), str(found.n))


def _compared(one: VariantComparison) -> tuple[str, ...]:
    difference, flips = one.found.difference, one.found.flips
    return (
        one.measure,
        one.candidate,
        percent(one.base_rate.value),
        percent(one.candidate_rate.value),
        f"{-100 * difference.value + 0.0:+.1f}",
        f"{-100 * difference.high:+.1f} to {-100 * difference.low:+.1f}",
        str(flips[0, 1]),
        str(flips[1, 0]),
        f"{one.p_adjusted:.3f}" if one.p_adjusted >= 0.001 else "< 0.001",
        one.conclusion,
    )
