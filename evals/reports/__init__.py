"""What an evaluation found, for people, machines and model cards."""

from arriero.evals.reports.machine import UnreadableReport, from_json, to_json
from arriero.evals.reports.page import write_html
from arriero.evals.reports.terminal import print_report

__all__ = ["UnreadableReport", "from_json", "print_report", "to_json", "write_html"]
