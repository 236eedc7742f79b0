"""How often do a system's answers hallucinate? Judged by a classifier, corrected by 150 people's labels, as a report.

The answers are a bundled sample that people labelled whole. The correction sees 150 of the labels; the others show
whether it was right.

    arriero run examples/evaluation.py
"""

from pathlib import Path

from rich.console import Console

from arriero.evals.calibrating import choose
from arriero.evals.data.samples import sample
from arriero.evals.evaluate import evaluate
from arriero.evals.evaluation import Evaluation
from arriero.evals.judges.offline import OfflineJudge
from arriero.evals.reports.page import write_html
from arriero.evals.reports.terminal import print_report

REPORT = Path("arriero-evaluation.html")


async def evaluation() -> Evaluation:
    """Judge the bundled answers, and correct their rate by a random sample of the labels.

    Returns:
        What was found.
    """
    items = sample("grounding").items()
    judge = OfflineJudge()
    chosen = set(choose(items, 150).ids)
    return evaluate(
        items,
        await judge.judge(items),
        judge=judge.fingerprint,
        threshold=judge.threshold,
        name="answers of four systems, with 150 labels",
        labels={item.id: item.label for item in items if item.id in chosen and item.label is not None},
    )


def report_on(found: Evaluation, path: Path) -> None:
    """Print what was found, and write the report.

    Args:
        found: What was found.
        path: Where the HTML report goes.
    """
    labels = [item.label for item in sample("grounding").items() if item.label is not None]
    print_report(found, Console())
    write_html(found, path)
    print(f"\nAll {len(labels)} labels say {sum(labels) / len(labels):.1%}. The report: {path}")


async def main() -> None:
    """Evaluate, print what was found, and write the report."""
    report_on(await evaluation(), REPORT)
