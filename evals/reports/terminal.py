"""Reports on a terminal."""

from typing import TYPE_CHECKING

from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.figures import Table, counts, headline, tables
from arriero.prompts.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

_NUMBERS = ("estimate", "interval", "of", "judged", "flagged by the judge", "labelled", "answers", "share")


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
    if evaluation.caveats:
        console.print()
        console.print(Text("Before you believe a number", "bold yellow"))
        for caveat in evaluation.caveats:
            console.print(Text(f"- {_plain(caveat)}"))


def _print_table(table: Table, console: "Console") -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    console.print()
    console.print(Text(_plain(table.title), "bold"))
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in table.columns:
        grid.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(_plain(cell)) for cell in row))
    console.print(grid)
    if table.note:
        console.print(Text(_plain(table.note), "dim"))


def _plain(text: str) -> str:
    """Text that keeps to its line, and does nothing to the terminal."""
    return visible(" ".join(text.split()))
