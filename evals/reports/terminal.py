"""Reports on a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arriero.evals.comparing import RunComparison
from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.differences import all_caveats, comparison_tables, verdict
from arriero.evals.reports.figures import Table, caveats_of, counts, headline, tables
from arriero.prompts.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

_TEXTS = ("method", "conclusion", "variant")
"""Columns of words, next to the first."""


def print_report(evaluation: Evaluation, console: "Console") -> None:
    """Print what was found.

    Args:
        evaluation: What was found.
        console: Where to; one that is no terminal gets no colours.

    Example:
        >>> from rich.console import Console
        >>> from arriero.evals.evaluation import Rate
        >>> rate = Rate(None, None, None, None, None, None, 3, 0, 0)
        >>> print_report(Evaluation("run", {}, {"name": "offline"}, 0.95, rate), Console(width=100))
        run
        There is no rate of hallucination.
        ...
    """
    from rich.text import Text

    head = headline(evaluation)
    console.print(Text(_plain(evaluation.name), "dim"))
    style = "bold" if evaluation.answers.corrected is not None else "bold yellow"
    for text, how in ((head.sentence, style), (head.how, ""), (head.flagged, "dim"), (counts(evaluation), "dim")):
        if text:
            console.print(Text(_plain(text), how))
    for table in tables(evaluation):
        _print_table(table, console)
    _print_caveats(caveats_of(evaluation), console)


def print_comparison(comparisons: Sequence[RunComparison], console: "Console") -> None:
    """Print what comparisons with one baseline found.

    Args:
        comparisons: The comparisons.
        console: Where to; one that is no terminal gets no colours.

    Raises:
        EvalError: There are none, or they have several baselines.
    """
    from rich.text import Text

    found = comparison_tables(comparisons)
    for one in comparisons:
        said = verdict(one)
        console.print(Text(_plain(said.conclusion), _STYLES.get(one.conclusion, "bold")))
        console.print(Text(_plain(said.sentence)))
        console.print(Text(_plain(said.how), "dim"))
    for table in found:
        _print_table(table, console)
    _print_caveats(all_caveats(comparisons), console)


def print_tables(found: Sequence[Table], caveats: Sequence[str], console: "Console") -> None:
    """Print tables of any kind, and what to know of them.

    Args:
        found: The tables.
        caveats: All that a reader must know before they believe a number.
        console: Where to; one that is no terminal gets no colours.
    """
    for table in found:
        _print_table(table, console)
    _print_caveats(caveats, console)


_STYLES = {"worse": "bold red", "better": "bold green", "not worse": "bold green", "undecided": "bold yellow"}


def _print_caveats(caveats: Sequence[str], console: "Console") -> None:
    from rich.text import Text

    if caveats:
        console.print()
        console.print(Text("Before you believe a number", "bold yellow"))
        for caveat in caveats:
            console.print(Text(f"- {_plain(caveat)}"))


def _print_table(table: Table, console: "Console") -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    console.print()
    console.print(Text(_plain(table.title), "bold"))
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for at, name in enumerate(table.columns):
        grid.add_column(name, justify="left" if at == 0 or name in _TEXTS else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(_plain(cell)) for cell in row))
    console.print(grid)
    if table.note:
        console.print(Text(_plain(table.note), "dim"))


def _plain(text: str) -> str:
    """Text that keeps to its line, and does nothing to the terminal."""
    return visible(" ".join(text.split()))
