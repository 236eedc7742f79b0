"""Reports for machines: JSON with keys that stay."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pydantic

from arriero.evals.comparing import RunComparison
from arriero.evals.errors import EvalError
from arriero.evals.evaluation import Evaluation
from arriero.evals.reports.differences import check_one_base, verdict
from arriero.evals.reports.figures import headline

FORMAT = "arriero.evaluation"
COMPARISON_FORMAT = "arriero.comparison"
VERSION = 1


class UnreadableReport(EvalError):
    """JSON that is no report of this version."""


def to_json(evaluation: Evaluation, *, items: bool = True) -> dict[str, Any]:
    """An evaluation as JSON values.

    The keys are the fields of `Evaluation`, next to `format`, `version` and `headline`. They stay as they are within a
    version; a new version means that a key has gone or means something else.

    Args:
        evaluation: What was found.
        items: Whether the items come along.

    Returns:
        The object; `from_json` reads it.

    Example:
        >>> from arriero.evals.evaluation import Rate
        >>> found = Evaluation("run", {}, {"name": "offline"}, 0.95, Rate(None, None, None, None, None, None, 3, 0, 0))
        >>> from_json(to_json(found)) == found
        True
    """
    head = {"format": FORMAT, "version": VERSION, "headline": headline(evaluation).sentence}
    found: dict[str, Any] = _adapter().dump_python(evaluation, mode="json", exclude=None if items else {"items"})
    return head | found


def from_json(value: Mapping[str, Any] | str | bytes) -> Evaluation:
    """Read what `to_json` gave.

    Args:
        value: The object, or its text.

    Returns:
        The evaluation.

    Raises:
        UnreadableReport: It is none, or of another version.
    """
    try:
        read = json.loads(value) if isinstance(value, str | bytes) else value
    except ValueError as error:
        raise UnreadableReport(f"this is no JSON: {error}") from error
    found = (read.get("format"), read.get("version")) if isinstance(read, Mapping) else (None, None)
    if found != (FORMAT, VERSION):
        raise UnreadableReport(
            f"format {found[0]!r}, version {found[1]!r}: this reads {FORMAT!r}, version {VERSION}; make the report anew"
        )
    fields = {key: part for key, part in read.items() if key not in ("format", "version", "headline")}
    try:
        return _adapter().validate_python(fields)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnreadableReport(f"{where}: {first['msg']}; make the report anew") from error


def comparison_to_json(comparisons: Sequence[RunComparison], *, items: bool = True) -> dict[str, Any]:
    """Comparisons with one baseline as JSON values.

    The keys are the fields of `RunComparison`, next to `verdict`; `flips` counts pairs by what they were and became.

    Args:
        comparisons: The comparisons.
        items: Whether the pairs come along.

    Returns:
        The object: `format`, `version`, `base`, and `comparisons`, one for each candidate.

    Raises:
        EvalError: There are none, or they have several baselines.
    """
    check_one_base(comparisons)
    listed = []
    for one in comparisons:
        fields = _comparisons().dump_python(one, mode="json", exclude=None if items else {"pairs"})
        counted = one.found.flips.items()
        fields["found"]["flips"] = [{"base": was, "candidate": now, "pairs": n} for (was, now), n in counted]
        said = verdict(one)
        listed.append({"verdict": said.conclusion, "sentence": said.sentence} | fields)
    return {"format": COMPARISON_FORMAT, "version": VERSION, "base": comparisons[0].base, "comparisons": listed}


@lru_cache(maxsize=1)
def _comparisons() -> pydantic.TypeAdapter[RunComparison]:
    return pydantic.TypeAdapter(RunComparison)


@lru_cache(maxsize=1)
def _adapter() -> pydantic.TypeAdapter[Evaluation]:
    return pydantic.TypeAdapter(Evaluation)
