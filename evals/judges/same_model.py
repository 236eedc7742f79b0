"""Whether a judge judges its own answers."""

from collections.abc import Iterable, Iterator, Mapping

from arriero.evals.items import GroundingItem


def same_model(
    judge: Mapping[str, object],
    system: Mapping[str, object] | None = None,
    items: Iterable[GroundingItem] = (),
) -> str | None:
    """The model that is both judge and generator; such judges favour their own answers.

    Models are compared by the last part of their names, whatever their case, and by the digest of their weights.

    Args:
        judge: The judge's fingerprint.
        system: The fingerprint of the system under test, where it is known.
        items: The judged items; `model` of each counts.

    Returns:
        Its name; None where they differ, or nothing is known.

    Source: Panickssery, Bowman and Feng (2024), LLM evaluators recognize and favor their own generations.

    Example:
        >>> same_model({"model": "meta-llama/Llama-3.1-8B"}, {"model": "llama-3.1-8b"})
        'llama-3.1-8b'
        >>> same_model({"name": "offline"}, {"model": "llama-3.1-8b"}) is None
        True
    """
    others = set(_names(system or {})) | {_short(item.model) for item in items if item.model}
    both = sorted(others.intersection(_names(judge)), key=lambda name: (name.startswith("sha256:"), name))
    return both[0] if both else None


def _names(fingerprint: Mapping[str, object]) -> Iterator[str]:
    for key in ("model", "root"):
        value = fingerprint.get(key)
        if isinstance(value, str) and value:
            yield _short(value)
    revision = fingerprint.get("revision")
    if isinstance(revision, str) and revision.startswith("sha256:"):
        yield revision


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
