"""Reports as one HTML page that needs nothing else: no network, no font, no other file."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from arriero.evals.comparing import RunComparison
from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.differences import all_caveats, comparison_tables, decisive, verdict
from arriero.evals.reports.differences import rows as side_by_side
from arriero.evals.reports.figures import (
    FEW,
    caveats_of,
    counts,
    documents,
    headline,
    reliability_table,
    tables,
    value_text,
)
from arriero.evals.reports.packing import MOST_BYTES, pack
from arriero.evals.reports.pictures import EDGE, SIDE, intervals, rate_picture, reliability
from arriero.prompts.visible import visible

_MANY = 200
"""Documents that a page lists at most: more would make it slow to open. A search finds the answers of any."""

_COMMAND = re.compile(r"`([^`]*)`")
_TEMPLATES = Path(__file__).parent / "templates"


class ReportNotWritten(EvalError):
    """A report cannot be written where it was to go."""


def html(evaluation: Evaluation, *, most_bytes: int = MOST_BYTES) -> str:
    """A report as one HTML page.

    The figures need no script. The items are data, which the page's one script shows as text a page of them at a time;
    the page's policy lets it load nothing and run nothing else.

    Args:
        evaluation: What was found.
        most_bytes: Most that items and passages take; what does not fit is left out, and the page says so.

    Returns:
        The page.

    Example:
        >>> from arriero.evals.evaluation import Rate
        >>> rate = Rate(None, None, None, None, None, None, 0, 0, 0)
        >>> found = Evaluation("<b>run", {}, {"name": "offline"}, 0.95, rate)
        >>> "&lt;b&gt;run" in html(found), "<b>run" in html(found)
        (True, False)
    """
    return _rendered(
        "report.html.jinja",
        title=evaluation.name,
        evaluation=evaluation,
        head=headline(evaluation),
        counts=counts(evaluation),
        caveats=caveats_of(evaluation),
        tables=tables(evaluation, enough=0),
        more_documents=documents(evaluation, _MANY) if len(evaluation.documents) > FEW else None,
        picture=rate_picture(evaluation.answers),
        dots=reliability(evaluation.reliability),
        bins=reliability_table(evaluation),
        side=SIDE,
        edge=EDGE,
        packed=pack(((judged.item.id, (judged,)) for judged in evaluation.items), most_bytes=most_bytes),
        about=list(_about(evaluation)),
    )


def write_html(evaluation: Evaluation, path: str | Path) -> None:
    """Write a report as one HTML page.

    Args:
        evaluation: What was found.
        path: Where to; a file there is replaced.

    Raises:
        ReportNotWritten: It cannot be written there.
    """
    write(html(evaluation), path)


def comparison_html(comparisons: Sequence[RunComparison], *, most_bytes: int = MOST_BYTES) -> str:
    """Comparisons with one baseline as one HTML page, the answers side by side.

    Args:
        comparisons: The comparisons.
        most_bytes: Most that items and passages take; what does not fit is left out, and the page says so.

    Returns:
        The page.

    Raises:
        EvalError: There are none, or they have several baselines.
    """
    tables = comparison_tables(comparisons)
    first = comparisons[0]
    rows = [(_DRAWN, one.candidate, decisive(one)) for one in comparisons]
    reach = [end for *_, found in rows for end in (found.low, found.high)]
    return _rendered(
        "comparison.html.jinja",
        title=f"{', '.join(one.candidate for one in comparisons)} against {first.base}",
        comparisons=[(one, verdict(one)) for one in comparisons],
        caveats=all_caveats(comparisons),
        tables=tables,
        picture=intervals(rows, min(0.0, *reach), max(0.0, *reach), signed=True),
        packed=pack(side_by_side(comparisons), most_bytes=most_bytes),
        names=[first.base, *(one.candidate for one in comparisons)],
        by=first.by,
        about=list(_facts("judge", first.judge)),
    )


_DRAWN = "corrected"


def write_comparison_html(comparisons: Sequence[RunComparison], path: str | Path) -> None:
    """Write comparisons with one baseline as one HTML page.

    Args:
        comparisons: The comparisons.
        path: Where to; a file there is replaced.

    Raises:
        EvalError: There are none, or they have several baselines.
        ReportNotWritten: It cannot be written there.
    """
    write(comparison_html(comparisons), path)


def write(text: str, path: str | Path) -> None:
    """Write a report.

    Args:
        text: The report.
        path: Where to; a file there is replaced.

    Raises:
        ReportNotWritten: It cannot be written there.
    """
    try:
        Path(path).write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise ReportNotWritten(
            f"{path} cannot be written: {error.strerror}; give a file in a folder that is"
        ) from error


def _about(evaluation: Evaluation) -> Iterable[tuple[str, str]]:
    for part, values in (("system", evaluation.system), ("judge", evaluation.judge), ("run", evaluation.about)):
        yield from _facts(part, values)


def _facts(name: str, value: object) -> Iterable[tuple[str, str]]:
    """What was recorded, a row for each thing that is no list of others."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _facts(f"{name} · {key}", part)
    elif name == "run · created" and isinstance(value, int | float):
        yield name, datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
    else:
        yield name, value_text(value)


def _rendered(template: str, **values: object) -> str:
    style, script = (_source(name) for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none';"
        " form-action 'none'"
    )
    found = _environment().get_template(template)
    return found.render(style=style, script=script, policy=policy, **values)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = _shown
    environment.filters["commands"] = _commands
    return environment


def _shown(text: str) -> str:
    """Text that can be read, percentages kept on one line."""
    return visible(text).replace(" %", "\u00a0%")


def _commands(text: str) -> Markup:
    """Text whose commands, between backticks, are set as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(_shown(text)))))  # noqa: S704 - it is escaped


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _digest(text: str) -> str:
    """The form in which a content security policy names an inline script or style (CSP level 2, section 7.15)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
