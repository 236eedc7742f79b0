"""Reports on a terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from arriero.evals.comparing import RunComparison
from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.differences import all_caveats, comparison_tables, verdict
from arriero.evals.reports.figures import Table, caveats_of, counts, headline, tables
from arriero.prompts.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_TEXTS = ("method", "conclusion", "variant")
"""Columns of words, next to the first."""

_GAPS = (2, 1)
"""Cells between columns: two, or one where that keeps a table's lines whole."""

_LEAST = 16
"""Cells that the first column is not made narrower than: a table that leaves it less is printed row by row."""


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
            _print_indented(Text(_plain(caveat)), "- ", console)


def _print_table(table: Table, console: "Console") -> None:
    from rich.text import Text

    columns = [_plain(name) for name in table.columns]
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    fitting = _fitting(columns, rows, console.width)
    console.print()
    console.print(Text(_plain(table.title), "bold"))
    if fitting is None:
        _print_rows(columns, rows, console)
    else:
        _print_grid(columns, rows, *fitting, console)
    if table.note:
        console.print(Text(_plain(table.note), "dim"))


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> tuple[list[int], int] | None:
    """The columns' widths, and the gap between them; None where they have no room.

    Heads are broken before the first column is, and figures never.
    """
    from rich.cells import cell_len

    def widest(texts: Iterable[str]) -> int:
        return max(map(cell_len, texts), default=0)

    cells = [widest(row[at] for row in rows) for at in range(len(columns))]
    whole = [max(cell, cell_len(name)) for cell, name in zip(cells, columns, strict=True)]
    for gap in _GAPS:
        if sum(whole) + gap * (len(columns) - 1) <= room:
            return whole, gap
    others = [max(cell, widest(name.split())) for cell, name in zip(cells[1:], columns[1:], strict=True)]
    first = min(whole[0], room - gap * (len(columns) - 1) - sum(others))
    least = max(_LEAST, widest(word for row in rows for word in row[0].split()))
    return ([first, *others], gap) if first >= min(whole[0], least) else None


def _print_grid(
    columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], gap: int, console: "Console"
) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for at, (name, width) in enumerate(zip(columns, widths, strict=True)):
        words = at == 0 or name in _TEXTS
        grid.add_column(Text(name), justify="left" if words else "right", overflow="fold", width=width)
    for row in rows:
        grid.add_row(*map(Text, row))
    console.print(grid)


def _print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], console: "Console") -> None:
    """Each row on lines of its own: what it is, and below it its figures with their names."""
    from rich.text import Text

    for row in rows:
        console.print(Text(row[0]))
        line = ""
        for name, cell in zip(columns[1:], row[1:], strict=True):
            told = f"{name} {cell}".strip()
            if line and len(line) + len(told) + 5 > console.width:
                _print_indented(Text(line), "  ", console)
                line = ""
            line += f" · {told}" if line else told
        _print_indented(Text(line), "  ", console)


def _print_indented(text: "Text", mark: str, console: "Console") -> None:
    """A text all of whose lines stand behind a mark."""
    from rich.table import Table as Grid

    grid = Grid.grid()
    grid.add_column(width=len(mark))
    grid.add_column(overflow="fold")
    grid.add_row(mark, text)
    console.print(grid)


def _plain(text: str) -> str:
    """Text that keeps to its line, and does nothing to the terminal."""
    return visible(" ".join(text.split()))
