"""What is shown of a run: progress, and a table by category."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from arriero.prompts.visible import visible
from sandbox.verdict import Verdict

_WIDTH = 110


class Progress:
    """A line of counts, rewritten in a terminal and written now and then elsewhere.

    Args:
        total: How many cases there are.
        out: Where it is written.
    """

    def __init__(self, total: int, out: TextIO = sys.stderr) -> None:
        self._total = total
        self._out = out
        self._done = self._missed = 0

    def __call__(self, verdict: Verdict) -> None:
        """Count a verdict; a miss is named at once."""
        self._done += 1
        terminal = self._out.isatty()
        if verdict.outcome == "missed":
            self._missed += 1
            self._out.write(("\r\x1b[K" if terminal else "") + one_line(f"miss: {verdict.id}: {verdict.why}") + "\n")
        if terminal or self._done % 20 == 0 or self._done == self._total:
            counts = f"{self._done}/{self._total} done, {self._missed} missed"
            self._out.write(f"\r\x1b[K{counts}" if terminal else counts + "\n")
        if terminal and self._done == self._total:
            self._out.write("\n")
        self._out.flush()


def print_table(verdicts: Sequence[Verdict], tier: str, seconds: float) -> None:
    """Write how each category did, and each miss with its reasons, to standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=None if terminal else _WIDTH)
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for name in ("category", "passed", "total", "not passed"):
        table.add_column(name, justify="right" if name in ("passed", "total") else "left")
    for category in dict.fromkeys(verdict.category for verdict in verdicts):
        group = [verdict for verdict in verdicts if verdict.category == category]
        passed = [verdict for verdict in group if verdict.outcome == "passed"]
        others = [one_line(_named(verdict)) for verdict in group if verdict.outcome != "passed"]
        style = "green" if len(passed) == len(group) else "red" if _missed(group) else "yellow"
        row = Text(one_line(category)), Text(str(len(passed)), style), Text(str(len(group))), Text("\n".join(others))
        table.add_row(*row)
    console.print(table)
    counts = summary(verdicts)
    line = f"{tier}: {counts['passed']} of {counts['total']} passed, {counts['missed']} missed"
    console.print(f"{line}, {counts['skipped']} skipped, in {seconds:.0f} s", style="bold")


def print_json(verdicts: Sequence[Verdict], tier: str, seconds: float) -> None:
    """Write the run as one JSON object to standard output."""
    cases = [
        {
            "id": verdict.id,
            "category": verdict.category,
            "outcome": verdict.outcome,
            "misses": [{"what": miss.what, "kind": miss.kind} for miss in verdict.misses],
            "notes": list(verdict.notes),
            "seconds": round(verdict.seconds, 3),
        }
        for verdict in verdicts
    ]
    print(json.dumps({"tier": tier, "seconds": round(seconds, 1), **summary(verdicts), "cases": cases}))


def summary(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many passed, missed and were skipped, and the total."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return {name: outcomes.count(name) for name in ("passed", "missed", "skipped")} | {"total": len(outcomes)}


def one_line(text: str) -> str:
    """Text that keeps to its line, and does nothing to the terminal."""
    return visible(" ".join(text.split()))


def _named(verdict: Verdict) -> str:
    return f"{verdict.id}: {verdict.why}" if verdict.outcome == "missed" else f"{verdict.id} (skipped): {verdict.why}"


def _missed(group: Sequence[Verdict]) -> bool:
    return any(verdict.outcome == "missed" for verdict in group)
