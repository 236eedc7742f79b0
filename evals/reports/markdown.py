"""Reports as Markdown, for model cards and pull requests."""

import re
from collections.abc import Sequence

from arriero.evals.comparing import RunComparison
from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.differences import all_caveats, comparison_tables, verdict
from arriero.evals.reports.figures import Table, caveats_of, counts, headline, tables
from arriero.prompts.visible import visible

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~])")


def to_markdown(evaluation: Evaluation) -> str:
    """What was found, as Markdown: the tables of a model card.

    Args:
        evaluation: What was found.

    Returns:
        The text, of headings of the third level and tables.

    Example:
        >>> from arriero.evals.evaluation import Rate
        >>> from arriero.evals.statistics import wilson
        >>> rate = Rate(wilson(19, 150), "labels only", None, None, None, None, 150, 150, 0)
        >>> print(to_markdown(Evaluation("llama", {}, {"name": "offline"}, 0.95, rate)))
        ### Hallucination: llama
        <BLANKLINE>
        **Of 100 answers about 13 hallucinate; the true number is between 8 and 19 with 95 % confidence.**
        ...
        | answers: hallucinated, by labels | 12.7 % | 8.3 to 18.9 % | 150 | Wilson |
        <BLANKLINE>
        What the judge flags holds its errors: it is not the rate of hallucination.
        <BLANKLINE>
    """
    head = headline(evaluation)
    lines = [f"### Hallucination: {_plain(evaluation.name)}", f"**{_plain(head.sentence)}**"]
    lines.append(_plain(" ".join(filter(None, (head.how, head.flagged, counts(evaluation))))).replace("\\`", "`"))
    return _joined([*lines, *map(_table, tables(evaluation)), *_caveats(caveats_of(evaluation))])


def comparison_to_markdown(comparisons: Sequence[RunComparison]) -> str:
    """What comparisons with one baseline found, as Markdown.

    Args:
        comparisons: The comparisons.

    Returns:
        The text.

    Raises:
        EvalError: There are none, or they have several baselines.
    """
    found = comparison_tables(comparisons)
    lines = [f"### Hallucination: comparison with {_plain(comparisons[0].base)}"]
    for one in comparisons:
        said = verdict(one)
        lines.append(f"**{_plain(said.conclusion)}** {_plain(said.sentence)} {_plain(said.how)}".replace("\\`", "`"))
    return _joined([*lines, *map(_table, found), *_caveats(all_caveats(comparisons))])


def tables_to_markdown(heading: str, found: Sequence[Table], caveats: Sequence[str]) -> str:
    """Tables of any kind as Markdown, with what to know of them.

    Args:
        heading: What they are about.
        found: The tables.
        caveats: All that a reader must know before they believe a number.

    Returns:
        The text.
    """
    return _joined([f"### {_plain(heading)}", *map(_table, found), *_caveats(caveats)])


def _table(table: Table) -> str:
    rules = ("---" if name in ("method", "conclusion", "variant") else "---:" for name in table.columns[1:])
    ruler = f"| --- | {' | '.join(rules)} |"
    lines = [f"#### {_plain(table.title)}\n", _cells(table.columns), ruler, *map(_cells, table.rows)]
    return "\n".join(lines) + (f"\n\n{_plain(table.note)}" if table.note else "")


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _caveats(caveats: Sequence[str]) -> list[str]:
    return (
        ["#### Before you believe a number\n\n" + "\n".join(f"- {_plain(text)}" for text in caveats)] if caveats else []
    )


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """Text on one line that no Markdown reader takes for markup."""
    return _MARKS.sub(r"\\\1", visible(" ".join(text.split())))
