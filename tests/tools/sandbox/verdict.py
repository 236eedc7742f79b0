"""What one answer of the interpreter must be, and what it must not hold."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.cases import Step, fill
from sandbox.server_process import Reply

SLACK = 2.0
"""Seconds after the wall limit in which an answer must be there."""

_TEXTS = ("stdout", "stderr", "value", "error", "reason", "text")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "stdout": str,
    "stderr": str,
    "value": (str, type(None)),
    "error": (str, type(None)),
    "reason": (str, type(None)),
    "state_lost": bool,
    "cut": bool,
    "duration": (int, float),
}
_OUTCOMES = {"completed": "allowed", "failed": "error", "killed": "killed"}

Kind = Literal["breach", "late", "other"]


@dataclass(frozen=True, slots=True)
class Miss:
    """Something that must not be.

    Args:
        what: It, in words.
        kind: "breach" when the sandbox let something through, "late" when it may be the machine that was too slow.
    """

    what: str
    kind: Kind = "other"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case.

    Args:
        id: The case's name.
        category: Its group.
        outcome: Whether it held.
        misses: Why it did not.
        notes: What else is worth a word: why it was skipped, how it was ended.
        seconds: How long it took.
    """

    id: str
    category: str
    outcome: Literal["passed", "missed", "skipped"]
    misses: tuple[Miss, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def why(self) -> str:
        """The misses, or else the notes, as one text."""
        return "; ".join([miss.what for miss in self.misses] or self.notes)

    @property
    def breached(self) -> bool:
        """Whether the sandbox let something through."""
        return any(miss.kind == "breach" for miss in self.misses)

    @property
    def may_be_slowness(self) -> bool:
        """Whether nothing but time went wrong."""
        return bool(self.misses) and all(miss.kind == "late" for miss in self.misses)


def texts(execution: Mapping[str, Any]) -> list[str]:
    """All that an execution says."""
    named = [str(execution[name]) for name in _TEXTS if execution.get(name)]
    return named + [str(file["path"]) for file in execution.get("files") or ()]


def leaks(parts: Iterable[str | bytes], secrets: Mapping[str, str]) -> Iterator[Miss]:
    """Secrets that can be read in the parts, plain or in a usual encoding."""
    held = [part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part for part in parts]
    for name, secret in secrets.items():
        if any(form in part for form in _forms(secret.encode()) for part in held):
            yield Miss(f"{name} came out", "breach")


def judge(step: Step, reply: Reply, values: Mapping[str, str], *, wall: float, optional: bool) -> Iterator[Miss]:
    """What is wrong with the answer to a call, secrets and probes aside.

    Args:
        step: The call.
        reply: The answer.
        values: The placeholders.
        wall: The call's wall limit, in seconds.
        optional: Whether a policy may forbid what the code does.
    """
    if reply.seconds > wall + SLACK:
        yield Miss(f"the answer took {reply.seconds:.1f} s with a limit of {wall:g} s", "late")
    if reply.raised:
        yield Miss(f"an exception came out of the tool: {reply.raised}")
        return
    execution = reply.data["execution"]
    if wrong := malformed(execution):
        yield Miss(f"no structured result: {wrong}")
        return
    marker = values["M1"] + values["M2"]
    if any(marker in text for text in texts(execution)):
        yield Miss("the code did what it must not (its marker is in the output)", "breach")
    outcome = _OUTCOMES[execution["status"]]
    if outcome == "killed" and not execution["reason"]:
        yield Miss("the call was ended, and no reason is given")
    if step.must in ("allowed", "killed") and outcome not in step.also:
        yield from _wanted(step, execution, outcome, values, optional)


def malformed(execution: Mapping[str, Any]) -> str:
    """Why it is not a structured result; "" if it is."""
    if execution.get("status") not in _OUTCOMES:
        return f"status is {execution.get('status')!r}"
    for name, kind in _TYPES.items():
        if not isinstance(execution.get(name), kind):
            return f"{name} is {type(execution.get(name)).__name__}"
    try:
        json.dumps(execution, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "its text cannot be written as UTF-8"
    return ""


def _wanted(
    step: Step, execution: Mapping[str, Any], outcome: str, values: Mapping[str, str], optional: bool
) -> Iterator[Miss]:
    said = "\n".join(texts(execution))
    if step.must == "killed":
        if outcome != "killed":
            yield Miss(f"the call was not ended: {execution['status']}, {_short(said)}")
        return
    if optional and outcome == "error":
        return
    if outcome != ("error" if step.error else "allowed"):
        slow = outcome == "killed" and "time" in str(execution["reason"])
        why = execution["reason"] or execution["error"] or execution["stderr"]
        yield Miss(f"{execution['status']}: {_short(str(why))}", "late" if slow else "other")
    elif (expected := fill(step.expect, values)) not in said:
        yield Miss(f"{expected!r} is not in {_short(said)}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 160 else f"{text[:60]} ... {text[-95:]}")


def _forms(secret: bytes) -> Iterator[bytes]:
    yield from (secret, secret[::-1], secret.hex().encode(), secret.decode().encode("utf-16-le"))
    for shift in range(3):  # Base64 of a text that holds the secret at any place
        whole = base64.b64encode(b"\0" * shift + secret)
        yield whole[(0, 2, 3)[shift] : -4].rstrip(b"=")
