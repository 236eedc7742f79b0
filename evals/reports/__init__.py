"""What an evaluation found, for people, machines and model cards."""

from arriero.evals.reports.gate import too_high
from arriero.evals.reports.machine import UnreadableReport, comparison_to_json, from_json, to_json
from arriero.evals.reports.markdown import comparison_to_markdown, to_markdown
from arriero.evals.reports.page import ReportNotWritten, comparison_html, html, write_comparison_html, write_html
from arriero.evals.reports.terminal import print_comparison, print_report

__all__ = [
    "ReportNotWritten",
    "UnreadableReport",
    "comparison_html",
    "comparison_to_json",
    "comparison_to_markdown",
    "from_json",
    "html",
    "print_comparison",
    "print_report",
    "to_json",
    "to_markdown",
    "too_high",
    "write_comparison_html",
    "write_html",
]
