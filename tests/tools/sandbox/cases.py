"""Abuse cases as written in a file of JSON lines; tests/data/sandbox/README.md describes the fields."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Must = Literal["blocked", "killed", "contained", "allowed"]
Where = Literal["same", "same_or_new", "new", "restart_same_workspace", "other", "other_while_open"]

BUNDLED = Path(__file__).resolve().parents[2] / "data" / "sandbox" / "cases.jsonl"
MORE = BUNDLED.with_name("more_cases.jsonl")


class BadCase(ValueError):
    """A line that is no case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of the interpreter, and what must come of it.

    Args:
        code: Python source, with placeholders.
        must: What must come of it.
        also: Other outcomes that count as well.
        expect: Text that must be in the output, the value or the error; may hold placeholders.
        error: Whether the code raises on purpose.
        probes: What is looked at from outside.
        upload: Files put into the workspace before the call.
        artifact: A file that must come back with the result.
        where: The session it runs in; None for the first call.
        why: What it shows.
    """

    code: str
    must: Must
    also: frozenset[str] = frozenset()
    expect: str = ""
    error: bool = False
    probes: tuple[str, ...] = ()
    upload: Mapping[str, str]
    artifact: str | None = None
    where: Where | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: a first call and those that follow.

    Args:
        id: Its name.
        category: The group that it is counted in.
        why: What it shows.
        steps: The calls, the first one first.
        needs: Packages without which it is not run.
        arch: The only machine (as `platform.machine()` says) that it is for; "" for any.
        danger: Why it may only run where processes are confined; "" for a harmless one.
        optional: Whether a policy may forbid what it does.
    """

    id: str
    category: str
    why: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...]
    arch: str
    danger: str
    optional: bool

    @property
    def probes(self) -> frozenset[str]:
        """Those of all steps."""
        return frozenset(probe for step in self.steps for probe in step.probes)


def read_cases(path: Path) -> list[Case]:
    """Read a file of cases.

    Args:
        path: JSON lines; empty lines and lines that start with `#` are passed over.

    Returns:
        The cases, in the file's order.

    Raises:
        BadCase: A line is not a case; the message names file, line and field.
        OSError: The file cannot be read.
    """
    found: list[Case] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found.append(case_from(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
            raise BadCase(f"{path}, line {number}: {what}") from error
    names = [case.id for case in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadCase(f"{path}: two cases have one id: {', '.join(sorted(twice))}")
    return found


def case_from(raw: Mapping[str, Any]) -> Case:
    """One case from its JSON object."""
    steps = (_step(raw, None), *(_step(step, step.get("session", "same")) for step in raw.get("then") or ()))
    return Case(
        id=str(raw["id"]),
        category=str(raw.get("category", "other")),
        why=str(raw.get("why", "")),
        steps=steps,
        needs=_words(raw.get("needs")),
        arch=str(raw.get("arch") or ""),
        danger=str(raw.get("danger") or ""),
        optional=bool(raw.get("optional")),
    )


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace placeholders; other braces are the code's own."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def _step(raw: Mapping[str, Any], where: Any) -> Step:
    must = raw["must"]
    if must not in get_args(Must):
        raise ValueError(f"must is {must!r}, not one of {', '.join(get_args(Must))}")
    if where is not None and where not in get_args(Where):
        raise ValueError(f"session is {where!r}, not one of {', '.join(get_args(Where))}")
    if not isinstance(raw["code"], str):
        raise TypeError("code is not text")
    return Step(
        code=raw["code"],
        must=must,
        also=frozenset(_words(raw.get("also"))),
        expect=str(raw.get("expect") or ""),
        error=bool(raw.get("error")),
        probes=_words(raw.get("probe")) + _words(raw.get("probes")),
        upload={str(name): str(text) for name, text in (raw.get("upload") or {}).items()},
        artifact=raw.get("artifact"),
        where=where,
        why=str(raw.get("why") or ""),
    )


def _words(raw: Any) -> tuple[str, ...]:
    if raw is None:
        return ()
    return (raw,) if isinstance(raw, str) else tuple(str(word) for word in raw)
