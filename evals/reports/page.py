"""Reports as one HTML page that needs nothing else."""

from pathlib import Path

import jinja2

from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.figures import counts, headline, tables
from arriero.prompts.visible import visible


def write_html(evaluation: Evaluation, path: Path) -> None:
    """Write a report as one HTML page.

    Args:
        evaluation: What was found.
        path: Where to; a file there is replaced.

    Raises:
        EvalError: It cannot be written.
    """
    page = _template().render(
        evaluation=evaluation, head=headline(evaluation), counts=counts(evaluation), tables=tables(evaluation)
    )
    path.write_text(page, encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment.get_template("report.html.jinja")
