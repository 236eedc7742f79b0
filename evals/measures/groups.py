"""The rates of parts: of kinds of questions, of models, of documents."""

from collections.abc import Callable, Sequence

from arriero.evals.evaluation import Group, Judged, Rate


def kinds(items: Sequence[Judged], measured: Callable[[Sequence[Judged]], Rate]) -> tuple[Group, ...]:
    """The rate of each kind of question; of each model where nothing names kinds, then of each set.

    A part is corrected by its own labels only: a judge may do better on one kind than on another. With too few of them
    there is only what is flagged.

    Args:
        items: The items.
        measured: What gives the rate of some of them.

    Returns:
        The kinds by name; none where all items are of one.

    Example:
        >>> kinds([], lambda part: None)
        ()
    """
    for name in (_kind, _model, _dataset):
        parts = _parts(items, name)
        if len(parts) > 1:
            return tuple(Group(key or "(none)", measured(parts[key])) for key in sorted(parts))
    return ()


def documents(items: Sequence[Judged], measured: Callable[[Sequence[Judged]], Rate]) -> tuple[Group, ...]:
    """The rate of each document, most flagged first.

    Args:
        items: The items.
        measured: What gives the rate of some of them.

    Returns:
        The documents; none where each has one item, or there is one only.

    Example:
        >>> documents([], lambda part: None)
        ()
    """
    parts = _parts(items, lambda one: one.item.doc_id or one.item.id)
    if len(parts) in (0, 1, len(items)):
        return ()
    found = [Group(name, measured(part)) for name, part in parts.items()]
    return tuple(sorted(found, key=lambda group: (-_flagged(group.rate), -group.rate.judged, group.name)))


def _parts(items: Sequence[Judged], name: Callable[[Judged], str]) -> dict[str, list[Judged]]:
    parts: dict[str, list[Judged]] = {}
    for one in items:
        parts.setdefault(name(one), []).append(one)
    return parts


def _kind(one: Judged) -> str:
    return str(one.item.extra.get("kind") or "")


def _model(one: Judged) -> str:
    return one.item.model


def _dataset(one: Judged) -> str:
    return one.item.dataset


def _flagged(rate: Rate) -> float:
    return -1.0 if rate.flagged is None else rate.flagged.value
